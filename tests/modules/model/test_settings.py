"""A model has one of three starts, a preset, a named size or numbers; LoRA has matrices to change."""

import pytest

from modules.model.settings import LoraSettings, ModelSettings, Sizes


def test_small_medium_and_large_are_the_sizes_of_gpt2() -> None:
    assert ModelSettings(size="small").sizes == Sizes(12, 12, 768, 3072)
    assert ModelSettings(size="medium").sizes == Sizes(24, 16, 1024, 4096)
    assert ModelSettings(size="large").sizes == Sizes(36, 20, 1280, 5120)
    assert ModelSettings(size="tiny").sizes == Sizes(4, 4, 256, 1024)


def test_numbers_give_the_sizes_and_a_preset_gives_none() -> None:
    assert ModelSettings(num_layers=2, num_heads=2, hidden_dim=8).sizes == Sizes(2, 2, 8, 32)
    assert ModelSettings(num_layers=2, num_heads=2, hidden_dim=8, intermediate_dim=9).sizes == Sizes(2, 2, 8, 9)
    assert ModelSettings(preset="gpt2_base_en").sizes is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"preset": "gpt2_base_en", "size": "small"}, r"a preset brings its own sizes: remove `preset` or \['size'\]"),
        ({"preset": "gpt2_base_en", "intermediate_dim": 9}, r"remove `preset` or \['intermediate_dim'\]"),
        (
            {"size": "small", "num_layers": 3},
            r"`size: small` already sets all sizes: remove `size` or \['num_layers'\]",
        ),
        ({"num_layers": 3}, r"the sizes are needed: add hidden_dim, num_heads, or for example `size: small`"),
        ({}, r"the sizes are needed: add hidden_dim, num_heads, num_layers"),
        ({"size": "huge"}, r"Input should be 'tiny', 'small', 'medium' or 'large'"),
    ],
)
def test_two_starts_and_incomplete_sizes_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelSettings(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"targets": []}, "at least 1 item"),
        ({"targets": ["query", "query"]}, r"`targets` must name each matrix once. Received: query, query"),
        ({"targets": ["embedding"]}, "Input should be 'query', 'key', 'value', 'attention_output'"),
        ({"quantization": "nf4"}, "Input should be 'int8' or 'int4'"),
    ],
)
def test_impossible_lora_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LoraSettings(**settings)
