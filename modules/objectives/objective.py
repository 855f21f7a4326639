"""Objectives: the losses that a training run minimises."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

import tensorflow as tf

from modules.objectives.losses import token_cross_entropy

# A batch: tensors by name; the first dimension of each is the rows.
Batch = Mapping[str, tf.Tensor]
# A language model whose argument `training` is already set: maps a dictionary of inputs to logits
# `[batch, time, vocabulary]`.
Model = Callable[[Batch], tf.Tensor]


class Sums(NamedTuple):
    """Sums over some rows, float32 scalars; the sums of the parts of a batch add up to the sums of the batch.

    Attributes:
        loss: Sum of the loss that is minimised. The mean is `loss / weight`.
        weight: Number of terms in the sums: targets that count, or pairs.
        metrics: Sums of other figures to report, by name. The mean is also the sum divided by `weight`.
    """

    loss: tf.Tensor
    weight: tf.Tensor
    metrics: dict[str, tf.Tensor]


class Objective(Protocol):
    """A loss of a model on a batch, which `modules.training.language_model_trainer` minimises."""

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Returns the keys of `Sums.metrics`.

        `nll`, in nats per target, is shown as perplexity. Other metrics are shown as they are.
        """

    def __call__(self, model: Model, batch: Batch) -> Sums:
        """Returns the sums over the rows of a batch; called while TensorFlow traces a graph."""


def model_inputs(batch: Batch) -> dict[str, tf.Tensor]:
    """Returns the columns of a batch that are inputs of the language model; see `packing.to_batch`."""
    return {name: column for name, column in batch.items() if name not in ("targets", "weights")}


@dataclasses.dataclass(frozen=True, kw_only=True)
class LanguageModelling:
    """Cross-entropy of the next tokens.

    With label smoothing s, the target token gets probability 1 - s, and s is spread evenly over the whole vocabulary
    (Szegedy et al. 2016, arXiv:1512.00567, section 7). The metric `nll` is always computed without smoothing.

    Attributes:
        label_smoothing: s, from 0 to 1.
    """

    label_smoothing: float = 0.0
    metric_names: tuple[str, ...] = ("nll",)

    def __call__(self, model: Model, batch: Batch) -> Sums:
        """Returns the sums over the targets.

        Args:
            model: See `gpt2.language_model`.
            batch: See `packing.to_batch`.
        """
        return self.sums(model(model_inputs(batch)), batch)

    def sums(self, logits: tf.Tensor, batch: Batch) -> Sums:
        """Returns the same sums from logits `[batch, time, vocabulary]` that are already computed."""
        nll = loss = token_cross_entropy(logits, batch["targets"])
        if self.label_smoothing:
            loss = token_cross_entropy(logits, batch["targets"], label_smoothing=self.label_smoothing)
        weights = batch["weights"] if "weights" in batch else tf.ones_like(nll)
        return Sums(
            loss=tf.reduce_sum(loss * weights),
            weight=tf.reduce_sum(weights),
            metrics={"nll": tf.reduce_sum(nll * weights)},
        )
