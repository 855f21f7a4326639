"""A TFLite file of `modules.export.tflite_conversion` in LiteRT's CompiledModel: tokens in, logits out.

It needs only `ai_edge_litert` and NumPy. The key/value caches never leave the runtime. There are two sets of cache
buffers: each run reads one set and writes the second set, and then the sets are swapped.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from modules.common.errors import InputError
from modules.model.sampling import SamplingSettings, prompt_room, sample, uniform

# A prefill takes the same time for real tokens and for padding. So the last few tokens of a prompt are decoded one by
# one if even the shortest prefill is at least this many times as long. (124M int8: a prefill of 64 tokens took as long
# as 2.3 decodes.)
_MAX_PREFILL_PER_TOKEN = 8


class LiteRTModel:
    """Model of a TFLite file, compiled once for any number of texts.

    Attributes:
        context_length: Number of positions in the caches.
        vocabulary_size: Number of logits.

    Example:
        >>> model = LiteRTModel("release/tflite/model_int8.tflite")  # doctest: +SKIP
        >>> position = model.prefill([256, 10, 11])  # doctest: +SKIP
        >>> position  # doctest: +SKIP
        3
        >>> logits = model.decode(12, position)  # doctest: +SKIP
        >>> logits.shape == (model.vocabulary_size,)  # doctest: +SKIP
        True
    """

    def __init__(self, tflite_path: str, *, num_threads: int | None = None) -> None:
        """Compiles the file.

        Args:
            tflite_path: A file that `modules.export.tflite_conversion` wrote.
            num_threads: Processor threads; all of them if None.

        Raises:
            InputError: The file is missing.
        """
        if not os.path.isfile(tflite_path):
            raise InputError(
                f"a release must hold its TFLite files. Received: {tflite_path}, which is not a file. "
                "Use another --release."
            )
        from ai_edge_litert.compiled_model import CompiledModel
        from ai_edge_litert.hardware_accelerator import HardwareAccelerator
        from ai_edge_litert.options import CpuOptions, Options

        cpu = CpuOptions(num_threads=num_threads or os.cpu_count() or 1)
        options = Options(hardware_accelerators=HardwareAccelerator.CPU, cpu_options=cpu)
        self._path = tflite_path
        self._model = CompiledModel.from_file(tflite_path, options=options)
        signatures = self._model.get_signature_list()
        self._prefill_lengths = _lengths(signatures, "prefill")
        self._score_lengths = _lengths(signatures, "score")
        details = self._model.get_input_tensor_details("decode")
        cache_names = [name for name in signatures["decode"]["inputs"] if name.startswith("kv_cache_")]
        cache_shape = tuple(int(size) for size in details[cache_names[0]]["shape"])
        self.context_length = cache_shape[2]
        logits_shape = self._model.get_output_tensor_details("decode")["logits"]["shape"]
        self.vocabulary_size = int(logits_shape[-1])
        self._read_caches = {name: self._model.create_input_buffer_by_name("decode", name) for name in cache_names}
        self._write_caches = {name: self._model.create_output_buffer_by_name("decode", name) for name in cache_names}
        # The model masks values that were not written yet. They must still be finite, because 0 x NaN is NaN.
        zeros = np.zeros(cache_shape, np.float32)
        for buffer in (*self._read_caches.values(), *self._write_caches.values()):
            buffer.write(zeros)
        self._tensors: dict[str, dict[str, Any]] = {}

    def decode(self, token_id: int, position: int) -> np.ndarray:
        """Adds one token at a position; returns the logits of the next token, float32 `[vocabulary_size]`."""
        return self._run("decode", [token_id], position)[0]

    def prefill(self, token_ids: Sequence[int]) -> int:
        """Fills the caches from position 0 on, without computing logits; returns the number of filled positions."""
        position = 0
        for length, count in plan_prefill(len(token_ids), self._prefill_lengths, self.context_length):
            chunk = list(token_ids[position : position + count])
            if length == 1:
                self._run("decode", chunk, position)
            else:
                # Padding comes after the prompt. Later tokens overwrite it before any token attends to it.
                self._run(f"prefill_{length}", chunk + [0] * (length - count), position, with_logits=False)
            position += count
        return position

    def logits(self, token_ids: Sequence[int]) -> Iterator[np.ndarray]:
        """Computes the logits after each given token, from position 0 on, with the signature `score_<N>`.

        Args:
            token_ids: At most `context_length` tokens.

        Yields:
            Logits of the next N tokens or fewer, in order, float32 `[tokens, vocabulary_size]`.

        Raises:
            InputError: The file has no signature `score_<N>`.
        """
        if not self._score_lengths:
            raise InputError(
                "scoring needs a signature score_<N>, which released TFLite files do not have. "
                f"Received: {self._path}. Use the scoring file of the same conversion, or convert the model again."
            )
        length = self._score_lengths[-1]
        done = 0
        while done < len(token_ids):
            # No chunk may exceed the context. So the last chunk may begin with tokens that were already run.
            start = min(done, self.context_length - length)
            chunk = list(token_ids[start : start + length])
            logits = self._run(f"score_{length}", chunk + [0] * (length - len(chunk)), start)
            yield logits[done - start : len(chunk)]
            done = start + len(chunk)

    def _run(self, name: str, token_ids: list[int], position: int, *, with_logits: bool = True) -> np.ndarray:
        """Runs a signature; returns float32 `[tokens, vocabulary_size]`, with 0 rows if it has no logits."""
        if name not in self._tensors:
            self._tensors[name] = self._create_tensors(name, with_logits)
        tensors = self._tensors[name]
        tensors["tokens"].write(np.array([token_ids], np.int32))
        tensors["input_pos"].write(np.arange(position, position + len(token_ids), dtype=np.int32))
        inputs = {argument: tensors[argument] for argument in ("tokens", "input_pos")}
        outputs = {"logits": tensors["logits"]} if with_logits else {}
        self._model.run_by_name(name, {**inputs, **self._read_caches}, {**outputs, **self._write_caches})
        self._read_caches, self._write_caches = self._write_caches, self._read_caches
        rows = len(token_ids) if with_logits else 0
        logits = tensors["logits"].read(rows * self.vocabulary_size, np.float32) if with_logits else np.empty(0)
        return np.asarray(logits, np.float32).reshape(rows, self.vocabulary_size)

    def _create_tensors(self, name: str, with_logits: bool) -> dict[str, Any]:
        """Creates the buffers of a signature, except its caches.

        Called at the first use of the signature, because the logits of many tokens need much memory.
        """
        create = self._model.create_input_buffer_by_name
        tensors = {argument: create(name, argument) for argument in ("tokens", "input_pos")}
        if with_logits:
            tensors["logits"] = self._model.create_output_buffer_by_name(name, "logits")
        return tensors


def continue_tokens(
    model: LiteRTModel,
    prompt_ids: Sequence[int],
    settings: SamplingSettings,
    *,
    end_of_text_id: int,
) -> list[int]:
    """Continues a prompt, given as token ids.

    Args:
        model: The compiled TFLite file.
        prompt_ids: The prompt with its leading end-of-text; only the last tokens of a long prompt are kept.
        settings: How the new tokens are chosen.
        end_of_text_id: The token that ends a text.

    Returns:
        The new tokens, without end-of-text.
    """
    prompt_ids = prompt_ids[-prompt_room(model.context_length, settings.max_new_tokens) :]
    limit = min(settings.max_new_tokens, model.context_length - len(prompt_ids))
    new_ids: list[int] = []
    position = model.prefill(prompt_ids[:-1])
    next_id = prompt_ids[-1]
    while len(new_ids) < limit:
        logits = model.decode(next_id, position)
        random = uniform(settings.seed, len(new_ids)) if settings.temperature > 0 else 0.0
        next_id = sample(logits, temperature=settings.temperature, top_k=settings.top_k, random=random)
        if next_id == end_of_text_id:
            break
        new_ids.append(next_id)
        position += 1
    return new_ids


def _lengths(signatures: Iterable[str], prefix: str) -> list[int]:
    """Returns the number N of every signature `<prefix>_<N>`, ascending."""
    return sorted(int(name.removeprefix(f"{prefix}_")) for name in signatures if name.startswith(f"{prefix}_"))


def plan_prefill(count: int, prefill_lengths: list[int], context_length: int) -> list[tuple[int, int]]:
    """Splits a prompt into chunks that the signatures can run.

    Args:
        count: Number of tokens in the prompt.
        prefill_lengths: Lengths of the prefill signatures in tokens, ascending.
        context_length: Number of positions in the caches. No chunk, including its padding, ends beyond it.

    Returns:
        For each chunk, the length of its signature (1 means `decode`) and the number of tokens without padding.

    Example:
        >>> plan_prefill(90, [16, 64], context_length=128)
        [(64, 64), (16, 16), (16, 10)]
        >>> plan_prefill(81, [16, 64], context_length=128)
        [(64, 64), (16, 16), (1, 1)]
    """
    chunks, position = [], 0
    while position < count:
        rest = count - position
        whole = [length for length in prefill_lengths if length <= rest]
        padded = [
            length
            for length in prefill_lengths
            if rest < length <= context_length - position and rest * _MAX_PREFILL_PER_TOKEN > length
        ]
        length = whole[-1] if whole else padded[0] if padded else 1
        chunks.append((length, min(length, rest)))
        position += min(length, rest)
    return chunks
