"""Hostile command lines and configurations end in a status or an InputError, never in another exception."""

import contextlib
import io
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd

from modules.common.errors import InputError
from pipeline import cli, preflight
from pipeline.config import DEFAULT_RECIPE, load_config
from pipeline.request import RunRequest
from tests.toys.fuzz import JSON, SECONDS, TEXT, damaged, fuzzed, mutated, only_input_errors

# The commands with what they need to get past the parser of the command line, and their options.
COMMANDS: dict[str, tuple[list[str], list[str]]] = {
    "validate": (["--config", "recipe.yaml"], ["--config", "--set"]),
    "run": (["--config", "recipe.yaml"], ["--config", "--set", "--from-node"]),
    "generate": (
        ["--prompt", "a", "--release", "release"],
        ["--prompt", "--release", "--workspace", "--format", "--max-new-tokens", "--temperature", "--top-k", "--seed"],
    ),
    "runs": ([], ["--workspace", "--limit"]),
    "compare": (["latest"], ["--workspace"]),
    "compile": (
        ["--output", "out.yaml", "--config", "recipe.yaml"],
        ["--output", "--image", "--pipeline-root", "--target", "--config", "--set"],
    ),
}
VALUES = [
    "folder", "workspace", "release", "text.txt", "recipe.yaml", "1", "0.5", "latest", "latest~1",
    "latest~" + "9" * 5000, "2026", "vertex", "tflite-int8", "Trainer",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with a recipe, a text, a workspace without runs, a release and another folder."""
    path = tmp_path_factory.mktemp("fuzz")
    recipe = yaml.safe_load(DEFAULT_RECIPE.read_text()) | {"data": {"source": "text.txt"}}
    (path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    (path / "text.txt").write_text("some text")
    (path / "folder").mkdir()
    (path / "release").mkdir()
    (path / "release/manifest.json").write_text('{"data": {"prompt_template": null}, "files": {}}')
    (path / "workspace").mkdir()
    connection = mlmd.ConnectionConfig()
    connection.sqlite.filename_uri = str(path / "workspace/metadata.sqlite")
    connection.sqlite.connection_mode = mlmd.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
    store = metadata_store.MetadataStore(connection)
    kind = store.put_context_type(mlmd.ContextType(name="pipeline_run"))
    store.put_contexts([mlmd.Context(type_id=kind, name=name) for name in ("20261128T1", "20261128T2")])
    return path


@contextlib.contextmanager
def standing_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Makes the folder the current one, and ends every command where its long work would begin."""

    def end(*arguments: Any, **named: Any) -> Any:
        raise InputError("the long work begins")

    with monkeypatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("TMPDIR", str(folder))
        patch.setattr(cli, "run_to_end", end)
        patch.setattr("pipeline.runners.vertex.compile_pipeline", end)
        patch.setattr("modules.data.tfds_documents.check", lambda *arguments: None)
        yield


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """Draws a command line; most name a command and have what it needs."""
    command = draw(st.sampled_from(sorted(COMMANDS)))
    needed, options = COMMANDS[command]
    value = TEXT | st.sampled_from(VALUES)
    words = [draw(TEXT) if draw(st.integers(0, 19)) == 0 else command]
    words += [] if draw(st.integers(0, 9)) == 0 else needed
    for _ in range(draw(st.integers(0, 3))):
        words += [draw(st.sampled_from([*options, "--set", "--raw", "--help"])), draw(value)]
    return words + draw(st.lists(value, min_size=command == "compare", max_size=1))


@fuzzed
@given(words=command_lines())
def test_any_command_line_ends_with_a_status(folder: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    # A known data set of TFDS or a preset would be downloaded.
    assume(not any(re.search(r"tfds:[a-z]\w*|kaggle://keras/\w", word) for word in words))
    printed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    start = time.monotonic()
    with standing_in(folder, monkeypatch), monkeypatch.context() as patch:
        patch.setattr("sys.argv", ["tfx-gpt2", *words])
        patch.setattr(cli.errors, "file", printed)
        patch.setattr(cli.console, "file", printed)
        with pytest.raises(SystemExit) as ended:
            cli.main()
    printed.seek(0)
    output = printed.read()
    assert ended.value.code in (0, 2, 3), (words, output)
    assert "Traceback" not in output
    assert time.monotonic() - start < SECONDS


def check_configuration(path: Path) -> None:
    """Reads a recipe and makes all checks that come before TensorFlow is imported."""
    with only_input_errors():
        config = load_config(path)
        preflight.check_workspace(config)
        preflight.check_data(config)
        preflight.check_model(config)
        preflight.check_memory(RunRequest(config=config, run_id="1"))


RECIPES = [yaml.safe_load(path.read_text()) for path in sorted(DEFAULT_RECIPE.parent.glob("*.yaml"))]


@fuzzed
@given(choice=st.data())
def test_any_configuration_is_read_or_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, choice: st.DataObject
) -> None:
    recipe = mutated(choice.draw(st.sampled_from(RECIPES)), choice, JSON)
    with standing_in(folder, monkeypatch):
        Path("mutated.yaml").write_bytes(json.dumps(recipe).encode("utf-8", errors="surrogatepass"))
        check_configuration(Path("mutated.yaml"))


@fuzzed
@given(choice=st.data())
def test_any_bytes_of_a_recipe_are_read_or_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, choice: st.DataObject
) -> None:
    content = damaged(choice.draw(st.sampled_from(sorted(DEFAULT_RECIPE.parent.glob("*.yaml")))).read_bytes(), choice)
    with standing_in(folder, monkeypatch):
        Path("damaged.yaml").write_bytes(content)
        check_configuration(Path("damaged.yaml"))
