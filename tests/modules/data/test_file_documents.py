"""Every file format gives the same texts, and every fault has its own message."""

import gzip
import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modules.common.errors import InputError
from modules.data import file_documents
from modules.data.corpus import check_source
from modules.data.documents import Document, ReadCounts
from modules.data.file_documents import expand_files, read_documents, relative_names
from modules.data.source import DataSource

TEXTS = ["One, two.", 'He said "no".\nTwice.', "Grüße, 世界 \U0001f600"]


def texts(path, counts=None, **settings) -> list[str]:
    source = DataSource(files=str(path), **settings)
    paths = expand_files(source)
    return [document.content for path in paths for document in read_documents(path, source, counts=counts)]


def write_all_formats(folder) -> dict[str, object]:
    """Writes `TEXTS` once per format; the column is called `body`."""
    rows = [{"id": index, "body": text} for index, text in enumerate(TEXTS)]
    json_lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    doubled = [text.replace('"', '""') for text in TEXTS]
    csv = "id,body\r\n" + "".join(f'{index},"{text}"\r\n' for index, text in enumerate(doubled))
    (folder / "a.jsonl").write_text(json_lines, encoding="utf-8")
    (folder / "a.csv").write_text(csv, encoding="utf-8", newline="")
    (folder / "a.txt").write_text("\n%%\n".join(TEXTS), encoding="utf-8")
    (folder / "a.csv.gz").write_bytes(gzip.compress(csv.encode()))
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(json_lines.encode()))
    (folder / "a.json").write_text("\ufeff" + json.dumps(rows, ensure_ascii=False, indent=1), encoding="utf-8")
    pq.write_table(pa.Table.from_pylist(rows), folder / "a.parquet")
    (folder / "a.tsv").write_text(csv.replace("id,", "id\t").replace(',"', '\t"'), encoding="utf-8", newline="")
    for name, content in (("b.csv.zst", csv), ("b.jsonl.zst", json_lines)):
        (folder / name).write_bytes(zstandard(content.encode()))
    names = ("a.jsonl", "a.json", "a.csv", "a.tsv", "a.csv.gz", "a.jsonl.gz", "a.parquet", "b.csv.zst", "b.jsonl.zst")
    return {name: folder / name for name in names}


def zstandard(content: bytes) -> bytes:
    """Compresses in two frames, as tools that work in parallel do."""
    middle = len(content) // 2
    frames = (pa.compress(part, codec="zstd", asbytes=True) for part in (content[:middle], content[middle:]))
    return b"".join(frames)


class TestReading:
    def test_every_format_gives_the_same_texts(self, tmp_path):
        for path in write_all_formats(tmp_path).values():
            assert texts(path, text_column="body") == TEXTS, path
        assert texts(tmp_path / "a.txt", document_separator="\n%%\n") == TEXTS

    def test_a_text_file_is_one_document(self, tmp_path):
        (tmp_path / "b.md").write_text("# B\n\nb\n")
        (tmp_path / "a.txt").write_text("a\n\na\n")
        assert texts(tmp_path / "*") == ["a\n\na\n", "# B\n\nb\n"]

    def test_blank_lines_separate_documents(self, tmp_path):
        (tmp_path / "a.txt").write_bytes(b"\r\nFirst:\r\nSpeak.\r\n\r\n \t\r\nAll:\r\nSpeak, speak.")
        assert texts(tmp_path / "a.txt", document_separator="blank_line") == ["First:\nSpeak.", "All:\nSpeak, speak."]

    def test_a_literal_separator_is_found_across_pieces_of_a_stream(self, tmp_path, monkeypatch):
        monkeypatch.setattr("modules.data.text_files._PIECE_CHARACTERS", 4)
        (tmp_path / "a.txt").write_text("a\n<|end|>b<|end|>\nc\n---\n<|end|>")
        assert texts(tmp_path / "a.txt", document_separator="<|end|>") == ["a\n", "b", "\nc\n---\n"]
        (tmp_path / "a.txt").write_text("a\n\n---\nb\n---\nc")
        assert texts(tmp_path / "a.txt", document_separator="\n---\n") == ["a\n", "b", "c"]

    def test_control_characters_and_empty_documents_are_dropped_and_counted(self, tmp_path):
        rows = ["a\x00b\tc\r\nd\re\x85\x7f", " \n\t", "", "\x01", "é\u200b"]
        (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in rows))
        counts = ReadCounts()
        assert texts(tmp_path / "a.jsonl", counts) == ["ab\tc\nd\re\x85", "é\u200b"]
        assert counts == ReadCounts(dropped={"empty": 3}, changed={"control_characters_removed": 3})

    def test_a_byte_order_mark_is_not_part_of_the_text(self, tmp_path):
        (tmp_path / "a.txt").write_bytes("\ufeffabc".encode())
        (tmp_path / "a.csv").write_bytes("\ufefftext\nabc\n".encode())
        assert texts(tmp_path / "a.*") == ["abc", "abc"]

    def test_a_csv_field_may_be_long(self, tmp_path):
        (tmp_path / "a.csv").write_text("text\n" + "x" * 200_000 + "\n")
        assert [len(text) for text in texts(tmp_path / "a.csv")] == [200_000]

    def test_the_place_of_a_row_is_its_first_line(self, tmp_path):
        (tmp_path / "a.csv").write_text('text\n"a\nb"\nc\n')
        source = DataSource(files=str(tmp_path / "a.csv"))
        places = [document.place for document in read_documents(str(tmp_path / "a.csv"), source)]
        assert places == [f"{tmp_path}/a.csv, line 2", f"{tmp_path}/a.csv, line 4"]

    def test_a_document_names_its_source_relative_to_the_common_folder(self, tmp_path):
        (tmp_path / "a.txt").write_text("a")
        source = DataSource(files=str(tmp_path / "a.txt"))
        path = str(tmp_path / "a.txt")
        assert list(read_documents(path, source)) == [Document.of_text("a", "a.txt")]
        assert relative_names(["/d/x.txt", "/d/e/y.md"]) == {"/d/x.txt": "x.txt", "/d/e/y.md": "e/y.md"}


BAD_FILES = {
    "latin1.txt": (b"one\ntwo \xe9\n", r"latin1\.txt is not UTF-8: line 2, byte 8\. Received: 0xe9"),
    "utf16.txt": (
        "hello".encode("utf-16")[:-1],
        r"is not UTF-16-LE: line 1, byte 10\. Received: 0x6f .* copy it again",
    ),
    "bom.txt": (b"\xef\xbb\xbfab\xff", r"line 1, byte 5\. Received: 0xff"),
    "broken.jsonl": (b'{"text": "a"}\n{"text": \n', r"broken\.jsonl, line 2: not valid JSON"),
    "list.jsonl": (b'["a"]\n', r"list\.jsonl, line 1: each line of a \.jsonl file must be a JSON object"),
    "column.jsonl": (b'{"body": "a", "id": 1}\n', r"no column 'text'\. It has: 'body', 'id'\. Set `text_column`"),
    "null.jsonl": (b'{"text": "a"}\n\n{"text": null}', r"line 3: 'text' must be a string\. Received: null\."),
    "surrogate.jsonl": (b'{"text": "\\ud800"}\n', r"lone surrogate \\ud800"),
    "column.csv": (b"body,id\na,1\n", r"column\.csv, header: there is no column 'text'\. It has: 'body', 'id'"),
    "ragged.csv": (b"text,id\na,1\nb\n", r"ragged\.csv, line 3: each row must have the header's 2 fields"),
    "open.csv": (b'text\n"a\n', r"open\.csv, line 2: not valid CSV \(unexpected end of data\)"),
    "short.txt.gz": (gzip.compress(os.urandom(500).hex().encode())[:300], r"short\.txt\.gz is not a whole gzip file"),
    "plain.txt.gz": (b"not compressed", r"plain\.txt\.gz is not a whole gzip file"),
    "short.jsonl.zst": (
        zstandard(os.urandom(500).hex().encode())[:300],
        r"short\.jsonl\.zst cannot be read: (Truncated compressed|ZSTD)",
    ),
    "plain.jsonl.zst": (b"not compressed", r"plain\.jsonl\.zst cannot be read: ZSTD decompress failed"),
    "cut.parquet": (b"PAR1" + bytes(64), r"cut\.parquet cannot be read as Parquet after row 0"),
    "broken.json": (b'[{"text": "a"},\n {"text": ]', r"broken\.json: not valid JSON .*line 2"),
    "object.json": (b'{"text": "a"}', r"object\.json: a \.json file must hold a list of objects"),
    "items.json": (
        b'[{"text": "a"}, 7]',
        r"items\.json, row 2: each item of a \.json file must be an object .* Received: 7",
    ),
    "latin1.json": (b'[{"text": "\xe9"}]', r"latin1\.json is not UTF-8: line 1, byte 11\. Received: 0xe9"),
    "digits.jsonl": (b'{"text": "a", "id": ' + b"7" * 5000 + b"}\n", r"digits\.jsonl, line 1: not valid JSON .*4300"),
    "twice.csv": (b"text,text\na,b\n", r"twice\.csv, header: the column 'text' is there twice"),
    "a.docx": (b"PK", r"must end in one of \.txt, \.md, \.jsonl, \.json, \.csv, \.tsv, \.parquet, \.arrow.*a\.docx"),
}


class TestFaults:
    @pytest.mark.parametrize("name", BAD_FILES)
    def test_a_bad_file_is_named_with_place_and_cure(self, tmp_path, name):
        content, message = BAD_FILES[name]
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=message):
            texts(tmp_path / name)
        with pytest.raises(InputError, match=message):
            check_source(DataSource(files=str(tmp_path / name)))

    @pytest.mark.parametrize(
        ("values", "message"),
        [([1, 2], "column 'text' must hold strings. Received: int64"), (["a", None], "row 2: 'text' must be a string")],
    )
    def test_a_parquet_column_must_hold_strings(self, tmp_path, values, message):
        pq.write_table(pa.table({"text": values}), tmp_path / "a.parquet")
        with pytest.raises(InputError, match=message):
            texts(tmp_path / "a.parquet")

    def test_a_truncated_parquet_file_is_an_error(self, tmp_path):
        pq.write_table(pa.table({"text": ["some text"] * 100}), tmp_path / "a.parquet")
        (tmp_path / "a.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-20])
        with pytest.raises(InputError, match=r"a\.parquet cannot be read as Parquet"):
            texts(tmp_path / "a.parquet")

    def test_a_glob_without_files_and_a_folder_are_errors(self, tmp_path):
        with pytest.raises(InputError, match=r"No file matches .*nothing\*\.txt"):
            texts(tmp_path / "nothing*.txt")
        with pytest.raises(InputError, match=r"names files, not a folder"):
            texts(tmp_path)

    @pytest.mark.parametrize(
        "pattern", ["/proc/**", "/proc/self/*.txt", "/sys/**/*.txt", "/**", "/**/*.txt", "/proc/version"]
    )
    def test_the_systems_own_folders_are_not_searched(self, pattern):
        with pytest.raises(InputError, match=r"not the system's own folders /proc and /sys\. Received: ") as caught:
            expand_files(DataSource(files=pattern))
        assert pattern in str(caught.value)

    def test_a_glob_of_too_many_files_is_refused(self, tmp_path, monkeypatch):
        monkeypatch.setattr(file_documents, "MAX_FILES", 3)
        for number in range(4):
            (tmp_path / f"{number}.txt").touch()
        with pytest.raises(InputError, match=r"at most 3 files and folders\. Received: .*, which matches more"):
            texts(tmp_path / "*.txt")

    def test_a_document_above_the_size_limit_is_an_error(self, tmp_path, monkeypatch):
        monkeypatch.setattr("modules.data.data_files.MAX_DOCUMENT_BYTES", 10)
        for content, separator in (("123456789012", None), ("12345\n67890\n", None), ("12345\n67890\n", "%%")):
            (tmp_path / "a.txt").write_text(content)
            with pytest.raises(InputError, match=r"a document must be at most .* set `document_separator`"):
                texts(tmp_path / "a.txt", document_separator=separator)

    def test_the_size_limit_counts_bytes_in_every_format(self, tmp_path, monkeypatch):
        monkeypatch.setattr("modules.data.data_files.MAX_DOCUMENT_BYTES", 50)
        pq.write_table(pa.table({"text": ["世界" * 10]}), tmp_path / "a.parquet")
        (tmp_path / "a.json").write_text(json.dumps([{"text": "世界" * 10}]))
        for name in ("a.parquet", "a.json"):
            with pytest.raises(InputError, match=f"{name}, row 1: a document must be at most"):
                texts(tmp_path / name)
