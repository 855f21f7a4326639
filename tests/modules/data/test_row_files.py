import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modules.common.errors import InputError
from modules.data import row_files
from modules.data.row_files import read_rows
from tests.toys.checkout import ROOT

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def rows_of(path: Path, columns: tuple[str, ...] = ("text",)) -> list[dict[str, Any]]:
    return [row for _, row in read_rows(str(path), columns, required=False)]


@given(rows=st.lists(st.dictionaries(st.text(), VALUES, max_size=3)), chunk=st.integers(1, 50), indent=st.booleans())
def test_a_json_file_is_read_in_parts_as_if_it_were_parsed_whole(
    tmp_path_factory: pytest.TempPathFactory, rows: list, chunk: int, indent: bool
) -> None:
    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_text(json.dumps(rows, indent=1 if indent else None, ensure_ascii=False), encoding="utf-8")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(row_files, "_CHUNK_BYTES", chunk)
        assert rows_of(path) == rows


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"must hold a list of objects\. Received: ''"),
        ("[{}, ]", r"row 2, line 1: Expecting value"),
        ('[{}\n{"a": 1}]', r"no comma after row 1, but '\{\"a\": 1\}\]'"),
        ("[{}", "no comma after row 1, but ''"),
        ("[{}] x", "text after the list: 'x'"),
        ("[", r"row 1, line 1: Expecting value"),
        ("[1]", r"row 1: each item of a \.json file must be an object"),
        ("[" + "[" * 100_000, "row 1 is nested too deeply"),
        ('[{"a": ' + "9" * 5000 + "}]", r"row 1, line 1: Exceeds the limit"),
    ],
)
def test_an_error_in_a_json_file_names_the_row(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=message):
        rows_of(tmp_path / "a.json")


def write_empty_lists(path: Path) -> None:
    path.write_bytes(b"[" + b"[]," * (80 * 2**20) + b"[]]")


def write_one_row(path: Path) -> None:
    path.write_bytes(b'[{"text": [' + b"[]," * (20 * 2**20) + b"[]]}]")


def write_long_texts(path: Path) -> None:
    text = random.Random(0).randbytes(2**10).hex() * 7500  # 15 MB
    pq.write_table(pa.table({"text": pa.array([text] * 60).dictionary_encode()}), path, compression="zstd")


def write_long_plain_texts(path: Path) -> None:
    schema = pa.schema({"text": pa.string()})
    with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=False) as writer:
        writer.write_table(pa.table({"text": ["x" * (15 * 10**6)] * 60}, schema))


@pytest.mark.parametrize(
    ("name", "write", "expected"),
    [
        ("a.json", write_empty_lists, "row 1: each item of a .json file must be an object"),
        ("a.json", write_one_row, "row 1: a document must be at most 16 MiB"),
        ("a.parquet", write_long_texts, "60 rows"),
        (
            "b.parquet",
            write_long_plain_texts,
            "at most 512 MiB. Received: about 858 MiB in the column 'text'",
        ),
    ],
)
def test_a_small_file_with_large_content_takes_little_memory(
    tmp_path: Path, name: str, write: Callable[[Path], None], expected: str
) -> None:
    write(tmp_path / name)
    code = """if True:
        import sys, time
        from modules.common.errors import InputError
        from modules.data.row_files import read_rows
        start = time.monotonic()
        try:
            print(sum(1 for _ in read_rows(sys.argv[1], ["text"], required=True)), "rows")
        except InputError as error:
            print(error)
        assert time.monotonic() - start < 60
        # Not `ru_maxrss`, which counts the process that started this one.
        print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
        """
    process = [sys.executable, "-c", code, str(tmp_path / name)]
    printed = subprocess.run(process, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    assert expected in printed[0]
    assert int(printed[-1]) < 500_000  # kB


def test_the_cure_for_large_pages_makes_the_file_readable(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_long_plain_texts(path)
    pq.write_table(pq.read_table(path).slice(0, 32), path, row_group_size=16, compression="zstd", use_dictionary=False)
    assert len([None for _ in read_rows(str(path), ["text"], required=True)]) == 32
