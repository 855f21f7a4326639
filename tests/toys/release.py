"""Two-layer GPT-2 with a toy vocabulary, exported once to every format, for all tests of exported models."""

import atexit
import functools
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import keras_hub
import numpy as np
from ai_edge_litert.tools import flatbuffer_utils

from modules.export import saved_model, tflite_conversion
from modules.export.tflite_files import PRECISIONS, scoring_file
from modules.export.tflite_flatbuffer import pack, take_weights
from modules.export.tflite_metadata import ModelCard
from modules.tokenization.vocabulary import Vocabulary
from modules.tokenization.vocabulary_files import write_table, write_tokenizer_folder

CONTEXT_LENGTH = 32


@dataclass(frozen=True, kw_only=True)
class TinyRelease:
    """Paths of the same model in all formats."""

    folder: str

    @property
    def table(self) -> str:
        return f"{self.folder}/vocabulary.tsv"

    @property
    def preset(self) -> str:
        return f"{self.folder}/model/preset"

    @property
    def saved_model(self) -> str:
        return f"{self.folder}/model/Format-Serving"

    @property
    def tokenizer_json(self) -> str:
        return f"{self.folder}/tokenizer/tokenizer.json"

    def tflite(self, precision: str) -> str:
        return f"{self.folder}/{precision}.tflite"


@functools.cache
def tiny_vocabulary() -> Vocabulary:
    """Returns a vocabulary of 259 tokens: 256 bytes, "th", "the", <|endoftext|>."""
    t, h, e = (ord(letter) - ord("!") for letter in "the")
    return Vocabulary.from_merges([(t, h), (256, e)])


@functools.cache
def tiny_backbone() -> keras_hub.models.GPT2Backbone:
    """Returns a model with large weights, so that the most likely token leads clearly, and with biases and norms."""
    backbone = keras_hub.models.GPT2Backbone(
        vocabulary_size=tiny_vocabulary().size,
        num_layers=2,
        num_heads=4,
        hidden_dim=32,
        intermediate_dim=64,
        max_sequence_length=48,
    )
    numbers = np.random.default_rng(7)
    for weight in backbone.weights:
        # Replaces the initializers' values, so that every process has the same model.
        centre = 1.0 if weight.name == "gamma" else 0.0
        weight.assign(centre + 0.3 * numbers.standard_normal(weight.shape).astype("float32"))
    return backbone


@functools.cache
def saved_release() -> TinyRelease:
    """Writes the preset, the tokenizer and the SavedModel; returns their paths."""
    release = TinyRelease(folder=tempfile.mkdtemp(prefix="tiny_release_"))
    atexit.register(shutil.rmtree, release.folder, ignore_errors=True)
    write_table(tiny_vocabulary(), release.table)
    write_tokenizer_folder(tiny_vocabulary(), f"{release.folder}/tokenizer")
    tiny_backbone().save_to_preset(release.preset)
    saved_model.export_saved_model(
        tiny_backbone(), release.table, release.saved_model, context_length=CONTEXT_LENGTH, sequence_length=16
    )
    return release


@functools.cache
def converted_release() -> tuple[TinyRelease, tflite_conversion.Conversion]:
    """Adds TFLite files to `saved_release`, with metadata if it can be embedded; returns paths and conversion."""
    release = saved_release()
    conversion = tflite_conversion.convert_all(
        release.preset,
        {precision: release.tflite(precision) for precision in PRECISIONS},
        context_length=CONTEXT_LENGTH,
        prefill_lengths=[4, 16, 1024],
        card=ModelCard(name="tiny", description="A test.", version="7", associated_files=(release.tokenizer_json,)),
    )
    return release, conversion


def write_nan_files(folder: Path) -> str:
    """Copies the float16 file and its scoring file with NaN as every float16 weight; returns the path of the first."""
    path = str(folder / "model.tflite")
    source = converted_release()[0].tflite("float16")
    for read, written in (
        (source, path),
        (scoring_file(source), scoring_file(path)),
    ):
        model = flatbuffer_utils.read_model_from_bytearray(Path(read).read_bytes())
        halves = {
            tensor.buffer
            for subgraph in model.subgraphs
            for tensor in subgraph.tensors
            if tensor.type == flatbuffer_utils.schema_fb.TensorType.FLOAT16
        }
        for index in halves:
            model.buffers[index].data = np.full(len(model.buffers[index].data) // 2, np.nan, np.float16).view(np.uint8)
        Path(written).parent.mkdir(parents=True, exist_ok=True)
        Path(written).write_bytes(pack(model, take_weights(model)))
    return path


def reference_logits(token_ids: list[int]) -> np.ndarray:
    """Returns the logits that keras-hub computes for one row, float32 `[tokens, vocabulary]`."""
    backbone = tiny_backbone()
    row = np.array([token_ids])
    hidden = backbone({"token_ids": row, "padding_mask": np.ones_like(row)})
    return np.asarray(backbone.token_embedding(hidden, reverse=True))[0]


@functools.cache
def reference_greedy(prompt: str, max_new_tokens: int) -> bytes:
    """Returns the greedy continuation, computed without a cache; the prompt must fit the context."""
    vocabulary = tiny_vocabulary()
    ids = {token: token_id for token_id, token in enumerate(vocabulary.token_bytes())}
    token_ids = [vocabulary.end_of_text_id, *(ids[bytes([byte])] for byte in prompt.encode())]
    new_ids: list[int] = []
    while len(new_ids) < max_new_tokens and len(token_ids) < CONTEXT_LENGTH:
        next_id = int(np.argmax(reference_logits(token_ids)[-1]))
        if next_id == vocabulary.end_of_text_id:
            break
        new_ids.append(next_id)
        token_ids.append(next_id)
    return b"".join(vocabulary.token_bytes()[token_id] for token_id in new_ids)
