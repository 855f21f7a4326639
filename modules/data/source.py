"""Settings of a corpus' sources: files or TFDS datasets, how their rows are read, and which splits they belong to.

This module imports no reader: the readers import it, and only `modules.data.corpus` imports the readers.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import pydantic

from modules.data import docstrings, records
from modules.data.bad_rows import OnBadRow
from modules.data.data_files import MAX_DOCUMENT_BYTES
from modules.data.encodings import Encoding
from modules.data.messages import LossOn
from modules.data.prompt_templates import TemplateName

TFDS_PREFIX = "tfds:"
# Splits of the examples, in the order in which they are shown.
SplitName = Literal["train", "eval", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "eval", "test")
# Bounds of `split_long_documents`; a part is held in memory.
MIN_PART_CHARACTERS, MAX_PART_CHARACTERS = 100, MAX_DOCUMENT_BYTES // 4
# Other forms make TFDS ask the network, or open folders, before it knows the data set.
_TFDS_SPLITS = re.compile(r"(?P<name>[^\[\]]*)\[(?P<splits>[^\[\]]+)\]")
_TFDS_NAME = re.compile(r"[a-z]\w*(/\w[\w.+-]*)?(:(\d+|\*)\.(\d+|\*)\.(\d+|\*))?", re.ASCII)


class DataSource(pydantic.BaseModel):
    """Place where the documents come from: either a TFDS dataset or files.

    Example:
        >>> DataSource(files="poems/*.txt", document_separator="blank_line").files
        ('poems/*.txt',)

    Attributes:
        tfds: A TFDS name: `name`, `name/config` or `name/config:version`.
        tfds_splits: The dataset's splits to read; None reads all.
        files: Globs (`**` matches folders) of files of the kinds in `data_files.FILE_KINDS`, or folders of data sets.
        kind: Content of a row: `text`, `instruction` or `preference`; see `modules.data.records`.
        template: Name of a template in `modules.data.prompt_templates`, for instructions and preferences.
        text_column: The column, key or TFDS feature that holds the text.
        document_separator: For .txt and .md: None (one document per file), `"blank_line"` or a literal string.
        delimiter: For .csv and .tsv: the character between two fields; None is a comma or a tab.
        loss_on: For instructions: the replies that count in the loss, see `modules.data.messages.counted_turns`.
        on_bad_row: Stop at rows that cannot be used, or leave them out and count them.
        name: Name of the source, which its documents get as their `source`. None: they get the name of their file.
        split: The split of all documents. None: the column, or else the hash of the text decides.
        split_column: Column of files of rows that names the split of each document.
        split_values: The split of each value of `split_column`.
        split_long_documents: Longer texts are cut into parts of at most this many characters.
        encoding: Encoding of text files without a byte order mark; None: UTF-8.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    tfds: str | None = pydantic.Field(default=None, min_length=1)
    tfds_splits: tuple[str, ...] | None = pydantic.Field(default=None, min_length=1)
    files: tuple[str, ...] | None = pydantic.Field(default=None, min_length=1)
    kind: records.Kind = "text"
    template: TemplateName = "headings"
    text_column: str = pydantic.Field(default="text", min_length=1)
    document_separator: str | None = pydantic.Field(default=None, min_length=1)
    delimiter: str | None = pydantic.Field(default=None, min_length=1, max_length=1)
    loss_on: LossOn = "all"
    on_bad_row: OnBadRow = "stop"
    name: str | None = pydantic.Field(default=None, min_length=1)
    split: SplitName | None = None
    split_column: str | None = pydantic.Field(default=None, min_length=1)
    split_values: Mapping[str, SplitName] = pydantic.Field(default_factory=dict)
    split_long_documents: int | None = pydantic.Field(default=None, ge=MIN_PART_CHARACTERS, le=MAX_PART_CHARACTERS)
    encoding: Encoding | None = None

    @pydantic.field_validator("files", "tfds_splits", mode="before")
    @classmethod
    def _string_is_a_list(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @pydantic.field_validator("delimiter", mode="before")
    @classmethod
    def _spelling_of_a_tab(cls, value: object) -> object:
        return "\t" if value == "\\t" else value

    @pydantic.field_validator("tfds")
    @classmethod
    def _names_a_dataset_of_tfds(cls, name: str | None) -> str | None:
        if name is not None and not _TFDS_NAME.fullmatch(name):
            raise ValueError(
                "a TFDS data set is named `name`, `name/config` or `name/config:version`, without a name space such as "
                "`huggingface:` and without `..`"
            )
        return name

    @pydantic.model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if (self.tfds is None) == (self.files is None):
            raise ValueError("name exactly one of `tfds` and `files`")
        if self.tfds_splits is not None and self.tfds is None:
            raise ValueError(
                "`tfds_splits` selects splits of a TFDS data set, and `data.source` names files. Remove `tfds_splits`."
            )
        if self.document_separator is not None and self.files is None:
            raise ValueError(
                "`document_separator` splits files, and `data.source` names a TFDS data set. "
                "Remove `document_separator`."
            )
        if self.split_column is not None and self.files is None:
            raise ValueError(
                f"`data.splits.column` is a column of files of rows, and the source is the TFDS data set {self.tfds}. "
                f"Name its splits instead, for example `data.splits.train={TFDS_PREFIX}{self.tfds}[train]`"
            )
        if self.split_long_documents is not None and self.kind != "text":
            raise ValueError(
                f"`split_long_documents` cuts texts, and `kind` is {self.kind}. Remove `split_long_documents`."
            )
        if self.encoding is not None and self.files is None:
            raise ValueError("`encoding` is that of files, and `data.source` names a TFDS data set. Remove `encoding`.")
        if self.delimiter in ('"', "\n", "\r"):
            raise ValueError(
                f"`delimiter` must be a character other than quotes and line breaks. Received: {self.delimiter!r}"
            )
        if self.loss_on != "all" and self.kind != "instruction":
            raise ValueError(
                f"`loss_on` chooses among the replies of `kind: instruction`, and `kind` is {self.kind}. Remove "
                "`loss_on`."
            )
        return self

    @classmethod
    def from_string(cls, source: str, **settings: object) -> Self:
        """Reads the short spelling: `tfds:imdb_reviews/plain_text`, `tfds:imdb_reviews[train]` or `data/*.txt`."""
        if not source.startswith(TFDS_PREFIX):
            return cls.model_validate({"files": source, **settings})
        name = source.removeprefix(TFDS_PREFIX)
        if match := _TFDS_SPLITS.fullmatch(name):
            if settings.get("tfds_splits"):
                raise ValueError(f"`{source}` names its splits, and so does `tfds_splits`: remove one of the two")
            splits = [split.strip() for split in match["splits"].split(",")]
            name, settings = match["name"], settings | {"tfds_splits": splits}
        return cls.model_validate({"tfds": name, **settings})

    @property
    def described(self) -> str:
        """The source in words, for messages: `the source 'books'`, or its files or data set."""
        if self.name is not None:
            return f"the source {self.name!r}"
        return f"{TFDS_PREFIX}{self.tfds}" if self.tfds else ", ".join(self.files or ())


class Corpus(pydantic.BaseModel):
    """All sources of a run; they hold the same kind of data.

    Attributes:
        sources: The sources in the given order.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    sources: tuple[DataSource, ...] = pydantic.Field(min_length=1)

    @pydantic.model_validator(mode="after")
    def _one_kind(self) -> Self:
        for setting in ("kind", "template"):
            values = list(dict.fromkeys(getattr(source, setting) for source in self.sources))
            if len(values) > 1:
                raise ValueError(f"all sources must have the same `{setting}`. Received: {', '.join(values)}")
        return self

    @property
    def kind(self) -> records.Kind:
        """The kind of all rows."""
        return self.sources[0].kind

    @property
    def template(self) -> TemplateName:
        """The template of all prompts."""
        return self.sources[0].template

    @property
    def is_split(self) -> bool:
        """True if files or a column give the split of every document, and the hash decides nothing."""
        return all(source.split or source.split_column for source in self.sources)


def is_python_documentation(source: DataSource) -> bool:
    """Returns True if the source is one of the project's own TFDS datasets."""
    return source.tfds is not None and source.tfds.split("/")[0].split(":")[0] in docstrings.DATASET_NAMES


def described_sources(settings: Mapping[str, Any]) -> str:
    """Returns the sources in the settings `data` of a run, as JSON values, in words.

    Example:
        >>> described_sources({"source": ["a.txt", "b.txt"]})
        'a.txt, b.txt'
        >>> described_sources({"source": None, "sources": [{"name": "poems", "source": "a.txt"}]})
        'poems: a.txt'
        >>> described_sources({"source": None, "splits": {"train": "a.txt", "eval": ["b.txt"], "test": None}})
        'train: a.txt, eval: b.txt'
    """
    if settings.get("source") is not None:
        return _listed(settings["source"])
    if settings.get("sources") is not None:
        return ", ".join(f"{source['name']}: {_listed(source['source'])}" for source in settings["sources"])
    splits = {split: settings["splits"][split] for split in SPLITS}
    return ", ".join(f"{split}: {_listed(files)}" for split, files in splits.items() if files is not None)


def _listed(source: str | Sequence[str]) -> str:
    return source if isinstance(source, str) else ", ".join(source)
