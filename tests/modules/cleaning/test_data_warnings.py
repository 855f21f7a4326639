"""Data with which a run is of little use gives one line each, with a cure that works when it is followed."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from modules.cleaning.data_warnings import data_warnings
from modules.cleaning.filters import CleaningSettings, keep_documents
from modules.data.documents import ReadCounts
from modules.data.file_documents import expand_files, read_documents
from modules.data.source import DataSource

WEIGHTS = {"train": 90, "eval": 5, "test": 5}
ENOUGH = {"train": 900, "eval": 50, "test": 50}


def warnings(folder: Path, **settings: Any) -> list[str]:
    """Returns the warnings about the text files of a folder."""
    source, total = DataSource(files=(f"{folder}/*.txt",), **settings), ReadCounts()
    for path in expand_files(source):
        counts = ReadCounts()
        list(keep_documents(read_documents(path, source, counts=counts), CleaningSettings(), counts))
        total.add(counts)
    return data_warnings(total, ENOUGH, WEIGHTS, source.encoding)


def read(folder: Path, **settings: Any) -> list[str]:
    """Returns the documents in the text files of a folder."""
    source = DataSource(files=(f"{folder}/*.txt",), **settings)
    paths = expand_files(source)
    return [document.content for path in paths for document in read_documents(path, source, counts=ReadCounts())]


def proposed(warning: str) -> tuple[str, str]:
    """Returns key and value of the setting that a warning proposes."""
    key, _, value = shlex.split(re.findall("`(--set .*?)`", warning)[0])[1].partition("=")
    return key, value


@pytest.mark.parametrize("separator", ["###", "\n---\n", "blank_line"])
def test_a_separator_that_occurs_nowhere(tmp_path: Path, separator: str) -> None:
    (tmp_path / "a.txt").write_text("One text.\nAnother text.\n")
    (tmp_path / "b.txt").write_text("")
    [warning] = warnings(tmp_path, document_separator=separator)
    assert "occurs in no text file, so each file is one document. Correct it, or leave it out" in warning
    assert "\n" not in warning
    assert proposed(warning) == ("data.document_separator", "null")
    assert warnings(tmp_path, document_separator=None) == []


def test_a_separator_that_occurs_in_few_files(tmp_path: Path) -> None:
    for number in range(11):
        (tmp_path / f"{number}.txt").write_text(f"Text {number}.")
    (tmp_path / "0.txt").write_text("Text.\n###\nText.")
    [warning] = warnings(tmp_path, document_separator="###")
    assert '`data.document_separator` "###" occurs in only 1 of 11 text files' in warning
    (tmp_path / "1.txt").write_text("Text.\n###\n")
    assert warnings(tmp_path, document_separator="###") == []


def test_a_line_feed_that_a_recipe_does_not_make(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("One.\n---\nTwo.")
    [warning] = warnings(tmp_path, document_separator=r"\n---\n")
    assert r"only double quotes make a line feed of \n" in warning
    assert warnings(tmp_path, document_separator="\n---\n") == []


WINDOWS_TEXT = f"He didn’t say “no” for 5 €. {'A long text follows. ' * 90}End."


@pytest.mark.parametrize("encoding", ["latin-1", "ISO-8859-1"])
def test_windows_text_that_is_read_as_latin_1_is_read_as_windows_text(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.txt").write_bytes(WINDOWS_TEXT.encode("cp1252"))
    [warning] = warnings(tmp_path, encoding=encoding)
    assert (
        "4 characters of the documents are traces of a wrong decoding (U+FFFD, U+0080 to U+009F, or such as `Ã¼` for ü)"
        in warning
    )
    assert f"the first in {tmp_path}/a.txt, line 1" in warning
    assert proposed(warning) == ("data.encoding", "cp1252")
    assert read(tmp_path, encoding="cp1252") == [WINDOWS_TEXT]
    assert warnings(tmp_path, encoding="cp1252") == []


@pytest.mark.parametrize(("original", "taken_for"), [("cp1252", "latin-1"), ("utf-8", "latin-1"), ("utf-8", "ascii")])
def test_utf8_that_was_converted_wrongly_is_not_read_in_another_encoding(
    tmp_path: Path, original: str, taken_for: str
) -> None:
    """It would become worse, without a warning; only the original has the text."""
    (tmp_path / "a.txt").write_text(WINDOWS_TEXT.encode(original).decode(taken_for, "replace"), encoding="utf-8")
    [warning] = warnings(tmp_path)
    assert "cp1252" not in warning
    assert warning.endswith("Use the original files, and set `data.encoding` to their encoding if it is not UTF-8.")
    (tmp_path / "a.txt").write_bytes(WINDOWS_TEXT.encode(original))
    cure = {"encoding": original} if original != "utf-8" else {}
    assert read(tmp_path, **cure) == [WINDOWS_TEXT]
    assert warnings(tmp_path, **cure) == []


@pytest.mark.parametrize("total", [120, 400])
def test_an_eval_split_too_small_to_judge_by(total: int) -> None:
    documents = {"train": total - 12, "eval": 6, "test": 6}
    [warning] = data_warnings(ReadCounts(), documents, WEIGHTS, None)
    assert "The eval split has 6 documents, fewer than 30" in warning
    key, value = proposed(warning)
    assert key == "data.splits.eval"
    assert total * int(value) / (95 + int(value)) >= 45
    assert data_warnings(ReadCounts(), documents | {"eval": 30}, WEIGHTS, None) == []


def test_a_tiny_corpus_needs_more_text() -> None:
    [warning] = data_warnings(ReadCounts(), {"train": 40, "eval": 3, "test": 2}, WEIGHTS, None)
    assert warning.endswith("Use more text.")
