"""The DAG from text to release, which LocalDagRunner and Vertex Pipelines share."""

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path

import tensorflow_data_validation as tfdv
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.base_node import BaseNode
from tfx.dsl.components.common.resolver import Resolver
from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import LatestBlessedModelStrategy
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import trainer_pb2, transform_pb2
from tfx.types import Channel
from tfx.types.standard_artifacts import ExampleStatistics, Model, ModelBlessing

from components.anomaly_gate.component import AnomalyGate, DataBlessing
from components.length_gate.component import LengthGate
from components.perplexity_evaluator.component import PerplexityEvaluator
from components.release_pusher.component import ReleasePusher
from components.resolver_strategies import (
    CANDIDATE_KEY,
    LatestExistingBlessedModelStrategy,
    LatestOtherBlessedModelStrategy,
    LatestOtherBlessedStatisticsStrategy,
)
from components.run_report.component import RunReport
from components.stock_nodes.component import ImportSchemaGen, SchemaGen, StatisticsGen
from components.task_evaluator.component import TaskEvaluator
from components.text_example_gen.component import TextExampleGen
from components.text_trainer.component import TextTrainer
from components.text_transform.component import TextTransform
from components.text_validator.component import TextValidator
from components.tflite_converter.component import TFLiteConverter
from components.tflite_evaluator.component import TFLiteEvaluator
from modules.evaluation import model_analysis
from modules.export import tflite_conversion
from modules.report import rendering
from pipeline.code_fingerprint import ROOT, code_fingerprint
from pipeline.config import PipelineConfig, Stage
from pipeline.placement import Placement

SCHEMAS = Path("schemas")
# Beam's default runner would download and run a binary; this runner works in the same process. It needs no container
# image, but if one is named, TFX does not pack a copy of itself for each node (3 s, and 53 MB in the temporary folder).
BEAM_ARGS = ["--runner=FnApiRunner", "--sdk_container_image=none"]


def create_pipeline(config: PipelineConfig, placement: Placement, *, until: Stage = "release") -> Pipeline:
    """Builds the pipeline; nothing runs yet.

    Args:
        config: Settings of the run.
        placement: Place where the pipeline runs.
        until: Last stage: data that meets its contract, tokens that meet theirs, or a release.
    """
    data = _data_nodes(config, placement)
    nodes = data.nodes
    if until != "data":
        tokens = _token_nodes(config, placement, data)
        nodes = [*nodes, *tokens.nodes]
    if until == "release":
        nodes = [*nodes, *_model_nodes(config, placement, data, tokens)]
    return Pipeline(
        pipeline_name=config.name,
        pipeline_root=placement.pipeline_root,
        components=nodes,
        enable_cache=True,
        metadata_connection_config=placement.metadata_connection_config,
        beam_pipeline_args=BEAM_ARGS,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Data:
    """Nodes up to the data gate, with the outputs that later nodes use."""

    nodes: list[BaseNode]
    examples: Channel
    schema: Channel
    gate: AnomalyGate


def _data_nodes(config: PipelineConfig, placement: Placement) -> _Data:
    """Returns the nodes from text to examples that meet their contract."""
    example_gen = TextExampleGen(
        source=config.data.to_corpus().model_dump_json(),
        cleaning=config.data.cleaning.model_dump_json(),
        splits=json.dumps(config.data.split_weights),
        input_fingerprint=placement.data_fingerprint,
        data_directory=placement.data_directory,
    )
    examples = example_gen.outputs["examples"]
    # Sketches have a bounded size; TFDV's exact counts would hold every distinct text in memory.
    statistics_gen = StatisticsGen(
        examples=examples, stats_options=tfdv.StatsOptions(use_sketch_based_topk_uniques=True)
    )
    statistics = statistics_gen.outputs["statistics"]
    schema_gen = SchemaGen(statistics=statistics, infer_feature_shape=True)
    contract, *checks, gate = _checking_nodes(
        config,
        placement,
        statistics,
        contract=SCHEMAS / f"{config.data.kind}.pbtxt",
        ids=("Contract", "LatestBlessedData", "ExampleValidator", "AnomalyGate"),
    )
    fingerprint_code(example_gen, statistics_gen, schema_gen)
    nodes = [example_gen, statistics_gen, schema_gen, contract, *checks, gate]
    return _Data(nodes=nodes, examples=examples, schema=contract.outputs["schema"], gate=gate)


def _checking_nodes(
    config: PipelineConfig, placement: Placement, statistics: Channel, *, contract: Path, ids: tuple[str, str, str, str]
) -> list[BaseNode]:
    """Returns the nodes that compare statistics with a contract and with the latest that met it; first the contract.

    Args:
        config: States whether drift stops the run.
        placement: States where the contract is, and whether earlier statistics can be resolved.
        statistics: Output of StatisticsGen.
        contract: Path of the schema in the project.
        ids: Ids of the contract, the resolver of the earlier statistics, the validator and the gate.
    """
    contract_id, resolver_id, validator_id, gate_id = ids
    contract_gen = ImportSchemaGen(schema_file=str(placement.project / contract)).with_id(contract_id)
    nodes: list[BaseNode] = [contract_gen]
    previous = None
    if placement.own_strategies:
        resolver = Resolver(
            strategy_class=LatestOtherBlessedStatisticsStrategy,
            config={"contract": contract.as_posix()},
            statistics=Channel(type=ExampleStatistics),
            data_blessing=Channel(type=DataBlessing),
            **{CANDIDATE_KEY: statistics},
        ).with_id(resolver_id)
        previous = resolver.outputs["statistics"]
        nodes.append(resolver)
    validator = TextValidator(
        statistics=statistics, schema=contract_gen.outputs["schema"], previous_statistics=previous
    ).with_id(validator_id)
    gate = AnomalyGate(
        anomalies=validator.outputs["anomalies"],
        statistics=statistics,
        contract=contract.as_posix(),
        on_drift=config.data.on_drift,
    ).with_id(gate_id)
    fingerprint_code(validator, gate)
    fingerprint_code(contract_gen, data_files=[ROOT / contract])
    return [*nodes, validator, gate]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Tokens:
    """Nodes up to the token gate, with the outputs that later nodes use."""

    nodes: list[BaseNode]
    transform: TextTransform
    gates: list[BaseComponent]
    length_check: dict[str, Channel]


def _token_nodes(config: PipelineConfig, placement: Placement, data: _Data) -> _Tokens:
    """Returns the nodes from examples to tokens that meet their contract."""
    transform = TextTransform(
        examples=data.examples,
        schema=data.schema,
        preprocessing_fn="modules.tokenization.preprocessing.preprocessing_fn",
        splits_config=transform_pb2.SplitsConfig(analyze=["train"], transform=list(config.data.split_weights)),
        custom_config={
            "tokenizer": config.tokenizer.settings(),
            "tokenizer_fingerprint": placement.tokenizer_fingerprint,
            "data_kind": config.data.kind,
            "sources": [source.name for source in config.data.sources or ()],
        },
        disable_statistics=True,  # TokenStatistics computes the useful statistics
        disable_analyzer_cache=True,  # the vocabulary's analyzer has no cache
    )
    transform.with_id("Transform").add_upstream_node(data.gate)
    statistics_gen = StatisticsGen(
        examples=transform.outputs["transformed_examples"],
        stats_options=tfdv.StatsOptions(feature_allowlist=["num_tokens", "tokens_per_byte"]),
    ).with_id("TokenStatistics")
    *checks, gate = _checking_nodes(
        config,
        placement,
        statistics_gen.outputs["statistics"],
        contract=SCHEMAS / "tokens.pbtxt",
        ids=("TokenContract", "LatestBlessedTokens", "TokenValidator", "TokenGate"),
    )
    fingerprint_code(statistics_gen)
    fingerprint_code(transform, modules=["modules.tokenization.preprocessing"])
    # A document of plain text cannot be too long: it goes on in the next window.
    length_gates = [_length_gate(config, transform)] if config.data.kind != "text" else []
    return _Tokens(
        nodes=[transform, statistics_gen, *checks, gate, *length_gates],
        transform=transform,
        gates=[gate, *length_gates],
        length_check=length_gates[0].outputs if length_gates else {},
    )


def _length_gate(config: PipelineConfig, transform: TextTransform) -> LengthGate:
    """Returns the gate that counts the rows which are longer than the context."""
    gate = LengthGate(
        transformed_examples=transform.outputs["transformed_examples"],
        context_length=config.model.context_length,
        largest_context=config.largest_context(),
        too_long=config.data.too_long,
    )
    fingerprint_code(gate)
    return gate


def _model_nodes(config: PipelineConfig, placement: Placement, data: _Data, tokens: _Tokens) -> list[BaseNode]:
    """Returns the nodes from tokens to a release."""
    # Optional, because this input changes with every newly blessed model and then the Trainer runs again.
    start = [_warm_start(placement)] if config.model.warm_start else []
    trainer = TextTrainer(
        run_fn="modules.training.run_fn.run_fn",
        examples=tokens.transform.outputs["transformed_examples"],
        transform_graph=tokens.transform.outputs["transform_graph"],
        base_model=start[0].outputs["model"] if start else None,
        train_args=trainer_pb2.TrainArgs(splits=["train"]),
        eval_args=trainer_pb2.EvalArgs(splits=["eval"]),
        custom_config={
            "model": config.model.model_dump(),
            "training": config.training.model_dump(),
            "data_kind": config.data.kind,
            "truncate": config.data.too_long == "truncate",
            "template": None if config.data.kind == "text" else config.data.template,
            "token_weights": config.data.token_weights,
            "preset_fingerprint": placement.preset_fingerprint,
            "training_fingerprint": placement.training_fingerprint,
            "checkpoint_directory": placement.checkpoint_directory,
        },
    )
    trainer.with_id("Trainer")
    for gate in tokens.gates:
        trainer.add_upstream_node(gate)
    fingerprint_code(trainer, modules=["modules.training.run_fn"])
    *evaluating, evaluator = _evaluating_nodes(config, placement, data, trainer)
    return [
        *start,
        trainer,
        *evaluating,
        evaluator,
        *_releasing_nodes(config, placement, data, tokens, trainer, evaluator),
    ]


def _warm_start(placement: Placement) -> Resolver:
    """Resolves the latest blessed model, from which training starts; this run's own model does not exist yet."""
    return Resolver(
        strategy_class=LatestExistingBlessedModelStrategy if placement.own_strategies else LatestBlessedModelStrategy,
        model=Channel(type=Model),
        model_blessing=Channel(type=ModelBlessing),
    ).with_id("WarmStartModel")


def _evaluating_nodes(
    config: PipelineConfig, placement: Placement, data: _Data, trainer: TextTrainer
) -> list[BaseComponent | Resolver]:
    """Returns the nodes that decide whether the model is blessed; the Evaluator is the last."""
    model = trainer.outputs["model"]
    baseline = Resolver(
        strategy_class=LatestOtherBlessedModelStrategy if placement.own_strategies else LatestBlessedModelStrategy,
        model=Channel(type=Model),
        model_blessing=Channel(type=ModelBlessing),
        **({CANDIDATE_KEY: model} if placement.own_strategies else {}),
    ).with_id("LatestBlessedModel")
    tasks = TaskEvaluator(
        examples=data.examples,
        model=model,
        settings=config.evaluation.task_settings.model_dump_json(),
        task_fingerprint=placement.task_fingerprint,
    )
    evaluator = PerplexityEvaluator(
        examples=data.examples,
        model=model,
        model_run=trainer.outputs["model_run"],
        task_evaluation=tasks.outputs["task_evaluation"],
        baseline_model=baseline.outputs["model"],
        baseline_blessing=baseline.outputs["model_blessing"],
        eval_config=model_analysis.eval_config(strided=config.evaluation.strided, slices=config.evaluation.sliced_by),
        gate=config.evaluation.gate.model_dump_json(),
        window=config.model.context_length,
        strided=config.evaluation.strided,
    ).with_id("Evaluator")
    fingerprint_code(tasks, evaluator)
    return [baseline, tasks, evaluator]


def _releasing_nodes(
    config: PipelineConfig,
    placement: Placement,
    data: _Data,
    tokens: _Tokens,
    trainer: TextTrainer,
    evaluator: PerplexityEvaluator,
) -> list[BaseNode]:
    """Returns the nodes from a model, blessed or not, to its TFLite files, their gate, the report and the release."""
    converter = TFLiteConverter(model=trainer.outputs["model"], context_length=config.model.context_length)
    # The model is evaluated first. A refused model is converted too, because its report shows the TFLite files.
    converter.add_upstream_node(evaluator)
    subject = {"model": trainer.outputs["model"], "examples": data.examples, **converter.outputs}
    tflite_evaluator = TFLiteEvaluator(
        **subject,
        settings=config.evaluation.tflite.model_dump_json(),
        data_kind=config.data.kind,
        sequence_length=config.model.context_length,
    )
    found = {
        "evaluation": evaluator.outputs["evaluation"],
        "tflite_evaluation": tflite_evaluator.outputs["tflite_evaluation"],
    }
    report = RunReport(
        **subject,
        **found,
        configuration=config.model_dump_json(exclude={"workspace"}),
        **tokens.length_check,
        transformed_examples=tokens.transform.outputs["transformed_examples"],
        model_run=trainer.outputs["model_run"],
        task_evaluation=evaluator.inputs["task_evaluation"],
        blessing=evaluator.outputs["blessing"],
        baseline_model=evaluator.inputs["baseline_model"],
    ).with_id("Report")
    pusher = ReleasePusher(
        **subject,
        **found,
        push_directory=placement.push_directory,
        push_directory_id=placement.push_directory_id,
        gate=config.evaluation.model_dump_json(),
        model_blessing=evaluator.outputs["blessing"],
        report=report.outputs["report"],
    ).with_id("Pusher")
    fingerprint_code(converter, modules=[tflite_conversion.WORKER])
    fingerprint_code(tflite_evaluator, pusher)
    fingerprint_code(report, data_files=rendering.TEMPLATES)
    return [converter, tflite_evaluator, report, pusher]


def fingerprint_code(*nodes: BaseComponent, modules: Iterable[str] = (), data_files: Iterable[Path] = ()) -> None:
    """Adds a hash of its own code, of more modules or files, and of the lock to each node's cache key."""
    for node in nodes:
        entries = [type(node).__module__, *modules]
        node.executor_spec.add_extra_flags([f"--code={code_fingerprint(entries, data_files)}"])
