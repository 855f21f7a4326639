"""TFLite files with a key/value cache: signatures `decode` and `prefill_<N>`, in float16 or int8 weights.

Names and shapes are LiteRT-LM's. Inputs: `tokens` int32 `[1, T]`, `input_pos` int32 `[T]` and the caches
`kv_cache_k_<layer>`, `kv_cache_v_<layer>`, float32 `[1, heads, context, head_dim]`. Outputs: the caches, and of
`decode` (T = 1) also `logits` float32 `[1, 1, vocabulary_size]`. Prefill takes all of a prompt but its last token.

Beside each file, `scoring_file` of it holds the same model with one more signature, `score_<N>`: `decode` for N tokens
at once, for measuring the perplexity of what ships. It does not ship itself: of 124 million parameters the signature
makes scoring 10 times as fast, but costs whoever never calls it 0.1 GB (int8) or 0.6 GB (float16) of memory, as the
runtime packs the weights again for each signature.

The conversion runs in a process of its own: MLIR may end the whole process on an error, and the memory it takes
(about 4 GB for 124 million parameters) is given back at once. That process ends with this one.
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

from modules.common import child_process
from modules.export import tflite_metadata
from modules.export.tflite_files import PRECISIONS, Precision

DEFAULT_PREFILL_LENGTHS = (16, 64)
# The converting process. Nothing imports it, hence the node's cache key has to name it.
WORKER = "modules.export.tflite_worker"
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
    # The converter is for CPU kernels and needs no GPU, whose memory the parent may hold.
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
            f"Converting {preset_dir} to TFLite must succeed; the converting process {ending}. "
            "Its last lines:\n" + "\n".join(lines)
        )
