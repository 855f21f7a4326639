import datetime
import hashlib
import json
from pathlib import Path

import pytest

from modules.common.errors import InputError
from modules.common.files import folder_hashes
from modules.release import publishing
from modules.release.manifest import Manifest, latest_release
from modules.tokenization.vocabulary import Vocabulary
from modules.tokenization.vocabulary_files import TABLE_NAME, write_table
from tests.toys import cloud_storage


@pytest.fixture
def parts(tmp_path: Path) -> dict:
    saved_model = tmp_path / "model"
    (saved_model / "variables").mkdir(parents=True)
    (saved_model / "saved_model.pb").write_bytes(b"graph")
    (saved_model / "variables" / "variables.index").write_bytes(b"")
    (saved_model / "assets").mkdir()
    write_table(Vocabulary.from_merges([]), saved_model / "assets" / TABLE_NAME)
    (tmp_path / "int8.tflite").write_bytes(b"int8")
    (tmp_path / "card.md").write_bytes(b"# Card")
    return {
        "saved_model_dir": saved_model,
        "tflite_files": {"model_int8.tflite": tmp_path / "int8.tflite"},
        "measured": {**folder_hashes(saved_model), "tflite/model_int8.tflite": hashlib.sha256(b"int8").hexdigest()},
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
        "saved_model.pb", "variables/variables.index", "assets/vocabulary.tsv", "tflite/model_int8.tflite",
        "tokenizer/vocabulary.json", "tokenizer/merges.txt", "tokenizer/tokenizer.json", "MODEL_CARD.md",
    }  # fmt: skip
    assert (published / "MODEL_CARD.md").read_text() == "# Card"


def test_a_failure_leaves_nothing_behind(tmp_path: Path, parts: dict) -> None:
    parts["tflite_files"]["model_fp16.tflite"] = tmp_path / "missing.tflite"
    with pytest.raises(FileNotFoundError, match=r"missing\.tflite"):
        publishing.publish(tmp_path / "releases", **parts)
    assert list((tmp_path / "releases").iterdir()) == []


def test_releases_within_one_second_get_ascending_versions(tmp_path: Path, parts: dict) -> None:
    releases = (publishing.publish(tmp_path / "releases", **{**parts, "facts": {"gate": {"n": n}}}) for n in range(3))
    names = [release.name for release in releases]
    assert names == sorted(set(names))
    assert len(names) == 3
    assert latest_release(tmp_path / "releases").name == names[-1]


@pytest.mark.parametrize("path", ["saved_model.pb", "variables/variables.index", "assets/vocabulary.tsv", "new"])
def test_a_file_that_was_not_measured_is_not_published(tmp_path: Path, parts: dict, path: str) -> None:
    (parts["saved_model_dir"] / path).write_bytes(b"other")
    with pytest.raises(InputError, match=rf"exactly the files that were measured\. Received: {path}, which changed"):
        publishing.publish(tmp_path / "releases", **parts)
    assert list((tmp_path / "releases").iterdir()) == []


def test_a_tflite_file_that_changed_after_it_was_measured_is_not_published(tmp_path: Path, parts: dict) -> None:
    parts["tflite_files"]["model_int8.tflite"].write_bytes(b"int4")
    with pytest.raises(InputError, match=r"Received: tflite/model_int8\.tflite"):
        publishing.publish(tmp_path / "releases", **parts)


def test_a_push_that_was_killed_after_its_rename_is_not_published_again(tmp_path: Path, parts: dict) -> None:
    ids = {"artifact_ids": {"model": 1, "report": 2}}
    first = publishing.publish(tmp_path / "releases", **{**parts, "facts": {"run": "1", "mlmd": ids}})
    ids = {"artifact_ids": {"report": 2, "model": 1}}
    assert publishing.publish(tmp_path / "releases", **{**parts, "facts": {"run": "2", "mlmd": ids}}) == first
    second = publishing.publish(tmp_path / "releases", **{**parts, "facts": {"metrics": {"perplexity": 12.4}}})
    # The release before the newest is published again: so an earlier model can become the newest.
    again = publishing.publish(tmp_path / "releases", **{**parts, "facts": {"run": "3"}})
    assert len({first, second, again}) == 3


def test_what_killed_pushes_left_is_removed(tmp_path: Path, parts: dict) -> None:
    directory = tmp_path / "releases"
    for name in (".incoming-1f1f", "20201231235959", "1", "other"):
        (directory / name / "variables").mkdir(parents=True)
    (directory / ".id").write_text("1f1f")
    (directory / "2").symlink_to(tmp_path)
    published = publishing.publish(directory, **parts)
    kept = {".id", "20201231235959", "1", "2", "other"}
    assert {path.name for path in directory.iterdir()} == {*kept, published.name}


def test_what_a_killed_upload_left_is_removed_a_day_later(
    tmp_path: Path, parts: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    today = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d000000")
    for name in ("20201231235959", today, "1"):
        (tmp_path / "pushed" / name / "variables").mkdir(parents=True)
    published = publishing.publish("gs://bucket/pushed", **_in_cloud_storage(parts, tmp_path, monkeypatch))
    assert {path.name for path in (tmp_path / "pushed").iterdir()} == {today, "1", published.name}


def test_a_damaged_release_is_published_again(tmp_path: Path, parts: dict) -> None:
    damaged = publishing.publish(tmp_path / "releases", **parts)
    (damaged / "saved_model.pb").write_bytes(b"grapg")
    again = publishing.publish(tmp_path / "releases", **parts)
    assert (again / "saved_model.pb").read_bytes() == b"graph"
    assert again != damaged


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
