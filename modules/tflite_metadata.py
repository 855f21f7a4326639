"""TFLite metadata: what a .tflite file says about itself, embedded into the file.

Written with tflite-support's metadata library (https://ai.google.dev/edge/litert/models/metadata), which was last
released for Python 3.11: the extra `tflite-metadata` installs it. Without it the files work, they only say nothing.
Associated files are appended as a ZIP archive, so `unzip model.tflite` takes the vocabulary out.
"""

import ctypes
import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TENSORS = {
    "tokens": "Token ids, int32 [1, tokens]; the first of a document is <|endoftext|>.",
    "input_pos": "Positions of the tokens, int32 [tokens], consecutive, counted from 0.",
    "logits": "Scores of the next token, float32 [1, 1, vocabulary].",
}
_CACHE = "Attention {kind} of layer {layer}, float32 [1, heads, context, head_dim]; zeros at first."


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What to embed.

    Attributes:
        name, description, version: Of this model.
        author: The project that made it.
        licence: Of the model's weights.
        associated_files: Files to embed, such as tokenizer.json.
    """

    name: str
    description: str
    version: str
    author: str = "tfx-gpt2"
    licence: str = "not stated; the training data's terms apply"
    associated_files: tuple[str, ...] = ()


def available() -> bool:
    """Tells whether tflite-support's metadata library and its libusb are installed."""
    return all(importlib.util.find_spec(name) for name in ("tensorflow_lite_support", "libusb_package"))


def embed(tflite_path: str, card: ModelCard) -> bool:
    """Embeds a card into a .tflite file.

    Args:
        tflite_path: The file, replaced as a whole once the new one is complete.
        card: What to embed.

    Returns:
        False if nothing was embedded, as the library is not installed.

    Raises:
        ValueError: The file is not a TFLite model.
    """
    if not available():
        return False
    metadata = _library()
    content = Path(tflite_path).read_bytes()
    if content[4:8] != b"TFL3":
        raise ValueError(f"A TFLite file has TFL3 as bytes 4 to 8. Received: {tflite_path} with {content[4:8]!r}.")
    populator = metadata.MetadataPopulator.with_model_buffer(content)
    populator.load_metadata_buffer(_card_buffer(content, card))
    populator.load_associated_files(list(card.associated_files))
    populator.populate()
    partial = Path(tflite_path + ".partial")
    partial.write_bytes(populator.get_model_buffer())
    partial.replace(tflite_path)
    return True


def read(tflite_path: str) -> dict[str, Any]:
    """Returns a file's metadata as JSON-like values, in the schema's own names.

    Raises:
        ImportError: The library is not installed.
        ValueError: The file holds no metadata.
    """
    displayer = _library().MetadataDisplayer.with_model_file(tflite_path)
    content: dict[str, Any] = json.loads(displayer.get_metadata_json())
    return {**content, "packed_files": displayer.get_packed_associated_file_list()}


def _library() -> Any:
    """Imports the library, whose compiled part expects libusb's symbols to be loaded."""
    import libusb_package

    ctypes.CDLL(str(libusb_package.get_library_path()), mode=ctypes.RTLD_GLOBAL)
    from tensorflow_lite_support.metadata.python import metadata

    return metadata


def _card_buffer(content: bytes, card: ModelCard) -> bytearray:
    import flatbuffers
    from tensorflow_lite_support.metadata import metadata_schema_py_generated as schema

    subgraph = schema.SubGraphMetadataT()
    # The library checks the first subgraph's tensors, by number and order.
    input_names, output_names = _first_subgraph_tensors(content)
    subgraph.inputTensorMetadata = _tensor_cards(schema, input_names)
    subgraph.outputTensorMetadata = _tensor_cards(schema, output_names)
    model = schema.ModelMetadataT()
    model.name, model.description, model.version = card.name, card.description, card.version
    model.author, model.license = card.author, card.licence
    model.subgraphMetadata = [subgraph]
    model.associatedFiles = [_file_card(schema, path) for path in card.associated_files]
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b"M001")
    return builder.Output()


def _first_subgraph_tensors(content: bytes) -> tuple[list[str], list[str]]:
    """Returns the signature's names of the first subgraph's inputs and outputs, in the subgraph's order."""
    from tensorflow_lite_support.metadata import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
    (signature,) = [one for one in model.signatureDefs if one.subgraphIndex == 0]
    inputs = {entry.tensorIndex: entry.name.decode() for entry in signature.inputs}
    outputs = {entry.tensorIndex: entry.name.decode() for entry in signature.outputs}
    subgraph = model.subgraphs[0]
    return [inputs[index] for index in subgraph.inputs], [outputs[index] for index in subgraph.outputs]


def _tensor_cards(schema: Any, names: Sequence[str]) -> list[Any]:
    cards = []
    for name in names:
        card = schema.TensorMetadataT()
        card.name = name
        if name.startswith("kv_cache_"):
            _, _, kind, layer = name.split("_")
            card.description = _CACHE.format(kind="keys" if kind == "k" else "values", layer=layer)
        else:
            card.description = _TENSORS[name]
        cards.append(card)
    return cards


def _file_card(schema: Any, path: str) -> Any:
    card = schema.AssociatedFileT()
    card.name = Path(path).name
    card.description = "The byte-level BPE vocabulary for the `tokenizers` library."
    card.type = schema.AssociatedFileType.DESCRIPTIONS
    return card
