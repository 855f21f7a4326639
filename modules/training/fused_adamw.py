"""Keras' AdamW with one pass over memory per variable; Keras makes a dozen passes."""

from collections.abc import Iterable, Sequence

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="tfx_gpt2")
class FusedAdamW(keras.optimizers.AdamW):
    """AdamW with the update, settings and saved variables of `keras.optimizers.AdamW`; needs the TensorFlow backend.

    Keras' AdamW takes a fifth of a bfloat16 training step of GPT-2 base on two cores: every `add`, `square` and
    `divide` of its `update_step` reads and writes arrays as large as the variable. TensorFlow's ApplyAdam kernel
    computes

    ```
    m        = m + (gradient - m) (1 - beta_1)
    v        = v + (gradient² - v) (1 - beta_2)
    variable = variable - learning_rate √(1 - beta_2^step) / (1 - beta_1^step) · m / (√v + epsilon)
    ```

    ("Adam: A Method for Stochastic Optimization", 2015, section 2) element by element in one pass, on all threads.
    A variable with weight decay is first multiplied by `1 - learning_rate · weight_decay` ("Decoupled Weight Decay
    Regularization", 2019), as in Keras.

    Under a `tf.distribute.Strategy`, the caller must sum the gradients over the replicas first. Keras' AdamW computes
    this sum itself. Clipping by a global norm needs the sum before the update, and computing it twice would double the
    traffic between the devices.

    Raises:
        ValueError: If `amsgrad` is True: the kernel has no such variant.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        if self.amsgrad:
            raise ValueError("`amsgrad` must be False. Received: True. Use `keras.optimizers.AdamW` for AMSGrad.")

    def update_step(
        self, gradient: tf.Tensor | tf.IndexedSlices, variable: tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Decays and updates one variable and its two moments in place."""
        dtype = variable.dtype
        learning_rate = tf.cast(learning_rate, dtype)
        step = tf.cast(self.iterations + 1, dtype)
        index = self._get_variable_index(variable)
        if self._use_weight_decay(variable):
            variable.assign(variable * (1 - learning_rate * tf.cast(self.weight_decay, dtype)))
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=tf.pow(tf.cast(self.beta_1, dtype), step),
            beta2_power=tf.pow(tf.cast(self.beta_2, dtype), step),
            lr=learning_rate,
            beta1=tf.cast(self.beta_1, dtype),
            beta2=tf.cast(self.beta_2, dtype),
            epsilon=tf.cast(self.epsilon, dtype),
            grad=tf.cast(tf.convert_to_tensor(gradient), dtype),
        )

    def _apply_weight_decay(self, variables: Sequence[tf.Variable]) -> None:
        """No-op: `update_step` applies the decay in one pass; Keras would make three passes over all variables."""

    def _all_reduce_sum_gradients(
        self, grads_and_vars: Iterable[tuple[tf.Tensor, tf.Variable]]
    ) -> list[tuple[tf.Tensor, tf.Variable]]:
        """No-op: the gradients are already summed."""
        return list(grads_and_vars)
