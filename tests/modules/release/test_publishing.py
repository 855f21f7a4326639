import hashlib
import json
from pathlib import Path

import pytest

from modules.release import publishing
from modules.release.manifest import Manifest, latest_release
from modules.tokenization.vocabulary import Vocabulary
from tests.toys import cloud_storage


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


def test_releases_within_one_second_get_ascending_versions(tmp_path: Path, parts: dict) -> None:
    names = [publishing.publish(tmp_path / "releases", **parts).name for _ in range(3)]
    assert names == sorted(set(names))
    assert latest_release(tmp_path / "releases").name == names[-1]


def _in_cloud_storage(parts: dict, bucket: Path, monkeypatch: pytest.MonkeyPatch) -> dict:
    """Makes the folder a bucket of Cloud Storage; returns the parts with URLs of that bucket."""
    cloud_storage.mount(bucket, monkeypatch)

    def url(path: Path) -> str:
        return f"{cloud_storage.BUCKET}/{path.relative_to(bucket)}"

    return {
        **parts,
        "saved_model_dir": url(parts["saved_model_dir"]),
        "tflite_files": {name: url(path) for name, path in parts["tflite_files"].items()},
        "documents": {name: url(path) for name, path in parts["documents"].items()},
    }


def test_a_release_in_cloud_storage_equals_a_release_on_disk(
    tmp_path: Path, parts: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_disk = publishing.publish(tmp_path / "releases", **parts)
    in_bucket = _in_cloud_storage(parts, tmp_path, monkeypatch)
    published = publishing.publish("gs://bucket/pushed", **in_bucket)
    assert str(published) == f"gs://bucket/pushed/{published.name}"
    assert Manifest.read(published).files == Manifest.read(on_disk).files
    for name in Manifest.read(published).files:
        assert (tmp_path / "pushed" / published.name / name).read_bytes() == (on_disk / name).read_bytes()
    assert str(latest_release("gs://bucket/pushed")) == str(published)
    assert cloud_storage.stray_files(tmp_path) == []


def test_a_failure_in_cloud_storage_leaves_nothing_behind(
    tmp_path: Path, parts: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_bucket = _in_cloud_storage(parts, tmp_path, monkeypatch)
    copy_folder = publishing.copy_folder

    def fail_at_the_end(source, target) -> None:
        copy_folder(source, target)
        if str(target).startswith("gs://"):
            raise OSError("no network")

    monkeypatch.setattr(publishing, "copy_folder", fail_at_the_end)
    with pytest.raises(OSError, match="no network"):
        publishing.publish("gs://bucket/pushed", **in_bucket)
    assert list((tmp_path / "pushed").iterdir()) == []
