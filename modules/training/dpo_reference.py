"""The reference of direct preference optimization: each answer's log-probability under the starting model."""

import dataclasses
import functools

import keras
import numpy as np
import tensorflow as tf

from modules.common import progress
from modules.objectives.dpo import REFERENCE, answer_log_probabilities
from modules.training import preference_pairs
from modules.training.settings import TrainingSettings
from modules.training.stored_rows import StoredRows, TrainingData, batches_in_order


def with_reference(data: TrainingData, language_model: keras.Model, settings: TrainingSettings) -> TrainingData:
    """Adds the starting model's log-probabilities to the pairs of both splits, see `add_reference`."""
    # A single device computes this, with as many pairs per call as each device has in training.
    pairs = settings.micro_batch_size // language_model.distribute_strategy.num_replicas_in_sync
    train, validation = (
        add_reference(rows, language_model, batch_size=pairs) for rows in (data.train, data.validation)
    )
    return dataclasses.replace(data, train=train, validation=validation)


def add_reference(pairs: StoredRows, language_model: keras.Model, *, batch_size: int) -> StoredRows:
    """Adds the log-probabilities of each pair under the untrained model as the column `REFERENCE`.

    The paper keeps a frozen copy of the model, which computes the same numbers again in every step. Computing them once
    saves its memory and time.

    Args:
        pairs: From `preference_pairs.store_pairs`.
        language_model: The model before training; it is called without dropout.
        batch_size: Pairs per call.
    """
    if not pairs.count:
        return dataclasses.replace(pairs, columns={**pairs.columns, REFERENCE: np.zeros([0, 2], np.float32)})
    batches = batches_in_order(pairs, batch_size=batch_size, to_batch=preference_pairs.to_batch)
    score = tf.function(
        functools.partial(answer_log_probabilities, functools.partial(language_model, training=False)),
        autograph=False,
    )
    scored: list[np.ndarray] = []
    done = 0
    for batch in batches:
        scored.append(score(batch).numpy())
        done += len(scored[-1])
        progress.report("Trainer", done=done, total=pairs.count, unit="pairs scored by the starting model")
    return dataclasses.replace(pairs, columns={**pairs.columns, REFERENCE: np.concatenate(scored)})
