"""The operations between a transformer's matrix products, each in one pass over memory.

TensorFlow reads and writes the whole tensor for every addition, product and power. On a CPU that takes as long as the
matrix products themselves, and in bfloat16 several times as long. XLA compiles activations and norms, and their
gradients, into one or two passes that compute in float32. The matrix products stay in TensorFlow, because its oneDNN is
faster than XLA.

Every function takes and returns the policy's compute type, a floating type. Only the scales and offsets of layer norms
are float32. Every function can be differentiated once.
"""

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

# GELU's approximation by tanh (Hendrycks and Gimpel 2016, arXiv:1606.08415, section 2).
_SLOPE = math.sqrt(2 / math.pi)
_CUBIC = 0.044715
# GPT-2's layer norms add this to the variance.
EPSILON = 1e-5

Gradient = Callable[..., Any]


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the function compiled by XLA, for use inside a TensorFlow graph."""
    return tf.function(function, autograph=False, jit_compile=True)


@tf.custom_gradient
def add_bias(x: tf.Tensor, bias: tf.Tensor) -> tuple[tf.Tensor, Gradient]:
    """Returns `x + bias`; `x` is `[…, width]` and `bias` is `[width]`."""
    return x + bias, lambda upstream: (upstream, _sum_rows(upstream))


@tf.custom_gradient
def bias_gelu(x: tf.Tensor, bias: tf.Tensor) -> tuple[tf.Tensor, Gradient]:
    """Returns GELU of `x + bias`, in GPT-2's approximation.

    Args:
        x: `[…, width]`.
        bias: `[width]`.
    """

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        x_gradient = _gelu_gradient(x, bias, upstream)
        return x_gradient, _sum_rows(x_gradient)

    return _gelu(x, bias), gradient


@tf.custom_gradient
def layer_norm(x: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor) -> tuple[tf.Tensor, Gradient]:
    """Returns the layer normalization of `x` over the last axis (Ba et al. 2016, arXiv:1607.06450).

    Args:
        x: `[…, width]`.
        scale, offset: float32 `[width]`.
    """

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return _norm_gradient(x, scale, upstream, tf.zeros([], x.dtype))

    return _norm(x, scale, offset), gradient


@tf.custom_gradient
def add_and_norm(
    residual: tf.Tensor, x: tf.Tensor, bias: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor
) -> tuple[tuple[tf.Tensor, tf.Tensor], Gradient]:
    """Returns the sum `residual + x + bias`, and the layer normalization of the sum.

    Args:
        residual, x: `[…, width]`.
        bias: `[width]`.
        scale, offset: float32 `[width]`.
    """
    total, normal = _add_and_norm(residual, x, bias, scale, offset)

    def gradient(total_upstream: tf.Tensor, upstream: tf.Tensor) -> tuple[tf.Tensor, ...]:
        total_gradient, scale_gradient, offset_gradient = _norm_gradient(total, scale, upstream, total_upstream)
        return total_gradient, total_gradient, _sum_rows(total_gradient), scale_gradient, offset_gradient

    return (total, normal), gradient


def _sum_rows(x: tf.Tensor) -> tf.Tensor:
    """Returns the sum of `[…, width]` over all axes except the last.

    A matrix product is faster on a CPU than TensorFlow's sum, and it adds in float32. In bfloat16, the gradient of
    `tf.nn.bias_add` for 8,192 ones stops at a few hundred.
    """
    rows = tf.reshape(x, [-1, x.shape[-1]])
    return tf.matmul(tf.ones([1, tf.shape(rows)[0]], rows.dtype), rows)[0]


@compiled
def _gelu(x: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    y = tf.cast(x, tf.float32) + tf.cast(bias, tf.float32)
    return tf.cast(0.5 * y * (1.0 + tf.tanh(_SLOPE * (y + _CUBIC * y * y * y))), x.dtype)


@compiled
def _gelu_gradient(x: tf.Tensor, bias: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    y = tf.cast(x, tf.float32) + tf.cast(bias, tf.float32)
    tanh = tf.tanh(_SLOPE * (y + _CUBIC * y * y * y))
    slope = 0.5 * (1.0 + tanh) + 0.5 * y * (1.0 - tanh * tanh) * _SLOPE * (1.0 + 3.0 * _CUBIC * y * y)
    return tf.cast(slope * tf.cast(upstream, tf.float32), x.dtype)


@compiled
def _norm(x: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
    return tf.cast(_standardized(tf.cast(x, tf.float32))[0] * scale + offset, x.dtype)


@compiled
def _add_and_norm(
    residual: tf.Tensor, x: tf.Tensor, bias: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    total = sum(tf.cast(part, tf.float32) for part in (residual, x, bias))
    normal = _standardized(total)[0] * scale + offset
    return tf.cast(total, x.dtype), tf.cast(normal, x.dtype)


@compiled
def _norm_gradient(
    x: tf.Tensor, scale: tf.Tensor, upstream: tf.Tensor, x_upstream: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns the gradients of x, scale and offset; `x_upstream`, the rest of x's gradient, is added to that of x."""
    standardized, deviation_inverse = _standardized(tf.cast(x, tf.float32))
    upstream = tf.cast(upstream, tf.float32)
    scaled = upstream * scale
    centred = scaled - _mean(scaled) - standardized * _mean(scaled * standardized)
    x_gradient = deviation_inverse * centred + tf.cast(x_upstream, tf.float32)
    rows = list(range(len(x.shape) - 1))
    scale_gradient, offset_gradient = (tf.reduce_sum(part, rows) for part in (upstream * standardized, upstream))
    return tf.cast(x_gradient, x.dtype), scale_gradient, offset_gradient


def _standardized(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns x with mean 0 and variance 1 over the last axis, and the inverse of its standard deviation."""
    centred = x - _mean(x)
    deviation_inverse = tf.math.rsqrt(_mean(centred * centred) + EPSILON)
    return centred * deviation_inverse, deviation_inverse


def _mean(x: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(x, axis=-1, keepdims=True)
