"""Direct preference optimization: a loss over pairs of answers to the same prompt."""

import dataclasses

import tensorflow as tf

from modules.objectives.losses import token_cross_entropy
from modules.objectives.objective import Batch, Model, Sums

# The column of the pairs with the log-probabilities of both answers under the reference, see `training.dpo_reference`.
REFERENCE = "reference_log_probabilities"


@dataclasses.dataclass(frozen=True, kw_only=True)
class DirectPreferenceOptimization:
    """A loss that increases the probability of chosen answers over that of rejected ones, relative to the reference.

    ```
    reward = beta (log p(answer) - log p_reference(answer))       for each answer of a pair
    margin = reward(chosen) - reward(rejected)
    loss   = -log sigmoid(margin) - imitation × log p(chosen) / tokens of chosen
    ```

    (Rafailov et al. 2023, arXiv:2305.18290, equation 7; the second term is that of Pang et al. 2024,
    arXiv:2404.19733.) The weight is the number of pairs; the metrics are the mean
    margin and the share of pairs whose margin is above 0.

    Attributes:
        beta: See `DpoSettings`.
        imitation: See `DpoSettings`.
    """

    beta: float
    imitation: float = 0.0
    metric_names: tuple[str, ...] = ("reward_margin", "reward_accuracy")

    def __call__(self, model: Model, batch: Batch) -> Sums:
        """Returns sums over pairs.

        Args:
            model: See `gpt2.language_model`.
            batch: See `preference_pairs.to_batch`, with `REFERENCE`, float32 `[pairs, 2]`.
        """
        log_probabilities = answer_log_probabilities(model, batch)
        rewards = self.beta * (log_probabilities - batch[REFERENCE])
        margins = rewards[:, 0] - rewards[:, 1]
        losses = tf.nn.softplus(-margins)
        if self.imitation:
            tokens = tf.reduce_sum(batch["weights"][:, 0], axis=-1)
            losses -= self.imitation * tf.math.divide_no_nan(log_probabilities[:, 0], tokens)
        return Sums(
            loss=tf.reduce_sum(losses),
            weight=tf.cast(tf.size(margins), tf.float32),
            metrics={
                "reward_margin": tf.reduce_sum(margins),
                "reward_accuracy": tf.reduce_sum(tf.cast(margins > 0, tf.float32)),
            },
        )


def answer_log_probabilities(model: Model, batch: Batch) -> tf.Tensor:
    """Returns the log-probabilities of chosen and rejected answers given their prompts, float32 `[pairs, 2]`.

    Each is a sum over the answer's tokens.

    Args:
        model: See `gpt2.language_model`.
        batch: See `preference_pairs.to_batch`.
    """
    # Both answers of all pairs are rows of one call.
    rows = {name: tf.reshape(batch[name], [-1, batch[name].shape[-1]]) for name in ("token_ids", "targets", "weights")}
    logits = model({"token_ids": rows["token_ids"], "padding_mask": tf.ones_like(rows["token_ids"], tf.bool)})
    nll = tf.reduce_sum(token_cross_entropy(logits, rows["targets"]) * rows["weights"], axis=-1)
    return -tf.reshape(nll, [-1, 2])
