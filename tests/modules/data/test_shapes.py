"""The tables of shapes in the documentation of this room are true, row by row."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modules.data.documents import Document, ReadCounts
from modules.data.file_documents import read_documents
from modules.data.messages import UNKNOWN_KEYS
from modules.data.source import DataSource

README = (Path(__file__).parents[3] / "modules" / "data" / "README.md").read_text(encoding="utf-8")
_TABLE = re.compile(r"<!-- shapes: (\w+) -->\n(.*?)<!-- end of shapes -->", re.DOTALL)
_CODE = re.compile(r"`([^`]*)`(?:: (\d+))?")
CELLS = ["shape", "row", "settings", "features, or why it is refused"]


def described() -> Iterator[Any]:
    """Yields kind, row, settings and result of every row of the tables."""
    for kind, table in _TABLE.findall(README):
        heading, _, *lines = ([cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines())
        assert heading == CELLS
        for shape, row, settings, result in lines:
            yield pytest.param(kind, row, settings, result, id=f"{kind}: {shape}")


def read(folder: Path, row: str, **settings: Any) -> tuple[list[Document], ReadCounts]:
    (folder / "a.jsonl").write_text(row + "\n", encoding="utf-8")
    counts = ReadCounts()
    source = DataSource(files=str(folder / "a.jsonl"), template="chat", on_bad_row="drop", **settings)
    return list(read_documents(str(folder / "a.jsonl"), source, counts=counts)), counts


@pytest.mark.parametrize(("kind", "row", "settings", "result"), list(described()))
def test_a_row_becomes_what_the_table_shows(tmp_path: Path, kind: str, row: str, settings: str, result: str) -> None:
    chosen = dict([settings.strip("`").split(": ")]) if settings else {}
    documents, counts = read(tmp_path, row.strip("`").replace("⏎", "\\n"), kind=kind, **chosen)
    (found, _), *changes = _CODE.findall(result)
    if found.startswith("{"):
        features = {name: tuple(texts) for name, texts in json.loads(found.replace("⏎", "\\n")).items()}
        assert ([document.features for document in documents], counts.dropped) == ([features], {})
        assert counts.changed == {name: int(number) for name, number in changes}
    else:
        assert (documents, counts.dropped) == ([], {found: 1})


def test_the_tables_have_rows_of_every_kind() -> None:
    kinds = [kind for kind, _ in _TABLE.findall(README)]
    assert kinds == ["text", "instruction", "preference"]


REFUSED_KEYS = ("train", "loss", "mask", "labels", "logprobs", "thinking", "reasoning_content", "refusal", "images")


@pytest.mark.parametrize("key", REFUSED_KEYS)
def test_a_key_that_would_change_what_is_learned_is_refused_and_empty_is_no_key(tmp_path: Path, key: str) -> None:
    for value, dropped in (("x", {"bad_row_unsupported_key": 1}), (None, {}), ([], {}), ("", {})):
        messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!", key: value}]
        _, counts = read(tmp_path, json.dumps({"messages": messages}), kind="instruction")
        assert (counts.dropped, counts.changed) == (dropped, {}), value


@pytest.mark.parametrize("column", ["tools", "functions", "history", "weights", "loss_mask", "images", "thinking"])
@pytest.mark.parametrize("kind", ["instruction", "preference"])
def test_a_column_that_would_change_what_is_learned_is_refused(tmp_path: Path, kind: str, column: str) -> None:
    row = {"prompt": "Hi", "completion": "Hello!", "chosen": "Hello!", "rejected": "What?"}
    for value, dropped in (("x", {"bad_row_unsupported_column": 1}), (None, {}), ([], {})):
        _, counts = read(tmp_path, json.dumps({**row, column: value}), kind=kind)
        assert counts.dropped == dropped, value


def test_harmless_keys_are_ignored_and_others_are_counted(tmp_path: Path) -> None:
    user = {"role": "user", "content": "Hi", "id": 1, "name": "Ann", "timestamp": 5, "metadata": {"a": 1}}
    reply = {"role": "assistant", "content": "Hello!", "mood": "good", "tone": "warm"}
    documents, counts = read(tmp_path, json.dumps({"messages": [user, reply]}), kind="instruction")
    assert len(documents) == 1
    assert counts.changed == {UNKNOWN_KEYS: 2}
