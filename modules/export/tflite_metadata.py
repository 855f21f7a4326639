"""TFLite metadata: a description of the model that is embedded into its .tflite file.

The metadata library of tflite-support (https://ai.google.dev/edge/litert/models/metadata) writes it. This library was
last released for Python 3.11; the extra `tflite-metadata` installs it. Without it the files work, but they have no
description. Associated files are appended as a ZIP archive, so `unzip model.tflite` extracts the vocabulary.
"""

import ctypes
import importlib.util
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from modules.export.tflite_flatbuffer import pack, take_weights

_TENSORS = {
    "tokens": "Token ids, int32 [1, tokens]; the first of a document is <|endoftext|>.",
    "input_pos": "Positions of the tokens, int32 [tokens], consecutive, counted from 0.",
    "logits": "Scores of the next token, float32 [1, 1, vocabulary].",
}
_FIELD = b"TFLITE_METADATA"
_CACHE = "Attention {kind} of layer {layer}, float32 [1, heads, context, head_dim]; zeros at first."


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """Description of a model, for embedding into its file.

    Attributes:
        name, description, version: Name, description and version of the model.
        author: The project that made the model.
        licence: Licence of the model's weights.
        associated_files: Files to embed, such as tokenizer.json.
    """

    name: str
    description: str
    version: str
    author: str = "tfx-gpt2"
    licence: str = "not stated; the training data's terms apply"
    associated_files: tuple[str, ...] = ()


def available() -> bool:
    """Returns True if tflite-support's metadata library and its libusb are installed."""
    return all(importlib.util.find_spec(name) for name in ("tensorflow_lite_support", "libusb_package"))


def embed(tflite_path: str, card: ModelCard) -> bool:
    """Embeds a card into a .tflite file.

    Args:
        tflite_path: The file. It is replaced as a whole when the new file is complete.
        card: The description to embed.

    Returns:
        False if nothing was embedded because the library is not installed.

    Raises:
        ValueError: The file is not a TFLite model.
    """
    if not available():
        return False
    from ai_edge_litert.tools import flatbuffer_utils

    content = Path(tflite_path).read_bytes()
    if content[4:8] != b"TFL3":
        raise ValueError(f"A TFLite file has TFL3 as bytes 4 to 8. Received: {tflite_path} with {content[4:8]!r}.")
    model = flatbuffer_utils.read_model_from_bytearray(content)
    weights = take_weights(model)
    card_buffer = _card_buffer(flatbuffer_utils.convert_object_to_bytearray(model), card)
    model.buffers.append(schema.BufferT(data=np.frombuffer(card_buffer, np.uint8)))
    field = schema.MetadataT(name=_FIELD, buffer=len(model.buffers) - 1)
    model.metadata = [kept for kept in model.metadata or [] if kept.name != _FIELD] + [field]
    partial = Path(tflite_path + ".partial")
    partial.write_bytes(pack(model, weights))
    with zipfile.ZipFile(partial, "a") as archive:
        for path in card.associated_files:
            # ZipInfo has a fixed date, so the same model gives the same bytes.
            archive.writestr(zipfile.ZipInfo(Path(path).name), Path(path).read_bytes())
    partial.replace(tflite_path)
    return True


def read(tflite_path: str) -> dict[str, Any]:
    """Returns a file's metadata as JSON values, by the names of TFLite's metadata schema.

    Raises:
        ImportError: The library is not installed.
        ValueError: The file holds no metadata.
    """
    displayer = _library().MetadataDisplayer.with_model_file(tflite_path)
    content: dict[str, Any] = json.loads(displayer.get_metadata_json())
    return {**content, "packed_files": displayer.get_packed_associated_file_list()}


def _library() -> Any:
    """Returns the library. Its compiled part needs libusb's symbols, which are therefore loaded first."""
    import libusb_package

    ctypes.CDLL(str(libusb_package.get_library_path()), mode=ctypes.RTLD_GLOBAL)
    from tensorflow_lite_support.metadata.python import metadata

    return metadata


def _card_buffer(skeleton: bytes, card: ModelCard) -> bytes:
    """Returns the metadata for a model without weights; the library checks that it matches the model's tensors."""
    import flatbuffers

    library = _library()
    from tensorflow_lite_support.metadata import metadata_schema_py_generated as metadata_schema

    subgraph = metadata_schema.SubGraphMetadataT()
    input_names, output_names = _first_subgraph_tensors(skeleton)
    subgraph.inputTensorMetadata = _tensor_cards(metadata_schema, input_names)
    subgraph.outputTensorMetadata = _tensor_cards(metadata_schema, output_names)
    model = metadata_schema.ModelMetadataT()
    model.name, model.description, model.version = card.name, card.description, card.version
    model.author, model.license = card.author, card.licence
    model.subgraphMetadata = [subgraph]
    model.associatedFiles = [_file_card(metadata_schema, path) for path in card.associated_files]
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b"M001")
    populator = library.MetadataPopulator.with_model_buffer(bytes(skeleton))
    populator.load_metadata_buffer(builder.Output())
    populator.load_associated_files(list(card.associated_files))
    populator.populate()
    return bytes(library.get_metadata_buffer(populator.get_model_buffer()))


def _first_subgraph_tensors(skeleton: bytes) -> tuple[list[str], list[str]]:
    """Returns the signature's names of the first subgraph's inputs and outputs, in the subgraph's order."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(skeleton, 0))
    (signature,) = [definition for definition in model.signatureDefs if definition.subgraphIndex == 0]
    inputs = {entry.tensorIndex: entry.name.decode() for entry in signature.inputs}
    outputs = {entry.tensorIndex: entry.name.decode() for entry in signature.outputs}
    subgraph = model.subgraphs[0]
    return [inputs[index] for index in subgraph.inputs], [outputs[index] for index in subgraph.outputs]


def _tensor_cards(metadata_schema: Any, names: Sequence[str]) -> list[Any]:
    cards = []
    for name in names:
        card = metadata_schema.TensorMetadataT()
        card.name = name
        if name.startswith("kv_cache_"):
            _, _, kind, layer = name.split("_")
            card.description = _CACHE.format(kind="keys" if kind == "k" else "values", layer=layer)
        else:
            card.description = _TENSORS[name]
        cards.append(card)
    return cards


def _file_card(metadata_schema: Any, path: str) -> Any:
    card = metadata_schema.AssociatedFileT()
    card.name = Path(path).name
    card.description = "The byte-level BPE vocabulary for the `tokenizers` library."
    card.type = metadata_schema.AssociatedFileType.DESCRIPTIONS
    return card
