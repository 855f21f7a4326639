"""A TFLite file of `modules.export.tflite_conversion` in LiteRT's CompiledModel: tokens in, logits out.

Needs only `ai_edge_litert` and NumPy. The caches never leave the runtime: each run reads one set of buffers and writes
the other, and then the sets are swapped.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from modules.common.errors import InputError
from modules.model.sampling import SamplingSettings, prompt_room, sample, uniform

# A prefill costs the same for real tokens and for padding. So the last few tokens of a prompt, fewer than an eighth of
# a prefill's length, are decoded one by one. (124M int8: a prefill of 64 tokens took as long as 2.3 decodes.)
_LEAST_FILLED = 8


class LiteRTModel:
    """A TFLite file that is compiled once for any number of texts.

    Attributes:
        context_length: Number of positions in the caches.
        vocabulary_size: Number of logits.

    Example:
        >>> model = LiteRTModel("release/tflite/model_int8.tflite")  # doctest: +SKIP
        >>> position = model.prefill([4096, 275])  # doctest: +SKIP
        >>> model.decode(918, position).shape  # doctest: +SKIP
        (4097,)
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
                f"a release must hold its TFLite files. Received: {tflite_path}, no file. Use another --release."
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
        # Values not yet written are masked, but they must be finite: 0 x NaN is NaN.
        zeros = np.zeros(cache_shape, np.float32)
        for buffer in (*self._read_caches.values(), *self._write_caches.values()):
            buffer.write(zeros)
        self._tensors: dict[str, dict[str, Any]] = {}

    def decode(self, token_id: int, position: int) -> np.ndarray:
        """Adds one token at a position; returns the logits of the next token, float32 `[vocabulary_size]`."""
        return self._run("decode", [token_id], position)[0]

    def prefill(self, token_ids: Sequence[int]) -> int:
        """Fills the caches from position 0 without computing logits; returns the number of filled positions."""
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
        """Predicts the token after each given token, from position 0 on, many at once by `score_<N>`.

        Args:
            token_ids: At most `context_length` tokens.

        Yields:
            float32 `[tokens, vocabulary_size]` for some of the tokens at a time, in order.

        Raises:
            InputError: The file has no signature `score_<N>`.
        """
        if not self._score_lengths:
            raise InputError(
                f"scoring needs a signature score_<N>, which files of older releases lack. Received: {self._path}. "
                "Convert the model again."
            )
        length = self._score_lengths[-1]
        done = 0
        while done < len(token_ids):
            # No chunk exceeds the context: the last chunk may begin with tokens that were run before.
            start = min(done, self.context_length - length)
            chunk = list(token_ids[start : start + length])
            logits = self._run(f"score_{length}", chunk + [0] * (length - len(chunk)), start)
            yield logits[done - start : len(chunk)]
            done = start + len(chunk)

    def _run(self, name: str, token_ids: list[int], position: int, *, with_logits: bool = True) -> np.ndarray:
        """Runs a signature; returns float32 `[tokens, vocabulary_size]`, no rows without logits."""
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
        """Creates a signature's buffers except its caches, at its first use: logits of many tokens are large."""
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
    """Continues token ids.

    Args:
        model: The compiled file.
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
    """Returns the numbers N of all `<prefix>_<N>`, ascending."""
    return sorted(int(name.removeprefix(f"{prefix}_")) for name in signatures if name.startswith(f"{prefix}_"))


def plan_prefill(count: int, prefill_lengths: list[int], context_length: int) -> list[tuple[int, int]]:
    """Splits a prompt into chunks that signatures can run.

    With prefills of 16 and 64 and a context of 128: 90 tokens are `[(64, 64), (16, 16), (16, 10)]`, 81 are
    `[(64, 64), (16, 16), (1, 1)]`.

    Args:
        count: Number of tokens in the prompt.
        prefill_lengths: The lengths that exist, ascending.
        context_length: No chunk exceeds it, including padding.

    Returns:
        For each chunk the length of its signature (1: decode) and the number of real tokens.
    """
    chunks, position = [], 0
    while position < count:
        rest = count - position
        whole = [length for length in prefill_lengths if length <= rest]
        padded = [
            length
            for length in prefill_lengths
            if rest < length <= context_length - position and rest * _LEAST_FILLED > length
        ]
        length = whole[-1] if whole else padded[0] if padded else 1
        chunks.append((length, min(length, rest)))
        position += min(length, rest)
    return chunks
