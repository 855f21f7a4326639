"""Executor of PerplexityEvaluator."""

import os
from typing import Any

from etils import epath
from tfx.components.evaluator import constants
from tfx.components.evaluator import executor as evaluator_executor
from tfx.types import artifact, artifact_utils
from tfx.utils import io_utils, path_utils

from components.artifact_types import Artifacts
from components.integrity import checked, record_measured
from components.mlmd_properties import set_finite
from modules.common.errors import InputError
from modules.common.json_files import read_json
from modules.data.examples import split_files
from modules.evaluation import gates, model_analysis
from modules.evaluation.perplexity_gate import PerplexityGateSettings
from modules.evaluation.results import Evaluation
from modules.tokenization.vocabulary_files import TABLE_NAME

EVAL_FINGERPRINT = "eval_fingerprint"
PROMPT_TEMPLATE = "prompt_template"


class Executor(evaluator_executor.Executor):
    """Executor that runs TFX's Evaluator for the figures and compares them with the limits."""

    @checked
    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        """Measures the model, writes `metrics.json` and `checks.json`, and blesses the model if all checks passed.

        Raises:
            InputError: The baseline model cannot be measured on this data.
        """
        files = split_files(artifact_utils.get_split_uri(input_dict["examples"], "eval"))
        strided = bool(exec_properties["strided"])
        template = input_dict["examples"][0].get_string_custom_property(PROMPT_TEMPLATE)
        if input_dict.get("baseline_model"):
            _check_template(template, input_dict.get("baseline_blessing"))
            model_analysis.check_baseline(_saved_model(input_dict["baseline_model"]), files, strided=strided)
        super().Do(input_dict, output_dict, exec_properties)

        evaluated = artifact_utils.get_single_instance(output_dict["evaluation"])
        measured = _measured(input_dict, evaluated.uri, files, exec_properties)
        checks = _gate(exec_properties).check(measured, _perplexity_before(input_dict))
        measured.write(evaluated.uri)
        gates.write_checks(evaluated.uri, checks)
        _set_properties(evaluated, measured)
        record_measured(evaluated, {name: input_dict[name][0] for name in ("model", "examples")})

        tasks = gates.read_checks(artifact_utils.get_single_uri(input_dict["task_evaluation"]))
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        _bless(blessing, input_dict, passed=not gates.failed([*checks, *tasks]))
        blessing.set_string_custom_property(EVAL_FINGERPRINT, measured.eval_fingerprint)
        blessing.set_string_custom_property(PROMPT_TEMPLATE, template)


def _check_template(template: str, earlier: list[artifact.Artifact] | None) -> None:
    """Checks that the latest blessed model was trained with the prompt template of the eval data."""
    before = earlier[0].get_string_custom_property(PROMPT_TEMPLATE) if earlier else ""
    if before and template != before:
        raise InputError(
            f"the latest blessed model was trained with `data.template: {before}`, and the eval data has another form, "
            f"so the new model cannot be compared with it. Received: {template or 'plain text'}. Give the pipeline a "
            "new `name`: it then starts without a baseline."
        )


def _gate(exec_properties: dict[str, Any]) -> PerplexityGateSettings:
    return PerplexityGateSettings.model_validate_json(exec_properties["gate"])


def _saved_model(models: list[artifact.Artifact]) -> str:
    return path_utils.serving_model_path(artifact_utils.get_single_uri(models))


def _measured(
    input_dict: Artifacts, evaluation_dir: str, files: list[str], exec_properties: dict[str, Any]
) -> Evaluation:
    window = exec_properties["window"]
    same_tokenizer = None
    if input_dict.get("baseline_model"):
        tables = (
            os.path.join(_saved_model(input_dict[key]), "assets", TABLE_NAME) for key in ("model", "baseline_model")
        )
        same_tokenizer = len({epath.Path(table).read_bytes() for table in tables}) == 1
    earlier = input_dict.get("baseline_blessing")
    return Evaluation(
        window=window,
        stride=-(-window // 2) if exec_properties["strided"] else window,
        eval_fingerprint=model_analysis.examples_fingerprint(files),
        baseline_eval_fingerprint=(earlier[0].get_string_custom_property(EVAL_FINGERPRINT) or None)
        if earlier
        else None,
        same_tokenizer=same_tokenizer,
        slices=model_analysis.read_slices(evaluation_dir),
    )


def _perplexity_before(input_dict: Artifacts) -> float | None:
    return read_json(artifact_utils.get_single_uri(input_dict["model_run"]), "training.json")["perplexity_before"]


def _set_properties(evaluated: artifact.Artifact, measured: Evaluation) -> None:
    overall = measured.overall
    figures = {
        "perplexity": overall.candidate.perplexity,
        "bits_per_byte": overall.candidate.bits_per_byte,
        "token_accuracy": overall.candidate.token_accuracy,
    }
    if overall.candidate.perplexity_interval:
        figures |= dict(
            zip(("perplexity_lower", "perplexity_upper"), overall.candidate.perplexity_interval, strict=True)
        )
    if overall.baseline and overall.change:
        figures["baseline_perplexity"] = overall.baseline.perplexity
        figures["baseline_bits_per_byte"] = overall.baseline.bits_per_byte
        figures["perplexity_change"] = overall.change.perplexity
    set_finite(evaluated, figures)
    for name, count in (
        ("documents", overall.documents),
        ("tokens", overall.candidate.tokens),
        ("window", measured.window),
        ("stride", measured.stride),
    ):
        evaluated.set_int_custom_property(name, count)
    evaluated.set_string_custom_property(EVAL_FINGERPRINT, measured.eval_fingerprint)


def _bless(blessing: artifact.Artifact, input_dict: Artifacts, *, passed: bool) -> None:
    """Writes the file and properties of TFX's Evaluator with thresholds, which TFX's resolvers and Pusher read."""
    model = artifact_utils.get_single_instance(input_dict["model"])
    blessing.set_string_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY, model.uri)
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY, model.id)
    if input_dict.get("baseline_model"):
        baseline = artifact_utils.get_single_instance(input_dict["baseline_model"])
        blessing.set_string_custom_property(constants.ARTIFACT_PROPERTY_BASELINE_MODEL_URI_KEY, baseline.uri)
        blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BASELINE_MODEL_ID_KEY, baseline.id)
    name, value = (
        (constants.BLESSED_FILE_NAME, constants.BLESSED_VALUE)
        if passed
        else (constants.NOT_BLESSED_FILE_NAME, constants.NOT_BLESSED_VALUE)
    )
    io_utils.write_string_file(os.path.join(blessing.uri, name), "")
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY, value)
