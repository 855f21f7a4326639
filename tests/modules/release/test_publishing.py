import hashlib
import json
from pathlib import Path

import pytest

from modules.release import publishing
from modules.tokenization.vocabulary import Vocabulary


@pytest.fixture
def parts(tmp_path: Path) -> dict:
    saved_model = tmp_path / "model"
    (saved_model / "variables").mkdir(parents=True)
    (saved_model / "saved_model.pb").write_bytes(b"graph")
    (saved_model / "variables" / "variables.index").write_bytes(b"")
    (tmp_path / "int8.tflite").write_bytes(b"int8")
    (tmp_path / "card.md").write_bytes(b"# Card")
    return {
        "saved_model_dir": saved_model,
        "tflite_files": {"model_int8.tflite": tmp_path / "int8.tflite"},
        "vocabulary": Vocabulary.from_merges([]),
        "documents": {"MODEL_CARD.md": tmp_path / "card.md"},
        "facts": {"metrics": {"perplexity": 12.5}},
    }


def test_a_release_holds_all_files_and_lists_them_in_its_manifest(tmp_path: Path, parts: dict) -> None:
    published = publishing.publish(tmp_path / "releases", **parts)
    manifest = json.loads((published / "manifest.json").read_text())
    assert manifest["version"] == published.name
    assert manifest["metrics"] == {"perplexity": 12.5}
    assert manifest["files"]["tflite/model_int8.tflite"] == {
        "sha256": hashlib.sha256(b"int8").hexdigest(),
        "size_bytes": 4,
    }
    assert set(manifest["files"]) == {
        "saved_model.pb", "variables/variables.index", "tflite/model_int8.tflite",
        "tokenizer/vocabulary.json", "tokenizer/merges.txt", "tokenizer/tokenizer.json", "MODEL_CARD.md",
    }  # fmt: skip
    assert (published / "MODEL_CARD.md").read_text() == "# Card"


def test_a_failure_leaves_nothing_behind(tmp_path: Path, parts: dict) -> None:
    parts["tflite_files"]["model_fp16.tflite"] = tmp_path / "missing.tflite"
    with pytest.raises(FileNotFoundError, match=r"missing\.tflite"):
        publishing.publish(tmp_path / "releases", **parts)
    assert list((tmp_path / "releases").iterdir()) == []


def test_two_releases_in_one_second_get_versions_in_order(tmp_path: Path, parts: dict) -> None:
    names = [publishing.publish(tmp_path / "releases", **parts).name for _ in range(3)]
    assert names == sorted(set(names))
    assert publishing.latest_release(tmp_path / "releases").name == names[-1]


def test_what_is_being_written_is_no_release(tmp_path: Path) -> None:
    (tmp_path / ".incoming-1").mkdir()
    (tmp_path / "20260101000000").mkdir()  # without a manifest
    assert publishing.latest_release(tmp_path) is None
    assert publishing.latest_release(tmp_path / "nowhere") is None
