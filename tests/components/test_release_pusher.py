import dataclasses
import hashlib
import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from tfx.dsl.components.base import base_executor
from tfx.types import standard_artifacts

from components.artifact_types import Report
from components.integrity import record_measured
from components.release_pusher import executor
from modules.common.errors import InputError
from modules.evaluation import gates
from modules.evaluation.gates import Check
from modules.export.tflite_files import model_file, scoring_file
from tests.toys import cloud_storage
from tests.toys.release import saved_release

# In these tests the content of a file is the key of its artifact.
SHA256 = {"float16": hashlib.sha256(b"model_fp16").hexdigest(), "int8": hashlib.sha256(b"model_int8").hexdigest()}
_FIGURES = {
    "float_perplexity": 9.0, "documents": 3, "tokens": 100, "greedy_agreement": None, "decode_tokens_per_second": 5.0,
    "float_decode_tokens_per_second": 3.0, "size_bytes": 10,
}  # fmt: skip
FILES = {
    "float16": {
        **_FIGURES, "perplexity": 9.0, "rise": 0.0, "passed": True, "released": True, "verdict": "within",
        "sha256": SHA256["float16"],
    },
    "int8": {
        **_FIGURES, "perplexity": None, "rise": None, "passed": False, "released": False, "verdict": "no number",
        "sha256": SHA256["int8"],
    },
}  # fmt: skip
CHECK = Check(metric="perplexity", measured=9.0, limit=10.0, bound="at most", limit_from="evaluation.max_perplexity")


def _inputs(
    folder: Path,
    *,
    files: dict | None,
    blessed: bool = True,
    model_blessed: bool = True,
    checks: list[Check] | None = (CHECK,),
    file_checks: list[Check] | None = (CHECK,),
) -> dict[str, list]:
    inputs = {
        "model": standard_artifacts.Model(),
        "model_fp16": standard_artifacts.Model(),
        "model_int8": standard_artifacts.Model(),
        "model_blessing": standard_artifacts.ModelBlessing(),
        "evaluation": standard_artifacts.ModelEvaluation(),
        "tflite_evaluation": standard_artifacts.ModelEvaluation(),
        "report": Report(),
        "examples": standard_artifacts.Examples(),
    }
    for name, artifact in inputs.items():
        artifact.uri = str(folder / name)
    inputs["model"].uri = str(Path(saved_release().saved_model).parent)
    for key in ("model_fp16", "model_int8"):
        for path in (
            model_file(inputs[key].uri),
            scoring_file(model_file(inputs[key].uri)),
        ):
            _write(path, key)
    _write(folder / "report" / "report.html", "<p>report")
    _write(folder / "report" / "model_card.md", "# card")
    if files is not None:
        _write(folder / "tflite_evaluation" / "files.json", json.dumps(files))
    for name, measured in (("evaluation", checks), ("tflite_evaluation", file_checks)):
        if measured is not None:
            gates.write_checks(folder / name, measured)
    record_measured(inputs["evaluation"], {"model": inputs["model"]})
    record_measured(inputs["tflite_evaluation"], {key: inputs[key] for key in ("model_fp16", "model_int8")})
    inputs["tflite_evaluation"].set_int_custom_property("blessed", int(blessed))
    inputs["model_blessing"].set_int_custom_property("blessed", int(model_blessed))
    return {key: [artifact] for key, artifact in inputs.items()}


def _write(path: str | Path, text: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text, encoding="utf-8")


def _context(folder: Path) -> base_executor.BaseExecutor.Context:
    return base_executor.BaseExecutor.Context(
        tmp_dir=str(folder / "tmp"), unique_id="1", pipeline_info=SimpleNamespace(id="tiny"), pipeline_run_id="run"
    )


def _push(folder: Path, **settings) -> list[Path]:
    """Runs the executor with inputs of these settings; see `_push_inputs`."""
    return _push_inputs(folder, _inputs(folder, **settings))


def _push_inputs(folder: Path, inputs: dict[str, list]) -> list[Path]:
    """Runs the executor, checks that the output records as many releases as there are, and returns the releases."""
    pushed = standard_artifacts.PushedModel()
    pushed.uri = str(folder / "pushed")
    properties = {"push_directory": str(folder / "releases"), "push_directory_id": "1", "gate": "{}"}
    executor.Executor(_context(folder)).Do(inputs, {"pushed_model": [pushed]}, properties)
    releases = list((folder / "releases").glob("*"))
    assert pushed.get_int_custom_property("pushed") == len(releases)
    return releases


def test_only_the_file_that_passed_is_released_and_the_manifest_states_why(tmp_path: Path) -> None:
    (release,) = _push(tmp_path, files=FILES)
    assert [path.name for path in (release / "tflite").iterdir()] == ["model_fp16.tflite"]
    assert (release / "tflite" / "model_fp16.tflite").read_text() == "model_fp16"
    manifest = json.loads((release / "manifest.json").read_text())
    assert manifest["tflite"] == FILES
    assert "tflite/model_int8.tflite" not in manifest["files"]


def test_without_a_tflite_file_that_passed_only_the_saved_model_is_released(tmp_path: Path) -> None:
    (release,) = _push(tmp_path, files={name: {**file, "released": False} for name, file in FILES.items()})
    assert list((release / "tflite").iterdir()) == []
    assert (release / "saved_model.pb").is_file()


def test_a_file_that_changed_after_it_was_measured_is_not_released(tmp_path: Path) -> None:
    inputs = _inputs(tmp_path, files=FILES)
    _write(model_file(inputs["model_fp16"][0].uri), "model_int8")
    with pytest.raises(InputError, match=r"the files that were measured\. Received: tflite/model_fp16\.tflite"):
        _push_inputs(tmp_path, inputs)
    assert list((tmp_path / "releases").iterdir()) == []


def test_report_and_model_card_are_part_of_the_release(tmp_path: Path) -> None:
    (release,) = _push(tmp_path, files=FILES)
    assert (release / "report.html").read_text() == "<p>report"
    assert (release / "MODEL_CARD.md").read_text() == "# card"
    assert {"report.html", "MODEL_CARD.md"} <= json.loads((release / "manifest.json").read_text())["files"].keys()


def _in_cloud_storage(inputs: dict[str, list], monkeypatch: pytest.MonkeyPatch, folder: Path) -> dict[str, list]:
    """Mounts the folder as a bucket and returns the inputs with URIs of that bucket."""
    for name, [artifact] in inputs.items():
        artifact.uri = f"{cloud_storage.BUCKET}/{name}"
    cloud_storage.mount(folder, monkeypatch)
    return inputs


def _push_in_cloud_storage(inputs: dict[str, list], folder: Path) -> standard_artifacts.PushedModel:
    pushed = standard_artifacts.PushedModel()
    pushed.uri = f"{cloud_storage.BUCKET}/pushed"
    properties = {"push_directory": f"{cloud_storage.BUCKET}/releases", "push_directory_id": "1", "gate": "{}"}
    executor.Executor(_context(folder)).Do(inputs, {"pushed_model": [pushed]}, properties)
    return pushed


def test_a_release_is_pushed_to_cloud_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = tmp_path / "bucket"
    inputs = _inputs(bucket, files=FILES)
    shutil.copytree(inputs["model"][0].uri, bucket / "model")
    pushed = _push_in_cloud_storage(_in_cloud_storage(inputs, monkeypatch, bucket), tmp_path)
    (release,) = (bucket / "releases").iterdir()
    assert pushed.get_string_custom_property("pushed_destination") == f"gs://bucket/releases/{release.name}"
    assert pushed.get_int_custom_property("pushed") == 1
    files = json.loads((release / "manifest.json").read_text())["files"]
    written = {path.relative_to(release).as_posix() for path in release.rglob("*") if path.is_file()}
    assert written == {*files, "manifest.json"}
    assert {"saved_model.pb", "tflite/model_fp16.tflite", "tokenizer/tokenizer.json", "report.html"} < written
    for name, facts in files.items():
        assert hashlib.sha256((release / name).read_bytes()).hexdigest() == facts["sha256"], name
    assert cloud_storage.stray_files(bucket) == []


def test_without_an_evaluation_in_cloud_storage_nothing_is_pushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = tmp_path / "bucket"
    inputs = _in_cloud_storage(_inputs(bucket, files=FILES, checks=None), monkeypatch, bucket)
    assert _push_in_cloud_storage(inputs, tmp_path).get_int_custom_property("pushed") == 0
    assert not (bucket / "releases").exists()


@pytest.mark.parametrize(
    "settings",
    [
        {"files": FILES, "blessed": False},
        {"files": FILES, "model_blessed": False},
        {"files": None},
        {"files": FILES, "checks": None},
        {"files": FILES, "checks": []},
        {"files": FILES, "checks": [dataclasses.replace(CHECK, measured=math.nan)]},
        {"files": FILES, "file_checks": None},
    ],
    ids=[
        "a file failed and stops the release",
        "the Evaluator did not bless the model",
        "files.json is missing",
        "the model's checks are missing",
        "the model was not checked",
        "blessed although a check failed",
        "the files' checks are missing",
    ],
)
def test_nothing_is_pushed_without_every_blessing_and_check(tmp_path: Path, settings: dict) -> None:
    assert _push(tmp_path, **settings) == []
