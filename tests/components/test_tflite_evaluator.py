import json
import shutil
from pathlib import Path

import pytest
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils, channel, standard_artifacts

from components.tflite_evaluator import executor
from components.tflite_evaluator.component import TFLiteEvaluator
from modules.evaluation.gates import read_checks
from modules.export.tflite_files import model_file, scoring_file
from tests.toys import cloud_storage
from tests.toys.examples import write_split
from tests.toys.release import converted_release, write_nan_files


def _inputs(folder: Path) -> dict[str, list]:
    """Returns inputs with a good float16 file, and an int8 file of NaN weights."""
    release, _ = converted_release()
    examples = standard_artifacts.Examples()
    examples.uri, examples.split_names = str(folder / "examples"), artifact_utils.encode_split_names(["train", "eval"])
    write_split(folder / "examples" / "Split-eval", {"text": ["abc, the other"]}, {"text": ["the " * 30]})
    models = {key: standard_artifacts.Model() for key in ("model", "model_fp16", "model_int8")}
    models["model"].uri = str(Path(release.saved_model).parent)
    for key in ("model_fp16", "model_int8"):
        models[key].uri = str(folder / key)
    path = model_file(models["model_fp16"].uri)
    Path(path).parent.mkdir(parents=True)
    shutil.copyfile(release.tflite("float16"), path)
    shutil.copyfile(scoring_file(release.tflite("float16")), scoring_file(path))
    write_nan_files(Path(model_file(models["model_int8"].uri)).parent)
    return {"examples": [examples], **{key: [model] for key, model in models.items()}}


@pytest.mark.parametrize("on_failure", ["leave_out", "stop"])
def test_a_file_of_nan_fails_and_the_other_file_is_still_measured(tmp_path: Path, on_failure: str) -> None:
    evaluation = standard_artifacts.ModelEvaluation()
    evaluation.uri = str(tmp_path / "evaluation")
    context = base_executor.BaseExecutor.Context(tmp_dir=str(tmp_path / "tmp"), unique_id="1")
    executor.Executor(context).Do(
        _inputs(tmp_path),
        {"tflite_evaluation": [evaluation]},
        {"settings": json.dumps({"on_failure": on_failure}), "data_kind": "text", "sequence_length": 16},
    )
    assert [(check.metric, check.limit, check.passed) for check in read_checks(evaluation.uri)] == [
        ("rise in perplexity of float16", 0.005, True),
        ("rise in perplexity of int8", 0.02, False),
    ]
    files = json.loads(Path(evaluation.uri, "files.json").read_text())
    assert [files[precision]["released"] for precision in ("float16", "int8")] == [on_failure == "leave_out", False]
    properties = evaluation.mlmd_artifact.custom_properties
    assert evaluation.get_int_custom_property("blessed") == (on_failure == "leave_out")
    assert evaluation.get_int_custom_property("tokens") == files["float16"]["tokens"] == 11 + 61
    assert (evaluation.get_int_custom_property("passed_float16"), properties["passed_int8"].int_value) == (1, 0)
    assert evaluation.get_float_custom_property("perplexity_float16") == files["float16"]["perplexity"]
    assert "perplexity_int8" not in properties


def test_files_in_cloud_storage_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = _inputs(tmp_path / "bucket")
    for key in ("model_fp16", "model_int8"):
        inputs[key][0].uri = f"{cloud_storage.BUCKET}/{key}"
    evaluation = standard_artifacts.ModelEvaluation()
    evaluation.uri = f"{cloud_storage.BUCKET}/evaluation"
    context = base_executor.BaseExecutor.Context(tmp_dir=str(tmp_path / "tmp"), unique_id="1")
    cloud_storage.mount(tmp_path / "bucket", monkeypatch)
    executor.Executor(context).Do(
        inputs, {"tflite_evaluation": [evaluation]}, {"settings": "{}", "data_kind": "text", "sequence_length": 16}
    )
    files = json.loads((tmp_path / "bucket" / "evaluation" / "files.json").read_text())
    assert [files[precision]["released"] for precision in ("float16", "int8")] == [True, False]
    assert files["float16"]["tokens"] == 11 + 61
    assert cloud_storage.stray_files(tmp_path / "bucket") == []


def test_a_file_that_cannot_be_loaded_fails_and_the_other_file_passes(tmp_path: Path) -> None:
    inputs = _inputs(tmp_path)
    Path(model_file(inputs["model_int8"][0].uri)).write_bytes(b"no model")
    evaluation = standard_artifacts.ModelEvaluation()
    evaluation.uri = str(tmp_path / "evaluation")
    context = base_executor.BaseExecutor.Context(tmp_dir=str(tmp_path / "tmp"), unique_id="1")
    settings = {"settings": "{}", "data_kind": "text", "sequence_length": 16}
    executor.Executor(context).Do(inputs, {"tflite_evaluation": [evaluation]}, settings)
    assert [check.passed for check in read_checks(evaluation.uri)] == [True, False]
    files = json.loads(Path(evaluation.uri, "files.json").read_text())
    assert [files[precision]["released"] for precision in ("float16", "int8")] == [True, False]
    assert files["int8"]["verdict"].startswith("rise in perplexity of int8: nan% is not comparable with 2%")
    assert evaluation.get_float_custom_property("perplexity_float") == files["float16"]["float_perplexity"]


def test_wrong_wiring_fails_when_the_pipeline_is_built() -> None:
    model = channel.Channel(type=standard_artifacts.Model)
    with pytest.raises(TypeError, match="Examples"):
        TFLiteEvaluator(
            examples=model, model=model, model_fp16=model, model_int8=model,
            settings="{}", data_kind="text", sequence_length=16,
        )  # fmt: skip
