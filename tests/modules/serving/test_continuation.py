import json
from pathlib import Path

import pytest

from modules.common.errors import InputError
from modules.serving.continuation import open_generator

VERDICT = "rise in perplexity of int8: 5% is above 2% (evaluation.tflite.max_rise.int8)"


def _release(folder: Path, **facts) -> Path:
    manifest = {"data": {}, "files": {"tflite/model_fp16.tflite": {}}, **facts}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_a_file_that_was_not_released_is_reported_with_its_verdict(tmp_path: Path) -> None:
    release = _release(tmp_path, tflite={"int8": {"verdict": VERDICT}})
    with pytest.raises(InputError) as raised:
        open_generator(release, "tflite-int8")
    assert str(raised.value) == (
        "--format must be a format that the release holds. "
        f"Received: tflite-int8, but {release} holds no tflite/model_int8.tflite. It did not pass its gate: {VERDICT}. "
        "Use --format saved_model or --format tflite-fp16, or another --release."
    )


@pytest.mark.parametrize("format", ["saved_model", "tflite-fp16"])
def test_files_that_are_not_those_of_the_manifest_are_not_opened(tmp_path: Path, format: str) -> None:
    (tmp_path / "tflite").mkdir()
    for name in ("saved_model.pb", "tflite/model_fp16.tflite"):
        (tmp_path / name).write_bytes(b"cut")
    with pytest.raises(InputError, match=r"exactly the files that its manifest\.json lists\. Received: .* has other"):
        open_generator(_release(tmp_path, files={"saved_model.pb": {}, "tflite/model_fp16.tflite": {}}), format)


@pytest.mark.parametrize(
    "content",
    ["no JSON", "[]", "{}", None, '{"data": 1, "files": {}}', '{"data": {}, "files": {"a": 1}}', "[" * 100_000],
)
def test_a_folder_that_is_not_a_release_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(InputError, match=r"must be a folder with a manifest\.json\. Received: "):
        open_generator(tmp_path, "saved_model")
