"""Edits of .tflite files that keep the weights, which the quantizer puts behind the flatbuffer."""

from collections.abc import Mapping

import numpy as np
from ai_edge_litert import schema_py_generated as schema

_SMALLEST_WEIGHTS = 1024


def without_signature(content: bytes | bytearray, name: str) -> bytes:
    """Takes a signature out of a model; the others, and the weights, stay as they are.

    Args:
        content: A .tflite file.
        name: The signature's name; its subgraph must not be used by another one.

    Returns:
        The file without that signature, its subgraph, and the constants that it alone used.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(content)
    (removed,) = [one for one in model.signatureDefs if one.signatureKey == name.encode()]
    model.signatureDefs.remove(removed)
    del model.subgraphs[removed.subgraphIndex]
    for one in model.signatureDefs:
        one.subgraphIndex -= one.subgraphIndex > removed.subgraphIndex
    used = {tensor.buffer for subgraph in model.subgraphs for tensor in subgraph.tensors}
    used |= {one.buffer for one in model.metadata or []}
    for index, buffer in enumerate(model.buffers):
        if index not in used:
            buffer.data = None
    return pack(model, take_weights(model))


def take_weights(model: schema.ModelT) -> dict[int, bytes]:
    """Removes the large buffers from a model, leaving room for their place and size; returns them by index."""
    weights = {}
    for index, buffer in enumerate(model.buffers):
        if buffer.data is not None and len(buffer.data) >= _SMALLEST_WEIGHTS:
            weights[index] = np.frombuffer(buffer.data, np.uint8).tobytes()
            buffer.data, buffer.offset, buffer.size = None, 1, 1
    return weights


def pack(model: schema.ModelT, weights: Mapping[int, bytes]) -> bytes:
    """Serializes a model with its weights behind the flatbuffer, each at a multiple of 16 bytes.

    tflite-support's own writer would lose weights that lie there: its schema is of 2023 and knows no such place.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    packed = bytearray(flatbuffer_utils.convert_object_to_bytearray(model))
    root = schema.Model.GetRootAs(packed, 0)
    pieces: list[bytes] = []
    end = len(packed)
    for index, data in weights.items():
        padding = -end % 16
        flatbuffer_utils.update_packed_buffer(root.Buffers(index), offset=end + padding, size=len(data))
        pieces += [bytes(padding), data]
        end += padding + len(data)
    return bytes(packed) + b"".join(pieces)
