"""The share of each named source in the text and in a training run."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from modules.data import source_counts
from modules.data.source_counts import counts_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceFigures:
    """One of several named sources.

    Attributes:
        name: Its name in `data.sources`.
        documents: Number of its documents in the train split.
        tokens: Number of tokens in them; None if they were not counted.
        share: Share (0 to 1) of the tokens that the training run read, or without weights of the train split's tokens.
        times_read: How often the training run read each token on average; None without weights.
        unread_tokens: Number of tokens that the training run did not read; None without weights.
    """

    name: str
    documents: int
    tokens: int | None
    share: float | None
    times_read: float | None
    unread_tokens: int | None


def source_figures(
    examples: Mapping[str, Any], transformed_examples: Mapping[str, Any], model_run: Mapping[str, Any]
) -> tuple[SourceFigures, ...]:
    """Returns the figures of all named sources; none if the run has no named sources.

    Args:
        examples: Properties of the Examples in ML Metadata.
        transformed_examples: Properties of the transformed Examples; empty if there are none yet.
        model_run: Properties of the ModelRun; empty if there is none yet.
    """
    documents = counts_of(source_counts.DOCUMENTS, examples)
    tokens = counts_of(source_counts.TOKENS, transformed_examples)
    read = counts_of(source_counts.TOKENS_READ, model_run)
    times_read = counts_of(source_counts.TIMES_READ, model_run)
    unread = counts_of(source_counts.UNREAD, model_run)
    shared = read or tokens
    total = sum(shared.values())
    return tuple(
        SourceFigures(
            name=name,
            documents=number,
            tokens=tokens.get(name),
            share=shared.get(name, 0) / total if total else None,
            times_read=times_read.get(name),
            unread_tokens=unread.get(name),
        )
        for name, number in documents.items()
    )
