import dataclasses
from pathlib import Path

import numpy as np
import pytest

from modules import gpt2
from modules.errors import InputError

SIZES = gpt2.ModelSettings(
    preset=None, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=None, context_length=8, dropout=0.0
)


@pytest.fixture
def preset(tmp_path: Path) -> gpt2.ModelSettings:
    gpt2.build_backbone(SIZES, vocabulary_size=30, dtype="float32").save_to_preset(str(tmp_path / "preset"))
    return gpt2.ModelSettings(
        preset=str(tmp_path / "preset"), num_layers=None, num_heads=None, hidden_dim=None, intermediate_dim=None,
        context_length=8, dropout=0.1,
    )  # fmt: skip


def test_sizes_become_a_backbone() -> None:
    backbone = gpt2.build_backbone(SIZES, vocabulary_size=30, dtype="float32")
    assert (backbone.intermediate_dim, backbone.max_sequence_length) == (64, 8)


def test_the_head_is_the_transposed_token_embedding() -> None:
    backbone = gpt2.build_backbone(SIZES, vocabulary_size=30, dtype="float32")
    inputs = {"token_ids": np.array([[1, 2, 3]]), "padding_mask": np.ones((1, 3), bool)}
    expected = backbone(inputs).numpy() @ backbone.token_embedding.embeddings.numpy().T
    np.testing.assert_allclose(gpt2.language_model(backbone)(inputs).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_a_preset_folder_gives_the_same_weights_in_another_precision(preset: gpt2.ModelSettings) -> None:
    loaded = gpt2.build_backbone(preset, vocabulary_size=30, dtype="mixed_bfloat16")
    again = gpt2.build_backbone(preset, vocabulary_size=30, dtype="float32")
    for one, other in zip(loaded.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert (loaded.dropout, loaded.num_layers) == (0.1, 1)


def test_a_preset_that_does_not_fit_is_named(preset: gpt2.ModelSettings) -> None:
    with pytest.raises(InputError, match=r"has 30 tokens and the tokenizer 31; use the preset's own"):
        gpt2.build_backbone(preset, vocabulary_size=31, dtype="float32")
    longer = dataclasses.replace(preset, context_length=9)
    with pytest.raises(InputError, match=r"`model.context_length` must be at most 8.*Received: 9"):
        gpt2.build_backbone(longer, vocabulary_size=30, dtype="float32")
    missing = dataclasses.replace(preset, preset="/nowhere/preset")
    with pytest.raises(InputError, match="cannot load the preset '/nowhere/preset'"):
        gpt2.build_backbone(missing, vocabulary_size=30, dtype="float32")
