"""Gradient checkpointing: a block's activations are computed again for its gradients instead of kept.

Keras' own `RematScope` fails in TensorFlow's graphs, as of 3.15: its custom gradient takes no keyword arguments
there. It would also draw other dropout masks for the gradients than for the activations.
"""

from typing import Any

import keras
import keras_hub
import tensorflow as tf


def rematerialize(model: keras.Model) -> keras.Model:
    """The same functional model, with the same weights, whose transformer blocks keep their inputs alone.

    Costs one more forward pass (Chen et al. 2016, arXiv:1604.06174).
    """

    def call(layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Any:
        if isinstance(layer, keras_hub.layers.TransformerDecoder):
            return Rematerialized(layer)(*args, **kwargs)
        return layer(*args, **kwargs)

    return keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)


class Rematerialized(keras.layers.Layer):
    """Calls a transformer block, and keeps in training nothing between its input and its output."""

    def __init__(self, block: keras_hub.layers.TransformerDecoder):
        """Wraps a built block, with which it shares all variables."""
        super().__init__(autocast=False)  # the block casts for itself
        self.block = block
        self.built = True

    def call(
        self,
        inputs: tf.Tensor,
        decoder_padding_mask: tf.Tensor | None = None,
        decoder_attention_mask: tf.Tensor | None = None,
        use_causal_mask: bool = True,
        training: bool | None = None,
    ) -> tf.Tensor:
        """What the block gives; the arguments of `keras_hub.layers.TransformerDecoder` for a model of one text."""
        masks = {
            "decoder_padding_mask": decoder_padding_mask,
            "decoder_attention_mask": decoder_attention_mask,
            "use_causal_mask": use_causal_mask,
        }
        if not training:
            return self.block(inputs, training=training, **masks)
        # The state of the dropout is given, so that the second time the same masks are drawn, and moved on once.
        variables = self.block.non_trainable_variables
        state = [tf.identity(variable.value) for variable in variables]
        frozen = {id(weight) for weight in self.block.non_trainable_weights}
        seeds = [number for number, variable in enumerate(variables) if id(variable) not in frozen]

        def forward(inputs: tf.Tensor, *weights: tf.Tensor) -> tuple[tf.Tensor, ...]:
            outputs, new_state = self.block.stateless_call(weights, state, inputs, training=True, **masks)
            return outputs, *(new_state[number] for number in seeds)

        weights = [tf.convert_to_tensor(variable.value) for variable in self.block.trainable_variables]
        outputs, *new_seeds = tf.recompute_grad(forward)(inputs, *weights)
        for number, value in zip(seeds, new_seeds, strict=True):
            variables[number].assign(value)
        return outputs

    def compute_output_spec(self, inputs: keras.KerasTensor, *args: Any, **kwargs: Any) -> keras.KerasTensor:
        """That of the input."""
        return keras.KerasTensor(inputs.shape, inputs.dtype)
