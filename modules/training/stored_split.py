"""The stored rows of one split, or of one source of it, with what the training data and the messages need of them."""

import collections
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from modules.common.errors import InputError
from modules.tokenization import packing_efficiency
from modules.training import packing, preference_pairs
from modules.training.settings import TrainingSettings
from modules.training.stored_rows import StoredRows, TrainingData, store_rows

CURE_OF_WINDOWS = "add text, or lower `model.context_length` or `training.batch_size`"


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredSplit:
    """The rows of a split.

    Attributes:
        split: Name of the split.
        rows: The stored rows.
        to_batch, tokens_per_row, unused_tokens, split_rows: See `TrainingData`.
        has: Words of the message that follow "the train split"; `{}` is replaced by the number of rows.
        cure: Words of the message that name the cures, except for a larger share of the data for the split.
    """

    split: str
    rows: StoredRows
    to_batch: Callable[[dict[str, tf.Tensor]], Any]
    tokens_per_row: int
    has: str
    cure: str
    unused_tokens: int | None = None
    split_rows: int | None = None

    def check(self, *, at_least: int = 1) -> None:
        """Checks the number of rows.

        Raises:
            InputError: If there are fewer rows than `at_least`.
        """
        if self.rows.count < at_least:
            raise InputError(
                f"the {self.split} split {self.has.format(self.rows.count)}, fewer than {at_least}; {self.cure}, or "
                f"raise `data.splits.{self.split}`."
            )


def store_windows(
    windows: tf.data.Dataset, *, split: str, at_most: int | None = None, lengths: Sequence[int] | None = None
) -> StoredSplit:
    """Reads packed windows of `time + 1` tokens once and stores them; see `packing.packed_windows`.

    Args:
        windows: The windows.
        split: Name of the split.
        at_most: Number of windows to keep; None: all.
        lengths: Numbers of tokens in the rows of instructions that are in the windows; None for plain text.
    """
    window = windows.element_spec["token_ids"].shape[0]
    rows = store_rows(windows if at_most is None else windows.take(at_most))
    counted = " that hold a token of a completion" if "loss_mask" in rows.columns else ""
    stored = StoredSplit(
        split=split,
        rows=rows,
        to_batch=packing.to_batch,
        tokens_per_row=window - 1,
        has=f"fills {{}} windows of {window} tokens{counted}",
        cure=CURE_OF_WINDOWS,
    )
    if lengths is None:
        return stored
    return dataclasses.replace(
        stored,
        unused_tokens=packing_efficiency.unused_tokens(collections.Counter(lengths), window=window),
        split_rows=packing_efficiency.split_documents(lengths, window=window),
    )


def split_of_pairs(pairs: StoredRows, *, split: str, longest: int) -> StoredSplit:
    """Returns a split of stored pairs of at most `longest` tokens; see `preference_pairs.store_pairs`."""
    return StoredSplit(
        split=split,
        rows=pairs,
        to_batch=preference_pairs.to_batch,
        tokens_per_row=preference_pairs.mean_tokens(pairs) if pairs.count else 0,
        has=f"has {{}} pairs that fit into {longest} tokens",
        cure="add rows, or raise `model.context_length`, or lower `training.batch_size`",
    )


def training_data(train: StoredSplit, validation: StoredSplit, settings: TrainingSettings) -> TrainingData:
    """Joins both splits to training data.

    Raises:
        InputError: If the train split does not fill one batch, or the eval split has no row.
    """
    train.check(at_least=settings.batch_size)
    validation.check()
    return TrainingData(
        train=train.rows,
        validation=validation.rows,
        to_batch=train.to_batch,
        tokens_per_row=train.tokens_per_row,
        unused_tokens=train.unused_tokens,
        split_rows=train.split_rows,
    )
