"""Preference pairs of ten tokens for a tiny model: counting up is preferred to counting down."""

import tensorflow as tf

from modules.training import preference_pairs
from modules.training.stored_rows import StoredRows, TrainingData

END = 0
LONGEST = 9


def documents(*rows: tuple[list[int], list[int], list[int]]) -> tf.data.Dataset:
    """Returns batches of two prompts with a chosen and a rejected answer each, as Transform writes them."""
    columns: dict[str, list[list[int]]] = {name: [] for name in preference_pairs.COLUMNS}
    for prompt, chosen, rejected in rows:
        for prefix, answer in (("", chosen), ("rejected_", rejected)):
            columns[f"{prefix}token_ids"].append(prompt + answer)
            columns[f"{prefix}loss_mask"].append([0] * len(prompt) + [1] * len(answer))
    ragged = {name: tf.ragged.constant(values, tf.int64, ragged_rank=1) for name, values in columns.items()}
    return tf.data.Dataset.from_tensor_slices(ragged).batch(2)


def counting_pairs(count: int) -> StoredRows:
    """Stores pairs that prefer 1 2 | 3 4 5 to 1 2 | 1 0, and so on; a pair has 5 + 4 targets without padding."""
    rows = []
    for number in range(count):
        first = 1 + number % 5
        rows.append(([first, first + 1], [first + 2, first + 3, first + 4], [first, first - 1]))
    return preference_pairs.store_pairs(documents(*rows), longest=LONGEST, end_of_text_id=END, split="train")


def counting_preferences(train: int = 20, validation: int = 6) -> TrainingData:
    """Returns counting pairs as training and validation data, without reference log-probabilities."""
    return TrainingData(
        train=counting_pairs(train),
        validation=counting_pairs(validation),
        to_batch=preference_pairs.to_batch,
        tokens_per_row=11,
    )
