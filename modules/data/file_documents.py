"""Documents from files: expands globs, makes names relative, and reads each file with the reader of its kind."""

import glob
import itertools
import os
import re
from collections.abc import Iterator

from modules.common.errors import InputError
from modules.data import records
from modules.data.data_files import TEXT_KINDS, check_size, file_kind
from modules.data.documents import Document, ReadCounts, tidy
from modules.data.prompt_templates import TEMPLATES
from modules.data.row_files import read_rows
from modules.data.source import DataSource
from modules.data.text_files import read_texts

MAX_FILES = 1_000_000
_SYSTEM_FOLDERS = ("/proc", "/sys")
_MAGIC = re.compile(r"[*?\[]")


def expand_files(source: DataSource) -> list[str]:
    """Returns the paths that the source's globs match, sorted and without duplicates.

    Raises:
        InputError: A glob matches no file or is a folder, or a file's kind cannot be read.
    """
    paths: set[str] = set()
    for pattern in source.files or ():
        expanded = os.path.expanduser(pattern)
        # A file name may contain [ or *. If such a file exists, the pattern means this file.
        _check_folder(expanded, pattern)
        found = [expanded] if os.path.isfile(expanded) else _matches(expanded, pattern)
        if os.path.isdir(expanded):
            raise InputError(
                f"A source names files, not a folder. Received: {pattern}. Write for example {pattern}/*.txt."
            )
        files = [path for path in found if os.path.isfile(path)]
        if not files:
            raise InputError(
                f"No file matches {pattern} (searched from {os.getcwd()}). Check the spelling, or write a glob such "
                f"as data/**/*.txt."
            )
        paths.update(files)
    for path in paths:
        if file_kind(path) in TEXT_KINDS and source.kind != "text":
            raise InputError(
                f"`kind: {source.kind}` needs files of rows: .jsonl, .json, .csv or .parquet. Received: {path}. "
                "Convert it, or set `data.kind: text`."
            )
    return sorted(paths)


def _check_folder(path: str, pattern: str) -> None:
    """Checks that a glob does not search the system's own folders, which never end or hold no text."""
    folder = os.path.realpath(os.path.dirname(_MAGIC.split(path, maxsplit=1)[0]))
    searches_all = folder == "/" and "**" in path
    if searches_all or folder in _SYSTEM_FOLDERS or folder.startswith(tuple(f"{name}/" for name in _SYSTEM_FOLDERS)):
        raise InputError(
            f"A source names files of text, not the system's own folders {' and '.join(_SYSTEM_FOLDERS)}. "
            f"Received: {pattern}. Name the folder that holds your text."
        )


def _matches(path: str, pattern: str) -> list[str]:
    """Returns the paths that a glob matches, at most `MAX_FILES`."""
    found = list(itertools.islice(glob.iglob(path, recursive=True), MAX_FILES + 1))
    if len(found) > MAX_FILES:
        raise InputError(
            f"A glob must match at most {MAX_FILES:,} files and folders. Received: {pattern}, which matches more. "
            "Narrow it, or join small files into .jsonl or .parquet files."
        )
    return found


def relative_names(paths: list[str]) -> dict[str, str]:
    """Returns the paths' names relative to their common folder: `{"/a/x.txt": "x.txt", "/a/b/y.md": "b/y.md"}`."""
    if not paths:
        return {}
    base = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths])
    return {path: os.path.relpath(os.path.abspath(path), base) for path in paths}


def read_documents(
    path: str, source: DataSource, *, name: str | None = None, counts: ReadCounts | None = None
) -> Iterator[Document]:
    """Streams the cleaned documents of one file.

    Args:
        path: One of `expand_files(source)`.
        source: Settings that state how to read the file.
        name: The `source` of the documents; default: the file's base name.
        counts: Reading adds to these counts.

    Raises:
        InputError: The file does not hold what its ending promises; the message names the file, the line and the cure.
    """
    counts = counts if counts is not None else ReadCounts()
    name = name or os.path.basename(path)
    for place, record in _read_records(path, source):
        document = document_of(record, source.kind, name=name, place=place, counts=counts)
        if document is not None:
            yield document


def document_of(
    record: records.Record, kind: records.Kind, *, name: str, place: str, counts: ReadCounts
) -> Document | None:
    """Returns the cleaned document of a row, or None if it is dropped, which is counted.

    Args:
        record: The row's features.
        kind: The kind of the row.
        name: The `source` of the document.
        place: The row's place, for messages.
        counts: The function adds to these counts.

    Raises:
        InputError: There is no answer to learn, or the row is too long.
    """
    features = tidy(record.features, counts)
    if kind == "text":
        (text,) = features["text"]
        document = Document.of_text(text, name, place)
    else:
        records.check_answers(features, place)
        content = tidy({"content": record.content}, ReadCounts())["content"]
        document = Document(features=features, content="\n".join(content), source=name, place=place)
    check_size(document.content, place)
    if not document.content or document.content.isspace():
        counts.drop("empty")
    elif kind == "preference" and features["chosen"] == features["rejected"]:
        counts.drop("no_preference")
    else:
        return document
    return None


def _read_records(path: str, source: DataSource) -> Iterator[tuple[str, records.Record]]:
    """Streams pairs (place, record) of one file, before anything is tidied or dropped."""
    if file_kind(path) in TEXT_KINDS:
        for place, text in read_texts(path, source.document_separator):
            yield place, records.Record({"text": [text]}, [text])
    elif source.kind == "text":
        for place, row in read_rows(path, [source.text_column], required=True):
            yield place, records.text_record(row, source.text_column, place)
    elif source.kind == "instruction":
        for place, row in read_rows(path, records.INSTRUCTION_COLUMNS, required=False):
            yield place, records.instruction_record(row, TEMPLATES[source.template], place)
    else:
        for place, row in read_rows(path, records.PREFERENCE_COLUMNS, required=False):
            yield place, records.preference_record(row, TEMPLATES[source.template], place)
