import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from modules.common.errors import InputError
from pipeline.runners.temporary_folder import own_temporary_folder, temporary_path


@pytest.fixture(autouse=True)
def system_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder of the system that only this test uses."""
    folder = tmp_path / "system"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_temporary_files_go_into_the_folder_and_with_it(tmp_path: Path, system_folder: Path) -> None:
    (tmp_path / "workspace" / "topics").mkdir(parents=True)
    with own_temporary_folder(tmp_path / "workspace" / "topics") as folder:
        assert folder.parent == system_folder
        assert folder.stat().st_mode & 0o777 == 0o700
        tempfile.mkdtemp(prefix="beam")
        child = "import tempfile; print(tempfile.mkdtemp())"
        created = subprocess.run([sys.executable, "-c", child], check=True, capture_output=True, text=True).stdout
        assert Path(created).parent == folder
        assert len(list(folder.iterdir())) == 2
    assert list(system_folder.iterdir()) == []
    assert tempfile.gettempdir() == os.environ["TMPDIR"] == str(system_folder)


def test_an_error_removes_the_folder_too(tmp_path: Path, system_folder: Path) -> None:
    with pytest.raises(ZeroDivisionError), own_temporary_folder(tmp_path):
        raise ZeroDivisionError
    assert list(system_folder.iterdir()) == []


def test_the_files_of_a_killed_run_are_removed_and_links_are_not_followed(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "text").touch()
    left = temporary_path(tmp_path)
    (left / "beam" / "deep").mkdir(parents=True)
    (left / "generated.py").touch()
    (left / "link").symlink_to(kept)
    left.chmod(0o755)
    with own_temporary_folder(tmp_path) as folder:
        assert folder == left
        assert list(folder.iterdir()) == []
        assert folder.stat().st_mode & 0o777 == 0o700
    assert (kept / "text").exists()


def test_every_pipeline_has_a_short_path_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/tmp")
    deep = tmp_path.joinpath(*["folder"] * 40)
    for name in ("topics", "other"):
        (deep / name).mkdir(parents=True)
    assert len({temporary_path(deep / name) for name in ("topics", "other")}) == 2
    assert len(str(temporary_path(deep))) < 50
    monkeypatch.chdir(tmp_path)
    (tmp_path / "workspace").mkdir()
    assert temporary_path(Path("workspace")) == temporary_path(tmp_path / "workspace")


@pytest.mark.parametrize(
    ("kind", "received"), [("link", "a link"), ("file", "a file"), ("user", "a folder of the user")]
)
def test_a_folder_that_is_not_the_users_is_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, received: str
) -> None:
    path = temporary_path(tmp_path)
    if kind == "link":
        path.symlink_to(tmp_path)
    elif kind == "file":
        path.touch()
    else:
        path.mkdir()
        mine = os.getuid()
        monkeypatch.setattr("pipeline.runners.temporary_folder.temporary_path", lambda _: path)
        monkeypatch.setattr(os, "getuid", lambda: mine + 1)
    with pytest.raises(InputError, match=rf"must be a folder of the user .* Received: {received}.* set TMPDIR to"):
        own_temporary_folder(tmp_path).__enter__()
    assert path.exists()


def test_a_folder_that_cannot_be_created_is_an_error_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(InputError, match=r"cannot be created\. Received: No such file or directory\. Free space, or"):
        own_temporary_folder(tmp_path).__enter__()
