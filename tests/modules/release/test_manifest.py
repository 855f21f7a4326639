import json
from pathlib import Path

import pytest

from modules.common.errors import InputError
from modules.release.manifest import Manifest, latest_release, prompt_template


def test_a_written_manifest_is_read_back(tmp_path: Path) -> None:
    written = Manifest(version="20260101000000", data={"input_fingerprint": "a"}, files={"a/b": {"size_bytes": 1}})
    written.write(tmp_path)
    assert Manifest.read(tmp_path) == written


def test_keys_of_other_versions_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"data": {}, "files": {}, "of_tomorrow": 1}))
    assert Manifest.read(tmp_path) == Manifest(data={}, files={})


def test_an_unfinished_folder_is_not_a_release(tmp_path: Path) -> None:
    (tmp_path / ".incoming-1").mkdir()
    (tmp_path / "20260101000000").mkdir()  # without a manifest
    assert latest_release(tmp_path) is None
    assert latest_release(tmp_path / "nowhere") is None


@pytest.mark.parametrize("content", ["no JSON", "[]", "{}", None])
def test_a_folder_without_a_valid_manifest_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(InputError, match=r"must be a folder with a manifest\.json\. Received: "):
        prompt_template(tmp_path)
