"""Adapters on a real model: what trains, what stays, and that merging changes nothing."""

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
    """Two layers of three heads; weights, biases and norms that all change the logits."""
    keras.utils.set_random_seed(1)
    settings = gpt2.ModelSettings(
        num_layers=2, num_heads=3, hidden_dim=hidden_dim, intermediate_dim=40, context_length=8
    )
    backbone = gpt2.build_backbone(settings, vocabulary_size=10, dtype=dtype)
    for weight in backbone.weights:
        weight.assign(weight + 0.1 * keras.random.normal(weight.shape))
    return backbone


def adapted(settings: LoraSettings, **changes: typing.Any) -> keras_hub.models.GPT2Backbone:
    """`random_backbone` with adapters that change something."""
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
    # Hidden 24 = 3 heads × 8, feed-forward 40. A key's A is of each head, as Keras has it.
    shapes = [(24, 3, 2), (2, 8), (40, 2), (2, 24)]
    assert [tuple(weight.shape) for weight in backbone.trainable_weights] == 2 * shapes
    assert lora.trainable_parameters(backbone) == 2 * (144 + 16 + 80 + 48)
    model = gpt2.language_model(backbone, isolate_documents=True)
    assert len(model.trainable_variables) == 8


def test_adapters_start_as_no_change() -> None:
    before = logits(random_backbone())
    backbone = random_backbone()
    lora.apply(backbone, LoraSettings(targets=ALL_TARGETS))
    np.testing.assert_array_equal(logits(backbone), before)


@pytest.mark.parametrize("targets", [ALL_TARGETS, ("value",)])
@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_merged_and_unmerged_give_the_same_logits(quantization: Quantization | None, targets: tuple[Target]) -> None:
    # 300 inputs are three blocks of int4, the last of them not full.
    backbone = adapted(LoraSettings(rank=2, alpha=3, targets=targets, quantization=quantization), hidden_dim=300)
    unmerged = logits(backbone)
    merged = lora.merge(backbone)
    rounding = 1e-5 * np.abs(unmerged).max()
    np.testing.assert_allclose(logits(merged), unmerged, rtol=0, atol=rounding)
    assert np.abs(unmerged - logits(random_backbone(hidden_dim=300))).max() > 1000 * rounding
    # What is exported, and what is left of LoRA and of the quantization.
    hidden, _ = CachedGPT2(merged).hidden_states(tf.constant(ROW), tf.range(8), CachedGPT2(merged).empty_caches())
    np.testing.assert_allclose(CachedGPT2(merged).logits(hidden)[None], unmerged, rtol=0, atol=rounding)
    assert {weight.dtype for weight in merged.weights} == {"float32"}
    assert merged.count_params() == lora.trainable_parameters(merged) == random_backbone(hidden_dim=300).count_params()


def test_merging_rounds_nothing_to_the_precision_of_the_training() -> None:
    settings = LoraSettings(rank=2, targets=ALL_TARGETS)
    one, other = (lora.merge(adapted(settings, dtype=dtype)) for dtype in ("float32", "mixed_bfloat16"))
    assert other.compute_dtype == "float32"
    for weight, same in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, same)


@pytest.mark.parametrize("quantization", ["int8", "int4"])
def test_a_quantized_base_gives_the_gradients_of_what_it_stands_for(quantization: Quantization) -> None:
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
def test_training_lowers_the_loss_and_leaves_the_base_alone(quantization: Quantization | None, precision: str) -> None:
    backbone = random_backbone(dtype=precision)
    lora.apply(backbone, LoraSettings(rank=4, targets=ALL_TARGETS, quantization=quantization))
    base = [weight.numpy() for weight in backbone.non_trainable_weights]
    settings = changed(SETTINGS, steps=60, learning_rate=1e-2, warmup_steps=5, precision=precision)
    curve = loop.fit(gpt2.language_model(backbone), LanguageModelling(), counting_data(), settings)
    # In nats; a guess among ten tokens costs 2.3.
    assert curve.points[0].loss > 1.6 > 1.2 > curve.validation[-1].loss
    for weight, before in zip(backbone.non_trainable_weights, base, strict=True):
        np.testing.assert_array_equal(weight.numpy(), before)


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_adapters_are_saved_alone(tmp_path: Path, quantization: Quantization | None) -> None:
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
    other = random_backbone()
    other.layer_norm.beta.assign(other.layer_norm.beta + 1e-3)
    with pytest.raises(InputError, match=r"adapters fit only the model that they were trained on"):
        lora.load_adapters(other, path)
    path.write_bytes(b"something else")
    with pytest.raises(InputError, match=r"adapters.safetensors: must be a file of adapters"):
        lora.load_adapters(random_backbone(), path)


def test_float16_has_too_small_a_range_for_a_quantized_base() -> None:
    with pytest.raises(
        InputError, match=r"needs `training.precision` float32 or mixed_bfloat16. Received: int8 in mixed"
    ):
        lora.apply(random_backbone(dtype="mixed_float16"), LoraSettings(quantization="int8"))
