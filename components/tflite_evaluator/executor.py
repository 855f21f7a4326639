"""Executor of TFLiteEvaluator."""

import math
from collections.abc import Mapping
from typing import Any

from absl import logging
from tfx.dsl.components.base import base_executor
from tfx.types import artifact, artifact_utils
from tfx.utils import path_utils

from components.artifact_types import Artifacts
from components.integrity import checked, record_measured
from components.mlmd_properties import set_finite
from modules.common import progress
from modules.common.files import file_facts
from modules.evaluation import gates, tflite_gate
from modules.evaluation.tflite_measurer import TFLiteMeasurer
from modules.evaluation.tflite_results import FileFigures, write_results
from modules.export.tflite_files import TFLITE_FILES, Precision, model_file

_SPLIT = "eval"
_REPORT_EVERY = 16


class Executor(base_executor.BaseExecutor):
    """Executor that measures the files one after the other and writes the results; a file that fails stops nothing."""

    @checked
    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        """Compares `model_fp16` and `model_int8` with `model`."""
        settings = tflite_gate.TFLiteGateSettings.model_validate_json(exec_properties["settings"])
        model = artifact_utils.get_single_instance(input_dict["model"])
        progress.report("TFLiteEvaluator", done=0, total=None, unit="documents")
        measurer = TFLiteMeasurer(
            path_utils.serving_model_path(model.uri),
            artifact_utils.get_split_uri(input_dict["examples"], _SPLIT),
            data_kind=exec_properties["data_kind"],
            sequence_length=exec_properties["sequence_length"],
            max_tokens=settings.max_tokens,
            on_documents=_report,
        )
        figures = {
            file.precision: _measure(measurer, model_file(artifact_utils.get_single_uri(input_dict[file.key])))
            for file in TFLITE_FILES
        }
        checks = {precision: tflite_gate.rise_check(precision, found, settings) for precision, found in figures.items()}
        evaluation = artifact_utils.get_single_instance(output_dict["tflite_evaluation"])
        gates.write_checks(evaluation.uri, checks.values())
        write_results(evaluation.uri, tflite_gate.file_results(figures, checks, settings=settings))
        evaluation.set_int_custom_property("blessed", int(tflite_gate.may_release(checks.values(), settings)))
        cut = measurer.reference.cut_prompts
        evaluation.set_int_custom_property("changed_prompts_of_greedy_agreement_cut", cut)
        _set_figures(evaluation, figures, checks)
        measured = ("model", "examples", *(file.key for file in TFLITE_FILES))
        record_measured(evaluation, {name: input_dict[name][0] for name in measured})


def _measure(measurer: TFLiteMeasurer, path: str) -> FileFigures:
    """Measures a file; a file that cannot be loaded or run gets NaN figures, so that the other is still measured."""
    try:
        return measurer.measure(path)
    except Exception as error:
        logging.exception("%s cannot be measured.", path)
        return FileFigures(
            nll_sum=math.nan,
            float_nll_sum=measurer.reference.nll_sum,
            documents=0,
            tokens=0,
            whole_split=True,
            greedy_agreement=None,
            decode_tokens_per_second=math.nan,
            float_decode_tokens_per_second=measurer.reference.decode_tokens_per_second,
            problem=str(error),
            **file_facts(path),
        )


def _report(scored: int, documents: int) -> None:
    # The SavedModel scores the documents first, then each file.
    models = 1 + len(TFLITE_FILES)
    if scored % _REPORT_EVERY == 0 or scored == models * documents:
        progress.report("TFLiteEvaluator", done=scored, total=models * documents, unit="documents")


def _set_figures(
    evaluation: artifact.Artifact,
    figures: Mapping[Precision, FileFigures],
    checks: Mapping[Precision, gates.Check],
) -> None:
    numbers: dict[str, float] = {}
    for precision, found in figures.items():
        evaluation.set_int_custom_property(f"passed_{precision}", int(checks[precision].passed))
        if found.tokens:
            evaluation.set_int_custom_property("tokens", found.tokens)
            numbers["perplexity_float"] = found.float_perplexity
        numbers[f"perplexity_{precision}"] = found.perplexity
        numbers[f"rise_{precision}"] = found.rise
    set_finite(evaluation, numbers)
