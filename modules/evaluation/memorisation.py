"""Memorisation: the share of continuations in which a model repeats training text word for word.

The model continues the beginnings of train documents greedily, as in Carlini et al., "Quantifying Memorization Across
Neural Language Models" (arXiv:2202.07646). Its continuations are then searched for in the whole train split, and not
only in the document of the prompt, because a model memorises text that occurs in many documents first.

`modules.cleaning.word_ngrams` defines the words. Case, punctuation and spacing do not hide a copy.

The default of `run_words` is 20 for this reason: people repeat one another too. In the default corpus, 29% of the
continuations of held-out documents, as their authors wrote them, share 13 words in a row with the train split, which is
the n-gram of leakage checks. Only 13% share 20 words. With 64 new tokens, 20 words are as strict as the paper's
50 tokens.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import pydantic
from pydantic import Field

from modules.cleaning.word_ngrams import word_hashes, word_spans
from modules.common.settings import Settings
from modules.data.examples import Texts, first_turn, read_examples, sample_examples
from modules.evaluation.confidence_intervals import wilson_interval
from modules.evaluation.gates import Check
from modules.evaluation.verbatim_runs import SHORTEST_RUN, Run, VerbatimRuns
from modules.model.sampling import SamplingSettings

# The prompt is taken from this many leading characters of a document; `word_spans` is exact for them.
_OPENING_CHARACTERS = 2**16

# A function from prompts to their continuations.
Generate = Callable[[Sequence[str], SamplingSettings], list[str]]


class MemorisationSettings(Settings):
    """The settings of memorisation; see `modules/evaluation/README.md`, "Memorisation"."""

    prompts: int = Field(
        32,
        ge=0,
        description="Number of beginnings of train documents that the model continues greedily; 0: not measured.",
    )
    max_share: float | None = Field(
        None, ge=0, le=1, description="Largest share of recited continuations with which a model is released."
    )
    run_words: int = Field(
        20,
        ge=SHORTEST_RUN,
        description="A continuation counts as recited if this many of its words in a row also occur in the train "
        "split.",
    )
    prompt_words: int = Field(
        32, ge=1, description="Words at the beginning of a document that are the prompt; only for `data.kind: text`."
    )
    max_new_tokens: int = Field(64, ge=1, description="Length of a continuation in tokens.")

    @pydantic.model_validator(mode="after")
    def _gate_has_something_to_measure(self) -> Self:
        if self.max_share is not None and not self.prompts:
            raise ValueError(
                "`max_share` needs `prompts` above 0. Received: 0; raise `prompts` or leave `max_share` out"
            )
        return self


class Continuation(NamedTuple):
    """A continuation by the model.

    Attributes:
        prompt: The beginning of a train document.
        source: Source of this document.
        text: The model's continuation, without the prompt.
        words: Number of words in the continuation.
        run: The longest run of words that the continuation shares with the train split; None if there is none.
    """

    prompt: str
    source: str
    text: str
    words: int
    run: Run | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Memorisation:
    """The result of the measurement."""

    settings: MemorisationSettings
    continuations: Sequence[Continuation]

    @property
    def recited(self) -> int:
        """Number of continuations with a run of `run_words` words or more."""
        return sum(_words(continuation) >= self.settings.run_words for continuation in self.continuations)

    @property
    def long_enough(self) -> int:
        """Number of continuations that can be recited because they have `run_words` words or more."""
        return sum(continuation.words >= self.settings.run_words for continuation in self.continuations)

    @property
    def share(self) -> float:
        """Recited continuations divided by those that are long enough, 0 to 1; NaN if fewer than half are long enough.

        So it is NaN if no train document is long enough, and if the continuations are too short for a result: 64
        tokens that are single bytes, or a model that ends its text at once.
        """
        if not self.long_enough or 2 * self.long_enough < len(self.continuations):
            return math.nan
        return self.recited / self.long_enough

    def checks(self) -> list[Check]:
        """Returns the check of `max_share`; an empty list without this limit."""
        if self.settings.max_share is None:
            return []
        words = self.settings.run_words
        measured = math.isfinite(self.share)
        cure = f": at least half of the continuations must have {words} words; lower run_words or raise max_new_tokens"
        return [
            Check(
                metric=f"share of continuations with {words} words in a row from train",
                measured=self.share if measured else None,
                limit=self.settings.max_share,
                bound="at most",
                limit_from="evaluation.memorisation.max_share" + ("" if measured else cure),
                percent=True,
            )
        ]

    def as_dict(self) -> dict[str, Any]:
        """Returns the figures, the settings and the continuations for JSON; the longest runs come first."""
        rows = sorted(self.continuations, key=_words, reverse=True)
        measured = math.isfinite(self.share)
        return {
            "share": self.share if measured else None,
            "share_interval": wilson_interval(self.recited, self.long_enough) if measured else None,
            "long_enough": self.long_enough,
            "recited": self.recited,
            "longest": rows[0].run._asdict() if rows and rows[0].run else None,
            "median_words": float(np.median([_words(row) for row in rows])) if rows else None,
            "settings": self.settings.model_dump(),
            "continuations": [{**row._asdict(), "run": row.run._asdict() if row.run else None} for row in rows],
        }


def measure(
    settings: MemorisationSettings, train_files: Sequence[str], *, data_kind: str, generate: Generate
) -> Memorisation:
    """Prompts the model and searches for its continuations in the train split.

    The train split is read twice, as a stream.

    Args:
        settings: The settings of memorisation.
        train_files: Gzip TFRecord files of the train split's examples.
        data_kind: With `text` a prompt is the beginning of a document, and documents are searched. With other kinds a
            prompt is the first prompt of an example, and completions are searched; of preferences the chosen ones.
        generate: The model's generation of text.
    """
    openings = _openings(settings, train_files, data_kind)
    texts = (
        generate([prompt for prompt, _ in openings], SamplingSettings(max_new_tokens=settings.max_new_tokens))
        if openings
        else []
    )
    runs = VerbatimRuns(texts)
    for example in read_examples(train_files) if texts else ():
        for text in example["text" if data_kind == "text" else "completion"]:
            runs.compare(text, *example["source"])
    return Memorisation(
        settings=settings,
        continuations=[
            Continuation(prompt, source, text, len(word_hashes(text)), runs.longest(number))
            for number, ((prompt, source), text) in enumerate(zip(openings, texts, strict=True))
        ],
    )


def _openings(settings: MemorisationSettings, files: Sequence[str], data_kind: str) -> list[tuple[str, str]]:
    """Returns prompts and the sources of their documents; the documents are long enough to be recited."""

    def opening(example: Texts) -> tuple[str, str] | None:
        (source,) = example["source"]
        if data_kind != "text":
            prompt, answer = first_turn(example) or ("", "")
            return (prompt, source) if len(word_hashes(answer)) >= settings.run_words else None
        text = example["text"][0][:_OPENING_CHARACTERS]
        spans = word_spans(text)
        if len(spans) < settings.prompt_words + settings.run_words:
            return None
        return text[: spans[settings.prompt_words - 1, 1]], source

    return sample_examples(files, settings.prompts, opening)


def _words(continuation: Continuation) -> int:
    return continuation.run.words if continuation.run else 0
