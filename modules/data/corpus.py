"""What a corpus is (files or a TFDS dataset), which of its parts exist, and whether it changed.

No TensorFlow here: the command line checks its input with this module before anything heavy is loaded.
"""

import glob
import hashlib
import importlib.metadata
import os
import time
from collections.abc import Iterator
from typing import Self

import pydantic

from modules.common.errors import InputError
from modules.data import docstrings, records
from modules.data.data_files import TEXT_KINDS, check_size, file_kind
from modules.data.documents import Document, ReadCounts, tidy
from modules.data.prompt_templates import TEMPLATES, TemplateName
from modules.data.row_files import read_rows
from modules.data.text_files import read_texts

TFDS_PREFIX = "tfds:"


class DataSource(pydantic.BaseModel):
    """Where the documents come from: exactly one of a TFDS dataset and files.

    Example:
        >>> DataSource(files="poems/*.txt", document_separator="blank_line").files
        ('poems/*.txt',)

    Attributes:
        tfds: A TFDS name: `name`, `name/config` or `name/config:version`.
        tfds_splits: The dataset's splits to read; None reads all.
        files: Globs (`**` matches folders) of .txt, .md, .jsonl, .json, .csv or .parquet files.
        kind: What a row is: `text`, `instruction` or `preference`; see `modules.data.records`.
        template: Of `modules.data.prompt_templates`, for instructions and preferences.
        text_column: The column, key or TFDS feature that holds the text.
        document_separator: For .txt and .md: None (a document a file), `"blank_line"` or a literal string.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    tfds: str | None = pydantic.Field(default=None, min_length=1)
    tfds_splits: tuple[str, ...] | None = pydantic.Field(default=None, min_length=1)
    files: tuple[str, ...] | None = pydantic.Field(default=None, min_length=1)
    kind: records.Kind = "text"
    template: TemplateName = "headings"
    text_column: str = pydantic.Field(default="text", min_length=1)
    document_separator: str | None = pydantic.Field(default=None, min_length=1)

    @pydantic.field_validator("files", "tfds_splits", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @pydantic.model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.tfds is None) == (self.files is None):
            raise ValueError("name exactly one of `tfds` and `files`")
        if self.tfds_splits is not None and self.tfds is None:
            raise ValueError("`tfds_splits` goes with `tfds` only")
        if self.document_separator is not None and self.files is None:
            raise ValueError("`document_separator` goes with `files` only")
        if self.kind != "text" and self.files is None:
            raise ValueError(f"`kind: {self.kind}` is read from `files` only")
        return self

    @classmethod
    def from_string(cls, source: str, **settings: object) -> Self:
        """Reads the short spelling: `tfds:imdb_reviews/plain_text`, or a glob such as `data/*.txt`."""
        kind = "tfds" if source.startswith(TFDS_PREFIX) else "files"
        return cls.model_validate({kind: source.removeprefix(TFDS_PREFIX), **settings})


def expand_files(source: DataSource) -> list[str]:
    """Returns the paths that the source's globs match, sorted, each once.

    Raises:
        InputError: A glob matches no file, or a file is of no kind that can be read.
    """
    paths: set[str] = set()
    for pattern in source.files or ():
        expanded = os.path.expanduser(pattern)
        # A file whose name holds [ or * is meant literally where it exists.
        found = [expanded] if os.path.isfile(expanded) else glob.glob(expanded, recursive=True)
        if os.path.isdir(expanded):
            raise InputError(
                f"A source names files, not a folder. Received: {pattern}. Write {pattern}/*.txt or similar."
            )
        files = [path for path in found if os.path.isfile(path)]
        if not files:
            raise InputError(
                f"No file matches {pattern} (looked from {os.getcwd()}). Check the spelling, or write a "
                f"glob such as data/**/*.txt."
            )
        paths.update(files)
    for path in paths:
        if file_kind(path) in TEXT_KINDS and source.kind != "text":
            raise InputError(
                f"`kind: {source.kind}` is read from .jsonl, .json, .csv or .parquet files. Received: {path}."
            )
    return sorted(paths)


def relative_names(paths: list[str]) -> dict[str, str]:
    """Names paths below their common folder: `{"/a/x.txt": "x.txt", "/a/b/y.md": "b/y.md"}`."""
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
        source: Says how the file is to be read.
        name: What the documents' `source` says; the file's base name by default.
        counts: Is added to while reading.

    Raises:
        InputError: The file cannot be read as what it claims to be; names the file, the line and the cure.
    """
    counts = counts if counts is not None else ReadCounts()
    name = name or os.path.basename(path)
    for place, record in _read_records(path, source):
        features = tidy(record.features, counts)
        if source.kind == "text":
            (text,) = features["text"]
            document = Document.of_text(text, name, place)
        else:
            records.check_answers(features, place)
            content = tidy({"content": record.content}, ReadCounts())["content"]
            document = Document(features=features, content="\n".join(content), source=name, place=place)
        check_size(document.content, place)
        if not document.content or document.content.isspace():
            counts.drop("empty")
        elif source.kind == "preference" and features["chosen"] == features["rejected"]:
            counts.drop("no_preference")
        else:
            yield document


def _read_records(path: str, source: DataSource) -> Iterator[tuple[str, records.Record]]:
    """Streams (place, record) of one file, before anything is tidied or dropped."""
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


def fingerprint(source: DataSource) -> str:
    """Returns sha256, as 64 hexadecimal digits, over everything the source's documents depend on.

    Files: relative names and content, so that size and modification time do not matter. TFDS: the name, and
    TFDS's version, which decides the dataset's; for the project's own dataset also what it reads.
    """
    digest = hashlib.sha256()
    if source.tfds is not None:
        parts = [source.tfds, importlib.metadata.version("tensorflow-datasets")]
        if is_python_documentation(source):
            parts.append(docstrings.environment_fingerprint())
        digest.update("\n".join(parts).encode())
        return digest.hexdigest()
    for path, name in sorted(relative_names(expand_files(source)).items(), key=lambda item: item[1]):
        # surrogateescape: a file name need not be UTF-8.
        digest.update(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest())
        try:
            with open(path, "rb") as handle:
                digest.update(hashlib.file_digest(handle, "sha256").digest())
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    return digest.hexdigest()


def is_python_documentation(source: DataSource) -> bool:
    """Whether the source is the project's own TFDS dataset."""
    return source.tfds is not None and source.tfds.split("/")[0].split(":")[0] == docstrings.DATASET_NAME


def check_source(source: DataSource, time_limit_s: float = 2.0, *, data_directory: str = "") -> None:
    """Reads as much of the files as the time allows, to fail before anything starts.

    The first document of every file comes first (missing columns, wrong formats), then every line. Of a TFDS
    dataset the name is checked, and whether it is prepared or can be reached.

    Args:
        source: What will be read.
        time_limit_s: Seconds after which checking ends without a verdict.
        data_directory: Where TFDS's datasets lie.

    Raises:
        InputError: The source is bad, in words that name the place and the cure.
    """
    if source.files is None:
        if not is_python_documentation(source):
            from modules.data import tfds_documents  # takes a second, though not TensorFlow

            tfds_documents.check(source, data_directory)
        return
    deadline = time.monotonic() + time_limit_s
    paths = expand_files(source)
    empty = sum(os.path.getsize(path) == 0 for path in paths)
    if empty == len(paths):
        raise empty_corpus(source, ReadCounts(dropped={"empty": empty}))
    counts = ReadCounts()
    found = False
    # Large files of the text kinds have no columns to check and take long to their first document.
    for path in paths:
        if time.monotonic() > deadline:
            return
        if file_kind(path) not in TEXT_KINDS:
            next(read_documents(path, source), None)
    for path in paths:
        for _ in read_documents(path, source, counts=counts):
            found = True
            if time.monotonic() > deadline:
                return
    if not found:
        raise empty_corpus(source, counts)


def empty_corpus(source: DataSource, counts: ReadCounts) -> InputError:
    """The error that says that no document is left, and why."""
    place = f"tfds:{source.tfds}" if source.tfds else ", ".join(source.files or ())
    dropped = ", ".join(f"{number} {reason}" for reason, number in sorted(counts.dropped.items()))
    return InputError(
        f"{place} holds no text that can be used: a corpus needs at least a few documents. "
        f"Received: 0 documents (dropped: {dropped or 'none'}). Name a source with text in it, or relax "
        "`data.cleaning`."
    )
