"""Adapters on a real model: only they train, the base does not change, and merging keeps the logits."""

import typing
from pathlib import Path

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from modules.common.errors import InputError
from modules.model import gpt2, lora
from modules.model.cached_gpt2 import CachedGPT2
from modules.model.settings import LoraSettings, Quantization, Target
from modules.objectives.objective import LanguageModelling
from modules.training import loop
from tests.toys.training import SETTINGS, changed, counting_data

ALL_TARGETS = typing.get_args(Target)
QUANTIZATIONS: list[Quantization | None] = [None, "int8", "int4"]
ROW = np.array([[3, 9, 0, 7, 7, 1, 2, 5]])
INPUTS = {"token_ids": ROW, "padding_mask": np.ones_like(ROW)}


def random_backbone(*, dtype: str = "float32", hidden_dim: int = 24) -> keras_hub.models.GPT2Backbone:
    """Returns a model of two layers with three heads, whose weights, biases and norms all change the logits."""
    keras.utils.set_random_seed(1)
    settings = gpt2.ModelSettings(
        num_layers=2, num_heads=3, hidden_dim=hidden_dim, intermediate_dim=40, context_length=8
    )
    backbone = gpt2.build_backbone(settings, vocabulary_size=10, dtype=dtype)
    for weight in backbone.weights:
        weight.assign(weight + 0.1 * keras.random.normal(weight.shape))
    return backbone


def adapted(settings: LoraSettings, **changes: typing.Any) -> keras_hub.models.GPT2Backbone:
    """Returns `random_backbone` with adapters that change its logits."""
    backbone = random_backbone(**changes)
    lora.apply(backbone, settings)
    for weight in backbone.trainable_weights:
        weight.assign(0.3 * keras.random.normal(weight.shape))
    return backbone


def logits(backbone: keras_hub.models.GPT2Backbone) -> np.ndarray:
    return np.asarray(gpt2.language_model(backbone)(INPUTS), "float32")


def test_only_the_adapters_of_the_targets_train() -> None:
    backbone = random_backbone()
    lora.apply(backbone, LoraSettings(rank=2, targets=("key", "feedforward_output")))
    # Hidden 24 = 3 heads × 8, feed-forward 40. In Keras, each head of a key has its own A.
    shapes = [(24, 3, 2), (2, 8), (40, 2), (2, 24)]
    assert [tuple(weight.shape) for weight in backbone.trainable_weights] == 2 * shapes
    assert lora.trainable_parameters(backbone) == 2 * (144 + 16 + 80 + 48)
    model = gpt2.language_model(backbone, isolate_documents=True)
    assert len(model.trainable_variables) == 8


def test_new_adapters_do_not_change_the_logits() -> None:
    before = logits(random_backbone())
    backbone = random_backbone()
    lora.apply(backbone, LoraSettings(targets=ALL_TARGETS))
    np.testing.assert_array_equal(logits(backbone), before)


@pytest.mark.parametrize("targets", [ALL_TARGETS, ("value",)])
@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_a_merged_model_has_the_same_logits(quantization: Quantization | None, targets: tuple[Target]) -> None:
    # 300 inputs are three blocks of int4, and the last block is not full.
    backbone = adapted(LoraSettings(rank=2, alpha=3, targets=targets, quantization=quantization), hidden_dim=300)
    unmerged = logits(backbone)
    merged = lora.merge(backbone)
    rounding = 1e-5 * np.abs(unmerged).max()
    np.testing.assert_allclose(logits(merged), unmerged, rtol=0, atol=rounding)
    assert np.abs(unmerged - logits(random_backbone(hidden_dim=300))).max() > 1000 * rounding
    # The exported model has the same logits, and no part of LoRA or of the quantization is left.
    hidden, _ = CachedGPT2(merged).hidden_states(tf.constant(ROW), tf.range(8), CachedGPT2(merged).empty_caches())
    np.testing.assert_allclose(CachedGPT2(merged).logits(hidden)[None], unmerged, rtol=0, atol=rounding)
    assert {weight.dtype for weight in merged.weights} == {"float32"}
    assert merged.count_params() == lora.trainable_parameters(merged) == random_backbone(hidden_dim=300).count_params()


def test_merging_does_not_round_to_the_precision_of_the_training_run() -> None:
    settings = LoraSettings(rank=2, targets=ALL_TARGETS)
    exact, from_mixed = (lora.merge(adapted(settings, dtype=dtype)) for dtype in ("float32", "mixed_bfloat16"))
    assert from_mixed.compute_dtype == "float32"
    for weight, same in zip(exact.get_weights(), from_mixed.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, same)


@pytest.mark.parametrize("quantization", ["int8", "int4"])
def test_a_quantized_base_gives_the_gradients_of_the_dequantized_base(quantization: Quantization) -> None:
    settings = LoraSettings(rank=2, targets=ALL_TARGETS)
    quantized = random_backbone()
    lora.apply(quantized, settings.model_copy(update={"quantization": quantization}))
    floats = lora.merge(quantized)
    lora.apply(floats, settings)
    gradients = []
    for backbone in (quantized, floats):
        numbers = np.random.default_rng(2)
        for weight in backbone.trainable_weights:
            weight.assign(0.3 * numbers.standard_normal(weight.shape))
        with tf.GradientTape() as tape:
            loss = keras.ops.mean(
                keras.losses.sparse_categorical_crossentropy(
                    ROW[:, ::-1], gpt2.language_model(backbone)(INPUTS), from_logits=True
                )
            )
        gradients.append(tape.gradient(loss, [weight.value for weight in backbone.trainable_weights]))
    for gradient, expected in zip(*gradients, strict=True):
        np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-5)
        assert np.abs(expected).max() > 1e-3


@pytest.mark.parametrize(
    ("quantization", "precision"), [(None, "float32"), ("int8", "float32"), ("int4", "mixed_bfloat16")]
)
def test_training_lowers_the_loss_and_does_not_change_the_base(
    quantization: Quantization | None, precision: str
) -> None:
    backbone = random_backbone(dtype=precision)
    lora.apply(backbone, LoraSettings(rank=4, targets=ALL_TARGETS, quantization=quantization))
    base = [weight.numpy() for weight in backbone.non_trainable_weights]
    settings = changed(SETTINGS, steps=60, learning_rate=1e-2, warmup_steps=5, precision=precision)
    curve = loop.fit(gpt2.language_model(backbone), LanguageModelling(), counting_data(), settings)
    # The loss is in nats. A random guess among ten tokens has a loss of 2.3.
    assert curve.points[0].loss > 1.6 > 1.2 > curve.validation[-1].loss
    for weight, before in zip(backbone.non_trainable_weights, base, strict=True):
        np.testing.assert_array_equal(weight.numpy(), before)


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_only_the_adapters_are_saved_and_loading_restores_the_logits(
    tmp_path: Path, quantization: Quantization | None
) -> None:
    settings = LoraSettings(rank=2, alpha=5, targets=("query", "attention_output"), quantization=quantization)
    backbone = adapted(settings)
    path = tmp_path / "adapters.safetensors"
    lora.save_adapters(backbone, settings, path)
    numbers = 4 * lora.trainable_parameters(backbone)
    assert numbers < path.stat().st_size < numbers + 2048
    loaded = random_backbone()
    assert lora.load_adapters(loaded, path) == settings
    np.testing.assert_array_equal(logits(loaded), logits(backbone))


def test_adapters_of_another_base_are_refused(tmp_path: Path) -> None:
    settings = LoraSettings(rank=2)
    path = tmp_path / "adapters.safetensors"
    lora.save_adapters(adapted(settings), settings, path)
    different = random_backbone()
    different.layer_norm.beta.assign(different.layer_norm.beta + 1e-3)
    with pytest.raises(InputError, match=r"adapters fit only the model that they were trained on"):
        lora.load_adapters(different, path)
    path.write_bytes(b"something else")
    with pytest.raises(InputError, match=r"adapters.safetensors: must be a file of adapters"):
        lora.load_adapters(random_backbone(), path)


def test_float16_is_refused_for_a_quantized_base() -> None:
    with pytest.raises(
        InputError, match=r"needs `training.precision` float32 or mixed_bfloat16. Received: int8 in mixed"
    ):
        lora.apply(random_backbone(dtype="mixed_float16"), LoraSettings(quantization="int8"))
