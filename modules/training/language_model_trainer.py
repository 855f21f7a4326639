"""One training step for Keras' `fit`: gradients are accumulated, divided by the number of targets, and clipped."""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from modules.objectives.objective import Batch, Objective, Sums
from modules.training.devices import make_averageable


class LanguageModelTrainer(keras.Model):
    """A Keras model that minimises an objective over a language model.

    The gradients of a step are those of its whole batch, Σ loss / Σ weight, for any number of micro-batches and
    replicas. A mean of the parts' means would be equal only if the same number of targets counted in each part.

    `fit` passes the logs of each single step to callbacks, not the means of the epoch so far: `step` (the first is 1),
    `loss` and the objective's metrics (means over the batch), `gradient_norm` (before clipping), `learning_rate` and
    `loss_scale` (1 without loss scaling). `evaluate` returns the means over all its batches, weighted by `Sums.weight`.

    Example:
        >>> from modules.objectives.objective import LanguageModelling
        >>> token_ids = keras.Input([None], dtype="int32", name="token_ids")
        >>> bigram_model = keras.Model({"token_ids": token_ids}, keras.layers.Embedding(10, 10)(token_ids))
        >>> trainer = LanguageModelTrainer(bigram_model, LanguageModelling())
        >>> trainer.compile(keras.optimizers.Adam(0.5), jit_compile=False)
        >>> batch = {"token_ids": tf.constant([[1, 2, 3]]), "targets": tf.constant([[2, 3, 4]])}
        >>> losses = trainer.fit(batch, epochs=20, verbose=0).history["loss"]
        >>> f"from {losses[0]:.1f} to {losses[-1]:.1f} nats per token"
        'from 2.3 to 0.0 nats per token'
    """

    def __init__(
        self,
        language_model: keras.Model,
        objective: Objective,
        *,
        micro_batches: int = 1,
        gradient_clip_norm: float = 1.0,
    ):
        """Wraps a built model and shares all its weights.

        Args:
            language_model: The model that the objective calls; its trainable variables are trained.
            objective: The loss to minimise.
            micro_batches: Parts of a batch that are computed one after another; must divide the rows of each replica.
            gradient_clip_norm: Largest global norm (Pascanu et al. 2013, arXiv:1211.5063, algorithm 1).
        """
        super().__init__()
        self.language_model = language_model
        self._objective = objective
        self._micro_batches = micro_batches
        self._gradient_clip_norm = gradient_clip_norm
        self._means = [keras.metrics.Mean(name=name) for name in ("loss", *objective.metric_names)]
        self.step = self.add_weight(name="step", dtype="int32", trainable=False, aggregation="only_first_replica")
        self.built = True

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Returns the means that `evaluate` resets first and returns last; training steps do not change them."""
        return self._means

    def train_step(self, data: Batch) -> dict[str, tf.Tensor]:
        """Updates the weights by one step on a batch of the objective; returns the logs of the step."""
        rows = next(iter(data.values()))
        # In float16 the gradients of a sum over thousands of targets would overflow. So the loss is first divided by
        # `size`, about the number of targets; `to_mean` later turns the gradients into those of the exact mean.
        size = tf.cast(tf.size(rows), tf.float32)
        with self._own_dropout_masks():
            gradients, sums = self._accumulate(data, 1 / size)
        gradients, sums = _sum_over_replicas(gradients), _sum_over_replicas(sums)
        to_mean = size / sums.weight

        scale = self.optimizer.scale_loss(tf.constant(1.0))
        norm = tf.linalg.global_norm(gradients) * to_mean / scale
        clip = self._gradient_clip_norm / tf.maximum(norm, self._gradient_clip_norm)
        learning_rate = tf.convert_to_tensor(self.optimizer.learning_rate)
        # Both factors are applied in one pass, because the gradients need as much memory as the model.
        factor = to_mean * clip
        variables = self.language_model.trainable_variables
        self.optimizer.apply_gradients(zip([gradient * factor for gradient in gradients], variables, strict=True))
        self.step.assign_add(1)
        logs = {
            "step": tf.convert_to_tensor(self.step),
            "loss": sums.loss / sums.weight,
            **{name: total / sums.weight for name, total in sums.metrics.items()},
            "gradient_norm": norm,
            "learning_rate": learning_rate,
            "loss_scale": scale,
        }
        return make_averageable(logs)

    def test_step(self, data: Batch) -> dict[str, tf.Tensor]:
        """Adds a batch to the means and returns them."""
        sums = self._objective(functools.partial(self.language_model, training=False), data)
        for mean, total in zip(self._means, (sums.loss, *sums.metrics.values()), strict=True):
            mean.update_state(tf.math.divide_no_nan(total, sums.weight), sample_weight=sums.weight)
        return make_averageable({mean.name: mean.result() for mean in self._means})

    def _maybe_symbolic_build(self, iterator: object = None, data_batch: object = None) -> None:
        """No-op: the model is already built.

        Under a strategy, Keras would average a batch over the replicas to build the model, masks included.
        """

    @contextlib.contextmanager
    def _own_dropout_masks(self) -> Iterator[None]:
        """Adds the replica's number to its dropout seeds, and subtracts it afterwards.

        Otherwise Keras would draw the same masks in all replicas. Outside of this context the states are the same in
        all replicas.
        """
        context = tf.distribute.get_replica_context()
        if context.num_replicas_in_sync == 1:
            yield
            return
        weights = {id(weight) for weight in self.language_model.weights}
        seeds = [variable for variable in self.language_model.variables if id(variable) not in weights]
        # A state holds a seed, and a counter of the masks that were drawn.
        for state in seeds:
            state.assign_add(tf.cast([context.replica_id_in_sync_group, 0], state.dtype))
        yield
        for state in seeds:
            state.assign_sub(tf.cast([context.replica_id_in_sync_group, 0], state.dtype))

    def _accumulate(self, batch: Batch, factor: tf.Tensor) -> tuple[list[tf.Tensor], Sums]:
        """Sums over the micro-batches: gradients, times `factor` and the loss scale, and the sums of the objective."""
        if self._micro_batches == 1:
            return self._differentiate(batch, factor)
        parts = {name: _cut(column, self._micro_batches) for name, column in batch.items()}

        def add(index: tf.Tensor, gradients: list[tf.Tensor], sums: Sums) -> tuple[Any, ...]:
            more_gradients, more_sums = self._differentiate(
                {name: column[index] for name, column in parts.items()}, factor
            )
            total = [gradient + more for gradient, more in zip(gradients, more_gradients, strict=True)]
            return index + 1, total, tf.nest.map_structure(tf.add, sums, more_sums)

        nothing = Sums(
            tf.constant(0.0), tf.constant(0.0), dict.fromkeys(self._objective.metric_names, tf.constant(0.0))
        )
        zeros = [tf.zeros(variable.shape, variable.dtype) for variable in self.language_model.trainable_variables]
        _, gradients, sums = tf.while_loop(
            lambda index, *_: index < self._micro_batches,
            add,
            (tf.constant(0), zeros, nothing),
            parallel_iterations=1,  # so that the parts reuse the same memory
            maximum_iterations=self._micro_batches,
        )
        return gradients, sums

    def _differentiate(self, batch: Batch, factor: tf.Tensor) -> tuple[list[tf.Tensor], Sums]:
        with tf.GradientTape() as tape:
            sums = self._objective(functools.partial(self.language_model, training=True), batch)
            loss = self.optimizer.scale_loss(sums.loss * factor)
        variables = [variable.value for variable in self.language_model.trainable_variables]
        gradients = tape.gradient(loss, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return [tf.convert_to_tensor(gradient) for gradient in gradients], sums


def _cut(column: tf.Tensor, parts: int) -> tf.Tensor:
    """Reshapes `[rows, …]` to `[parts, rows / parts, …]`."""
    return tf.reshape(column, [parts, -1, *column.shape[1:]])


def _sum_over_replicas(values: Any) -> Any:
    context = tf.distribute.get_replica_context()
    return values if context.num_replicas_in_sync == 1 else context.all_reduce(tf.distribute.ReduceOp.SUM, values)
