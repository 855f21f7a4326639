import keras
import numpy as np
import pytest
import tensorflow as tf

from modules.objectives.losses import token_cross_entropy


def keras_losses(logits: tf.Tensor, targets: tf.Tensor, label_smoothing: float) -> tf.Tensor:
    one_hot = tf.one_hot(targets, logits.shape[-1])
    logits = tf.cast(logits, tf.float32)
    return keras.losses.categorical_crossentropy(
        one_hot, logits, from_logits=True, label_smoothing=label_smoothing, axis=-1
    )


def test_a_value_computed_by_hand():
    logits = tf.math.log([[1.0, 2.0, 1.0], [0.25, 0.25, 0.5]])  # softmax: [1/4, 1/2, 1/4] and as it stands
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


def test_batches_of_any_size_pass_one_trace():
    @tf.function(input_signature=[tf.TensorSpec([None, None, 3]), tf.TensorSpec([None, None], tf.int32)])
    def losses_of(logits, targets):
        return token_cross_entropy(logits, targets)

    for shape in ([1, 2], [3, 4]):
        losses = losses_of(tf.zeros([*shape, 3]), tf.zeros(shape, tf.int32))
        np.testing.assert_allclose(losses, np.full(shape, np.log(3)), rtol=1e-6)
