"""GPT-2 in NumPy and float64, an oracle that shares no code with the model."""

import math

import numpy as np

from tests.toys.release import tiny_backbone

END = 258


def _norm(x: np.ndarray, layer) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    normal = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + layer.epsilon)
    return normal * np.asarray(layer.gamma, np.float64) + np.asarray(layer.beta, np.float64)


def _dense(x: np.ndarray, layer) -> np.ndarray:
    kernel = np.asarray(layer.kernel, np.float64)
    bias = np.asarray(layer.bias, np.float64).reshape(-1)
    return x @ kernel.reshape(x.shape[-1], -1) + bias


def _oracle_window(inputs: list[int], targets: list[int], counted: list[int]) -> float:
    """Returns the negative log-likelihood, in nats, of the counted targets of one window."""
    backbone = tiny_backbone()
    table = np.asarray(backbone.token_embedding.embeddings, np.float64)
    time = len(inputs)
    x = table[inputs] + np.asarray(backbone.position_embedding.position_embeddings, np.float64)[:time]
    for layer in backbone.transformer_layers:
        attention = layer._self_attention_layer
        y = _norm(x, layer._self_attention_layer_norm)
        projections = (attention._query_dense, attention._key_dense, attention._value_dense)
        query, key, value = (_dense(y, dense).reshape(time, 4, 8).swapaxes(0, 1) for dense in projections)
        scores = query @ key.swapaxes(1, 2) / math.sqrt(8)
        scores[:, np.triu(np.ones((time, time), bool), 1)] = -np.inf
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        x = x + _dense((weights @ value).swapaxes(0, 1).reshape(time, 32), attention._output_dense)
        y = _dense(_norm(x, layer._feedforward_layer_norm), layer._feedforward_intermediate_dense)
        y = 0.5 * y * (1 + np.tanh(math.sqrt(2 / math.pi) * (y + 0.044715 * y**3)))
        x = x + _dense(y, layer._feedforward_output_dense)
    logits = _norm(x, backbone.layer_norm) @ table.T
    top = logits.max(-1)
    log_sum = top + np.log(np.exp(logits - top[:, None]).sum(-1))
    return float(((log_sum - logits[np.arange(time), targets]) * counted).sum())


def oracle(
    document: list[int], sequence_length: int, loss_mask: list[int] | None = None, stride: int | None = None
) -> float:
    """Returns the negative log-likelihood, in nats, of a document's counted targets, including the end of text."""
    inputs, targets = [END, *document], [*document, END]
    counted = [*(loss_mask or [1] * len(document)), 1]
    total, scored = 0.0, 0
    for at in range(0, len(inputs), stride or sequence_length):
        if scored == len(inputs):
            break
        cut = slice(at, at + sequence_length)
        new = [count * (place >= scored) for place, count in enumerate(counted)]
        total += _oracle_window(inputs[cut], targets[cut], new[cut])
        scored = min(at + sequence_length, len(inputs))
    return total
