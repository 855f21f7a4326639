"""Calls of the Evaluator's executor, as TFX makes them, on examples and models of a test."""

import json
from pathlib import Path

from google.protobuf import json_format
from tfx.dsl.components.base import base_beam_executor
from tfx.types import standard_artifacts

from components.perplexity_evaluator.executor import Executor
from modules.evaluation import gates, model_analysis
from modules.evaluation.gates import Check
from modules.evaluation.results import Evaluation
from pipeline.dag import BEAM_ARGS
from tests.toys.examples import example, write_records


def write_examples(folder: Path, *shards: list[dict[str, str]]) -> standard_artifacts.Examples:
    """Writes an eval split with one file per shard, as TFX stores it; returns its artifact."""
    artifact = standard_artifacts.Examples()
    artifact.uri, artifact.id = str(folder), 1
    artifact.split_names = '["eval"]'
    artifact.set_string_custom_property("payload_format", "FORMAT_TF_EXAMPLE")
    artifact.set_string_custom_property("file_format", "tfrecords_gzip")
    for number, shard in enumerate(shards):
        path = folder / "Split-eval" / f"data_tfrecord-{number:05d}-of-{len(shards):05d}.gz"
        write_records(path, [example({name: [text] for name, text in row.items()}) for row in shard])
    return artifact


class Evaluated:
    """One call of the executor in a separate folder, with its results."""

    def __init__(
        self,
        folder: Path,
        examples: standard_artifacts.Examples,
        model: standard_artifacts.Model,
        *,
        baseline: standard_artifacts.Model | None = None,
        baseline_fingerprint: str | None = None,
        baseline_template: str = "",
        tasks: list[Check] | None = None,
        slices: tuple[str, ...] = (),
        strided: bool = False,
        gate: dict | None = None,
        beam_args: tuple[str, ...] = tuple(BEAM_ARGS),
    ):
        inputs = {"examples": [examples], "model": [model]}
        for name, kind in (
            ("model_run", standard_artifacts.ModelRun),
            ("task_evaluation", standard_artifacts.ModelEvaluation),
        ):
            artifact = kind()
            artifact.uri = str(folder / name)
            Path(artifact.uri).mkdir(parents=True)
            inputs[name] = [artifact]
        Path(inputs["model_run"][0].uri, "training.json").write_text('{"perplexity_before": null}')
        gates.write_checks(inputs["task_evaluation"][0].uri, tasks or [])
        if baseline:
            inputs["baseline_model"] = [baseline]
            earlier = standard_artifacts.ModelBlessing()
            earlier.set_string_custom_property("prompt_template", baseline_template)
            if baseline_fingerprint:
                earlier.set_string_custom_property("eval_fingerprint", baseline_fingerprint)
            inputs["baseline_blessing"] = [earlier]
        self.evaluation, self.blessing = standard_artifacts.ModelEvaluation(), standard_artifacts.ModelBlessing()
        self.evaluation.uri, self.blessing.uri = str(folder / "evaluation"), str(folder / "blessing")
        context = base_beam_executor.BaseBeamExecutor.Context(
            beam_pipeline_args=list(beam_args), tmp_dir=str(folder / "tmp"), unique_id="1"
        )
        Executor(context).Do(
            inputs,
            {"evaluation": [self.evaluation], "blessing": [self.blessing]},
            {
                "eval_config": json_format.MessageToJson(model_analysis.eval_config(strided=strided, slices=slices)),
                "gate": json.dumps(gate or {"max_perplexity": 1e6}),
                "window": 16,
                "strided": int(strided),
            },
        )
        self.results = Evaluation.read(self.evaluation.uri)

    @property
    def blessed(self) -> bool:
        """Returns whether the model was blessed; the three forms that TFX's Pusher and resolvers read must agree."""
        forms = {
            Path(self.blessing.uri, "BLESSED").exists(),
            not Path(self.blessing.uri, "NOT_BLESSED").exists(),
            self.blessing.get_int_custom_property("blessed") == 1,
        }
        (blessed,) = forms
        return blessed
