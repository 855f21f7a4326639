"""Foreseeable failures end in one sentence that names the thing, the rule and the cure, never in a traceback."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.toys.checkout import ROOT
from tests.toys.processes import children

RECIPE = """
name: refused
data: {source: "text.txt"}
tokenizer: {vocabulary_size: 512}
model: {num_layers: 2, num_heads: 2, hidden_dim: 64, context_length: 64}
training: {steps: 1}
evaluation: {max_perplexity: 300}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Returns a folder with a recipe and its text."""
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "text.txt").write_text("some text")
    return tmp_path


def command(folder: Path, *arguments: str | bytes) -> tuple[int, str]:
    """Runs the command line in the folder; returns exit status and output, which holds no traceback."""
    result = subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "500"},
        capture_output=True,
        timeout=100,
    )
    output = " ".join((result.stdout + result.stderr).decode(errors="replace").split())
    assert "Traceback" not in output, output
    return result.returncode, output


def refused(folder: Path, *arguments: str | bytes) -> str:
    """Runs the command line, which refuses its input; returns its output."""
    status, output = command(folder, *arguments)
    assert status == 2, output
    return output


@contextlib.contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    """Mounts a tmpfs on the folder; skips the test where mounting is not allowed."""
    folder.mkdir(exist_ok=True)
    made = subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", str(folder)], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"this machine does not allow a mount: {made.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize(
    ("workspace", "message"),
    [
        ("text.txt", "text.txt must be a folder, in which a run writes. Received: a file. Move it away"),
        ("text.txt/below", "Received: a path below the file"),
        ('"a\\0b"', "workspace: a path must not contain the character NUL: remove it. Received: 'a\\x00b'."),
        ('""', "workspace: a path must not be empty: write `.` for the current folder. Received: ''."),
        ("a" * 300, "each part at most 255 (the longest part has 300): choose a shorter path"),
    ],
)
def test_a_workspace_must_be_a_folder(folder: Path, workspace: str, message: str) -> None:
    (folder / "recipe.yaml").write_text(f"{RECIPE}workspace: {workspace}\n")
    assert message in refused(folder, "run", "--config", "recipe.yaml")
    assert sorted(path.name for path in folder.iterdir()) == ["recipe.yaml", "text.txt"]


@pytest.mark.parametrize(
    "changes",
    [["training.batch_size=1000000000000"], ["model.hidden_dim=1000000000"], ["model.num_layers=1000000000"]],
)
def test_sizes_that_no_machine_holds_are_refused_at_once(folder: Path, changes: list[str]) -> None:
    start = time.monotonic()
    sets = [argument for change in changes for argument in ("--set", change)]
    message = refused(folder, "run", "--config", "recipe.yaml", *sets)
    assert time.monotonic() - start < 30
    assert "error: training must fit into the memory of this machine" in message
    assert not (folder / "workspace").exists()


def test_a_read_only_workspace_is_refused(folder: Path) -> None:
    with mounted(folder / "workspace", "-o", "ro,size=1m"):
        message = refused(folder, "validate", "--config", "recipe.yaml")
    assert "workspace must be a folder in which a run can write. Received: " in message
    assert "which is read-only. Change its permissions, or set another `workspace`." in message


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["runs", "--workspace"], "--workspace"),
        (["generate", "--prompt", "a", "--release"], "--release"),
        (["validate", "--config"], "--config"),
        (["compile", "--output"], "--output"),
    ],
)
def test_a_path_on_the_command_line_is_checked(folder: Path, arguments: list[str], option: str) -> None:
    assert f"Invalid value for '{option}': a path must not be empty" in refused(folder, *arguments, "")
    assert "the longest part has 300" in refused(folder, *arguments, "a" * 300)


def test_files_at_the_place_of_other_files_are_refused(folder: Path) -> None:
    assert "a release must be a folder" in refused(folder, "generate", "--prompt", "a", "--release", "text.txt")
    assert "a workspace must hold a release" in refused(folder, "generate", "--prompt", "a", "--workspace", "text.txt")
    assert "cannot read the configuration .: Is a directory" in refused(folder, "validate", "--config", ".")
    (folder / "out.yaml").mkdir()
    for output in ("no/out.yaml", "out.yaml", "text.txt/out.yaml"):
        message = refused(folder, "compile", "--config", "recipe.yaml", "--output", output)
        assert f"--output must be a file in a folder that exists. Received: {output}." in message
    assert "no ML Metadata at text.txt/metadata.sqlite" in refused(folder, "runs", "--workspace", "text.txt")


@pytest.mark.parametrize(("make", "kind"), [("link", "a link to nothing"), ("file", "a file")])
def test_a_push_directory_must_be_a_folder(folder: Path, make: str, kind: str) -> None:
    releases = folder / "workspace/refused/releases"
    releases.parent.mkdir(parents=True)
    releases.symlink_to("nowhere") if make == "link" else releases.touch()
    message = refused(folder, "run", "--config", "recipe.yaml")
    assert f"workspace/refused/releases must be a folder, in which a run writes. Received: {kind}." in message


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (bytes(8192), "file is not a database"),
        (b"", "an empty database"),
        (None, "no file"),
        ("truncated", "malformed"),
    ],
)
def test_a_damaged_database_is_named_by_every_command(folder: Path, content: bytes | str | None, reason: str) -> None:
    path = folder / "workspace/metadata.sqlite"
    (folder / "workspace/refused/artifacts/TextExampleGen").mkdir(parents=True)
    if content is None:
        path.mkdir()
    elif content == "truncated":
        from ml_metadata import metadata_store
        from ml_metadata.proto import metadata_store_pb2 as mlmd

        config = mlmd.ConnectionConfig()
        config.sqlite.filename_uri = str(path)
        config.sqlite.connection_mode = mlmd.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
        metadata_store.MetadataStore(config)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        path.write_bytes(content)
    for arguments in (["run", "--config", "recipe.yaml"], ["runs"], ["compare", "latest", "latest"]):
        message = refused(folder, *arguments)
        assert "workspace/metadata.sqlite must be the" in message
        assert reason in message
        assert "Restore the file from a backup; or move it away together with the folders `artifacts`" in message


def test_artifacts_without_their_database_are_refused_before_a_node_runs(folder: Path) -> None:
    (folder / "workspace/refused/artifacts/TextExampleGen").mkdir(parents=True)
    message = refused(folder, "run", "--config", "recipe.yaml")
    assert "workspace/metadata.sqlite must list the artifacts in workspace/refused/artifacts." in message
    assert "Restore the database, or move or delete workspace/refused/artifacts." in message
    assert not (folder / "workspace/metadata.sqlite").exists()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ('data={source: "a\\0b.txt"}', "No file matches a\\x00b.txt"),
        (
            'evaluation.tasks=[{kind: multiple_choice, name: a, file: "a\\0b.jsonl"}]',
            "must not contain the character NUL",
        ),
        ('tokenizer={vocabulary: "a\\0b", merges: text.txt}', "`tokenizer.vocabulary` names no file"),
        ('tokenizer={preset: "./a\\0b"}', "`tokenizer.preset` names no folder"),
    ],
)
def test_impossible_paths_in_settings_are_refused(folder: Path, setting: str, message: str) -> None:
    assert message in refused(folder, "run", "--config", "recipe.yaml", "--set", setting)


def test_a_terminal_without_the_characters_of_a_message_shows_escapes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    assert "No file matches \\u6f22.txt" in refused(
        folder, "run", "--config", "recipe.yaml", "--set", "data.source=漢.txt"
    )


def test_values_of_generate_are_bounded(folder: Path) -> None:
    assert "--prompt must be UTF-8. Received: 'a\\udcff'" in refused(folder, "generate", "--prompt", b"a\xff")
    for option in ("--seed", "--max-new-tokens", "--top-k"):
        message = refused(folder, "generate", "--prompt", "a", option, str(2**31))
        assert f"Invalid value for '{option}': Input should be less than or equal to 2147483647" in message


BROKEN = """
import sys
import pipeline.cli
def broken(*arguments):
    raise {error}
pipeline.cli.load_config = broken
sys.argv = ["tfx-gpt2", "validate"]
pipeline.cli.main()
"""


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        ("KeyError('rows')", 1, "error: unexpected KeyError: 'rows'. This is an error of the program"),
        ("PermissionError(13, 'Permission denied', 'a.txt')", 2, "error: a.txt must be readable and writable."),
        ("OSError(28, 'No space left on device')", 2, "Received: a full disk, with "),
        ("MemoryError()", 1, "this machine has too little free memory"),
    ],
)  # fmt: skip
def test_other_errors_are_a_sentence_and_their_traceback_is_in_a_file(
    tmp_path: Path, error: str, status: int, message: str
) -> None:
    result = subprocess.run(
        [sys.executable, "-c", BROKEN.format(error=error)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == status
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    details = list(tmp_path.glob("tfx-gpt2-error-*.txt"))
    assert len(details) == (status == 1)
    assert all("Traceback" in path.read_text() and str(path) in result.stderr for path in details)


@pytest.mark.slow
def test_a_disk_that_becomes_full_during_a_run_is_named(folder: Path) -> None:
    (folder / "text.txt").write_text("\n\n".join(f"Document {number} of this small corpus." for number in range(99)))
    with mounted(folder / "workspace", "-o", "size=20m"):
        child = subprocess.Popen(
            [sys.executable, "-m", "pipeline", "validate", "--config", "recipe.yaml"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert child.stdout is not None
        output = ""
        for line in child.stdout:
            output += line
            if "▶" in line and not (folder / "workspace/full").exists():
                with contextlib.suppress(OSError):  # the run takes space at the same time
                    fill(folder / "workspace/full", leave=8000)
        status = child.wait()
        [log] = (folder / "workspace/refused/logs").glob("*.log")
        assert log.read_text().rstrip().splitlines()[-1]
        assert "Traceback" in log.read_text()
    assert status == 2, output
    assert f"the disk of {folder}/workspace" in output
    assert "Received: a full disk, with " in output
    assert "Free some space or set another `workspace`; then run the same command again" in output
    assert "Traceback" not in output


@pytest.mark.slow
def test_a_killed_process_is_named_with_its_node_and_its_log(folder: Path) -> None:
    (folder / "text.txt").write_text("\n\n".join(f"Document {number} of this small corpus." for number in range(99)))
    child = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "validate", "--config", "recipe.yaml"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert child.stdout is not None
    output = ""
    for line in child.stdout:
        output += line
        if "▶ TextExampleGen" in line:  # a node that takes seconds: it does not end before the kill
            for pid in children(child.pid):
                os.kill(pid, signal.SIGKILL)
    assert child.wait() == 1, output
    [log] = (folder / "workspace/refused/logs").glob("*.log")
    assert "failed in TextExampleGen: the run's process was killed by SIGKILL; probably the machine had too" in output
    assert output.splitlines()[-1] == f"logs: workspace/refused/logs/{log.name}"


def fill(path: Path, *, leave: int) -> None:
    """Writes a file that leaves this many bytes free on its disk."""
    free = os.statvfs(path.parent).f_bavail * os.statvfs(path.parent).f_frsize
    path.write_bytes(bytes(free - leave))


def test_a_workspace_with_8_kb_left_is_refused_at_once(folder: Path) -> None:
    with mounted(folder / "workspace", "-o", "size=8k"):
        message = refused(folder, "run", "--config", "recipe.yaml")
        assert not list((folder / "workspace").iterdir())
    assert f"the disk of {folder}/workspace must have room for what a run writes" in message
    assert "Received: a full disk, with 8 kB free. Free some space" in message
