"""Bad input is refused at once, with a clear message, exit status 2 and no half-written files."""

import gzip
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from modules.tokenization.vocabulary import Vocabulary
from modules.tokenization.vocabulary_files import write_tokenizer_folder
from tests.toys.checkout import ROOT
from tests.toys.huggingface_folder import write_folder

RECIPE = """
name: refused
data: {source: "%s"}
tokenizer: {vocabulary_size: 512}
model: {num_layers: 2, num_heads: 2, hidden_dim: 64, context_length: 64}
training: {steps: 1}
evaluation: {max_perplexity: 300}
"""


def refuse(folder: Path, *arguments: str) -> str:
    """Runs the recipe in the folder, checks that it is refused before any work, and returns the message."""
    result = subprocess.run(
        [sys.executable, "-m", "pipeline", "run", "--config", "recipe.yaml", *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "COLUMNS": "80"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 2, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    # It stopped before the pipeline was loaded: there are no metadata and no artifacts.
    assert not (folder / "workspace").exists()
    return " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nowhere/*.txt", None, "No file matches nowhere/*.txt"),
        ("empty.txt", b"", "empty.txt holds no text"),
        ("blank.txt", b" \n\t\n", "blank.txt holds no text"),
        ("latin1.txt", "caf\u00e9\n".encode("latin-1"), "latin1.txt"),
        ("rows.jsonl", b'{"text": "fine"}\n{"text": oops}\n', "rows.jsonl, line 2"),
        ("list.jsonl", b"[1]\n", "list.jsonl, line 1"),
        ("column.jsonl", b'{"body": "x", "title": "y"}\n', "It has: 'body', 'title'"),
        ("column.csv", b"body,title\nx,y\n", "It has: 'body', 'title'"),
        ("broken.txt.gz", gzip.compress(b"text " * 9999, mtime=0)[:40], "broken.txt.gz"),
        ("folder.pdf", b"%PDF", "folder.pdf"),
        (
            "mixed.txt",
            "caf\u00e9\n".encode() + "caf\u00e9\n".encode("latin-1"),
            "mixed.txt is not UTF-8: line 2, byte 9",
        ),
        ("rows.json", b'[{"text": "fine"}, {"text": 3}]', "rows.json, row 2: 'text' must be a string"),
        ("cut.parquet", b"PAR1" + bytes(64), "cut.parquet cannot be read as Parquet"),
        ("line.txt", b"x" * 100_000_000, "line.txt, line 1: a document must be at most 16 MiB"),
    ],
)
def test_bad_data_is_refused_with_its_place(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    (tmp_path / "recipe.yaml").write_text(RECIPE % name)
    assert message.lower() in refuse(tmp_path).lower()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.stepz=3", "training.stepz: unknown key; did you mean `steps`?"),
        ("model.num_heads=3", "`hidden_dim` must be divisible by `num_heads`. Received: 64 and 3"),
        ("model={preset: ./gpt2, context_length: 64}", "tokenizer"),
        ("tokenizer={vocabulary: v.json, merges: m.txt}", "`tokenizer.merges` names no file. Received: m.txt"),
        ("data.source=tfds:imbd_reviews", "imdb_reviews"),
    ],
)
def test_a_bad_configuration_is_refused_with_its_key(tmp_path: Path, override: str, message: str) -> None:
    (tmp_path / "text.txt").write_text("some text")
    (tmp_path / "recipe.yaml").write_text(RECIPE % "text.txt")
    assert message in refuse(tmp_path, "--set", override)


def test_the_command_line_starts_without_the_heavy_libraries() -> None:
    program = (
        "import sys\nimport pipeline.cli, pipeline.console.run_view, pipeline.console.summary\n"
        "import pipeline.console.comparison, modules.data.corpus\n"
        "print(sorted({'tensorflow', 'tfx', 'keras', 'apache_beam', 'tensorflow_datasets'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("temperature", ["nan", "inf"])
def test_a_temperature_must_be_a_number(tmp_path: Path, temperature: str) -> None:
    command = [sys.executable, "-m", "pipeline", "generate", "--prompt", "a", "--release", str(tmp_path)]
    refused = subprocess.run([*command, "--temperature", temperature], cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "temperature" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_help_names_the_commands() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "pipeline", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for command in ("run", "validate", "generate", "runs", "compare", "compile"):
        assert command in result.stdout


SCRIPT = """
import sys
from importlib.metadata import EntryPoint
name, value, *sys.argv[1:] = sys.argv[1:]
sys.argv[0] = name
EntryPoint(name=name, value=value, group="console_scripts").load()()
"""


def test_the_installed_script_is_the_same_command_line_from_any_folder(tmp_path: Path) -> None:
    [(name, value)] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"].items()

    def script(*arguments: str) -> "subprocess.CompletedProcess[str]":
        """Calls the entry point as the script does that an installer writes."""
        return subprocess.run(
            [sys.executable, "-c", SCRIPT, name, value, *arguments],
            cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "COLUMNS": "80"},
            capture_output=True, text=True,
        )  # fmt: skip

    shown = script("--help")
    assert shown.returncode == 0
    assert "Usage: tfx-gpt2 [OPTIONS] COMMAND" in shown.stdout
    refused = script("runs")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "no ML Metadata at workspace/metadata.sqlite" in refused.stderr


@pytest.mark.parametrize("setting", ["model.preset", "training.distillation.teacher"])
def test_a_context_longer_than_the_preset_allows_is_refused(tmp_path: Path, setting: str) -> None:
    (tmp_path / "text.txt").write_text("some text")
    (tmp_path / "recipe.yaml").write_text(RECIPE % "text.txt")
    write_folder(tmp_path / "gpt2", vocab_size=257)  # it has 16 positions
    write_tokenizer_folder(Vocabulary.from_merges([]), tmp_path)
    start = "size: tiny, " if setting != "model.preset" else ""
    arguments = [
        "tokenizer={vocabulary: vocabulary.json, merges: merges.txt}",
        f"model={{{start}context_length: 32}}",
        f"{setting}=./gpt2",
    ]
    message = refuse(tmp_path, *(part for argument in arguments for part in ("--set", argument)))
    assert "`model.context_length` must be at most 16, the positions of ./gpt2. Received: 32" in message


@pytest.mark.parametrize(
    ("rows", "arguments", "message"),
    [
        ('{"instruction": "a", "output": ""}', ["data.kind=instruction"], "line 1: every prompt needs an answer"),
        ('{"text": "a"}', ["data.kind=instruction"], "line 1: a row of instructions has `instruction`"),
        ('{"prompt": "a", "chosen": "b", "rejected": "c"}', ["data.kind=preference"], "add `training.dpo`"),
        ('{"text": "a"}', ["tokenizer={preset: gpt2_base_en}", "model={preset: presets/tiny}"], "`model.preset` names"),
        ('{"text": "a"}', ["training.distillation.teacher=./large"], "`training.distillation.teacher` names no folder"),
        ('{"text": "a"}', ["tokenizer={kind: byte}", "model={preset: gpt2_base_en}"], "comes with a vocabulary"),
        (
            '{"text": "a"}',
            ["tokenizer={preset: gpt2_base_en}", "model={preset: hf://openai-community/gpt2, context_length: 64}"],
            "Download its files and name their folder",
        ),
    ],
)  # fmt: skip
def test_data_and_settings_that_do_not_match_are_refused(
    tmp_path: Path, rows: str, arguments: list[str], message: str
) -> None:
    (tmp_path / "rows.jsonl").write_text(rows + "\n")
    (tmp_path / "recipe.yaml").write_text(RECIPE % "rows.jsonl")
    assert message in refuse(tmp_path, *(part for argument in arguments for part in ("--set", argument)))


def test_a_run_without_its_devices_ends_at_its_start(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("some text")
    (tmp_path / "recipe.yaml").write_text(RECIPE % "text.txt")
    result = subprocess.run(
        [sys.executable, "-m", "pipeline", "run", "--config", "recipe.yaml", "--set", "training.devices=multi_worker"],
        cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 2, result.stdout + result.stderr
    assert "`training.devices: multi_worker` needs workers that run only the Trainer" in result.stderr
    assert not (tmp_path / "workspace/metadata.sqlite").exists()
