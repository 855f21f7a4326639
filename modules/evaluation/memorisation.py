"""How much training text a model repeats word for word.

The model is given beginnings of train documents and continues them greedily, as in Carlini et al., "Quantifying
Memorization Across Neural Language Models" (arXiv:2202.07646). What it says is then looked for in all of the train
split, and not only in the document it was prompted with: text that stands in many documents is learned by heart first.

Words are those of `modules.cleaning.word_ngrams`: case, punctuation and spacing do not hide a copy.

From how many words on is it recitation? People repeat one another too: in the default corpus, of what was written after
the beginnings of held-out documents 29% has 13 words in a row that also stand in train, the n-gram of leakage checks,
and 13% has 20. So 20 is the default, which with 64 new tokens is also as strict as the paper's 50 tokens.
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
from modules.data.examples import Texts, read_examples, sample_examples
from modules.evaluation.confidence_intervals import wilson_interval
from modules.evaluation.gates import Check
from modules.evaluation.verbatim_runs import SHORTEST_RUN, Run, VerbatimRuns
from modules.model.sampling import SamplingSettings

# Where a prompt's end is looked for; `word_spans` is exact as far.
_OPENING_CHARACTERS = 2**16

# From prompts to their continuations.
Generate = Callable[[Sequence[str], SamplingSettings], list[str]]


class MemorisationSettings(Settings):
    """Whether the model recites its training text; see README, `Tasks`."""

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
            raise ValueError("`max_share` cannot be measured without `prompts`: raise them or leave `max_share` out")
        return self


class Continuation(NamedTuple):
    """What the model said.

    Attributes:
        prompt: What it was given.
        source: Of the document that the prompt begins.
        text: What it added.
        words: How many words that has.
        run: Which of them stand in train.
    """

    prompt: str
    source: str
    text: str
    words: int
    run: Run | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Memorisation:
    """What was found."""

    settings: MemorisationSettings
    continuations: Sequence[Continuation]

    @property
    def recited(self) -> int:
        """Continuations with a run of `run_words` words or more."""
        return sum(_words(continuation) >= self.settings.run_words for continuation in self.continuations)

    @property
    def long_enough(self) -> int:
        """Continuations that could have been recited: they have `run_words` words or more."""
        return sum(continuation.words >= self.settings.run_words for continuation in self.continuations)

    @property
    def share(self) -> float:
        """The recited ones' share of those that could have been, 0 to 1; NaN where most could not.

        That is so where no document is long enough to be recited, or fewer than half of the continuations are: of 64
        single bytes, or of a model that ends at once, nothing can be told.
        """
        if not self.long_enough or 2 * self.long_enough < len(self.continuations):
            return math.nan
        return self.recited / self.long_enough

    def checks(self) -> list[Check]:
        """The gate, where there is one."""
        if self.settings.max_share is None:
            return []
        words = self.settings.run_words
        measured = math.isfinite(self.share)
        cure = f": half of the continuations must have {words} words, lower run_words or raise max_new_tokens"
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
        """For JSON: the figures, the settings behind them, and every continuation, most of train first."""
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
    """Prompts the model and looks for what it says in the train split, which is read twice as a stream.

    Args:
        settings: How many prompts, and what counts.
        train_files: Gzip TFRecord files of the train split's examples.
        data_kind: `text`: a prompt is a document's beginning; others: an example's first prompt, and the completions
            are what can be recited, of preferences those that were chosen.
        generate: The model.
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
    """Prompts and their documents' sources: only of documents that could then be recited."""

    def opening(example: Texts) -> tuple[str, str] | None:
        (source,) = example["source"]
        if data_kind != "text":
            prompt, answer = example["prompt"][0], example["completion"][0]
            return (prompt, source) if len(word_hashes(answer)) >= settings.run_words else None
        text = example["text"][0][:_OPENING_CHARACTERS]
        spans = word_spans(text)
        if len(spans) < settings.prompt_words + settings.run_words:
            return None
        return text[: spans[settings.prompt_words - 1, 1]], source

    return sample_examples(files, settings.prompts, opening)


def _words(continuation: Continuation) -> int:
    return continuation.run.words if continuation.run else 0
