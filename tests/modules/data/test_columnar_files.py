"""Rows of Parquet and Arrow files: nested and null columns, damaged files, bounded memory."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modules.common.errors import InputError
from modules.data.columnar_files import read_arrow
from modules.data.documents import ReadCounts
from modules.data.file_documents import read_documents
from modules.data.source import DataSource


def write(path: Path, rows: list[dict[str, Any]], form: str) -> str:
    """Writes rows as Parquet, in Arrow's stream format, or in its file format with compression."""
    table = pa.Table.from_pylist(rows)
    if form == "parquet":
        pq.write_table(table, path)
    else:
        options = pa.ipc.IpcWriteOptions(compression="zstd" if form == "file" else None)
        create = pa.ipc.new_file if form == "file" else pa.ipc.new_stream
        with pa.OSFile(str(path), "wb") as file, create(file, table.schema, options=options) as writer:
            writer.write_table(table)
    return str(path)


def features(path: str, counts: ReadCounts | None = None, **settings: Any) -> list[dict[str, tuple[str, ...]]]:
    source = DataSource(files=path, **settings)
    return [dict(document.features) for document in read_documents(path, source, counts=counts)]


@pytest.fixture(params=["parquet", "stream", "file"])
def form(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def path(tmp_path: Path, form: str) -> Path:
    return tmp_path / ("a.parquet" if form == "parquet" else "a.arrow")


def test_every_form_gives_the_same_texts(path: Path, form: str) -> None:
    rows = [{"id": number, "text": f"Text {number}."} for number in range(1000)]
    assert features(write(path, rows, form)) == [{"text": (row["text"],)} for row in rows]


def test_a_nested_column_is_read_and_a_literal_name_precedes_it(path: Path, form: str) -> None:
    rows: list[dict[str, Any]] = [{"meta": {"text": "One.", "id": 1}}, {"meta": {"text": "Two.", "id": 2}}]
    found = features(write(path, rows, form), text_column="meta.text")
    assert found == [{"text": ("One.",)}, {"text": ("Two.",)}]
    rows = [{"meta": {"text": "One."}, "meta.text": "Literal."}]
    assert features(write(path, rows, form), text_column="meta.text") == [{"text": ("Literal.",)}]


def test_the_error_about_an_object_names_the_nested_column_that_works(path: Path, form: str) -> None:
    name = write(path, [{"meta": {"text": "One."}}], form)
    with pytest.raises(InputError, match=r"Received: objects\. Set `text_column` to meta\.text\."):
        features(name, text_column="meta")
    assert features(name, text_column="meta.text") == [{"text": ("One.",)}]
    with pytest.raises(InputError, match=r"no column 'body'\. It has: 'meta\.text'\. Set `text_column`"):
        features(name, text_column="body")


def test_columns_of_joined_tables_that_are_null_do_not_exist(path: Path, form: str) -> None:
    messages = [{"role": "user", "content": "Hi", "tool_calls": None}, {"role": "assistant", "content": "Hello!"}]
    rows: list[dict[str, Any]] = [
        {"messages": messages, "prompt": None, "completion": None, "tools": None},
        {"messages": None, "prompt": "Hi", "completion": "Hello!", "tools": None},
    ]
    expected = {"prompt": ("User:\nHi\n\nAssistant:\n",), "completion": ("Hello!",)}
    assert features(write(path, rows, form), kind="instruction", template="chat") == [expected, expected]


def test_a_column_that_would_change_what_is_learned_is_read_to_be_refused(path: Path, form: str) -> None:
    rows = [{"prompt": "Hi", "completion": "Hello!", "tools": "[…]"}]
    with pytest.raises(InputError, match="row 1: the column `tools` changes what is learned"):
        features(write(path, rows, form), kind="instruction")


def test_null_texts_are_bad_rows(path: Path, form: str) -> None:
    counts = ReadCounts()
    found = features(write(path, [{"text": "One."}, {"text": None}], form), counts, on_bad_row="drop")
    assert (found, counts.dropped) == ([{"text": ("One.",)}], {"bad_row_missing_column": 1})


@pytest.mark.parametrize("form", ["stream", "file"])
def test_a_damaged_arrow_file_is_an_error(path: Path, form: str) -> None:
    rows = [{"text": f"Text {number}."} for number in range(1000)]
    whole = Path(write(path, rows, form)).read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"text"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"a\.arrow cannot be read as Arrow after row 0 \("):
            list(read_arrow(str(path), ["text"], required=True))


def test_a_row_that_is_too_long_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modules.data.data_files.MAX_DOCUMENT_BYTES", 100)
    name = write(tmp_path / "a.arrow", [{"text": "short"}, {"text": "x" * 200}, {"text": "short"}], "stream")
    monkeypatch.setattr("modules.data.columnar_files.MAX_BATCH_BYTES", 50)
    with pytest.raises(InputError, match=r"a\.arrow, row 2: a document must be at most"):
        list(read_arrow(name, ["text"], required=True))
