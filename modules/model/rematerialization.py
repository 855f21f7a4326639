"""Gradient checkpointing: a block's activations are computed again for its gradients instead of kept.

Keras' own `RematScope` fails in TensorFlow's graphs, as of 3.15: its custom gradient takes no keyword arguments
there. It would also draw other dropout masks for the gradients than for the activations.
"""

import keras
import tensorflow as tf

from modules.model.block_wrapper import BlockWrapper, replace_blocks


def rematerialize(model: keras.Model) -> keras.Model:
    """The same functional model, with the same weights, whose transformer blocks keep their inputs alone.

    Costs one more forward pass (Chen et al. 2016, arXiv:1604.06174).
    """
    return replace_blocks(model, Rematerialized)


class Rematerialized(BlockWrapper):
    """Calls a transformer block, and keeps in training nothing between its input and its output."""

    def call(self, inputs: tf.Tensor, training: bool | None = None, **masks: tf.Tensor) -> tf.Tensor:
        """What the block gives for the inputs and the masks."""
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
