import functools
from pathlib import Path

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from modules.common.errors import InputError
from modules.model import gpt2
from tests.toys.release import CONTEXT_LENGTH, saved_release, tiny_backbone

SIZES = gpt2.ModelSettings(num_layers=1, num_heads=2, hidden_dim=16, context_length=8)


@pytest.fixture
def preset(tmp_path: Path) -> gpt2.ModelSettings:
    gpt2.build_backbone(SIZES, vocabulary_size=30, dtype="float32").save_to_preset(str(tmp_path / "preset"))
    return gpt2.ModelSettings(preset=str(tmp_path / "preset"), context_length=8, dropout=0.1)


def test_sizes_become_a_backbone() -> None:
    backbone = gpt2.build_backbone(SIZES, vocabulary_size=30, dtype="float32")
    assert (backbone.intermediate_dim, backbone.max_sequence_length) == (64, 8)


def test_the_head_is_the_transposed_token_embedding() -> None:
    backbone = gpt2.build_backbone(SIZES, vocabulary_size=30, dtype="float32")
    inputs = {"token_ids": np.array([[1, 2, 3]]), "padding_mask": np.ones((1, 3), bool)}
    expected = backbone(inputs).numpy() @ backbone.token_embedding.embeddings.numpy().T
    np.testing.assert_allclose(gpt2.language_model(backbone)(inputs).numpy(), expected, rtol=1e-5, atol=1e-6)


def two_documents(dtype: str = "float32") -> tuple[keras_hub.models.GPT2Backbone, dict[str, np.ndarray]]:
    """A window of two documents, of three and five tokens, and a model with weights so large that they matter."""
    keras.utils.set_random_seed(1)
    backbone = gpt2.build_backbone(SIZES, vocabulary_size=30, dtype=dtype)
    for weight in backbone.weights:
        weight.assign(weight + 0.3 * keras.random.normal(weight.shape))
    token_ids = np.array([[1, 7, 8, 1, 9, 10, 11, 12]], "int32")
    document_index = np.array([[0, 0, 0, 1, 1, 1, 1, 1]], "int32")
    return backbone, {"token_ids": token_ids, "document_index": document_index}


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("mixed_bfloat16", 0.03)])
def test_isolated_documents_have_the_logits_of_a_window_of_their_own(
    dtype: str, tolerance: float, jit_compile: bool
) -> None:
    backbone, window = two_documents(dtype)
    isolated = gpt2.language_model(backbone, isolate_documents=True)
    call = tf.function(isolated, jit_compile=jit_compile)
    logits = call(window).numpy()
    altered = call({**window, "token_ids": np.array([[1, 20, 21, 1, 9, 10, 11, 12]], "int32")}).numpy()
    np.testing.assert_array_equal(altered[:, 3:], logits[:, 3:])
    assert np.abs(altered[:, 1:3] - logits[:, 1:3]).max() > 0.1
    # In a window of its own, in the backbone's own graph, the second document starts at position 0.
    plain = tf.function(gpt2.language_model(backbone), jit_compile=jit_compile)
    for part in (slice(0, 3), slice(3, 8)):
        token_ids = window["token_ids"][:, part]
        own_window = {"token_ids": token_ids, "padding_mask": np.ones_like(token_ids)}
        rounding = tolerance * np.abs(logits).max()
        np.testing.assert_allclose(logits[:, part], plain(own_window).numpy(), rtol=0, atol=rounding)


def test_without_isolation_tokens_attend_to_earlier_documents() -> None:
    backbone, window = two_documents()
    model = gpt2.language_model(backbone)
    padding_mask = np.ones_like(window["token_ids"])
    logits = model({"token_ids": window["token_ids"], "padding_mask": padding_mask}).numpy()
    altered = np.array([[1, 20, 21, 1, 9, 10, 11, 12]], "int32")
    assert np.abs(model({"token_ids": altered, "padding_mask": padding_mask}).numpy() - logits)[:, 3:].max() > 0.1


def test_with_one_document_isolation_changes_nothing() -> None:
    backbone, window = two_documents()
    single = {**window, "document_index": np.zeros_like(window["document_index"])}
    isolated = gpt2.language_model(backbone, isolate_documents=True)(single).numpy()
    plain = {"token_ids": window["token_ids"], "padding_mask": np.ones_like(window["token_ids"])}
    np.testing.assert_allclose(isolated, gpt2.language_model(backbone)(plain).numpy(), rtol=0, atol=1e-6)


def test_isolation_shares_the_weights_and_keeps_the_dropout() -> None:
    backbone, window = two_documents()
    isolated = gpt2.language_model(backbone, isolate_documents=True)
    assert [id(variable) for variable in isolated.trainable_variables] == [
        id(variable) for variable in backbone.trainable_variables
    ]
    dropping = gpt2.build_backbone(SIZES.model_copy(update={"dropout": 0.5}), vocabulary_size=30, dtype="float32")
    model = gpt2.language_model(dropping, isolate_documents=True)
    assert np.abs(model(window, training=True).numpy() - model(window).numpy()).max() > 1e-3


def test_a_preset_folder_gives_the_same_weights_in_another_precision(preset: gpt2.ModelSettings) -> None:
    loaded = gpt2.build_backbone(preset, vocabulary_size=30, dtype="mixed_bfloat16")
    again = gpt2.build_backbone(preset, vocabulary_size=30, dtype="float32")
    for weight, expected in zip(loaded.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)
    assert (loaded.dropout, loaded.num_layers) == (0.1, 1)


def test_a_preset_that_does_not_fit_is_named(preset: gpt2.ModelSettings) -> None:
    with pytest.raises(InputError, match=r"as many tokens as the preset .*, 30\. Received: 31\. Use the preset's own"):
        gpt2.build_backbone(preset, vocabulary_size=31, dtype="float32")
    longer = preset.model_copy(update={"context_length": 9})
    with pytest.raises(InputError, match=r"`model.context_length` must be at most 8.*Received: 9"):
        gpt2.build_backbone(longer, vocabulary_size=30, dtype="float32")
    missing = preset.model_copy(update={"preset": "/nowhere/preset"})
    with pytest.raises(InputError, match="cannot load the preset '/nowhere/preset'"):
        gpt2.build_backbone(missing, vocabulary_size=30, dtype="float32")


def trained_sizes(**changes: int) -> gpt2.ModelSettings:
    """Settings of the toy release's model, with changes."""
    sizes = {"num_layers": 2, "num_heads": 4, "hidden_dim": 32, "intermediate_dim": 64}
    return gpt2.ModelSettings(**{**sizes, "context_length": CONTEXT_LENGTH, "dropout": 0.2, **changes})


@pytest.mark.parametrize("settings", [trained_sizes(), gpt2.ModelSettings(preset="gpt2_base_en", dropout=0.2)])
def test_a_warm_start_has_the_trained_weights_and_this_runs_dropout(settings: gpt2.ModelSettings) -> None:
    model_dir = f"{saved_release().folder}/model"
    settings = settings.model_copy(update={"context_length": 48})
    backbone = gpt2.load_trained(model_dir, settings, dtype="mixed_bfloat16")
    for weight, trained in zip(backbone.get_weights(), tiny_backbone().get_weights(), strict=True):
        np.testing.assert_array_equal(weight, trained)
    assert (backbone.dropout, backbone.compute_dtype) == (0.2, "bfloat16")


def test_a_warm_start_that_does_not_fit_is_refused() -> None:
    model_dir = f"{saved_release().folder}/model"
    load = functools.partial(gpt2.load_trained, model_dir, dtype="float32")
    with pytest.raises(InputError, match=r"`num_layers` must be 2. Received: 3. Start without it"):
        load(trained_sizes(num_layers=3))
    with pytest.raises(InputError, match=r"`model.context_length` must be at most 48, .* Received: 49"):
        load(trained_sizes(context_length=49))
