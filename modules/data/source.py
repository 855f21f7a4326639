"""Settings of a corpus' source: files or a TFDS dataset, and how its rows are read.

This module imports no reader: the readers import it, and only `modules.data.corpus` imports the readers.
"""

import re
from typing import Self

import pydantic

from modules.data import docstrings, records
from modules.data.bad_rows import OnBadRow
from modules.data.messages import LossOn
from modules.data.prompt_templates import TemplateName

TFDS_PREFIX = "tfds:"
# Other forms make TFDS ask the network, or open folders, before it knows the data set.
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
        """Reads the short spelling: `tfds:imdb_reviews/plain_text`, or a glob such as `data/*.txt`."""
        kind = "tfds" if source.startswith(TFDS_PREFIX) else "files"
        return cls.model_validate({kind: source.removeprefix(TFDS_PREFIX), **settings})


def is_python_documentation(source: DataSource) -> bool:
    """Returns True if the source is one of the project's own TFDS datasets."""
    return source.tfds is not None and source.tfds.split("/")[0].split(":")[0] in docstrings.DATASET_NAMES
