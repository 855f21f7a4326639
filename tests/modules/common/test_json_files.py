import dataclasses
import math
from pathlib import Path

import pytest

from modules.common.errors import InputError
from modules.common.json_files import read_json, write_json
from tests.toys import cloud_storage


@dataclasses.dataclass
class Point:
    x: float
    y: tuple[float, ...]


def test_nan_and_infinity_become_null(tmp_path: Path) -> None:
    write_json(tmp_path / "new", "a.json", {"point": Point(math.nan, (1.5, -math.inf)), "text": "ä\u2028"})
    assert read_json(tmp_path / "new", "a.json") == {"point": {"x": None, "y": [1.5, None]}, "text": "ä\u2028"}


def test_a_url_is_read_and_written_in_cloud_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud_storage.mount(tmp_path / "bucket", monkeypatch)
    write_json("gs://bucket/folder", "a.json", [1])
    assert (tmp_path / "bucket" / "folder" / "a.json").read_text() == "[\n  1\n]\n"
    assert read_json("gs://bucket/folder", "a.json") == [1]
    with pytest.raises(OSError, match=r"gs://bucket/folder/b\.json"):
        read_json("gs://bucket/folder", "b.json")
    assert cloud_storage.stray_files(tmp_path / "bucket") == []


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"a\.json"):
        read_json(tmp_path, "a.json")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000])
def test_a_file_that_is_not_json_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "checks.json").write_bytes(content)
    with pytest.raises(InputError, match=r"checks.json must have the content that the run wrote. Received: .*--from-n"):
        read_json(tmp_path, "checks.json")
