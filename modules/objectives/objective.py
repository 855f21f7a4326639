"""What a training minimises."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

import tensorflow as tf

from modules.objectives.losses import token_cross_entropy

# A batch: tensors whose first dimension counts its rows.
Batch = Mapping[str, tf.Tensor]
# A language model whose `training` is set: from a dictionary of inputs to logits `[batch, time, vocabulary]`.
Model = Callable[[Batch], tf.Tensor]


class Sums(NamedTuple):
    """Sums over some rows, float32 scalars: those of parts of a batch add up to those of the whole.

    Attributes:
        loss: What is minimised, times `weight`.
        weight: How much there is to average over: targets that count, pairs.
        metrics: What else is told, each times `weight`.
    """

    loss: tf.Tensor
    weight: tf.Tensor
    metrics: dict[str, tf.Tensor]


class Objective(Protocol):
    """A loss over a model, as `modules.training.language_model_trainer` takes it."""

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The keys of `Sums.metrics`. `nll`, in nats a target, is shown as perplexity, others as they are."""

    def __call__(self, model: Model, batch: Batch) -> Sums:
        """Sums over the rows of a batch; called within a graph."""


def model_inputs(batch: Batch) -> dict[str, tf.Tensor]:
    """What of a batch of `batches.to_batch` a language model is called with."""
    return {name: column for name, column in batch.items() if name not in ("targets", "weights")}


@dataclasses.dataclass(frozen=True, kw_only=True)
class LanguageModelling:
    """Cross-entropy of the next tokens.

    With smoothing s the target is probability 1 - s for the token itself, and s spread evenly over the whole vocabulary
    (Szegedy et al. 2016, arXiv:1512.00567, section 7). The metric `nll` is always that of the tokens themselves.

    Attributes:
        label_smoothing: s, from 0 to 1.
    """

    label_smoothing: float = 0.0
    metric_names: tuple[str, ...] = ("nll",)

    def __call__(self, model: Model, batch: Batch) -> Sums:
        """Sums over the targets.

        Args:
            model: See `gpt2.language_model`.
            batch: See `batches.to_batch`.
        """
        return self.sums(model(model_inputs(batch)), batch)

    def sums(self, logits: tf.Tensor, batch: Batch) -> Sums:
        """The same of logits `[batch, time, vocabulary]` that are there already."""
        nll = loss = token_cross_entropy(logits, batch["targets"])
        if self.label_smoothing:
            loss = token_cross_entropy(logits, batch["targets"], label_smoothing=self.label_smoothing)
        weights = batch["weights"] if "weights" in batch else tf.ones_like(nll)
        return Sums(
            loss=tf.reduce_sum(loss * weights),
            weight=tf.reduce_sum(weights),
            metrics={"nll": tf.reduce_sum(nll * weights)},
        )
