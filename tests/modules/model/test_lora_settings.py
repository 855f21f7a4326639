"""The settings of LoRA are checked."""

import pytest

from modules.model.lora_settings import LoraSettings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"targets": []}, "at least 1 item"),
        ({"targets": ["query", "query"]}, r"`targets` must name each matrix once. Received: query, query"),
        ({"targets": ["embedding"]}, "Input should be 'query', 'key', 'value', 'attention_output'"),
        ({"quantization": "nf4"}, "Input should be 'int8' or 'int4'"),
    ],
)
def test_impossible_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LoraSettings(**settings)
