"""Edits of .tflite files that keep the weights, which the quantizer stores behind the flatbuffer."""

from collections.abc import Mapping

import numpy as np
from ai_edge_litert import schema_py_generated as schema

# Bytes from which a buffer counts as weights.
_SMALLEST_WEIGHTS = 1024
# Bytes that the place of weights must be a multiple of.
_ALIGNMENT = 16


def without_signature(content: bytes | bytearray, name: str) -> bytes:
    """Removes a signature from a model, and keeps the remaining signatures and their weights unchanged.

    Args:
        content: A .tflite file.
        name: The signature's name; no other signature may use its subgraph.

    Returns:
        The file without the signature, its subgraph, and the constants that only this subgraph used.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(content)
    (removed,) = [signature for signature in model.signatureDefs if signature.signatureKey == name.encode()]
    model.signatureDefs.remove(removed)
    del model.subgraphs[removed.subgraphIndex]
    for signature in model.signatureDefs:
        signature.subgraphIndex -= signature.subgraphIndex > removed.subgraphIndex
    used = {tensor.buffer for subgraph in model.subgraphs for tensor in subgraph.tensors}
    used |= {field.buffer for field in model.metadata or []}
    for index, buffer in enumerate(model.buffers):
        if index not in used:
            buffer.data = None
    return pack(model, take_weights(model))


def take_weights(model: schema.ModelT) -> dict[int, bytes]:
    """Removes the large buffers from a model and returns them by index.

    Offset and size of a removed buffer are set to the placeholder 1, which `pack` replaces.
    """
    weights = {}
    for index, buffer in enumerate(model.buffers):
        if buffer.data is not None and len(buffer.data) >= _SMALLEST_WEIGHTS:
            weights[index] = np.frombuffer(buffer.data, np.uint8).tobytes()
            buffer.data, buffer.offset, buffer.size = None, 1, 1
    return weights


def pack(model: schema.ModelT, weights: Mapping[int, bytes]) -> bytes:
    """Serializes a model and appends its weights behind the flatbuffer, each at a multiple of 16 bytes.

    tflite-support's own writer would lose such weights, because its schema of 2023 does not include this place.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    packed = bytearray(flatbuffer_utils.convert_object_to_bytearray(model))
    root = schema.Model.GetRootAs(packed, 0)
    pieces: list[bytes] = []
    end = len(packed)
    for index, data in weights.items():
        padding = -end % _ALIGNMENT
        flatbuffer_utils.update_packed_buffer(root.Buffers(index), offset=end + padding, size=len(data))
        pieces += [bytes(padding), data]
        end += padding + len(data)
    return bytes(packed) + b"".join(pieces)
