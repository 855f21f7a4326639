"""GPT-2 with a key/value cache, in plain TensorFlow. Every exported format uses this forward pass.

The model is that of "Language Models are Unsupervised Multitask Learners" (2019). The weights come from
keras-hub's `GPT2Backbone`, and the logits equal those of the backbone with its tied embedding.
"""

from collections.abc import Callable

import keras
import keras_hub
import numpy as np
import tensorflow as tf
from tensorflow.compiler.tf2xla.python.xla import dynamic_update_slice

from modules.common.errors import InputError

# One layer's keys and values, each float32 [rows, heads, cached positions, head_dim].
LayerCache = tuple[tf.Tensor, tf.Tensor]
# (cache, new keys or values, positions) -> the cache with the new keys or values.
WriteCache = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]

_MASKED = -1e9


@tf.function(autograph=False, experimental_implements="embedding_matmul")
def _embedding_lookup(table: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
    """Gathers rows of `table`.

    The TFLite converter turns a function of this name into EMBEDDING_LOOKUP, which shares its table with the
    output layer's FULLY_CONNECTED. With only a `tf.gather`, each signature would store the table again.
    """
    return tf.gather(table, ids)


def append_to_cache(cache: tf.Tensor, new: tf.Tensor, positions: tf.Tensor) -> tf.Tensor:
    """Appends the new positions, which must follow the cached positions, to a cache: for generation in a graph."""
    del positions
    return tf.concat([cache, new], axis=2)


def write_into_cache(cache: tf.Tensor, new: tf.Tensor, positions: tf.Tensor) -> tf.Tensor:
    """Overwrites `positions`, which must be consecutive, in a cache of fixed length: for TFLite."""
    return dynamic_update_slice(cache, new, tf.stack([0, 0, positions[0], 0]))


class _LayerNorm(tf.Module):
    """Layer normalization over the last axis, as in "Layer Normalization" (2016)."""

    def __init__(self, layer: keras.layers.LayerNormalization) -> None:
        super().__init__()
        self.epsilon = float(layer.epsilon)
        self.scale = _constant(layer.gamma)
        self.shift = _constant(layer.beta)

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        mean = tf.reduce_mean(x, -1, keepdims=True)
        variance = tf.reduce_mean(tf.math.squared_difference(x, mean), -1, keepdims=True)
        return (x - mean) * tf.math.rsqrt(variance + self.epsilon) * self.scale + self.shift


class _Dense(tf.Module):
    """A matrix `[inputs, outputs]` and a bias; an axis of heads in the source layer is flattened."""

    def __init__(self, layer: keras.layers.Layer, inputs: int, outputs: int, scale: float = 1.0) -> None:
        super().__init__()
        self.kernel = _constant(layer.kernel, (inputs, outputs), scale)
        self.bias = _constant(layer.bias, (outputs,), scale)

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        # A two-dimensional product becomes a single FULLY_CONNECTED with a fused bias in TFLite.
        return tf.matmul(x, self.kernel) + self.bias


class _Block(tf.Module):
    """The weights of a transformer layer with the norms before attention and feed-forward."""

    def __init__(self, layer: keras_hub.layers.TransformerDecoder, hidden_dim: int, num_heads: int) -> None:
        super().__init__()
        attention = layer._self_attention_layer
        intermediate = layer._feedforward_intermediate_dense
        intermediate_dim = int(intermediate.kernel.shape[-1])
        self.attention_norm = _LayerNorm(layer._self_attention_layer_norm)
        self.feedforward_norm = _LayerNorm(layer._feedforward_layer_norm)
        # The 1 / sqrt(head_dim) of scaled dot-product attention is folded into the query's weights.
        scale = (hidden_dim // num_heads) ** -0.5
        self.query = _Dense(attention._query_dense, hidden_dim, hidden_dim, scale)
        self.key = _Dense(attention._key_dense, hidden_dim, hidden_dim)
        self.value = _Dense(attention._value_dense, hidden_dim, hidden_dim)
        self.attention_output = _Dense(attention._output_dense, hidden_dim, hidden_dim)
        self.intermediate = _Dense(intermediate, hidden_dim, intermediate_dim)
        self.feedforward_output = _Dense(layer._feedforward_output_dense, intermediate_dim, hidden_dim)


class CachedGPT2(tf.Module):
    """The weights of a `GPT2Backbone` in float32, applied with a cache of keys and values.

    Example:
        >>> backbone = keras_hub.models.GPT2Backbone(20, 1, 2, 8, 16, max_sequence_length=6)
        >>> model = CachedGPT2(backbone)
        >>> _, caches = model.step(tf.constant([[3, 7]]), tf.range(2), model.empty_caches())
        >>> logits, caches = model.step(tf.constant([[5]]), tf.range(2, 3), caches)  # what follows 3, 7, 5?
        >>> logits.shape
        TensorShape([1, 20])

    Attributes:
        context_length: The largest number of positions that the model sees.
        vocabulary_size, num_layers, num_heads, hidden_dim, head_dim: The model's sizes.
    """

    def __init__(self, backbone: "keras_hub.models.GPT2Backbone", *, context_length: int | None = None) -> None:
        """Copies the backbone's weights; it may have been trained with any precision policy.

        Args:
            backbone: The trained model.
            context_length: The largest number of positions to serve; the backbone's `max_sequence_length` if None.

        Raises:
            InputError: `context_length` is below 2 or above the backbone's `max_sequence_length`.
        """
        super().__init__()
        longest = int(backbone.max_sequence_length)
        context_length = longest if context_length is None else context_length
        if not 2 <= context_length <= longest:
            raise InputError(
                f"`context_length` must be from 2 to the model's max_sequence_length, {longest}. "
                f"Received: {context_length}. Lower it, or train with a longer sequence length."
            )
        self.context_length = context_length
        self.vocabulary_size = int(backbone.vocabulary_size)
        self.num_layers = int(backbone.num_layers)
        self.num_heads = int(backbone.num_heads)
        self.hidden_dim = int(backbone.hidden_dim)
        self.head_dim = self.hidden_dim // self.num_heads
        self.token_embedding = _constant(backbone.token_embedding.embeddings)
        position_embedding = np.asarray(backbone.position_embedding.position_embeddings.numpy(), np.float32)
        self.position_embedding = tf.Variable(position_embedding[:context_length], trainable=False)
        self.blocks = [_Block(layer, self.hidden_dim, self.num_heads) for layer in backbone.transformer_layers]
        self.final_norm = _LayerNorm(backbone.layer_norm)

    def empty_caches(self, rows: int | tf.Tensor = 1) -> list[LayerCache]:
        """Returns caches of length 0, for `append_to_cache`."""
        empty = tf.zeros(tf.stack([rows, self.num_heads, 0, self.head_dim]))
        return [(empty, empty)] * self.num_layers

    def hidden_states(
        self,
        token_ids: tf.Tensor,
        positions: tf.Tensor,
        caches: list[LayerCache],
        write_cache: WriteCache = append_to_cache,
    ) -> tuple[tf.Tensor, list[LayerCache]]:
        """Runs the transformer on new tokens that follow cached tokens.

        Args:
            token_ids: Integer `[rows, time]`.
            positions: int32 `[time]`, consecutive, each below `context_length`; the same for all rows.
            caches: One per layer, for the same rows. A token does not see cached positions after its own.
            write_cache: The function that writes the new keys and values into the caches.

        Returns:
            float32 `[rows * time, hidden_dim]` after the final layer norm, and the caches with the new tokens.
        """
        rows = token_ids.shape[0] or tf.shape(token_ids)[0]
        x = _embedding_lookup(self.token_embedding, tf.reshape(token_ids, [-1]))
        where = positions if token_ids.shape[0] == 1 else tf.tile(positions, [rows])
        x += _embedding_lookup(self.position_embedding, where)
        new_caches, mask = [], None
        for block, (keys, values) in zip(self.blocks, caches, strict=True):
            y = block.attention_norm(x)
            keys = write_cache(keys, self._split_heads(block.key(y), rows), positions)
            values = write_cache(values, self._split_heads(block.value(y), rows), positions)
            new_caches.append((keys, values))
            if mask is None:
                mask = _causal_mask(positions, keys.shape[2] or tf.shape(keys)[2])
            scores = tf.matmul(self._split_heads(block.query(y), rows), keys, transpose_b=True)
            attended = tf.matmul(tf.nn.softmax(scores + mask), values)
            attended = tf.reshape(tf.transpose(attended, [0, 2, 1, 3]), [-1, self.hidden_dim])
            x = x + block.attention_output(attended)
            y = tf.nn.gelu(block.intermediate(block.feedforward_norm(x)), approximate=True)
            x = x + block.feedforward_output(y)
        return self.final_norm(x), new_caches

    def logits(self, hidden: tf.Tensor) -> tf.Tensor:
        """Maps float32 `[n, hidden_dim]` to float32 `[n, vocabulary_size]` by the tied embedding."""
        return tf.matmul(hidden, self.token_embedding, transpose_b=True)

    def step(
        self,
        token_ids: tf.Tensor,
        positions: tf.Tensor,
        caches: list[LayerCache],
        write_cache: WriteCache = append_to_cache,
    ) -> tuple[tf.Tensor, list[LayerCache]]:
        """Runs one row and predicts the token after its last token.

        Args:
            token_ids: Integer `[1, time]`.
            positions: int32 `[time]`, as for `hidden_states`.
            caches: One per layer.
            write_cache: The function that writes the new keys and values into the caches.

        Returns:
            The last token's logits, float32 `[1, vocabulary_size]`, and the caches with the new tokens.
        """
        hidden, caches = self.hidden_states(token_ids, positions, caches, write_cache)
        return self.logits(hidden[-1:]), caches

    def _split_heads(self, x: tf.Tensor, rows: int | tf.Tensor) -> tf.Tensor:
        """Reshapes `[rows * time, hidden_dim]` to `[rows, heads, time, head_dim]`."""
        time = x.shape[0] if x.shape[0] is not None and rows == 1 else -1
        return tf.transpose(tf.reshape(x, [rows, time, self.num_heads, self.head_dim]), [0, 2, 1, 3])


def _constant(variable: keras.Variable, shape: tuple[int, ...] | None = None, scale: float = 1.0) -> tf.Variable:
    value = np.asarray(tf.cast(variable.value, tf.float32))
    return tf.Variable(np.float32(scale) * value.reshape(shape or value.shape), trainable=False)


def _causal_mask(positions: tf.Tensor, length: int | tf.Tensor) -> tf.Tensor:
    """Returns float32 `[1, 1, time, length]`: 0 where a key is at or before the query's position, else -1e9.

    For a token at position 2 in a cache of length 4: `[0, 0, 0, -1e9]`.
    """
    seen = tf.range(length)[tf.newaxis, :] <= positions[:, tf.newaxis]
    return tf.where(seen, 0.0, _MASKED)[tf.newaxis, tf.newaxis]
