"""TFLite files with a key/value cache: signatures `decode` and `prefill_<N>`, in float16 or int8 weights.

Names and shapes are LiteRT-LM's. Inputs: `tokens` int32 `[1, T]`, `input_pos` int32 `[T]` and the caches
`kv_cache_k_<layer>`, `kv_cache_v_<layer>`, float32 `[1, heads, context, head_dim]`. Outputs: the caches, and of
`decode` (T = 1) also `logits` float32 `[1, 1, vocabulary_size]`. Prefill takes all of a prompt but its last token.

Beside each file, `scoring_file` of it holds the same model with one more signature, `score_<N>`: `decode` for N tokens
at once, for measuring the perplexity of what ships. It does not ship itself: of 124 million parameters the signature
makes scoring 10 times as fast, but costs whoever never calls it 0.1 GB (int8) or 0.6 GB (float16) of memory, as the
runtime packs the weights again for each signature.

The conversion runs in a process of its own: MLIR may end the whole process on an error, and the memory it takes
(about 4 GB for 124 million parameters) is given back at once.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modules.export import tflite_metadata
from modules.export.tflite_files import PRECISIONS, Precision

if TYPE_CHECKING:
    from modules.model.cached_gpt2 import CachedGPT2

DEFAULT_PREFILL_LENGTHS = (16, 64)
# Inside a Model artifact, beside where TFX keeps its other formats (Format-Serving, Format-TFMA).
MODEL_FILE = os.path.join("Format-TFLite", "model.tflite")
_SCORE_LENGTH = 64
_ERROR_LINES = 20


class ConversionError(RuntimeError):
    """The converting process failed; the message ends with the last lines it wrote."""


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """How a conversion went.

    Attributes:
        seconds: By step, e.g. `{"start": 9.1, "load": 2.0, "save": 4.2, "float16": 4.3, "int8": 3.6}`.
        metadata_embedded: Whether the files tell about themselves; False without the extra `tflite-metadata`.
    """

    seconds: dict[str, float]
    metadata_embedded: bool


def model_file(model_uri: str) -> str:
    """The path of the TFLite file in a Model artifact that TFLiteConverter wrote."""
    return os.path.join(model_uri, MODEL_FILE)


def scoring_file(tflite_path: str) -> str:
    """The path beside a TFLite file where the same model stands with the signature `score_<N>`."""
    return f"{os.path.splitext(tflite_path)[0]}.scoring.tflite"


def export_tflite(
    preset_dir: str,
    out_path: str,
    *,
    precision: Precision,
    context_length: int | None = None,
    prefill_lengths: Sequence[int] = DEFAULT_PREFILL_LENGTHS,
) -> None:
    """Converts a keras-hub preset to one TFLite file; arguments and errors as for `convert_all`."""
    convert_all(preset_dir, {precision: out_path}, context_length=context_length, prefill_lengths=prefill_lengths)


def convert_all(
    preset_dir: str,
    out_paths: Mapping[Precision, str],
    *,
    context_length: int | None = None,
    prefill_lengths: Sequence[int] = DEFAULT_PREFILL_LENGTHS,
    card: tflite_metadata.ModelCard | None = None,
) -> Conversion:
    """Converts a keras-hub preset to TFLite files, all in one other process.

    Args:
        preset_dir: What `GPT2Backbone.save_to_preset` wrote.
        out_paths: The file to write for each precision, and its `scoring_file` beside it; each appears whole or not
            at all.
        context_length: Length of the caches; the backbone's `max_sequence_length` if None.
        prefill_lengths: Numbers of tokens to make prefill signatures for; those that leave no room in the context
            are dropped, as a prefill of all of the context has no token left to decode.
        card: What each file shall tell about itself, where the extra `tflite-metadata` is installed.

    Raises:
        ValueError: A precision or a prefill length is not one that exists.
        ConversionError: The process failed.
    """
    unknown = [precision for precision in out_paths if precision not in PRECISIONS]
    if unknown:
        raise ValueError(f"`precision` must be one of {PRECISIONS}. Received: {unknown[0]!r}.")
    if not prefill_lengths or min(prefill_lengths) < 2:
        raise ValueError(f"`prefill_lengths` must be numbers of tokens from 2 up. Received: {list(prefill_lengths)}.")
    with tempfile.TemporaryDirectory() as folder:
        request = {
            "preset_dir": os.path.abspath(preset_dir),
            "out_paths": {precision: os.path.abspath(path) for precision, path in out_paths.items()},
            "context_length": context_length,
            "prefill_lengths": sorted(set(prefill_lengths)),
            "card": card and asdict(card),
            "work_dir": folder,
            "started": time.time(),
        }
        _run_worker(request, preset_dir)
        return Conversion(**json.loads(Path(folder, "conversion.json").read_text(encoding="utf-8")))


def _run_worker(request: dict[str, Any], preset_dir: str) -> None:
    root = str(Path(__file__).resolve().parents[2])
    python_path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": python_path}
    # The converter is for CPU kernels and needs no GPU, whose memory the parent may hold.
    environment["CUDA_VISIBLE_DEVICES"] = "-1"
    command = [sys.executable, "-m", "modules.export.tflite_conversion", json.dumps(request)]
    log_path = os.path.join(request["work_dir"], "log.txt")
    with open(log_path, "wb") as log:
        status = subprocess.run(command, env=environment, stdout=log, stderr=log, check=False).returncode
    if status != 0:
        ending = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        lines = Path(log_path).read_text(encoding="utf-8", errors="replace").splitlines()[-_ERROR_LINES:]
        raise ConversionError(
            f"Converting {preset_dir} to TFLite must succeed; the converting process {ending}. "
            "Its last lines:\n" + "\n".join(lines)
        )


def save_signatures(model: "CachedGPT2", saved_model_dir: str, prefill_lengths: Sequence[int]) -> str:
    """Writes a SavedModel of the signatures `decode`, `prefill_<N>` and `score_<N>`, all shapes fixed.

    Returns:
        The name of `score_<N>`.
    """
    import tensorflow as tf

    lengths = [length for length in prefill_lengths if length < model.context_length]
    signatures = {f"prefill_{length}": _signature(model, length, with_logits=False) for length in lengths}
    signatures["decode"] = _signature(model, 1, with_logits=True)
    score_length = min(_SCORE_LENGTH, model.context_length)
    score_signature = f"score_{score_length}"
    signatures[score_signature] = _signature(model, score_length, with_logits=True)
    tf.saved_model.save(model, saved_model_dir, signatures=signatures)
    return score_signature


def _signature(model: "CachedGPT2", length: int, *, with_logits: bool) -> Any:
    import tensorflow as tf

    from modules.model.cached_gpt2 import write_into_cache

    names = [(f"kv_cache_k_{layer}", f"kv_cache_v_{layer}") for layer in range(model.num_layers)]
    cache_shape = [1, model.num_heads, model.context_length, model.head_dim]

    @tf.function(autograph=False)
    def run(tokens: tf.Tensor, input_pos: tf.Tensor, **caches: tf.Tensor) -> dict[str, tf.Tensor]:
        layer_caches = [(caches[key], caches[value]) for key, value in names]
        hidden, layer_caches = model.hidden_states(tokens, input_pos, layer_caches, write_into_cache)
        outputs: dict[str, tf.Tensor] = {}
        for (key, value), (keys, values) in zip(names, layer_caches, strict=True):
            outputs |= {key: keys, value: values}
        if with_logits:
            outputs["logits"] = model.logits(hidden)[tf.newaxis]
        return outputs

    return run.get_concrete_function(
        tokens=tf.TensorSpec([1, length], tf.int32, name="tokens"),
        input_pos=tf.TensorSpec([length], tf.int32, name="input_pos"),
        **{name: tf.TensorSpec(cache_shape, tf.float32, name=name) for pair in names for name in pair},
    )


def _convert(saved_model_dir: str, precision: Precision) -> bytes | bytearray:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(saved_model_dir)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if precision == "float16":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
        return converter.convert()
    from ai_edge_quantizer import quantizer, recipe

    # Weights in int8 by channel, activations in float32 between operations (and int8 inside the matrix products).
    return quantizer.Quantizer(converter.convert(), recipe.dynamic_wi8_afp32()).quantize().quantized_model


def _write_whole(path: str, content: bytes | bytearray, card: tflite_metadata.ModelCard | None = None) -> None:
    aside = path + ".unfinished"
    Path(aside).write_bytes(content)
    if card:
        tflite_metadata.embed(aside, card)
    os.replace(aside, path)


def _worker(request: dict[str, Any]) -> None:
    seconds, last = {}, request["started"]

    def lap(name: str) -> None:
        nonlocal last
        seconds[name], last = round(time.time() - last, 2), time.time()

    import keras_hub

    from modules.export.tflite_flatbuffer import without_signature
    from modules.model.cached_gpt2 import CachedGPT2

    lap("start")
    # float32 whatever the training's policy: a preset keeps the policy's name, not the loader's.
    backbone = keras_hub.models.GPT2Backbone.from_preset(request["preset_dir"], dtype="float32")
    model = CachedGPT2(backbone, context_length=request["context_length"])
    del backbone
    lap("load")
    saved_model_dir = os.path.join(request["work_dir"], "signatures")
    score_signature = save_signatures(model, saved_model_dir, request["prefill_lengths"])
    del model
    lap("save")
    card = tflite_metadata.ModelCard(**request["card"]) if request["card"] else None
    embedded = card is not None and tflite_metadata.available()
    for precision, out_path in request["out_paths"].items():
        os.makedirs(os.path.dirname(out_path), exist_ok=True)
        content = _convert(saved_model_dir, precision)
        _write_whole(scoring_file(out_path), content)
        described = replace(card, description=f"{card.description} Weights: {precision}.") if card else None
        _write_whole(out_path, without_signature(content, score_signature), described if embedded else None)
        lap(precision)
    conversion = json.dumps({"seconds": seconds, "metadata_embedded": embedded})
    Path(request["work_dir"], "conversion.json").write_text(conversion, encoding="utf-8")


if __name__ == "__main__":
    _worker(json.loads(sys.argv[1]))
