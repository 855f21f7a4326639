"""Settings of the text: `data` in a recipe."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from modules.cleaning.filters import CleaningSettings
from modules.common.settings import Settings
from modules.data.bad_rows import OnBadRow
from modules.data.encodings import Encoding
from modules.data.messages import LossOn
from modules.data.prompt_templates import TemplateName
from modules.data.records import Kind
from modules.data.source import (
    MAX_PART_CHARACTERS,
    MIN_PART_CHARACTERS,
    SPLITS,
    TFDS_PREFIX,
    Corpus,
    SplitName,
    described_sources,
)
from modules.tokenization.context_limit import TooLong
from pipeline.data_settings import SourceSettings, SplitSettings, read_source


class DataConfig(Settings):
    """Settings of the text: its source, kind, splits and cleaning; see README, "Your own data"."""

    source: str | list[str] | None = Field(
        None,
        description="`tfds:name[/config]`, a glob of files, a folder of Hugging Face's `save_to_disk`, or a list. "
        "Required, unless `sources` or files in `splits` name the text.",
    )
    sources: tuple[SourceSettings, ...] | None = Field(
        None, min_length=1, description="Several sources with names, each with a share of the training tokens."
    )
    tfds_splits: tuple[str, ...] | None = Field(
        None, description="Splits of the TFDS data set to read; default: all of them."
    )
    kind: Kind = Field(
        "text",
        description="Content of a row: a text, an instruction with its completion, or a prompt with a preferred and a "
        "rejected answer.",
    )
    template: TemplateName = Field(
        "headings", description="Template that turns instructions and messages into prompts."
    )
    text_column: str = Field(
        "text",
        description="Column of the text in files of rows, for `kind: text`. `meta.text` is `text` in `meta`.",
    )
    too_long: TooLong | None = Field(
        None,
        description="Rows of instructions and preferences that are longer than `model.context_length` + 1 tokens: "
        "`error` stops the run, `drop` leaves them out, `truncate` cuts their answers. Default: an error from 10% of "
        "the rows on, drop below.",
    )
    document_separator: str | None = Field(
        None,
        description="Splits .txt and .md files into documents: `blank_line` or any literal text. Default: one document "
        "per file.",
    )
    delimiter: str | None = Field(
        None, description="Character between two fields of .csv and .tsv files; default: a comma, or a tab in .tsv."
    )
    loss_on: LossOn = Field(
        "all",
        description="Replies of a conversation that count in the loss: `all` but those with `weight: 0`, only the "
        "`last`, or by `weight`, which every reply must then have.",
    )
    on_bad_row: OnBadRow = Field(
        "stop",
        description="Stop at rows that cannot be used, or drop them: they are counted by reason and written to "
        "`rejected.jsonl` in the folder of the examples.",
    )
    encoding: Encoding | None = Field(
        None,
        description="Encoding of text files without a byte order mark, any that Python knows, e.g. cp1252 or "
        "shift_jis; default: UTF-8. A mark of UTF-8, UTF-16 or UTF-32 always decides.",
    )
    split_long_documents: Annotated[int, Field(ge=MIN_PART_CHARACTERS, le=MAX_PART_CHARACTERS)] | None = Field(
        None,
        description="Cuts longer texts at the borders of paragraphs into documents of at most this many characters. "
        "All parts of a text stay in one split.",
    )
    splits: SplitSettings = Field(
        SplitSettings.model_validate({}), description="How the documents are divided into train, eval and test."
    )
    cleaning: CleaningSettings = Field(CleaningSettings.model_validate({}), description="Which documents are dropped.")
    on_drift: Literal["warn", "stop"] = Field(
        "warn",
        description="Warn or stop if the text's statistics differ from the last run's, or eval's from train's.",
    )

    @model_validator(mode="after")
    def _only_rows_are_too_long(self) -> Self:
        if self.too_long is not None and self.kind == "text":
            raise ValueError(
                "`too_long` is for `kind: instruction` and `kind: preference`: a document of plain text is never too "
                f"long, because it goes on in the next window. Received: {self.too_long!r}; remove `data.too_long`"
            )
        return self

    @model_validator(mode="after")
    def _names_its_text_once(self) -> Self:
        found = {"source": self.source, "sources": self.sources, "splits": self.splits.files or None}
        named = [f"`data.{name}`" for name, value in found.items() if value is not None]
        if not named:
            raise ValueError(
                "`data.source` is missing: name your text, for example `data.source=texts/*.txt`, or several "
                "`sources`, or the files of each split in `splits`"
            )
        if len(named) > 1:
            raise ValueError(
                f"the text is named once, and {' and '.join(named)} both name files: set one of them to null, for "
                f"example `{named[0].strip('`')}=null`"
            )
        if self.tfds_splits is not None and self.source is None:
            raise ValueError(
                f"`data.tfds_splits` belongs to `data.source`, and {named[0]} names the text: write the splits there, "
                f"for example `{TFDS_PREFIX}imdb_reviews[train]`"
            )
        return self

    @model_validator(mode="after")
    def _sources_fit_each_other(self) -> Self:
        sources = self.sources or ()
        names = [source.name for source in sources]
        repeated = [name for name in names if names.count(name) > 1]
        if repeated:
            raise ValueError(f"every source needs a name of its own, and {repeated[0]!r} is there twice")
        training = [source for source in sources if source.split in (None, "train")]
        weighted = [source.name for source in sources if source.weight is not None]
        if weighted and weighted != [source.name for source in training]:
            raise ValueError(
                "`weight` is a share of the training tokens: set it for every source with documents in train, and for "
                f"no other. Received: weights for {', '.join(weighted)}; sources with documents in train: "
                f"{', '.join(source.name for source in training) or 'none'}"
            )
        for split in {source.split for source in sources if source.split} - set(self.splits.weights):
            raise ValueError(f"a source has `split: {split}`, and `data.splits.{split}` is null: give it a share")
        if sources and all(source.split for source in sources) and not {"train", "eval"} <= set(self.split_weights):
            raise ValueError(
                "a run needs a train and an eval split, and every source has a `split`: add the missing one"
            )
        return self

    @property
    def split_weights(self) -> dict[SplitName, int]:
        """The share of each split of the run, in order; 1 for each where files or a column decide."""
        fixed = {source.split for source in self.sources or () if source.split}
        if self.sources and all(source.split for source in self.sources):
            return {split: 1 for split in SPLITS if split in fixed}
        return self.splits.weights

    @property
    def token_weights(self) -> dict[str, float]:
        """The share of the training tokens by the name of the source; empty if the mix is as it is."""
        return {source.name: source.weight for source in self.sources or () if source.weight is not None}

    @property
    def described(self) -> str:
        """The sources in words."""
        return described_sources(self.model_dump(mode="json"))

    def to_corpus(self) -> Corpus:
        """Returns the settings of the sources as `modules.data` takes them.

        Raises:
            InputError: A source mixes a TFDS name with files, or lists several TFDS names.
        """
        shared = self.model_dump(include={"kind", "template", "loss_on", "on_bad_row", "split_long_documents"})
        shared |= {"split_column": self.splits.column, "split_values": self.splits.column_values}
        own = self.model_dump(include=set(SourceSettings.model_fields) - {"source", "split", "tfds_splits"})
        if self.source is not None:
            return Corpus(sources=(read_source(self.source, tfds_splits=self.tfds_splits, **shared, **own),))
        if self.sources is None:
            return Corpus(
                sources=tuple(
                    read_source(files, f"data.splits.{split}", split=split, **shared, **own)
                    for split, files in self.splits.files.items()
                )
            )
        sources = []
        for number, source in enumerate(self.sources):
            settings = own | source.model_dump(exclude={"source", "weight"}, exclude_none=True)
            sources.append(read_source(source.source, f"data.sources.{number}.source", **shared, **settings))
        return Corpus(sources=tuple(sources))
