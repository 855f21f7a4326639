"""Other ways to compute a model's transformer blocks, with the same weights."""

from collections.abc import Callable
from typing import Any

import keras
import keras_hub


class BlockWrapper(keras.layers.Layer):
    """Stands where a transformer block stood, with which it shares all variables."""

    def __init__(self, block: keras.layers.Layer):
        """Wraps a built `keras_hub.layers.TransformerDecoder`, or another wrapper of one."""
        super().__init__(autocast=False)  # the block casts for itself
        self.block = block
        self.built = True

    def compute_output_spec(self, inputs: keras.KerasTensor, *args: Any, **kwargs: Any) -> keras.KerasTensor:
        """That of the input."""
        return keras.KerasTensor(inputs.shape, inputs.dtype)


def replace_blocks(model: keras.Model, replace: Callable[[keras.layers.Layer], keras.layers.Layer]) -> keras.Model:
    """The same functional model, with the same weights, and other layers where its transformer blocks were.

    Args:
        model: Of `gpt2.language_model`, or of this function.
        replace: Gives for a block the layer that is to be called instead, or the block itself.
    """

    def call(layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Any:
        if isinstance(layer, (keras_hub.layers.TransformerDecoder, BlockWrapper)):
            layer = replace(layer)
        return layer(*args, **kwargs)

    return keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)
