"""GPT-2's transformer block for training, in fewer passes over memory than in Keras."""

import functools
import math

import keras
import tensorflow as tf

from modules.model.block_wrapper import BlockWrapper, replace_blocks
from modules.model.fused_attention import causal_attention
from modules.model.fused_operations import EPSILON, add_and_norm, add_bias, bias_gelu, layer_norm


def fuse(model: keras.Model) -> keras.Model:
    """Returns the same language model with the same weights, whose blocks are `FusedDecoder`s if possible.

    Blocks with dropout or quantized matrices, and blocks that are not GPT-2's, are not replaced.
    """
    return replace_blocks(model, lambda block: FusedDecoder(block) if _can_be_fused(block) else block)


def _can_be_fused(block: keras.layers.Layer) -> bool:
    settings = (block.normalize_first, block.layer_norm_epsilon, block.activation.__name__, block.dropout)
    quantized = any(getattr(layer, "quantization_mode", None) for layer in block._flatten_layers())
    return settings == (True, EPSILON, "gelu_approximate", 0) and not quantized


class FusedDecoder(BlockWrapper):
    """The same function as `keras_hub.layers.TransformerDecoder` for GPT-2: norms first, GELU by tanh, no dropout.

    Query, key and value are one matrix product. The operations between the products are those of
    `modules.model.fused_operations` and `modules.model.fused_attention`.
    """

    def call(
        self,
        inputs: tf.Tensor,
        decoder_padding_mask: tf.Tensor | None = None,
        decoder_attention_mask: tf.Tensor | None = None,
        training: bool | None = None,
    ) -> tf.Tensor:
        """Returns the block's outputs.

        Args:
            inputs: Floating point `[batch, time, width]`; the time must be known when the graph is made.
            decoder_padding_mask: `[batch, time]`, 0 for tokens at which no token looks.
            decoder_attention_mask: `[batch, time, time]`, 0 where a token (row) does not look at another (column).
            training: Not used, because there is no dropout.
        """
        block, dtype = self.block, self.block.compute_dtype
        mask = _merged_mask(decoder_padding_mask, decoder_attention_mask)
        residual = tf.cast(inputs, dtype)
        x = layer_norm(residual, *_scale_and_offset(block._self_attention_layer_norm))
        with tf.name_scope("self_attention"):
            x = _attend(block._self_attention_layer, x, mask)
            x, bias = _multiply(x, block._self_attention_layer.output_dense)
        residual, x = add_and_norm(residual, x, bias, *_scale_and_offset(block._feedforward_layer_norm))
        with tf.name_scope("feedforward"):
            x = bias_gelu(*_multiply(x, block._feedforward_intermediate_dense))
            x = add_bias(*_multiply(x, block._feedforward_output_dense))
        return residual + x


def _merged_mask(padding_mask: tf.Tensor | None, attention_mask: tf.Tensor | None) -> tf.Tensor | None:
    """Returns bool `[batch, 1, time, time]` or `[batch, 1, 1, time]`, or None if there are no masks."""
    masks = []
    if padding_mask is not None:
        masks.append(tf.cast(padding_mask, tf.bool)[:, None, None, :])
    if attention_mask is not None:
        masks.append(tf.cast(attention_mask, tf.bool)[:, None, :, :])
    return functools.reduce(tf.logical_and, masks) if masks else None


def _scale_and_offset(norm: keras.layers.LayerNormalization) -> tuple[tf.Tensor, tf.Tensor]:
    return norm.gamma.value, norm.beta.value


def _attend(attention: keras.layers.MultiHeadAttention, x: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    """Returns self-attention before the product that mixes its heads; `x` and the result are `[batch, time, width]`."""
    time, width = x.shape[1:]
    heads = attention.num_heads
    # The scores are scaled through the query's matrix, because the matrix is smaller than the queries.
    scales = {attention.query_dense: math.sqrt(heads / width), attention.key_dense: 1.0, attention.value_dense: 1.0}
    matrices = [[part * scale for part in _matrix(layer, width)] for layer, scale in scales.items()]
    kernels, biases = zip(*matrices, strict=True)
    product = add_bias(_matmul(x, tf.concat(kernels, axis=1)), tf.cast(tf.concat(biases, axis=0), x.dtype))
    by_head = tf.transpose(tf.reshape(product, [-1, time, 3, heads, width // heads]), [2, 0, 3, 1, 4])
    outputs = causal_attention(*tf.unstack(by_head), mask=mask)
    return tf.reshape(tf.transpose(outputs, [0, 2, 1, 3]), [-1, time, width])


def _multiply(x: tf.Tensor, layer: keras.layers.Layer) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns `x` `[…, inputs]` times the matrix of a Dense or EinsumDense, and its bias `[outputs]` (not added)."""
    kernel, bias = _matrix(layer, x.shape[-1])
    return _matmul(x, kernel), tf.cast(bias, x.dtype)


def _matrix(layer: keras.layers.Layer, inputs: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the matrix `[inputs, outputs]`, including the change by LoRA, and the bias `[outputs]`; float32."""
    kernel, bias = (tf.cast(tf.convert_to_tensor(part), tf.float32) for part in (layer.kernel, layer.bias))
    return tf.reshape(kernel, [inputs, -1]), tf.reshape(bias, [-1])


def _matmul(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Returns `[…, inputs]` times `[inputs, outputs]`, computed as one product of two matrices."""
    inputs, outputs = kernel.shape
    product = tf.matmul(tf.reshape(x, [-1, inputs]), tf.cast(kernel, x.dtype))
    return tf.reshape(product, [-1, *x.shape[1:-1], outputs])
