"""The error for a corpus that is too small for its splits, with shares that give every split a document."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence

from modules.cleaning.buckets import BucketCounts
from modules.common.errors import InputError

# So sure should a person be that no split is empty.
_SURE = 0.99
_TOTALS = range(10, 201)
# Only the keys of so few documents are looked at: of more, hardly a split is empty by chance.
_SMALL_CORPUS = 10_000


def check_splits(
    counts: BucketCounts,
    weights: Mapping[str, int],
    *,
    splits_are_given: bool,
    keys: Callable[[], Collection[int]],
) -> None:
    """Makes sure that every split holds a document.

    Args:
        counts: Counts of the kept and of the dropped documents.
        weights: The share of each split.
        splits_are_given: Whether files or a column give the splits.
        keys: Returns the number that decides the split of each whole document, see `buckets.split_of`.

    Raises:
        InputError: A split is empty; the message has shares with which none would be.
    """
    empty = [split for split in weights if not counts.documents.get(split)]
    if not empty:
        return
    documents = sum(counts.documents.values())
    dropped = ", ".join(f"{number} {reason}" for reason, number in counts.dropped.items() if number)
    received = f"Received: {documents} documents (dropped: {dropped or 'none'}). "
    problem = (
        f"Every split needs at least one document, but {' and '.join(empty)} got none of the {documents} different "
    )
    if splits_are_given:
        cure = "Set `data.splits.test` to null, which leaves the test split out, or n" if empty == ["test"] else "N"
        raise InputError(
            f"{problem}documents, whose splits `data` gives. {received}{cure}ame files, or values of the column, with "
            f"documents for {' and '.join(empty)}."
        )
    shares = ", ".join(f"{split} {weight}" for split, weight in weights.items())
    small = documents <= _SMALL_CORPUS
    raise InputError(
        f"{problem}documents (shares: {shares}). {received}"
        f"The hash of a text decides its split, and these shares need about {needed_documents(weights)} documents. "
        f"{_shares_cure(keys(), list(weights)) if small else ''}Or add text, or split .txt files into more documents "
        "with `document_separator` (for example blank_line), or name the files of each split in `data.splits`."
    )


def needed_documents(weights: Mapping[str, int]) -> int:
    """Returns how many documents it takes for no split to be empty, almost surely.

    `{"train": 90, "eval": 5, "test": 5}` needs 104.
    """
    total = sum(weights.values())
    documents = 1
    while sum((1 - weight / total) ** documents for weight in weights.values()) > 1 - _SURE:
        documents += max(1, math.ceil(documents * 0.001))
    return documents


def _shares_cure(keys: Collection[int], splits: Sequence[str]) -> str:
    found = sufficient_shares(keys, splits)
    if found is None:
        return ""
    # Without `test: null`, the test split would come back with its default share.
    shares = ", ".join(f"{split}: {found.get(split, 'null')}" for split in (*found, *({"test"} - found.keys())))
    return f"With these shares every split gets a document: `--set 'data.splits={{{shares}}}'`. "


def sufficient_shares(keys: Collection[int], splits: Sequence[str]) -> dict[str, int] | None:
    """Returns shares with which every split gets a document, with the largest share for the first split.

    `split_of` takes the remainder of a key by the sum of the shares: the smallest remainders are train, the largest
    are test.

    Returns:
        The shares, or None if there are too few different keys.
    """
    best: dict[str, int] | None = None
    for total in _TOTALS:
        # The last splits begin at the largest remainders; what is left is the first split's.
        remainders = sorted({key % total for key in keys}, reverse=True)[: len(splits)]
        starts = remainders[: len(splits) - 1]
        if len(remainders) < len(splits):
            continue
        ends = [total, *starts[:-1]]
        shares = [end - start for start, end in zip(starts, ends, strict=True)]
        found = dict(zip(splits, [starts[-1], *reversed(shares)], strict=True))
        if best is None or found[splits[0]] / total > best[splits[0]] / sum(best.values()):
            best = found
    return best
