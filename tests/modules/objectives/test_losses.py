import keras
import numpy as np
import pytest
import tensorflow as tf

from modules.objectives.losses import token_cross_entropy, token_divergence


def keras_losses(logits: tf.Tensor, targets: tf.Tensor, label_smoothing: float) -> tf.Tensor:
    one_hot = tf.one_hot(targets, logits.shape[-1])
    logits = tf.cast(logits, tf.float32)
    return keras.losses.categorical_crossentropy(
        one_hot, logits, from_logits=True, label_smoothing=label_smoothing, axis=-1
    )


def test_values_and_gradients_equal_a_calculation_by_hand():
    logits = tf.math.log([[1.0, 2.0, 1.0], [0.25, 0.25, 0.5]])  # softmax: [1/4, 1/2, 1/4] and [1/4, 1/4, 1/2]
    losses = token_cross_entropy(logits, tf.constant([1, 0]))
    np.testing.assert_allclose(losses, [np.log(2), np.log(4)], rtol=1e-6)

    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = tf.reduce_sum(token_cross_entropy(logits, tf.constant([1, 0])))
    np.testing.assert_allclose(tape.gradient(loss, logits), [[0.25, -0.5, 0.25], [-0.75, 0.25, 0.5]], rtol=1e-6)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("bfloat16", 2**-9)])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_values_and_gradients_are_those_of_keras(label_smoothing, dtype, tolerance, jit_compile):
    generator = np.random.default_rng(0)
    logits = tf.cast(generator.normal(scale=8.0, size=[2, 5, 101]), dtype)
    targets = tf.constant(generator.integers(101, size=[2, 5]), tf.int32)
    weights = tf.constant(generator.uniform(size=[2, 5]), tf.float32)

    @tf.function(jit_compile=jit_compile)
    def differentiate(losses_of):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            losses = losses_of(logits, targets, label_smoothing=label_smoothing)
            total = tf.reduce_sum(weights * losses)
        return losses, tape.gradient(total, logits)

    losses, gradient = differentiate(token_cross_entropy)
    expected_losses, expected_gradient = differentiate(keras_losses)
    assert gradient.dtype == logits.dtype
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    np.testing.assert_allclose(
        tf.cast(gradient, tf.float32), tf.cast(expected_gradient, tf.float32), atol=tolerance, rtol=tolerance
    )


def test_large_logits_do_not_overflow():
    losses = token_cross_entropy(tf.constant([[1e4, 0.0], [-1e4, 0.0]]), tf.constant([1, 1]))
    assert losses.numpy().tolist() == [1e4, 0.0]


def test_one_trace_accepts_batches_of_any_size():
    @tf.function(input_signature=[tf.TensorSpec([None, None, 3]), tf.TensorSpec([None, None], tf.int32)])
    def losses_of(logits, targets):
        return token_cross_entropy(logits, targets)

    for shape in ([1, 2], [3, 4]):
        losses = losses_of(tf.zeros([*shape, 3]), tf.zeros(shape, tf.int32))
        np.testing.assert_allclose(losses, np.full(shape, np.log(3)), rtol=1e-6)


def keras_divergence(student_logits: tf.Tensor, teacher_logits: tf.Tensor, *, temperature: float) -> tf.Tensor:
    student, teacher = (
        tf.nn.softmax(tf.cast(logits, tf.float32) / temperature) for logits in (student_logits, teacher_logits)
    )
    return keras.losses.kl_divergence(teacher, student)


def differentiate_divergence(divergence_of, student, teacher, temperature, weights):
    with tf.GradientTape() as tape:
        tape.watch(student)
        divergence = divergence_of(student, teacher, temperature=temperature)
        total = tf.reduce_sum(weights * divergence)
    return divergence, tape.gradient(total, student)


def test_a_divergence_equals_a_calculation_by_hand():
    student = tf.math.log([[0.25, 0.25, 0.5]])
    teacher = tf.math.log([[0.5, 0.25, 0.25]]) + 7  # softmax ignores a constant
    divergence, gradient = differentiate_divergence(token_divergence, student, teacher, 1.0, 1.0)
    # 1/2 log(1/2 ÷ 1/4) + 1/4 log(1/4 ÷ 1/4) + 1/4 log(1/4 ÷ 1/2) = (1/2 - 1/4) log 2
    np.testing.assert_allclose(divergence, [np.log(2) / 4], rtol=1e-6)
    np.testing.assert_allclose(gradient, [[-0.25, 0.0, 0.25]], atol=1e-6)


def test_a_temperature_divides_both_logits():
    # Divided by 2 the logits are log [1, 2, 4] and log [4, 2, 1], so the shares are [1, 2, 4] / 7 and [4, 2, 1] / 7.
    student, teacher = (tf.math.log([shares]) for shares in ([1.0, 4.0, 16.0], [16.0, 4.0, 1.0]))
    divergence, gradient = differentiate_divergence(token_divergence, student, teacher, 2.0, 1.0)
    np.testing.assert_allclose(divergence, [(4 * np.log(4) - np.log(4)) / 7], rtol=1e-6)
    np.testing.assert_allclose(gradient, [[-3 / 14, 0.0, 3 / 14]], atol=1e-6)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-6), ("bfloat16", 2**-9)])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_divergences_and_gradients_are_those_of_keras(dtype, tolerance, jit_compile):
    numbers = np.random.default_rng(0)
    student, teacher = (tf.cast(numbers.normal(scale=4.0, size=[2, 5, 101]), dtype) for _ in range(2))
    weights = tf.constant(numbers.uniform(size=[2, 5]), tf.float32)
    compiled = tf.function(differentiate_divergence, jit_compile=jit_compile)
    divergence, gradient = compiled(token_divergence, student, teacher, 2.0, weights)
    expected, expected_gradient = compiled(keras_divergence, student, teacher, 2.0, weights)
    assert gradient.dtype == student.dtype
    np.testing.assert_allclose(divergence, expected, rtol=1e-4)
    np.testing.assert_allclose(
        tf.cast(gradient, tf.float32), tf.cast(expected_gradient, tf.float32), atol=tolerance, rtol=tolerance
    )


def test_equal_large_logits_have_no_divergence():
    logits = tf.constant([[1e4, 0.0, -1e4]])
    divergence, gradient = differentiate_divergence(token_divergence, logits, logits, 2.0, 1.0)
    assert divergence.numpy().tolist() == [0.0]
    assert gradient.numpy().tolist() == [[0.0, 0.0, 0.0]]
