import subprocess
from pathlib import Path

import pytest

from pipeline.config import load_config
from pipeline.metadata.run_record import RunRecord, code_hashes, git_commit
from tests.toys.checkout import RECIPE


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


@pytest.fixture
def checkout_like(tmp_path: Path) -> Path:
    for name in ("modules/a.py", "modules/deep/b.py", "pipeline/c.py", "schemas/text.pbtxt", "uv.lock"):
        write(tmp_path / name, f"{name}\n")
    for name in ("modules/a.pyc", "pipeline/recipes/a.yaml", "tests/test_a.py", "README.md"):
        write(tmp_path / name, "neither runs nor shapes a run")
    return tmp_path


def test_the_code_of_a_run_is_its_source_files_and_the_lock(checkout_like: Path) -> None:
    before = code_hashes(checkout_like)
    assert list(before) == ["modules/a.py", "modules/deep/b.py", "pipeline/c.py", "schemas/text.pbtxt", "uv.lock"]
    assert before["modules/a.py"] == "736b31b2938e"  # printf 'modules/a.py\n' | sha256sum
    write(checkout_like / "modules/deep/b.py", "edited")
    after = code_hashes(checkout_like)
    assert [name for name in before if before[name] != after[name]] == ["modules/deep/b.py"]


def test_the_commit_shows_whether_files_were_changed(checkout_like: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=tester", "-c", "user.email=tester@example.org"]
        command = ["git", *identity, *arguments]
        return subprocess.run(command, cwd=checkout_like, check=True, capture_output=True, text=True).stdout.strip()

    assert git_commit(checkout_like) is None
    git("init", "-q")
    assert git_commit(checkout_like) is None  # no commit yet
    git("add", ".")
    git("commit", "-qm", "First")
    git("tag", "-am", "v1", "v1")
    commit = git("rev-parse", "HEAD")[:12]
    assert git_commit(checkout_like) == commit
    assert git_commit(checkout_like / "modules") is None  # not a repository of its own
    write(checkout_like / "modules/a.py", "edited")
    assert git_commit(checkout_like) == f"{commit}-dirty"


def test_a_record_is_read_back_from_its_properties(tmp_path: Path, checkout_like: Path) -> None:
    write(tmp_path / "recipe.yaml", RECIPE)
    record = RunRecord.of(load_config(tmp_path / "recipe.yaml"), checkout_like)
    assert record.configuration["training"]["steps"] == 200
    assert record.configuration["training"]["gradient_clip_norm"] == 1.0  # a default
    assert record.configuration["workspace"] == "workspace"
    assert record.commit is None
    properties = record.to_properties()
    assert {name: type(value) for name, value in properties.items()} == {"configuration": str, "code": str}
    assert RunRecord.from_properties(properties) == record


def test_a_run_without_these_properties_has_no_record() -> None:
    assert RunRecord.from_properties({}) is None
