"""Keras' AdamW with one pass over memory a variable where Keras makes a dozen."""

from collections.abc import Iterable, Sequence

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="tfx_gpt2")
class FusedAdamW(keras.optimizers.AdamW):
    """The same update, settings and saved variables as `keras.optimizers.AdamW`, for the TensorFlow backend.

    Of GPT-2 base on two cores Keras' own spends a fifth of a bfloat16 step here: every `add`, `square` and `divide`
    of its `update_step` reads and writes arrays as large as the variable. TensorFlow's ApplyAdam kernel computes

    ```
    m        = m + (gradient - m) (1 - beta_1)
    v        = v + (gradient² - v) (1 - beta_2)
    variable = variable - learning_rate √(1 - beta_2^step) / (1 - beta_1^step) · m / (√v + epsilon)
    ```

    ("Adam: A Method for Stochastic Optimization", 2015, section 2) element by element in one pass, on all threads.
    A decayed variable is multiplied by `1 - learning_rate · weight_decay` first ("Decoupled Weight Decay
    Regularization", 2019), as Keras does it.

    In the replicas of a `tf.distribute.Strategy` it takes the gradients of the whole batch, the same in each replica,
    where Keras' own adds up theirs: who clips by a global norm has the sum already, and a second one would cost as much
    traffic between the devices again.

    Raises:
        ValueError: If `amsgrad` is asked for: the kernel has no such variant.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        if self.amsgrad:
            raise ValueError("`amsgrad` must be False. Received: True. Use keras.optimizers.AdamW for it.")

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
        """Nothing: `update_step` decays, where one pass does it. Keras would make three over all variables."""

    def _all_reduce_sum_gradients(
        self, grads_and_vars: Iterable[tuple[tf.Tensor, tf.Variable]]
    ) -> list[tuple[tf.Tensor, tf.Variable]]:
        """Nothing: they are sums, see the class."""
        return list(grads_and_vars)
