"""Divergence of one language model's predictions from another's, in one pass over both models' logits each way."""

import tensorflow as tf


def token_divergence(student_logits: tf.Tensor, teacher_logits: tf.Tensor, *, temperature: float) -> tf.Tensor:
    """KL(teacher || student) of each prediction in nats, both softened by a temperature; the teacher is a constant.

    As in `modules.token_cross_entropy`, XLA compiles the two passes: of the `[..., vocabulary]` probabilities none is
    ever in memory, only the two logits and the gradient, which comes in the student's own type.

    ```
    p        = softmax(teacher_logits / temperature)
    q        = softmax(student_logits / temperature)
    loss     = Σ p (log p - log q)
    gradient = (q - p) / temperature
    ```

    Args:
        student_logits: Floating point `[..., vocabulary]`.
        teacher_logits: The same shape, of any floating type.
        temperature: Above 0; a higher one has unlikely tokens weigh more.

    Returns:
        float32 `[...]`. It can be differentiated once, by the student's logits alone.
    """

    @tf.custom_gradient
    def divergences_of(student_logits: tf.Tensor) -> tuple[tf.Tensor, object]:
        divergences, *log_normalisers = _divergences(student_logits, teacher_logits, temperature)

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            return _gradient(student_logits, teacher_logits, *log_normalisers, upstream, temperature)

        return divergences, gradient

    return divergences_of(student_logits)


@tf.function(autograph=False, jit_compile=True, reduce_retracing=True)
def _divergences(
    student_logits: tf.Tensor, teacher_logits: tf.Tensor, temperature: float
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    student, teacher = (tf.cast(logits, tf.float32) / temperature for logits in (student_logits, teacher_logits))
    student_normaliser, teacher_normaliser = (tf.reduce_logsumexp(logits, axis=-1) for logits in (student, teacher))
    log_p = teacher - teacher_normaliser[..., None]
    log_q = student - student_normaliser[..., None]
    return tf.reduce_sum(tf.exp(log_p) * (log_p - log_q), axis=-1), student_normaliser, teacher_normaliser


@tf.function(autograph=False, jit_compile=True, reduce_retracing=True)
def _gradient(
    student_logits: tf.Tensor,
    teacher_logits: tf.Tensor,
    student_normaliser: tf.Tensor,
    teacher_normaliser: tf.Tensor,
    upstream: tf.Tensor,
    temperature: float,
) -> tf.Tensor:
    p = tf.exp(tf.cast(teacher_logits, tf.float32) / temperature - teacher_normaliser[..., None])
    q = tf.exp(tf.cast(student_logits, tf.float32) / temperature - student_normaliser[..., None])
    return tf.cast((q - p) * (upstream / temperature)[..., None], student_logits.dtype)
