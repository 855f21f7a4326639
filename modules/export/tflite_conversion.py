"""Conversion to TFLite files with a key/value cache: signatures `decode` and `prefill_<N>`, float16 or int8 weights.

Names and shapes follow LiteRT-LM. Inputs: `tokens` int32 `[1, T]`, `input_pos` int32 `[T]` and the caches
`kv_cache_k_<layer>`, `kv_cache_v_<layer>`, float32 `[1, heads, context, head_dim]`. Outputs: the caches. `decode`
(T = 1) also returns `logits` float32 `[1, 1, vocabulary_size]`. Prefill takes the whole prompt except its last token.

Next to each file there is its `scoring_file`: the same model with one more signature, `score_<N>`, which runs `decode`
for N tokens at once. The perplexity of the released file is measured with it. It is not released, because the runtime
packs the weights again for each signature: with 124 million parameters, the signature makes scoring 10 times as fast,
but costs 0.1 GB (int8) or 0.6 GB (float16) of memory even if it is never called.

The conversion runs in its own process, for two reasons: on an error, MLIR may end the whole process, and the memory of
a conversion (about 4 GB for 124 million parameters) is free again as soon as its process ends. If the parent process
ends, the converting process ends too.
"""

import json
import os
import signal
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from etils import epath

from modules.common import child_process
from modules.common.files import local_copy
from modules.export import tflite_metadata
from modules.export.tflite_files import PRECISIONS, Precision, scoring_file

DEFAULT_PREFILL_LENGTHS = (16, 64)
# The module of the converting process. No module imports it, so the node's cache key must include it by this name.
WORKER = "modules.export.tflite_worker"
_ERROR_LINES = 20


class ConversionError(RuntimeError):
    """A failure of the converting process; the message ends with the last lines that the process wrote."""


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """Facts about a conversion.

    Attributes:
        seconds: Duration of each step, e.g. `{"start": 9.1, "load": 2.0, "save": 4.2, "float16": 4.3, "int8": 3.6}`.
        metadata_embedded: Whether the files contain metadata; False without the extra `tflite-metadata`.
    """

    seconds: dict[str, float]
    metadata_embedded: bool


def export_tflite(
    preset_dir: str,
    out_path: str,
    *,
    precision: Precision,
    context_length: int | None = None,
    prefill_lengths: Sequence[int] = DEFAULT_PREFILL_LENGTHS,
) -> None:
    """Converts a keras-hub preset to one TFLite file; `convert_all` describes the arguments and the errors."""
    convert_all(preset_dir, {precision: out_path}, context_length=context_length, prefill_lengths=prefill_lengths)


def convert_all(
    preset_dir: str,
    out_paths: Mapping[Precision, str],
    *,
    context_length: int | None = None,
    prefill_lengths: Sequence[int] = DEFAULT_PREFILL_LENGTHS,
    card: tflite_metadata.ModelCard | None = None,
) -> Conversion:
    """Converts a keras-hub preset to TFLite files in one separate process.

    Args:
        preset_dir: Folder that `GPT2Backbone.save_to_preset` wrote.
        out_paths: Path of the file to write, for each precision. Its `scoring_file` is written next to it. Each file
            appears complete or not at all.
        context_length: Length of the caches in tokens; the backbone's `max_sequence_length` if None.
        prefill_lengths: Lengths in tokens of the prefill signatures. Lengths that fill the whole context are dropped,
            because no token would be left to decode.
        card: Metadata for each file; embedded if the extra `tflite-metadata` is installed.

    Raises:
        ValueError: A precision is unknown, no prefill length is given, or a prefill length is below 2.
        ConversionError: The converting process failed.
    """
    unknown = [precision for precision in out_paths if precision not in PRECISIONS]
    if unknown:
        raise ValueError(f"`precision` must be one of {PRECISIONS}. Received: {unknown[0]!r}.")
    if not prefill_lengths or min(prefill_lengths) < 2:
        raise ValueError(
            "`prefill_lengths` must hold at least one length, and each length must be 2 tokens or more. "
            f"Received: {list(prefill_lengths)}. Leave the argument out to use {DEFAULT_PREFILL_LENGTHS}."
        )
    with tempfile.TemporaryDirectory() as folder:
        local_paths = {precision: os.path.join(folder, f"{precision}.tflite") for precision in out_paths}
        request = {
            "preset_dir": os.path.abspath(local_copy(preset_dir, folder)),
            "out_paths": local_paths,
            "context_length": context_length,
            "prefill_lengths": sorted(set(prefill_lengths)),
            "card": card and asdict(card),
            "work_dir": folder,
            "started": time.time(),
        }
        _run_worker(request, preset_dir)
        for precision, path in out_paths.items():
            _place(scoring_file(local_paths[precision]), scoring_file(path))
            _place(local_paths[precision], path)
        return Conversion(**json.loads(Path(folder, "conversion.json").read_text(encoding="utf-8")))


def _place(source: str, path: str) -> None:
    """Copies a converted file to its place, a path or a URL, where it appears complete or not at all."""
    target = epath.Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f"{target.name}.unfinished")
    epath.Path(source).copy(aside, overwrite=True)
    aside.replace(target)


def _run_worker(request: dict[str, Any], preset_dir: str) -> None:
    # The files are for the CPU. So the converter needs no GPU, and the parent process may hold the GPU's memory.
    environment = {"CUDA_VISIBLE_DEVICES": "-1"}
    log_path = os.path.join(request["work_dir"], "log.txt")
    with (
        open(log_path, "wb") as log,
        child_process.start(WORKER, json.dumps(request), environment=environment, stdout=log, stderr=log) as worker,
    ):
        status = worker.wait()
    if status != 0:
        ending = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        lines = Path(log_path).read_text(encoding="utf-8", errors="replace").splitlines()[-_ERROR_LINES:]
        raise ConversionError(
            f"{preset_dir} could not be converted to TFLite: the converting process {ending}. "
            "Its last lines:\n" + "\n".join(lines)
        )
