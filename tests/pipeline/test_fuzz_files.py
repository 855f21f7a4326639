"""Damaged files of every format end in an InputError, never in another exception."""

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modules.data.examples import ExampleCounts
from modules.data.file_documents import read_documents
from modules.data.source import DataSource
from modules.evaluation.gates import read_checks
from modules.evaluation.multiple_choice import read_questions
from modules.evaluation.results import Evaluation
from modules.evaluation.task_figures import read_task_figures
from modules.evaluation.tflite_results import read_results
from modules.model import huggingface, presets
from modules.release.manifest import Manifest, prompt_template
from modules.tokenization.tokenizer_files import check_fits
from modules.tokenization.vocabulary import Vocabulary
from modules.tokenization.vocabulary_files import (
    read_gpt2_files,
    read_table,
    read_tokenizer_json,
    write_table,
    write_tokenizer_folder,
)
from modules.training.record import TrainingRecord
from tests.toys.fuzz import JSON, TEXT, damaged, fuzzed, mutated, only_input_errors
from tests.toys.huggingface_folder import write_folder


def parquet(rows: list[dict[str, str]]) -> bytes:
    """Returns a Parquet file of the rows."""
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


TEXTS = [{"text": 'One "quoted", text.'}, {"text": "Größe\n漢字"}]
TURNS = [{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]}]
PAIRS = [{"prompt": "Hi", "chosen": "Hello!", "rejected": "What?"}]
DATA: dict[str, tuple[str, bytes]] = {
    "a.txt": ("text", "One.\n\nTwo ü.\n".encode()),
    "a.md": ("text", b"# One\n\nTwo.\n"),
    "a.txt.gz": ("text", gzip.compress(b"One.\n\nTwo.\n", mtime=0)),
    "a.jsonl": ("text", "\n".join(map(json.dumps, TEXTS)).encode()),
    "turns.jsonl": ("instruction", "\n".join(map(json.dumps, TURNS)).encode()),
    "pairs.jsonl": ("preference", "\n".join(map(json.dumps, PAIRS)).encode()),
    "a.json": ("text", json.dumps(TEXTS).encode()),
    "a.csv": ("text", b'text,other\n"a ""b"", c",1\nd,2\n'),
    "a.parquet": ("text", parquet(TEXTS)),
}


@fuzzed
@given(name=st.sampled_from(sorted(DATA)), separator=st.none() | st.just("blank_line") | st.just("e"), choice=st.data())
def test_any_data_file_is_read_or_refused(
    tmp_path: Path, name: str, separator: str | None, choice: st.DataObject
) -> None:
    kind, content = DATA[name]
    path = tmp_path / name
    path.write_bytes(damaged(content, choice))
    source = DataSource(files=(str(path),), kind=kind, document_separator=separator)
    with only_input_errors():
        list(read_documents(str(path), source))


@fuzzed
@given(kind=st.sampled_from(["text", "instruction", "preference"]), choice=st.data())
def test_any_rows_are_read_or_refused(tmp_path: Path, kind: str, choice: st.DataObject) -> None:
    rows = mutated({"text": TEXTS, "instruction": TURNS, "preference": PAIRS}[kind], choice, JSON)
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(rows))
    with only_input_errors():
        list(read_documents(str(path), DataSource(files=(str(path),), kind=kind)))


def _vocabulary(folder: Path) -> None:
    write_tokenizer_folder(Vocabulary.from_merges([(0, 1)]), folder)
    write_table(Vocabulary.from_merges([(0, 1)]), folder / "vocabulary.tsv")


QUESTIONS = (
    '{"prompt": "1 + 1 =", "choices": ["2", "3"], "answer": 0}\n{"ctx": "a", "endings": ["b", "c"], "label": "1"}\n'
)
CHECKS = [
    {
        "metric": "perplexity",
        "measured": 1.5,
        "limit": 2,
        "bound": "at most",
        "of": "",
        "limit_from": "a",
        "percent": False,
    }
]
MANIFEST = {"version": "1", "data": {"prompt_template": "headings"}, "files": {"a": {"sha256": "0", "size_bytes": 1}}}
TRAINING = {
    "parameters": 5,
    "loss": [
        {"step": 1, "loss": 2.0, "learning_rate": 0.1, "gradient_norm": 1.0, "tokens_per_second": 9.0, "memory_mb": 1.0}
    ],
    "samples": [{"prompt": "a", "before": None, "after": "b"}],
}  # fmt: skip
TFLITE = {
    "int8": {
        "perplexity": 2.0, "float_perplexity": 2.0, "rise": 0.0, "documents": 1, "tokens": 2, "greedy_agreement": None,
        "decode_tokens_per_second": 1.0, "float_decode_tokens_per_second": 1.0, "size_bytes": 3, "sha256": "0",
        "passed": True, "released": True, "verdict": "good",
    }
}  # fmt: skip
COUNTS = {
    "documents": {"train": 1}, "bytes": {"train": 1}, "dropped": {}, "changed": {}, "secrets": {},
    "secret_places": [],
}  # fmt: skip
TASKS = {"memorisation": None, "tasks": [{"kind": "answers", "rows": 1}]}
CONFIG = {
    "module": "keras_hub.src.models.gpt2.gpt2_backbone", "class_name": "GPT2Backbone",
    "config": {
        "dtype": {"module": "keras", "class_name": "DTypePolicy"}, "vocabulary_size": 258, "max_sequence_length": 16,
    },
    "registered_name": "keras_hub>GPT2Backbone",
}  # fmt: skip
FILES: dict[str, tuple[Any, Callable[[Path], Any]]] = {
    "manifest.json": (MANIFEST, lambda path: (Manifest.read(path.parent), prompt_template(path.parent))),
    "training.json": (TRAINING, lambda path: TrainingRecord.read(path.parent)),
    "files.json": (TFLITE, lambda path: read_results(path.parent)),
    "checks.json": (CHECKS, lambda path: [check.sentence for check in read_checks(path.parent)]),
    "counts.json": (COUNTS, lambda path: ExampleCounts.read(path.parent)),
    "metrics.json": ({"slices": []}, lambda path: Evaluation.read(path.parent)),
    "tasks.json": (TASKS, lambda path: read_task_figures(path.parent)),
    "questions.jsonl": (QUESTIONS, read_questions),
    "config.json": (
        CONFIG,
        lambda path: (presets.check_classes(str(path.parent)), presets.read_sizes(str(path.parent))),
    ),
    "vocabulary.json": (None, lambda path: read_gpt2_files(path, path.parent / "merges.txt")),
    "merges.txt": (None, lambda path: read_gpt2_files(path.parent / "vocabulary.json", path)),
    "tokenizer.json": (None, read_tokenizer_json),
    "vocabulary.tsv": (None, read_table),
}


@pytest.mark.parametrize("name", FILES)
@fuzzed
@given(choice=st.data())
def test_any_file_of_a_run_a_release_or_a_preset_is_read_or_refused(
    tmp_path: Path, name: str, choice: st.DataObject
) -> None:
    content, read = FILES[name]
    path = tmp_path / name
    if content is None:
        _vocabulary(tmp_path)
        content = path.read_text(encoding="utf-8")
        if name.endswith(".json"):
            content = json.loads(content)
    if isinstance(content, str) or choice.draw(st.booleans()):
        raw = content if isinstance(content, str) else json.dumps(content)
        path.write_bytes(damaged(raw.encode(), choice))
    else:
        path.write_text(json.dumps(mutated(content, choice, JSON)))
    with only_input_errors():
        read(path)


@fuzzed
@given(choice=st.data())
def test_any_folder_of_hugging_face_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, choice: st.DataObject
) -> None:
    folder = Path(str(write_folder(tmp_path_factory.mktemp("huggingface"), vocab_size=258)))
    _vocabulary(folder)
    path = choice.draw(st.sampled_from(sorted(path for path in folder.iterdir() if path.is_file())))
    content = path.read_bytes()
    if path.name == "config.json" and choice.draw(st.booleans()):
        values = st.integers() | st.integers(-2, 40) | st.none() | st.booleans() | TEXT
        path.write_text(json.dumps(mutated(json.loads(content), choice, values)))
    else:
        path.write_bytes(damaged(content, choice))
    with only_input_errors():
        if huggingface.is_folder(folder):
            huggingface.check_folder(folder)
        check_fits({"preset": str(folder)}, str(folder))
        presets.check_positions(str(folder), 16)
