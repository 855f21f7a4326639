r"""Every command with texts and names that hold control codes, e.g. `\x1b]0;…`, which renames a terminal's window."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd

from modules.release.manifest import Manifest, describe_files
from pipeline.metadata.run_record import RunRecord
from tests.toys.checkout import RECIPE, ROOT
from tests.toys.release import saved_release

HOSTILE = "\x1b]0;title\x07\x1b[31mred\r\u202eb"
SHOWN = "\\x1b]0;title\\x07\\x1b[31mred\\x0d\\u202eb"


def output(folder: Path, *arguments: str, program: tuple[str, ...] = ("-m", "pipeline")) -> tuple[int, str]:
    """Runs a command, checks that its output holds no control code, and returns exit status and output."""
    result = subprocess.run(
        [sys.executable, *program, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", "PYTHONIOENCODING": "utf-8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
    )
    printed = result.stdout.decode()  # text mode would turn \r into \n
    assert not set(printed) & set("\x1b\x07\r\u202e"), repr(printed)
    return result.returncode, printed


def write_recipe(folder: Path, *documents: str) -> Path:
    """Writes a recipe and its documents to files with hostile names; returns the path of the recipe."""
    (folder / "texts").mkdir()
    (folder / "texts" / f"{HOSTILE}.txt").write_text("\n\n".join(documents), encoding="utf-8")
    recipe = folder / f"{HOSTILE}.yaml"
    recipe.write_text(RECIPE)
    return recipe


@pytest.mark.parametrize("command", ["run", "validate"])
def test_refused_data_is_shown_with_visible_characters(tmp_path: Path, command: str) -> None:
    recipe = write_recipe(tmp_path)
    (tmp_path / "texts" / f"{HOSTILE}.txt").write_bytes(b"caf\xe9\n")
    status, printed = output(tmp_path, command, "--config", str(recipe))
    assert status == 2
    assert f"{SHOWN}.txt is not UTF-8" in printed


def test_refused_settings_are_shown_with_visible_characters(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, "A text.")
    for arguments in (
        ["--set", f"{HOSTILE}=1"],
        ["--set", f"model.{HOSTILE}=1"],
        ["--set", f"data.source={HOSTILE}"],
        ["--set", f"data.source=[{json.dumps(HOSTILE)}]"],
    ):
        status, printed = output(tmp_path, "run", "--config", str(recipe), *arguments)
        assert status == 2
        assert SHOWN in printed


def test_a_refused_command_line_is_shown_with_visible_characters(tmp_path: Path) -> None:
    for arguments in ([f"--{HOSTILE}"], [HOSTILE], ["run", f"--{HOSTILE}"], ["compare", "latest", "latest", HOSTILE]):
        status, printed = output(tmp_path, *arguments)
        assert status == 2
        assert "\\x1b]0;title" in printed


def test_a_failed_run_shows_hostile_names_with_visible_characters(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, "A text.")
    status, printed = output(
        tmp_path, "run", "--config", str(recipe),
        "--set", f"data.source=texts/{HOSTILE}.txt", "--set", f"workspace={HOSTILE}",
        "--set", "training.devices=multi_worker",
    )  # fmt: skip
    assert status == 2
    assert f"context 64, data texts/{SHOWN}.txt" in printed
    assert printed.count(f"logs: {SHOWN}/topics/logs/") == 2


def test_a_good_run_shows_hostile_names_with_visible_characters(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, *(f"Document {number} is by writer{number}@mail.org." for number in range(300)))
    status, printed = output(tmp_path, "validate", "--config", str(recipe))
    assert status == 0, printed
    assert "✔ AnomalyGate" in printed
    assert f"look like secrets or addresses, the first in texts/{SHOWN}.txt, line 1" in printed


def test_generate_shows_prompt_and_continuation_with_visible_characters(tmp_path: Path) -> None:
    release = tmp_path / HOSTILE
    shutil.copytree(saved_release().saved_model, release)
    Manifest(data={}, files=describe_files(release)).write(release)
    # The model's weights are random, and most of its tokens are bytes.
    status, printed = output(
        tmp_path, "generate", "--prompt", HOSTILE, "--release", str(release), "--temperature", "5", "--top-k", "259"
    )
    assert status == 0, printed
    assert printed.startswith(SHOWN)
    status, printed = output(
        tmp_path, "generate", "--prompt", "a", "--release", str(release), "--format", "tflite-int8"
    )
    assert status == 2
    assert f"{SHOWN} holds no tflite/model_int8.tflite" in printed


def test_runs_and_compare_show_hostile_names_with_visible_characters(tmp_path: Path) -> None:
    config = mlmd.ConnectionConfig()
    config.sqlite.filename_uri = str(tmp_path / "metadata.sqlite")
    config.sqlite.connection_mode = mlmd.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
    store = metadata_store.MetadataStore(config)
    types = {name: store.put_context_type(mlmd.ContextType(name=name)) for name in ("pipeline", "pipeline_run")}
    [pipeline] = store.put_contexts([mlmd.Context(type_id=types["pipeline"], name=f"p{HOSTILE}")])
    for number in (1, 2):
        record = RunRecord(configuration={"note": f"{number}{HOSTILE}"}, code={HOSTILE: str(number)}, commit=None)
        context = mlmd.Context(type_id=types["pipeline_run"], name=f"{number}{HOSTILE}")
        for name, value in record.to_properties().items():
            context.custom_properties[name].string_value = value
        [run] = store.put_contexts([context])
        store.put_parent_contexts([mlmd.ParentContext(parent_id=pipeline, child_id=run)])
    status, printed = output(tmp_path, "runs", "--workspace", ".")
    assert status == 0
    assert f"2{SHOWN} p{SHOWN}" in printed
    status, printed = output(tmp_path, "compare", "latest~1", "2", "--workspace", ".")
    assert status == 0
    assert f"1{SHOWN}" in printed
    assert "note" in printed
    status, printed = output(tmp_path, "compare", HOSTILE, "latest", "--workspace", ".")
    assert status == 2
    assert f"2{SHOWN}, 1{SHOWN}" in printed


def test_compile_shows_hostile_names_with_visible_characters(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, "A text.")
    (tmp_path / HOSTILE).mkdir()
    arguments = ["compile", "--config", str(recipe), "--output"]
    status, printed = output(tmp_path, *arguments, f"{HOSTILE}/spec.yaml")
    assert status == 0, printed
    assert f"wrote {SHOWN}/spec.yaml for vertex" in printed
    status, printed = output(tmp_path, *arguments, f"{HOSTILE}.txt")
    assert status == 2
    assert f"Received: {SHOWN}.txt" in printed


def test_an_unexpected_error_is_shown_with_visible_characters(tmp_path: Path) -> None:
    program = (
        "import sys, pipeline.cli as cli\n"
        "def fail(*_): raise ValueError(sys.argv[-1])\n"
        "cli.load_config = fail\n"
        "cli.main()"
    )
    status, printed = output(tmp_path, "run", "--from-node", HOSTILE, program=("-c", program))
    assert status == 1
    assert f"ValueError: {SHOWN}" in printed
