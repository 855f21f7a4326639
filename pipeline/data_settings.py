"""Settings of several sources, and of the splits: by hash, by files of one's own, or by a column of the rows."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PositiveFloat, model_validator

from modules.common.errors import InputError
from modules.common.settings import Settings
from modules.data.encodings import Encoding
from modules.data.source import SPLITS, TFDS_PREFIX, DataSource, SplitName

# Values of a column that name a split, as the data sets of most publishers have them.
_COLUMN_VALUES: Mapping[str, list[str]] = {
    "train": ["train", "training"],
    "eval": ["eval", "validation", "valid", "val", "dev"],
    "test": ["test"],
}


def _checked_split(value: Any) -> Any:
    """Checks one split here, so that a wrong value is one problem and not one for each type that it could have."""
    texts = [value] if isinstance(value, str) else value
    is_share = isinstance(value, int) and not isinstance(value, bool) and value > 0
    is_list = isinstance(texts, (list, tuple)) and texts and all(isinstance(text, str) and text for text in texts)
    if value is not None and not is_share and not is_list:
        raise ValueError("a split is a whole number above 0 (its share), or names files or values of a column")
    return value


Split = Annotated[int | str | list[str] | None, BeforeValidator(_checked_split)]


class SplitSettings(Settings):
    """The splits: shares of the hash of each text, or the files of each split, or the values of a column."""

    train: Split = Field(
        90,
        description="The train split: its share, by the hash of each text; or its files, spelled as `data.source`; or, "
        "with `column`, the values that mean train.",
    )
    eval: Split = Field(5, description="The eval split, on which models are measured, in the same way.")
    test: Split = Field(5, description="The test split, in the same way; no gate uses it. `null`: there is none.")
    column: str | None = Field(
        None,
        min_length=1,
        description="Column of the rows that names their split: `train`, `validation` (or `eval`, `dev`) or `test`.",
    )

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_way(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        if values.get("column") is not None:
            return {**_COLUMN_VALUES, **values}
        if any(isinstance(values.get(split), (str, list, tuple)) for split in SPLITS):
            return {**dict.fromkeys(SPLITS), **values}
        return values

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        for split in SPLITS:
            value = getattr(self, split)
            if value is None and split != "test":
                rest = "name files for it too" if self.way == "files" else "give it a share"
                raise ValueError(f"a run needs a train and an eval split, and `{split}` is not set: {rest}")
            if value is not None and isinstance(value, int) != (self.way == "shares"):
                raise ValueError(
                    f"`{split}` is a share, and the other splits name "
                    f"{'values of the column' if self.way == 'column' else 'files'}: spell all splits in the same way"
                )
        if self.way == "column":
            values = [value for split in SPLITS for value in _texts(getattr(self, split))]
            repeated = [value for value in values if values.count(value) > 1]
            if repeated:
                raise ValueError(f"a value of the column means one split, and {repeated[0]!r} is there twice")
        return self

    @property
    def way(self) -> Literal["shares", "files", "column"]:
        """The kind of setting that decides the split of a document."""
        if self.column is not None:
            return "column"
        return "shares" if not any(isinstance(getattr(self, split), (str, list)) for split in SPLITS) else "files"

    @property
    def weights(self) -> dict[SplitName, int]:
        """The share of each split; 1 for each where the hash does not decide."""
        found = {split: getattr(self, split) for split in SPLITS}
        return {split: value if isinstance(value, int) else 1 for split, value in found.items() if value is not None}

    @property
    def files(self) -> dict[SplitName, str | list[str]]:
        """The files of each split, if `way` is "files"."""
        found = {split: getattr(self, split) for split in SPLITS} if self.way == "files" else {}
        return {split: value for split, value in found.items() if value is not None}

    @property
    def column_values(self) -> dict[str, SplitName]:
        """The split of each value of the column."""
        return {value: split for split in SPLITS for value in _texts(getattr(self, split))} if self.column else {}


def _texts(value: str | list[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else value or []


class SourceSettings(Settings):
    """One of several sources. What it does not set is taken from `data`."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$",
        description="Name of the source, in slices, limits, counts and messages.",
    )
    source: str | list[str] = Field(
        description="As `data.source`: a TFDS data set, a glob of files, or a list of globs."
    )
    weight: PositiveFloat | None = Field(
        None,
        description="Share of the training tokens, relative to the other sources' weights; set it for every source or "
        "for none. Default: as many as there are.",
    )
    split: SplitName | None = Field(
        None, description="Split of all documents of this source. Default: `data.splits` decides."
    )
    tfds_splits: tuple[str, ...] | None = Field(None, description="As `data.tfds_splits`.")
    text_column: str | None = Field(None, description="As `data.text_column`.")
    document_separator: str | None = Field(None, description="As `data.document_separator`.")
    delimiter: str | None = Field(None, description="As `data.delimiter`.")
    encoding: Encoding | None = Field(None, description="As `data.encoding`.")


def read_source(source: str | list[str], setting: str = "data.source", **settings: Any) -> DataSource:
    """Returns the source that a setting spells.

    Raises:
        InputError: A list mixes a TFDS name with files, or has several TFDS names.
        pydantic.ValidationError: The settings do not fit each other.
    """
    if isinstance(source, str):
        return DataSource.from_string(source, **settings)
    if any(name.startswith(TFDS_PREFIX) for name in source):
        if len(source) > 1:
            raise InputError(f"`{setting}` must be one TFDS name or globs of files. Received: {source}.")
        return DataSource.from_string(source[0], **settings)
    return DataSource(files=tuple(source), **settings)
