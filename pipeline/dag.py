"""The DAG, from text to release: the same for LocalDagRunner and for Vertex Pipelines."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

from tfx.components import (
    ExampleValidator,
    SchemaGen,
    StatisticsGen,
    Trainer,
)
from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.common.resolver import Resolver
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import trainer_pb2, transform_pb2
from tfx.types import Channel
from tfx.types.standard_artifacts import Model, ModelBlessing

from components.anomaly_gate.component import AnomalyGate
from components.baseline_strategy import LatestOtherBlessedModelStrategy
from components.perplexity_evaluator.component import PerplexityEvaluator
from components.release_pusher.component import ReleasePusher
from components.text_example_gen.component import TextExampleGen
from components.text_transform.component import TextTransform
from components.tflite_converter.component import TFLiteConverter
from modules import evaluation
from pipeline.code_fingerprint import ROOT, code_fingerprint
from pipeline.config import PipelineConfig

CONTRACT = ROOT / "schemas" / "text.pbtxt"
BEAM_ARGS = ["--runner=FnApiRunner"]  # the default runner would download a binary and run it


def create_pipeline(
    config: PipelineConfig,
    *,
    pipeline_root: str,
    push_directory: str,
    data_directory: str,
    data_fingerprint: str,
    tokenizer_fingerprint: str,
    preset_fingerprint: str,
    push_directory_id: str,
    metadata_connection_config: Any = None,
    contract: str = str(CONTRACT),
    strategy_class: type = LatestOtherBlessedModelStrategy,
) -> Pipeline:
    """Builds the pipeline; nothing runs yet.

    Args:
        config: What to train on what.
        pipeline_root: Where TFX writes artifacts.
        push_directory: Where releases appear.
        data_directory: Where TFDS prepares data sets.
        data_fingerprint: Hash of the input text; a changed one re-runs the DAG.
        tokenizer_fingerprint: Hash of the vocabulary files in use.
        preset_fingerprint: Hash of the files of `model.preset`.
        push_directory_id: Names the life of the push directory: a new one has releases pushed again.
        metadata_connection_config: MLMD's connection; None where the orchestrator brings its own.
        contract: The schema file of the data contract.
        strategy_class: Picks the model to compare with.
    """
    example_gen = TextExampleGen(
        source=config.data.to_source().model_dump_json(),
        splits=config.data.splits.model_dump_json(),
        input_fingerprint=data_fingerprint,
        data_directory=data_directory,
    )
    examples = example_gen.outputs["examples"]
    statistics_gen = StatisticsGen(examples=examples)
    statistics = statistics_gen.outputs["statistics"]
    schema_gen = SchemaGen(statistics=statistics, infer_feature_shape=True)
    contract_gen = ImportSchemaGen(schema_file=contract).with_id("Contract")
    schema = contract_gen.outputs["schema"]
    validator = ExampleValidator(statistics=statistics, schema=schema)
    gate = AnomalyGate(anomalies=validator.outputs["anomalies"])

    transform = TextTransform(
        examples=examples,
        schema=schema,
        preprocessing_fn="modules.preprocessing.preprocessing_fn",
        splits_config=transform_pb2.SplitsConfig(analyze=["train"], transform=["train", "eval", "test"]),
        custom_config={
            "data_kind": "text",
            "tokenizer": config.tokenizer.model_dump(mode="json", exclude_none=True),
            "tokenizer_fingerprint": tokenizer_fingerprint,
            "sequence_length": config.model.context_length,  # for the shares of useful slots
        },
        disable_statistics=True,  # StatisticsGen has them of the text; of token ids they say little
        disable_analyzer_cache=True,  # the vocabulary's analyzer has none
    )
    transform.with_id("Transform").add_upstream_node(gate)
    transform_graph = transform.outputs["transform_graph"]

    trainer = Trainer(
        run_fn="modules.training.run_fn",
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform_graph,
        train_args=trainer_pb2.TrainArgs(splits=["train"]),
        eval_args=trainer_pb2.EvalArgs(splits=["eval"]),
        custom_config={
            "data_kind": "text",
            "model": config.model.model_dump(),
            "training": config.training.model_dump(),
            "preset_fingerprint": preset_fingerprint,
        },
    )
    model = trainer.outputs["model"]

    baseline = Resolver(
        strategy_class=strategy_class,
        model=Channel(type=Model),
        model_blessing=Channel(type=ModelBlessing),
        **({"candidate": model} if strategy_class is LatestOtherBlessedModelStrategy else {}),
    ).with_id("LatestBlessedModel")

    evaluator = PerplexityEvaluator(
        examples=examples,
        model=model,
        baseline_model=baseline.outputs["model"],
        eval_config=evaluation.eval_config(**config.evaluation.model_dump()),
    ).with_id("Evaluator")

    converter = TFLiteConverter(model=model, context_length=config.model.context_length)
    pusher = ReleasePusher(
        push_directory=push_directory,
        push_directory_id=push_directory_id,
        gate=json.dumps(config.evaluation.model_dump()),
        model=model,
        model_blessing=evaluator.outputs["blessing"],
        model_fp16=converter.outputs["model_fp16"],
        model_int8=converter.outputs["model_int8"],
        evaluation=evaluator.outputs["evaluation"],
        examples=examples,
        transform_graph=transform_graph,
    ).with_id("Pusher")
    # A model that is not blessed is not worth converting first.
    converter.add_upstream_node(evaluator)

    fingerprint_code(example_gen, statistics_gen, schema_gen, validator, gate, evaluator, converter, pusher)
    fingerprint_code(contract_gen, data_files=[CONTRACT])
    fingerprint_code(transform, modules=["modules.preprocessing"])
    fingerprint_code(trainer, modules=["modules.training"])
    return Pipeline(
        pipeline_name=config.name,
        pipeline_root=pipeline_root,
        components=[
            example_gen,
            statistics_gen,
            schema_gen,
            contract_gen,
            validator,
            gate,
            transform,
            trainer,
            baseline,
            evaluator,
            converter,
            pusher,
        ],
        enable_cache=True,
        metadata_connection_config=metadata_connection_config,
        beam_pipeline_args=BEAM_ARGS,
    )


def fingerprint_code(*nodes: BaseComponent, modules: Iterable[str] = (), data_files: Iterable[Path] = ()) -> None:
    """Makes each node's cache key depend on its own code, on more modules or files, and on the lock."""
    for node in nodes:
        entries = [type(node).__module__, *modules]
        node.executor_spec.add_extra_flags([f"--code={code_fingerprint(entries, data_files)}"])
