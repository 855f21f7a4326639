"""TensorFlow version of `modules.model.sampling` for the SavedModel; its results are equal bit for bit."""

import tensorflow as tf


def sample(
    logits: tf.Tensor,
    temperature: tf.Tensor | float,
    top_k: tf.Tensor | int,
    seed: tf.Tensor | int,
    number: tf.Tensor | int,
) -> tf.Tensor:
    """Chooses the next token as `modules.model.sampling.sample` does.

    Args:
        logits: float32 `[vocabulary_size]`.
        temperature: float32 scalar; 0 chooses the most likely token.
        top_k: int32 scalar; the token is drawn from this many most likely tokens, or from all tokens if it is 0.
        seed: int32 scalar.
        number: int32 scalar; 0 for the first new token, then 1, 2, ...

    Returns:
        The token's id, an int64 scalar.
    """
    temperature, top_k = tf.convert_to_tensor(temperature), tf.convert_to_tensor(top_k)

    def draw() -> tf.Tensor:
        size = tf.size(logits)
        k = tf.where((top_k <= 0) | (top_k > size), size, top_k)
        values, ids = tf.math.top_k(logits, k)
        scaled = tf.cast(values, tf.float64) / tf.cast(temperature, tf.float64)
        cumulated = tf.cumsum(tf.exp(scaled - scaled[0]))
        threshold = uniform(seed, number) * cumulated[-1:]
        return ids[tf.minimum(tf.searchsorted(cumulated, threshold, side="right")[0], k - 1)]

    chosen = tf.cond(temperature > 0, draw, lambda: tf.argmax(logits, output_type=tf.int32))
    return tf.cast(chosen, tf.int64)


def uniform(seed: tf.Tensor | int, number: tf.Tensor | int) -> tf.Tensor:
    """Returns the same number as `modules.model.sampling.uniform`, a float64 scalar in `[0, 1)`."""

    def constant(value: int) -> tf.Tensor:
        return tf.constant(value, tf.uint64)

    def shifted(z: tf.Tensor, bits: int) -> tf.Tensor:
        return tf.bitwise.right_shift(z, constant(bits))

    count = tf.cast(seed, tf.int64) * 1_000_003 + tf.cast(number, tf.int64) + 1
    z = tf.bitcast(count, tf.uint64) * constant(0x9E3779B97F4A7C15)
    z = tf.bitwise.bitwise_xor(z, shifted(z, 30)) * constant(0xBF58476D1CE4E5B9)
    z = tf.bitwise.bitwise_xor(z, shifted(z, 27)) * constant(0x94D049BB133111EB)
    z = shifted(tf.bitwise.bitwise_xor(z, shifted(z, 31)), 11)
    return tf.cast(z, tf.float64) / float(1 << 53)
