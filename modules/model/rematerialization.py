"""Gradient checkpointing: a block's activations are not kept, but computed again for its gradients.

Keras' own `RematScope` fails in TensorFlow's graphs (Keras 3.15), because its custom gradient takes no keyword
arguments there. Its dropout masks for the gradients would also differ from those for the activations.
"""

import keras
import tensorflow as tf

from modules.model.block_wrapper import BlockWrapper, replace_blocks


def rematerialize(model: keras.Model) -> keras.Model:
    """Returns the same functional model with the same weights, whose transformer blocks keep only their inputs.

    It costs one more forward pass (Chen et al. 2016, arXiv:1604.06174).
    """
    return replace_blocks(model, Rematerialized)


class Rematerialized(BlockWrapper):
    """A transformer block that keeps no activations between its input and its output in training."""

    def call(self, inputs: tf.Tensor, training: bool | None = None, **masks: tf.Tensor) -> tf.Tensor:
        """Returns the block's outputs for the inputs and the masks."""
        if not training:
            return self.block(inputs, training=training, **masks)
        # The dropout's state is an argument, so that the second pass draws the same masks. It advances only once.
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
