"""The process that converts a model to TFLite; `modules.export.tflite_conversion` starts it.

It runs under `modules.common.child_process`, so it ends when its parent process ends.
"""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras_hub
import tensorflow as tf
from ai_edge_quantizer import quantizer, recipe

from modules.export import tflite_metadata
from modules.export.tflite_files import Precision, scoring_file
from modules.export.tflite_flatbuffer import without_signature
from modules.model.cached_gpt2 import CachedGPT2, write_into_cache

_SCORE_LENGTH = 64


def save_signatures(model: CachedGPT2, saved_model_dir: str, prefill_lengths: Sequence[int]) -> str:
    """Writes a SavedModel with the signatures `decode`, `prefill_<N>` and `score_<N>`; all their shapes are fixed.

    Args:
        model: The model.
        saved_model_dir: Folder to write.
        prefill_lengths: Lengths in tokens of the prefill signatures. Lengths that fill the whole context are dropped.

    Returns:
        The name of the signature `score_<N>`.
    """
    lengths = [length for length in prefill_lengths if length < model.context_length]
    signatures = {f"prefill_{length}": _signature(model, length, with_logits=False) for length in lengths}
    signatures["decode"] = _signature(model, 1, with_logits=True)
    score_length = min(_SCORE_LENGTH, model.context_length)
    score_signature = f"score_{score_length}"
    signatures[score_signature] = _signature(model, score_length, with_logits=True)
    tf.saved_model.save(model, saved_model_dir, signatures=signatures)
    return score_signature


def _signature(model: CachedGPT2, length: int, *, with_logits: bool) -> Any:
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
    converter = tf.lite.TFLiteConverter.from_saved_model(saved_model_dir)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if precision == "float16":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
        return converter.convert()
    # int8 weights with one scale per channel. Activations are float32 between operations and int8 in matrix products.
    return quantizer.Quantizer(converter.convert(), recipe.dynamic_wi8_afp32()).quantize().quantized_model


def main(request_line: str) -> None:
    """Converts one model to TFLite files.

    Args:
        request_line: JSON that `modules.export.tflite_conversion.convert_all` wrote.
    """
    request: dict[str, Any] = json.loads(request_line)
    seconds, last = {}, request["started"]

    def lap(name: str) -> None:
        nonlocal last
        seconds[name], last = round(time.time() - last, 2), time.time()

    lap("start")
    # A preset records the precision policy of its training run, but the conversion needs float32.
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
        content = _convert(saved_model_dir, precision)
        Path(scoring_file(out_path)).write_bytes(content)
        Path(out_path).write_bytes(without_signature(content, score_signature))
        if card and embedded:
            tflite_metadata.embed(out_path, replace(card, description=f"{card.description} Weights: {precision}."))
        lap(precision)
    conversion = json.dumps({"seconds": seconds, "metadata_embedded": embedded})
    Path(request["work_dir"], "conversion.json").write_text(conversion, encoding="utf-8")
