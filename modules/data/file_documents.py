"""Documents from files: expands globs, makes names relative, and reads each file with the reader of its kind."""

import dataclasses
import glob
import itertools
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from modules.common.errors import InputError
from modules.common.failures import shortened
from modules.common.formatting import excerpt
from modules.data import containers, long_documents, records
from modules.data.bad_rows import BadRows, RowError
from modules.data.data_files import ROW_KINDS, TEXT_KINDS, check_size, file_kind
from modules.data.documents import Document, ReadCounts, add_up, tidy
from modules.data.preferences import OTHER_PROMPTS, preference_record
from modules.data.prompt_templates import TEMPLATES
from modules.data.row_files import read_rows_and_errors
from modules.data.source import DataSource
from modules.data.text_files import read_texts

MAX_FILES = 1_000_000
_SYSTEM_FOLDERS = ("/proc", "/sys")
_MAGIC = re.compile(r"[*?\[]")


def expand_files(source: DataSource) -> list[str]:
    """Returns the paths that the source's globs match, sorted and without duplicates.

    Raises:
        InputError: A glob matches no file or is a folder without a data set, or a file's kind cannot be read.
    """
    paths: set[str] = set()
    for pattern in source.files or ():
        expanded = os.path.expanduser(pattern)
        # A file name may contain [ or *. If such a file exists, the pattern means this file.
        _check_folder(expanded, pattern)
        found = [expanded] if os.path.isfile(expanded) else _matches(expanded, pattern)
        if os.path.isdir(expanded):
            dataset = containers.dataset_files(expanded)
            if dataset is None:
                raise containers.folder_error(expanded, pattern)
            found = dataset
        files = [path for path in found if os.path.isfile(path)]
        if not files:
            raise InputError(
                f"No file matches {pattern} (searched from {os.getcwd()}). Check the spelling, or write a glob such "
                f"as data/**/*.txt."
            )
        paths.update(files)
    for path in paths:
        containers.check_no_archive(path)
        if file_kind(path) in TEXT_KINDS and source.kind != "text":
            raise InputError(
                f"`kind: {source.kind}` needs files of rows: {', '.join(ROW_KINDS)}. Received: {path}. "
                "Convert it, or set `data.kind: text`."
            )
        if file_kind(path) in TEXT_KINDS and source.split_column is not None:
            raise InputError(
                f"`data.splits.column` needs files of rows: {', '.join(ROW_KINDS)}. Received: {path}. Convert it, or "
                "name the files of each split in `data.splits`."
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
    path: str,
    source: DataSource,
    *,
    name: str | None = None,
    counts: ReadCounts | None = None,
    bad_rows: BadRows | None = None,
) -> Iterator[Document]:
    """Streams the cleaned documents of one file.

    Args:
        path: One of `expand_files(source)`.
        source: Settings that state how to read the file.
        name: The `source` of the documents; default: the file's base name.
        counts: Reading adds to these counts.
        bad_rows: Collects the rows that cannot be used; default: those of this file, checked at its end.

    Raises:
        InputError: The file does not hold what its ending promises; the message names the file, the line and the cure.
        BadRowsError: Rows cannot be used, and the source's settings do not drop them.
    """
    counts = counts if counts is not None else ReadCounts()
    name = source.name or name or os.path.basename(path)
    limit = source.split_long_documents
    if limit is not None and file_kind(path) in TEXT_KINDS and source.document_separator is None:
        parts = long_documents.read_long_text(path, limit, name, counts, source.encoding)
        yield from _not_empty((dataclasses.replace(part, split=source.split or "") for part in parts), counts)
        return
    collected = bad_rows or BadRows(source.on_bad_row, counts)
    for place, row in _read_rows(path, source, counts):
        try:
            record = record_of(row, source, place)
            split = row_split(row, source, place)
            document = document_of(record, source.kind, name=name, place=place, counts=counts)
        except RowError as error:
            collected.add(place, error, None if isinstance(row, RowError) else row)
            continue
        if document is not None:
            yield from split_and_cut(document, split, limit, counts)
    if bad_rows is None:
        collected.check()


def split_and_cut(document: Document, split: str, limit: int | None, counts: ReadCounts) -> Iterator[Document]:
    """Yields the document in its split, or its parts if it has more than `limit` characters."""
    document = dataclasses.replace(document, split=split) if split else document
    yield from _not_empty(long_documents.parts_of(document, limit, counts), counts)


def _not_empty(documents: Iterable[Document], counts: ReadCounts) -> Iterator[Document]:
    """Drops documents of white space only, and counts them."""
    for document in documents:
        if document.content and not document.content.isspace():
            yield document
        else:
            counts.drop("empty")


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
        RowError: There is no answer to learn; nothing is counted then.
        InputError: The row is too long.
    """
    changes = ReadCounts(changed=dict(record.changes))
    features = tidy(record.features, changes)
    if kind == "text":
        (text,) = features["text"]
        document = Document.of_text(text, name, place)
    else:
        records.check_answers(features, place)
        content = tidy({"content": record.content}, ReadCounts())["content"]
        document = Document(features=features, content="\n".join(content), source=name, place=place)
    check_size(document.content, place)
    add_up(counts.changed, changes.changed)
    if not document.content or document.content.isspace():
        counts.drop("empty")
    elif kind == "preference" and features["chosen"] == features["rejected"]:
        counts.drop("no_preference")
    else:
        return document
    return None


def record_of(row: Mapping[str, Any] | RowError, source: DataSource, place: str) -> records.Record:
    """Returns the record of a row, as the source's settings say.

    Raises:
        RowError: The row cannot be used, or `row` is the error about it.
    """
    if isinstance(row, RowError):
        raise row
    if source.kind == "text":
        return records.text_record(row, source.text_column, place)
    template = TEMPLATES[source.template]
    if source.kind == "instruction":
        return records.instruction_record(row, template, place, source.loss_on)
    return preference_record(row, template, place)


def columns_of(source: DataSource) -> tuple[Sequence[str], Sequence[str]]:
    """Returns the columns that rows of the source's kind may have, and more columns that would be honoured."""
    column = [source.split_column] if source.split_column else []
    if source.kind == "text":
        return [source.text_column, *column], ()
    if source.kind == "instruction":
        return [*records.INSTRUCTION_COLUMNS, *column], records.REFUSED_COLUMNS
    return [*records.PREFERENCE_COLUMNS, *column], (*records.REFUSED_COLUMNS, *OTHER_PROMPTS)


def row_split(row: Mapping[str, Any] | RowError, source: DataSource, place: str) -> str:
    """Returns the split that the source's settings or the row's own column give to the row; "" if none does.

    Raises:
        RowError: The column is missing, or its value is not one of `split_values`.
    """
    if source.split is not None or source.split_column is None:
        return source.split or ""
    if isinstance(row, RowError):
        raise row
    if source.split_column not in row:
        raise RowError(
            "missing_column",
            f"{place}: there is no column {source.split_column!r}. It has: {records.column_names(row)}. Set "
            "`data.splits.column` to one of them.",
        )
    value = records.text_of(row, source.split_column, place).strip()
    if value not in source.split_values:
        known = ", ".join(f"{name!r} ({split})" for name, split in source.split_values.items())
        train = [name for name, split in source.split_values.items() if split == "train"]
        cure = f"data.splits.train=[{', '.join([*train, shortened(value)])}]"
        raise RowError(
            "unknown_split",
            f"{place}: {source.split_column!r} must be one of {known}. Received: {excerpt(value)}. Correct or remove "
            f"the row, or name the value too, for example `{cure}`.",
        )
    return source.split_values[value]


def _read_rows(path: str, source: DataSource, counts: ReadCounts) -> Iterator[tuple[str, Mapping[str, Any] | RowError]]:
    """Streams pairs (place, row) of one file; a text is a row with the text column.

    `counts` receive whether the document separator was found.
    """
    if file_kind(path) in TEXT_KINDS:
        for place, text in read_texts(path, source.document_separator, source.encoding, counts):
            yield place, {source.text_column: text}
        return
    columns, also = columns_of(source)
    yield from read_rows_and_errors(
        path,
        columns,
        required=source.kind == "text",
        also=also,
        delimiter=source.delimiter,
        encoding=source.encoding,
    )
