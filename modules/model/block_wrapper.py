"""The replacement of a model's transformer blocks by layers that compute them differently, with the same weights."""

from collections.abc import Callable
from typing import Any

import keras
import keras_hub


class BlockWrapper(keras.layers.Layer):
    """A layer that replaces a transformer block and shares all its variables."""

    def __init__(self, block: keras.layers.Layer):
        """Wraps a built `keras_hub.layers.TransformerDecoder`, or a wrapper of it."""
        super().__init__(autocast=False)  # the block itself casts
        self.block = block
        self.built = True

    def compute_output_spec(self, inputs: keras.KerasTensor, *args: Any, **kwargs: Any) -> keras.KerasTensor:
        """Returns the shape and type of the input."""
        return keras.KerasTensor(inputs.shape, inputs.dtype)


def replace_blocks(model: keras.Model, replace: Callable[[keras.layers.Layer], keras.layers.Layer]) -> keras.Model:
    """Returns the same functional model with the same weights, but with other layers for its transformer blocks.

    Args:
        model: A model of `gpt2.language_model` or of this function.
        replace: A function that returns, for a block, the layer to call instead, or the block itself.
    """

    def call(layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Any:
        if isinstance(layer, (keras_hub.layers.TransformerDecoder, BlockWrapper)):
            layer = replace(layer)
        return layer(*args, **kwargs)

    return keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)
