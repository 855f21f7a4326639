"""Rows whose parsing would need too much memory are refused; `test_file_documents` tests what rows are read."""

import re
from pathlib import Path

import pytest

from modules.data.row_files import read_rows
from tests.toys import bounded

EMPTY = b"[]," * 5_000_000
BAD_ROWS = {
    "deep.jsonl": (b"[" * 100_000, r"line 1: not valid JSON .*recursion"),
    "levels.jsonl": (b'{"text": ' + b"[" * 200 + b"]" * 200 + b"}", r"line 1: JSON may have at most 100 arrays"),
    "items.jsonl": (b'{"text": [' + EMPTY + b"[]]}", r"items\.jsonl, line 1: JSON may hold at most 1,000,000 items"),
    "long.jsonl": (b'{"text": "' + b"x" * 2**24 + b'"}', r"long\.jsonl, line 1: a document must be at most 16 MiB"),
    "deep.json": (b"[" * 100_000, r"row 1: each item of a \.json file must be an object .* Received: \[\[\["),
    "inside.json": (b'[{"text": ' + b"[" * 100_000, r"row 1: JSON may have at most 100 arrays"),
    "levels.json": (b'[{"text": ' + b"[" * 200 + b"]" * 200 + b"}]", r"row 1: JSON may have at most 100 arrays"),
    "items.json": (b'[{"text": [' + EMPTY + b"[]]}]", r"items\.json, row 1: JSON may hold at most 1,000,000 items"),
    "long.json": (b'[{"text": "' + b"x" * 2**24 + b'"}]', r"long\.json, row 1: a document must be at most 16 MiB"),
    "cut.json": (b'[{"text": "' + b"x" * 2**23, r"cut\.json: not valid JSON \(Unterminated string .* in line 1\)"),
    "fields.csv": (b"text\n" + b"ab," * 5_500_000, r"line 2: a row may have at most 1,000,000 fields"),
    "header.csv": (b"ab," * 5_500_000 + b"\n", r"line 1: a row may have at most 1,000,000 fields"),
    "names.csv": (b",".join(b"%d" % number for number in range(10**6)), r"It has: '0', '1', .*'19', …\. Set"),
    "quoted.csv": (b'text\n"' + b"," * 2_000_000 + b'",b\n', r"line 2: each row must have the header's 1 fields"),
    "lines.csv": (
        b'text\n"' + (b"a" * 99 + b"\n") * 200_000 + b'"\n',
        r"lines\.csv, line \d+: a document must be at most",
    ),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_a_row_that_needs_too_much_memory_is_refused(tmp_path: Path, name: str) -> None:
    content, message = BAD_ROWS[name]
    (tmp_path / name).write_bytes(content)
    assert re.search(message, bounded.refusal("tests.modules.data.test_row_files", "read", str(tmp_path / name)))


def test_240_mb_of_empty_lists_are_refused_at_the_first(tmp_path: Path) -> None:
    with (tmp_path / "a.json").open("wb") as file:
        file.write(b"[")
        for _ in range(16):
            file.write(EMPTY)
        file.write(b"[]]")
    message = bounded.refusal("tests.modules.data.test_row_files", "read", str(tmp_path / "a.json"))
    assert "row 1: each item of a .json file must be an object such as" in message


def test_blank_lines_of_a_csv_file_are_in_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modules.data.data_files.MAX_DOCUMENT_BYTES", 20)
    (tmp_path / "a.csv").write_text("text\n" + "\n" * 100 + '"a\n\nb"\nc\n')
    rows = list(read_rows(str(tmp_path / "a.csv"), ["text"], required=True))
    assert rows == [(f"{tmp_path}/a.csv, line 102", {"text": "a\n\nb"}), (f"{tmp_path}/a.csv, line 105", {"text": "c"})]


def read(path: str) -> None:
    """Reads all rows; called in a process of its own."""
    for _ in read_rows(path, ["text"], required=True):
        pass
