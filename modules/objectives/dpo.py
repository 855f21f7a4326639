"""Direct preference optimization: the objective, and the reference that it is held against."""

import dataclasses
import functools

import keras
import numpy as np
import tensorflow as tf

from modules.common import progress
from modules.objectives.losses import token_cross_entropy
from modules.objectives.objective import Batch, Model, Sums
from modules.training import preference_pairs
from modules.training.loop import TrainingData
from modules.training.settings import TrainingSettings
from modules.training.stored_rows import StoredRows, batches_in_order

# The column of the pairs that the reference's log-probabilities make.
REFERENCE = "reference_log_probabilities"


@dataclasses.dataclass(frozen=True, kw_only=True)
class DirectPreferenceOptimization:
    """Widens the gap between chosen and rejected answers, as seen from the reference.

    ```
    reward = beta (log p(answer) - log p_reference(answer))       of each of the two
    margin = reward(chosen) - reward(rejected)
    loss   = -log sigmoid(margin)
    ```

    (Rafailov et al. 2023, arXiv:2305.18290, equation 7.) The weight is the number of pairs; the metrics are the mean
    margin and the share of pairs whose margin is above 0.

    Attributes:
        beta: See `DpoSettings`.
    """

    beta: float
    metric_names: tuple[str, ...] = ("reward_margin", "reward_accuracy")

    def __call__(self, model: Model, batch: Batch) -> Sums:
        """Sums over pairs.

        Args:
            model: See `gpt2.language_model`.
            batch: See `preference_pairs.to_batch`, with `REFERENCE`, float32 `[pairs, 2]`.
        """
        rewards = self.beta * (answer_log_probabilities(model, batch) - batch[REFERENCE])
        margins = rewards[:, 0] - rewards[:, 1]
        return Sums(
            loss=tf.reduce_sum(tf.nn.softplus(-margins)),
            weight=tf.cast(tf.size(margins), tf.float32),
            metrics={
                "reward_margin": tf.reduce_sum(margins),
                "reward_accuracy": tf.reduce_sum(tf.cast(margins > 0, tf.float32)),
            },
        )


def answer_log_probabilities(model: Model, batch: Batch) -> tf.Tensor:
    """The log-probabilities of chosen and rejected answers given their prompts: sums over tokens, float32 `[pairs, 2]`.

    Args:
        model: See `gpt2.language_model`.
        batch: See `preference_pairs.to_batch`.
    """
    # Both answers of all pairs are rows of one call.
    rows = {name: tf.reshape(batch[name], [-1, batch[name].shape[-1]]) for name in ("token_ids", "targets", "weights")}
    logits = model({"token_ids": rows["token_ids"], "padding_mask": tf.ones_like(rows["token_ids"], tf.bool)})
    nll = tf.reduce_sum(token_cross_entropy(logits, rows["targets"]) * rows["weights"], axis=-1)
    return -tf.reshape(nll, [-1, 2])


def with_reference(data: TrainingData, language_model: keras.Model, settings: TrainingSettings) -> TrainingData:
    """Adds to the pairs of both splits what the model thinks of them before its training; see `add_reference`."""
    # The first device does it alone, with as many pairs at once as each has in training.
    pairs = settings.micro_batch_size // language_model.distribute_strategy.num_replicas_in_sync
    train, validation = (
        add_reference(rows, language_model, batch_size=pairs) for rows in (data.train, data.validation)
    )
    return dataclasses.replace(data, train=train, validation=validation)


def add_reference(pairs: StoredRows, language_model: keras.Model, *, batch_size: int) -> StoredRows:
    """Adds what the model thinks of each pair now, before it is trained, as the column `REFERENCE`.

    The paper's frozen copy of the model would give the same numbers at every step, for its memory and its time.

    Args:
        pairs: From `preference_pairs.store_pairs`.
        language_model: That is to be trained; dropout is off.
        batch_size: Pairs a call.
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
