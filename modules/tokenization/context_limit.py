"""Rows that are longer than the model's context: which are left out, and where the others are cut. Needs only NumPy.

The node LengthGate counts with these functions before anything is trained, and the Trainer drops and cuts by the same
functions. Plain text has no rows: its documents are packed into windows and lose nothing.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Self

import numpy as np

from modules.common.errors import InputError
from modules.common.formatting import share

TooLong = Literal["error", "drop", "truncate"]
# Without a setting, a run stops from this share of rows on, and drops the rows below it.
ERROR_SHARE = 0.1
# The splits that a training run reads.
SPLITS = ("train", "eval")
# <|endoftext|> before and after a row.
_ENDS = 2


def lengths_file(split: str) -> str:
    """Returns the name of the file with the `RowLengths` of a split, next to the splits of the transformed examples."""
    return f"row_lengths_{split}.npy"


class Ragged(NamedTuple):
    """Rows of different lengths: row i is `values[splits[i]:splits[i + 1]]`; both int64."""

    values: np.ndarray
    splits: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """Length of each row, int64 `[rows]`."""
        return np.diff(self.splits)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowLengths:
    """Numbers of tokens in rows, without the <|endoftext|> before and after a row.

    Attributes:
        prompt: int64 `[rows]`, the tokens before the first token that counts in the loss.
        whole: int64 `[rows, answers]`, all tokens with each answer: one for instructions, two for preferences.
        common: int64 `[rows]`, the leading tokens that the whole rows of a pair share; 0 for instructions.
    """

    prompt: np.ndarray
    whole: np.ndarray
    common: np.ndarray

    @property
    def longest(self) -> np.ndarray:
        """Tokens of each row, or of a pair's longer row, with both <|endoftext|>: int64 `[rows]`."""
        return self.whole.max(axis=1, initial=0) + _ENDS

    def to_array(self) -> np.ndarray:
        """Returns the numbers as one array `[rows, 2 + answers]` for a file."""
        return np.column_stack([self.prompt, self.common, self.whole]).astype(np.int64)

    @classmethod
    def from_array(cls, array: np.ndarray) -> Self:
        """Returns the lengths that `to_array` wrote."""
        return cls(prompt=array[:, 0], common=array[:, 1], whole=array[:, 2:])

    @classmethod
    def joined(cls, parts: Sequence["RowLengths"], *, answers: int = 1) -> Self:
        """Returns the rows of all parts; without parts no rows with so many answers."""
        arrays = [part.to_array() for part in parts] or [np.zeros([0, 2 + answers], np.int64)]
        return cls.from_array(np.concatenate(arrays))


class Fit(NamedTuple):
    """The cuts with which rows fit into the context.

    Attributes:
        kept: bool `[rows]`; the rest is dropped.
        lengths: int64 `[rows, answers]`, the tokens that are kept of each row, from its start.
        ended: bool `[rows, answers]`: the row is whole, and <|endoftext|> follows it. A row that is cut does not end,
            so that a model does not learn to stop there.
    """

    kept: np.ndarray
    lengths: np.ndarray
    ended: np.ndarray


def measure(token_ids: Ragged, loss_mask: Ragged, rejected_token_ids: Ragged | None = None) -> RowLengths:
    """Measures rows of tokens.

    ```
    token_ids          = [[5, 6, 7, 8]]     prompt = [2]
    loss_mask          = [[0, 0, 1, 1]]     whole  = [[4, 3]]
    rejected_token_ids = [[5, 6, 9]]        common = [2]
    ```

    Args:
        token_ids: Tokens of the rows; for preferences with the chosen answers.
        loss_mask: 1 for tokens that count in the loss, else 0; of the same shape.
        rejected_token_ids: For preferences, the tokens with the rejected answers.
    """
    prompt = _first(loss_mask.values > 0, loss_mask.splits)
    if rejected_token_ids is None:
        return RowLengths(prompt=prompt, whole=token_ids.lengths[:, None], common=np.zeros_like(prompt))
    shorter = np.minimum(token_ids.lengths, rejected_token_ids.lengths)
    splits = np.concatenate([[0], np.cumsum(shorter)])
    places = np.arange(splits[-1]) - np.repeat(splits[:-1], shorter)
    chosen, rejected = (
        rows.values[np.repeat(rows.splits[:-1], shorter) + places] for rows in (token_ids, rejected_token_ids)
    )
    return RowLengths(
        prompt=prompt,
        whole=np.column_stack([token_ids.lengths, rejected_token_ids.lengths]),
        common=_first(chosen != rejected, splits),
    )


def _first(flags: np.ndarray, splits: np.ndarray) -> np.ndarray:
    """Returns the place of the first true flag in each row, or the row's length if there is none."""
    first = np.diff(splits)
    places = np.flatnonzero(flags)
    rows = np.searchsorted(splits, places, side="right") - 1
    found, at = np.unique(rows, return_index=True)
    first[found] = places[at] - splits[found]
    return first


def fit(rows: RowLengths, *, context_length: int, truncate: bool) -> Fit:
    """Decides which rows are kept, and where they are cut.

    A row fits if it has at most `context_length + 1` tokens, both <|endoftext|> included: these are a window's inputs
    and its last target. Other rows are dropped; with `truncate` they are cut at their end instead, where the answers
    are. The prompt stays whole. A row is dropped nevertheless if its prompt leaves no room for an answer, and a pair
    if its answers are equal up to the cut.

    Args:
        rows: The lengths.
        context_length: Context length of the model, in tokens.
        truncate: Whether to cut rows instead of dropping them.
    """
    too_long = rows.longest > context_length + 1
    if not truncate:
        return Fit(~too_long, rows.whole, np.ones_like(rows.whole, bool))
    ended = rows.whole + _ENDS <= context_length + 1
    lengths = np.where(ended, rows.whole, context_length)
    return Fit(~(too_long & (_is_full(rows, context_length) | _is_equal(rows, context_length))), lengths, ended)


def _is_full(rows: RowLengths, context_length: int) -> np.ndarray:
    return rows.prompt >= context_length


def _is_equal(rows: RowLengths, context_length: int) -> np.ndarray:
    return rows.common >= context_length


def count(rows: RowLengths, *, context_length: int, truncate: bool) -> dict[str, int]:
    """Returns the numbers of dropped and cut rows by reason, under the names of ML Metadata's properties."""
    too_long = rows.longest > context_length + 1
    if not truncate:
        return {"dropped_longer_than_the_context": int(too_long.sum())}
    kept = fit(rows, context_length=context_length, truncate=True).kept
    full = _is_full(rows, context_length)
    return {
        "dropped_prompt_fills_the_context": int((too_long & full).sum()),
        "dropped_answers_equal_within_the_context": int((~kept & ~full).sum()),
        "changed_answers_cut_at_the_context": int((too_long & kept).sum()),
    }


def check(
    lengths: Mapping[str, RowLengths], *, context_length: int, too_long: TooLong | None, largest_context: int
) -> None:
    """Stops where rows are too long and the setting does not allow to drop or to cut them.

    Args:
        lengths: The rows of each split that a training run reads.
        context_length: Context length of the model, in tokens.
        too_long: The setting `data.too_long`; None stops from `ERROR_SHARE` of the rows on.
        largest_context: Largest context length that the model can have.

    Raises:
        InputError: Rows are too long. The message names the numbers and the settings that help.
    """
    longest = np.concatenate([rows.longest for rows in lengths.values()])
    found = int((longest > context_length + 1).sum())
    if not found or too_long in ("drop", "truncate") or (too_long is None and found < ERROR_SHARE * len(longest)):
        return
    rule = "no row may be longer" if too_long == "error" else f"fewer than {ERROR_SHARE:.0%} may be longer"
    raise InputError(
        f"{found:,} of {len(longest):,} rows ({share(found / len(longest))}) are longer than the context. With their "
        f"prompts and <|endoftext|> before and after, {rule} than `model.context_length` + 1 = {context_length + 1:,} "
        f"tokens (`data.too_long`). Received: a longest row of {int(longest.max()):,} tokens. "
        f"{_cure(longest, largest_context, too_long)}Leave the long rows out with --set data.too_long=drop, or cut "
        "their answers with --set data.too_long=truncate."
    )


def _cure(longest: np.ndarray, largest_context: int, too_long: TooLong | None) -> str:
    """Returns the sentence with the context length that helps, or "" if no context length does."""
    needed = int(longest.max()) - 1
    if needed <= largest_context:
        return f"Use --set model.context_length={needed}, which holds every row. "
    still = int((longest > largest_context + 1).sum())
    if too_long is None and still < ERROR_SHARE * len(longest):
        return (
            f"Use --set model.context_length={largest_context}, the largest, with which {still:,} rows are left out. "
        )
    return ""
