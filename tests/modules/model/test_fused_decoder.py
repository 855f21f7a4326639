import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from modules.model import gpt2, lora
from modules.model.fused_attention import causal_attention
from modules.model.fused_decoder import FusedDecoder, fuse
from modules.model.rematerialization import rematerialize
from modules.model.settings import LoraSettings
from modules.objectives.objective import LanguageModelling

TIME = 300  # three parts of queries; the last part is shorter


def backbone(*, dtype: str = "float32", dropout: float = 0.0):
    keras.utils.set_random_seed(0)
    settings = gpt2.ModelSettings(num_layers=2, num_heads=2, hidden_dim=24, context_length=TIME, dropout=dropout)
    model = gpt2.build_backbone(settings, vocabulary_size=40, dtype=dtype)
    for variable in model.trainable_variables:  # with biases of 0 and scales of 1, a wrong gradient could go unnoticed
        variable.assign(variable + keras.random.normal(variable.shape, stddev=0.3))
    return model


def batch(*, isolated: bool = False) -> dict[str, tf.Tensor]:
    """Returns two rows. The first 100 tokens of the second are padding, or the row holds four documents."""
    generator = np.random.default_rng(0)
    first_seen = np.array([[0], [100]])
    documents = {"document_index": tf.constant(np.arange(TIME) // np.array([[TIME], [80]]), tf.int32)}
    return {
        "token_ids": tf.constant(generator.integers(40, size=[2, TIME]), tf.int32),
        "targets": tf.constant(generator.integers(40, size=[2, TIME]), tf.int32),
        "weights": tf.constant(np.arange(TIME) >= first_seen, tf.float32),
        **(documents if isolated else {"padding_mask": tf.constant(np.arange(TIME) >= first_seen)}),
    }


def loss_and_gradients(
    model: keras.Model, data: dict[str, tf.Tensor], *, jit_compile: bool = False
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    @tf.function(autograph=False, jit_compile=jit_compile)
    def compute() -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            loss = LanguageModelling()(functools.partial(model, training=True), data).loss / 400
        return loss, tape.gradient(loss, [variable.value for variable in model.trainable_variables])

    return compute()


def assert_same(
    plain: keras.Model, fused: keras.Model, data: dict[str, tf.Tensor], *, tolerance: float, **options
) -> None:
    """Compares the losses, and the gradients by the norm of their difference."""
    assert [id(variable) for variable in plain.variables] == [id(variable) for variable in fused.variables]
    (loss, gradients), (fused_loss, fused_gradients) = (
        loss_and_gradients(model, data, **options) for model in (plain, fused)
    )
    np.testing.assert_allclose(fused_loss, loss, rtol=tolerance)
    for variable, expected, gradient in zip(plain.trainable_variables, gradients, fused_gradients, strict=True):
        expected, gradient = tf.convert_to_tensor(expected), tf.convert_to_tensor(gradient)
        scale = max(float(tf.norm(expected)), 0.1)  # the gradient of a key's bias is 0, except for rounding
        assert float(tf.norm(gradient - expected)) <= tolerance * scale, variable.path


@pytest.mark.parametrize("isolated", [False, True])
def test_loss_and_gradients_equal_those_of_the_keras_blocks(isolated) -> None:
    plain = gpt2.language_model(backbone(), isolate_documents=isolated)
    fused = fuse(plain)
    assert sum(isinstance(layer, FusedDecoder) for layer in fused.layers) == 2
    assert_same(plain, fused, batch(isolated=isolated), tolerance=2e-6)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_gradients_are_rounded_no_more_than_those_of_the_keras_blocks(dtype) -> None:
    """Only the matrices are compared: gradients of biases are sums, in which TensorFlow's own sum loses more."""
    plain = gpt2.language_model(backbone(dtype=dtype))
    models = (gpt2.language_model(backbone()), plain, fuse(plain))
    exact, keras_own, ours = (matrix_gradients(model) for model in models)
    error = np.linalg.norm(keras_own - exact)
    assert 0 < np.linalg.norm(ours - exact) <= 1.1 * error <= 0.05 * np.linalg.norm(exact)


def matrix_gradients(model: keras.Model) -> np.ndarray:
    pairs = zip(model.trainable_variables, loss_and_gradients(model, batch())[1], strict=True)
    return np.concatenate([tf.reshape(gradient, [-1]) for variable, gradient in pairs if variable.name == "kernel"])


@pytest.mark.parametrize("jit_compile", [False, True])
def test_fused_blocks_may_keep_only_their_inputs(jit_compile) -> None:
    fused = fuse(gpt2.language_model(backbone()))
    assert_same(fused, rematerialize(fused), batch(), tolerance=3e-6, jit_compile=jit_compile)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("mixed_bfloat16", 0.1)])
def test_adapters_have_the_same_gradients_in_fused_blocks(dtype, tolerance) -> None:
    model = backbone(dtype=dtype)
    lora.apply(model, LoraSettings(rank=2, targets=["query", "value", "feedforward_output"]))
    for variable in model.trainable_variables:
        variable.assign(variable + 0.1)  # B starts as 0, so A would have no gradient
    plain = gpt2.language_model(model)
    assert len(plain.trainable_variables) == 2 * 3 * 2
    assert_same(plain, fuse(plain), batch(), tolerance=tolerance)


def test_blocks_with_dropout_or_quantized_matrices_are_not_fused() -> None:
    quantized = backbone()
    lora.apply(quantized, LoraSettings(quantization="int8"))
    for model in (backbone(dropout=0.1), quantized):
        assert not any(isinstance(layer, FusedDecoder) for layer in fuse(gpt2.language_model(model)).layers)


@pytest.mark.parametrize("time", [1, 128, 130, 1000])
def test_no_token_attends_to_a_later_one(time) -> None:
    query, key, value = (tf.random.stateless_normal([1, 2, time, 4], [seed, 0]) for seed in (1, 2, 3))
    outputs = causal_attention(query, key, value, mask=None)
    scores = np.where(np.tri(time), tf.matmul(query, key, transpose_b=True), -np.inf)
    np.testing.assert_allclose(outputs, tf.nn.softmax(scores) @ value, atol=1e-6)


def test_a_query_that_may_look_at_no_key_gets_a_finite_result() -> None:
    ones = tf.ones([1, 1, 3, 2])
    mask = tf.constant([[[[False, False, True]]]])  # only the third key may be seen
    outputs = causal_attention(ones, ones, ones, mask=mask)
    assert np.isfinite(outputs).all()
    assert outputs[0, 0, 2].numpy().tolist() == [1, 1]


def test_probabilities_are_computed_in_float32() -> None:
    query, key = (tf.cast(tf.random.stateless_normal([1, 2, 1000, 16], [seed, 0]), tf.bfloat16) for seed in (1, 2))
    sums = causal_attention(query, key, tf.ones_like(key), mask=None)
    # Each probability and their sum are rounded to bfloat16, by at most 2^-9. If everything were computed in bfloat16,
    # the sums would differ from 1 by 0.008.
    np.testing.assert_allclose(tf.cast(sums, tf.float32), 1.0, atol=2**-8)
