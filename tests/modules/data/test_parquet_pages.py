"""Parquet files are read by bytes: a small file may hold gigabytes of text."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modules.data.parquet_pages import batch_rows
from modules.data.row_files import read_rows
from tests.toys import bounded


def long_texts(path: Path, *, rows: int, megabytes: int, repeated: bool, **settings: object) -> int:
    """Writes rows of long texts, and short ones before them; returns the file's bytes."""
    with pq.ParquetWriter(path, pa.schema({"text": pa.string()}), compression="zstd", **settings) as writer:
        writer.write_table(pa.table({"text": ["short"] * 5000}))
        for row in range(rows):
            text = ("a" if repeated else chr(97 + row % 26)) * (10**6 * megabytes)
            writer.write_batch(pa.record_batch({"text": [text]}))
    return path.stat().st_size


@pytest.mark.parametrize("repeated", [True, False], ids=["one text", "several texts"])
def test_texts_of_15_mb_in_a_small_file_are_read_in_little_memory(tmp_path: Path, repeated: bool) -> None:
    settings = {"dictionary_pagesize_limit": 2**26} if repeated else {"use_dictionary": False}
    size = long_texts(tmp_path / "a.parquet", rows=50, megabytes=15, repeated=repeated, **settings)
    assert size < 300_000
    outcome = bounded.call("tests.modules.data.test_parquet_pages", "characters", str(tmp_path / "a.parquet"))
    assert outcome.message == str(5 * 5000 + 50 * 15 * 10**6)
    assert outcome.peak_bytes < bounded.MAX_BYTES


def test_a_page_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    long_texts(tmp_path / "a.parquet", rows=1, megabytes=70, repeated=False, use_dictionary=False)
    message = bounded.refusal("tests.modules.data.test_parquet_pages", "characters", str(tmp_path / "a.parquet"))
    assert "a page of a Parquet file may take at most 64 MiB" in message
    assert "Received: 67 MiB in row group 2." in message


def test_batches_are_sized_by_the_largest_page(tmp_path: Path) -> None:
    def rows(table: pa.Table, columns: list[str], **settings: object) -> int:
        pq.write_table(table, tmp_path / "a.parquet", **settings)
        with (tmp_path / "a.parquet").open("rb") as file:
            return batch_rows(file, pq.ParquetFile(file).metadata, 0, columns, "a.parquet")

    # Eight values of 1 MiB are one page or eight; a batch may take 32 MiB.
    table = pa.table({"long": ["x" * 2**20] * 8, "short": ["x"] * 8, "list": [["x" * 2**20]] * 8})
    plain = {"use_dictionary": False, "write_statistics": True, "data_page_version": "2.0"}
    assert rows(table, ["long"], **plain, write_batch_size=8) == 3
    assert rows(table, ["long"], **plain, write_batch_size=1) == 31
    assert rows(table, ["short", "list"], **plain, write_batch_size=8) == 4
    assert rows(table, ["short"], **plain) == 256
    assert rows(table, ["long"]) == 31


def test_every_encoding_version_and_row_group_is_read(tmp_path: Path) -> None:
    texts = [f"{number} " * (number % 50) for number in range(3000)]
    for version in ("1.0", "2.0"):
        for encoding in ("PLAIN", "DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY", None):
            settings = {"use_dictionary": False, "column_encoding": {"text": encoding}} if encoding else {}
            path = tmp_path / "a.parquet"
            pq.write_table(
                pa.table({"n": range(3000), "text": texts}),
                path, row_group_size=700, data_page_size=1000, data_page_version=version, **settings,
            )  # fmt: skip
            assert [row["text"] for _, row in read_rows(str(path), ["text"], required=True)] == texts


def test_damaged_page_headers_are_an_error_of_the_file(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["some text"] * 100}), tmp_path / "a.parquet")
    content = (tmp_path / "a.parquet").read_bytes()
    for seed in range(20):
        (tmp_path / "a.parquet").write_bytes(content[:4] + os.urandom(24) + content[28:])
        message = bounded_message(str(tmp_path / "a.parquet"))
        assert message is None or "cannot be read as Parquet after row 0" in message or "a page of a" in message, seed


def bounded_message(path: str) -> str | None:
    from modules.common.errors import InputError

    try:
        list(read_rows(path, ["text"], required=True))
    except InputError as error:
        return str(error)
    return None


def characters(path: str) -> None:
    """Reports the number of characters as an InputError; called in a process of its own."""
    from modules.common.errors import InputError

    raise InputError(str(sum(len(row["text"]) for _, row in read_rows(path, ["text"], required=True))))
