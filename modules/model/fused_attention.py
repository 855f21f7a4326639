"""Causal attention that skips most of the masked scores, with a gradient in fewer passes over memory."""

from typing import Any

import tensorflow as tf

from modules.model.fused_operations import compiled

# Queries are cut into at most PARTS parts of at least QUERIES_PER_PART queries. Fewer parts compute more masked scores;
# more parts need more calls.
PARTS = 4
QUERIES_PER_PART = 128


def causal_attention(query: tf.Tensor, key: tf.Tensor, value: tf.Tensor, *, mask: tf.Tensor | None) -> tf.Tensor:
    """Returns scaled dot-product attention of tokens to themselves and to earlier tokens.

    See Vaswani et al. 2017, arXiv:1706.03762, equation 1. The queries are cut along the time. Each part is multiplied
    only with the keys up to its own end:

    ```
    parts  keys            c: computed
    1      c c . . . .
           c c . . . .
    2      c c c c . .
           c c c c . .
    3      c c c c c c
           c c c c c c
    ```

    Only the probabilities P of each part are kept for the gradient, and masked scores are never in memory.

    Args:
        query: Floating point `[batch, heads, time, head_dim]`, divided by the square root of `head_dim`. The time must
            be known when the graph is made.
        key, value: The same shape and type.
        mask: bool `[batch, 1, time, time]`, True where a query (row) may look at a key (column), in addition to the
            causal mask. It may be `[batch, 1, 1, time]` if it is the same for all queries, or None.

    Returns:
        A tensor of the shape and type of `query`. It can be differentiated once, but not with respect to the mask.
    """
    time = query.shape[2]
    length = max(QUERIES_PER_PART, -(-time // PARTS))
    spans = [(first, min(first + length, time)) for first in range(0, time, length)]

    @tf.custom_gradient
    def attend(query: tf.Tensor, key: tf.Tensor, value: tf.Tensor) -> tuple[tf.Tensor, Any]:
        probabilities = []
        for first, end in spans:
            scores = tf.matmul(query[:, :, first:end], key[:, :, :end], transpose_b=True)
            probabilities.append(_probabilities(scores, first, _of_span(mask, first, end)))
        parts = [tf.matmul(p, value[:, :, :end]) for p, (_, end) in zip(probabilities, spans, strict=True)]
        outputs = tf.concat(parts, axis=2)

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            query_parts, key_parts, value_parts = [], [], []
            for p, (first, end) in zip(probabilities, spans, strict=True):
                here = upstream[:, :, first:end]
                p_gradient = tf.matmul(here, value[:, :, :end], transpose_b=True)
                scores_gradient = _scores_gradient(p, p_gradient)
                query_parts.append(tf.matmul(scores_gradient, key[:, :, :end]))
                key_parts.append(tf.matmul(scores_gradient, query[:, :, first:end], transpose_a=True))
                value_parts.append(tf.matmul(p, here, transpose_a=True))
            return tf.concat(query_parts, axis=2), _sum_at_start(key_parts, time), _sum_at_start(value_parts, time)

        return outputs, gradient

    return attend(query, key, value)


def _of_span(mask: tf.Tensor | None, first: int, end: int) -> tf.Tensor | None:
    if mask is None:
        return None
    return mask[:, :, :, :end] if mask.shape[2] == 1 else mask[:, :, first:end, :end]


def _sum_at_start(parts: list[tf.Tensor], time: int) -> tf.Tensor:
    """Returns the sum of parts `[batch, heads, …, head_dim]`, each padded with zeros to `time`."""
    padded = [tf.pad(part, [[0, 0], [0, 0], [0, time - part.shape[2]], [0, 0]]) for part in parts[:-1]]
    return tf.add_n([*padded, parts[-1]])


@compiled
def _probabilities(scores: tf.Tensor, first_query: int, mask: tf.Tensor | None) -> tf.Tensor:
    """Returns the softmax of the queries' scores over the keys that they see; the first query is `first_query`.

    The softmax is computed in float32. Hidden keys get the lowest finite score. With minus infinity, a token that may
    look at no key (such as padding) would get NaN.
    """
    queries, keys = (tf.range(size) for size in scores.shape[2:])
    seen = first_query + queries[:, None] >= keys
    if mask is not None:
        seen = tf.logical_and(seen, mask)
    masked = tf.where(seen, tf.cast(scores, tf.float32), tf.float32.min)
    return tf.cast(tf.nn.softmax(masked), scores.dtype)


@compiled
def _scores_gradient(probabilities: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    p, upstream = (tf.cast(part, tf.float32) for part in (probabilities, upstream))
    return tf.cast(p * (upstream - tf.reduce_sum(p * upstream, axis=-1, keepdims=True)), probabilities.dtype)
