from pathlib import Path

import pytest

from modules.common.errors import InputError
from modules.release.manifest import Manifest, describe_files
from modules.release.verification import check_files


@pytest.fixture
def release(tmp_path: Path) -> Path:
    (tmp_path / "tflite").mkdir()
    (tmp_path / "tflite" / "model.tflite").write_bytes(b"weights")
    (tmp_path / "saved_model.pb").write_bytes(b"graph")
    Manifest(data={}, files=describe_files(tmp_path)).write(tmp_path)
    return tmp_path


def check(release: Path, **options) -> None:
    check_files(release, Manifest.read(release), **options)


def test_a_release_as_it_was_published_passes(release: Path) -> None:
    check(release)


def test_every_changed_byte_is_noticed(release: Path) -> None:
    path = release / "tflite" / "model.tflite"
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(InputError, match=rf"Received: {release}, where 'tflite/model\.tflite' has other content"):
            check(release)


def test_a_missing_file_and_a_file_that_is_not_listed_are_named(release: Path) -> None:
    (release / "more").touch()
    with pytest.raises(InputError, match="where 'more' is not listed"):
        check(release)
    (release / "more").unlink()
    (release / "saved_model.pb").unlink()
    with pytest.raises(InputError, match=r"where 'saved_model\.pb' is missing"):
        check(release)


def test_a_missing_file_without_a_hash_in_the_manifest_is_named(release: Path) -> None:
    Manifest(data={}, files={**describe_files(release), "gone": {}}).write(release)
    with pytest.raises(InputError, match="where 'gone' is missing"):
        check(release)


def test_only_the_chosen_files_are_checked(release: Path) -> None:
    (release / "saved_model.pb").write_bytes(b"other")
    check(release, belongs=lambda path: path.startswith("tflite/"))
