"""Text from a prompt, by the same call on every format of a release.

`LiteRTGenerator` needs `ai_edge_litert`, `tokenizers` and NumPy; TensorFlow is only imported by
`SavedModelGenerator`.
"""

import os
from typing import Any, Protocol

import numpy as np

from modules.errors import InputError
from modules.sampling import prompt_room, sample, uniform
from modules.vocabulary import END_OF_TEXT

# A prefill costs the same whether its tokens are real or padding, so the last few of a prompt are cheaper decoded
# one by one: fewer than an eighth of a prefill's length (of 124M int8, a prefill of 64 took as long as 2.3 decodes).
_LEAST_FILLED = 8


class TextGenerator(Protocol):
    """What both runtimes offer."""

    def generate(
        self,
        prompt: str,
        *,
        max_new_tokens: int = 64,
        temperature: float = 0.0,
        top_k: int = 0,
        seed: int = 0,
    ) -> str:
        """Continues a prompt, as the start of a document.

        Args:
            prompt: The text before; of one too long the last tokens are kept, see `sampling.prompt_room`.
            max_new_tokens: Most tokens to add.
            temperature: 0 takes the likeliest token each time; higher is more varied.
            top_k: Draws among the likeliest `top_k` tokens; 0 means all.
            seed: The same seed gives the same text.

        Returns:
            The continuation alone, up to <|endoftext|>; bytes that are not UTF-8 become U+FFFD.
        """
        ...


class SavedModelGenerator:
    """Calls the signature `generate` of a release's SavedModel."""

    def __init__(self, saved_model_dir: str) -> None:
        """Loads the folder.

        Raises:
            InputError: It holds no SavedModel.
        """
        if not os.path.exists(os.path.join(saved_model_dir, "saved_model.pb")):
            raise InputError(f"A release holds saved_model.pb. Received: {saved_model_dir}, which has none.")
        import tensorflow as tf

        self._tf = tf
        self._model = tf.saved_model.load(saved_model_dir)

    def generate(
        self,
        prompt: str,
        *,
        max_new_tokens: int = 64,
        temperature: float = 0.0,
        top_k: int = 0,
        seed: int = 0,
    ) -> str:
        """Continues a prompt; see `TextGenerator.generate`."""
        constant, int32 = self._tf.constant, self._tf.int32
        outputs = self._model.signatures["generate"](
            prompt=constant([prompt.encode()]),
            max_new_tokens=constant(max_new_tokens, int32),
            temperature=constant(temperature, self._tf.float32),
            top_k=constant(top_k, int32),
            seed=constant(seed, int32),
        )
        return bytes(outputs["text"].numpy()[0]).decode(errors="replace")


class LiteRTGenerator:
    """Runs a TFLite file by LiteRT's CompiledModel.

    The caches never leave the runtime: each step reads one set of buffers and writes the other, then they swap.
    """

    def __init__(self, tflite_path: str, tokenizer_json: str, *, num_threads: int | None = None) -> None:
        """Loads the two files.

        Args:
            tflite_path: A file that `modules.tflite` wrote.
            tokenizer_json: The vocabulary in the `tokenizers` library's format.
            num_threads: Processor threads; all of them if None.

        Raises:
            InputError: A file is missing, or the tokenizer knows no <|endoftext|>.
        """
        for path in (tflite_path, tokenizer_json):
            if not os.path.isfile(path):
                raise InputError(f"A release holds a TFLite file and a tokenizer. Received: {path}, not a file.")
        from ai_edge_litert.compiled_model import CompiledModel
        from ai_edge_litert.hardware_accelerator import HardwareAccelerator
        from ai_edge_litert.options import CpuOptions, Options
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(tokenizer_json)
        end_of_text_id = self._tokenizer.token_to_id(END_OF_TEXT)
        if end_of_text_id is None:
            raise InputError(f"The tokenizer must know {END_OF_TEXT}. Received: {tokenizer_json}, which does not.")
        self._end_of_text_id = end_of_text_id
        cpu = CpuOptions(num_threads=num_threads or os.cpu_count() or 1)
        options = Options(hardware_accelerators=HardwareAccelerator.CPU, cpu_options=cpu)
        self._model = CompiledModel.from_file(tflite_path, options=options)
        signatures = self._model.get_signature_list()
        self._prefill_lengths = sorted(int(name.split("_")[1]) for name in signatures if name != "decode")
        details = self._model.get_input_tensor_details("decode")
        self._cache_names = [name for name in signatures["decode"]["inputs"] if name.startswith("kv_cache_")]
        self._cache_shape = tuple(int(size) for size in details[self._cache_names[0]]["shape"])
        self.context_length = self._cache_shape[2]
        logits_shape = self._model.get_output_tensor_details("decode")["logits"]["shape"]
        self._vocabulary_size = int(logits_shape[-1])
        self._allocate_buffers()

    def _allocate_buffers(self) -> None:
        create_input = self._model.create_input_buffer_by_name
        create_output = self._model.create_output_buffer_by_name
        self._read_caches = {name: create_input("decode", name) for name in self._cache_names}
        self._write_caches = {name: create_output("decode", name) for name in self._cache_names}
        # Values not yet written are masked, but they must be finite: 0 x NaN is NaN.
        zeros = np.zeros(self._cache_shape, np.float32)
        for buffer in (*self._read_caches.values(), *self._write_caches.values()):
            buffer.write(zeros)
        names = ["decode", *(f"prefill_{length}" for length in self._prefill_lengths)]
        self._inputs: dict[str, dict[str, Any]] = {
            name: {argument: create_input(name, argument) for argument in ("tokens", "input_pos")} for name in names
        }
        self._logits = create_output("decode", "logits")

    def generate(
        self,
        prompt: str,
        *,
        max_new_tokens: int = 64,
        temperature: float = 0.0,
        top_k: int = 0,
        seed: int = 0,
    ) -> str:
        """Continues a prompt; see `TextGenerator.generate`."""
        room = prompt_room(self.context_length, max_new_tokens)
        prompt_ids = [self._end_of_text_id, *self._tokenizer.encode(prompt).ids][-room:]
        limit = min(max_new_tokens, self.context_length - len(prompt_ids))
        new_ids: list[int] = []
        position = self._prefill(prompt_ids[:-1])
        next_id = prompt_ids[-1]
        while len(new_ids) < limit:
            logits = self.decode(next_id, position)
            random = uniform(seed, len(new_ids)) if temperature > 0 else 0.0
            next_id = sample(logits, temperature=temperature, top_k=top_k, random=random)
            if next_id == self._end_of_text_id:
                break
            new_ids.append(next_id)
            position += 1
        return str(self._tokenizer.decode(new_ids, skip_special_tokens=False))

    def decode(self, token_id: int, position: int) -> np.ndarray:
        """Runs one token behind those before it; returns the next one's logits, float32 `[vocabulary_size]`."""
        self._run("decode", [token_id], position, {"logits": self._logits})
        return np.asarray(self._logits.read(self._vocabulary_size, np.float32))

    def _prefill(self, token_ids: list[int]) -> int:
        """Fills the caches from position 0; returns how many positions are filled."""
        position = 0
        for length, count in plan_prefill(len(token_ids), self._prefill_lengths, self.context_length):
            chunk = token_ids[position : position + count]
            # Padding lands behind the prompt, where later tokens overwrite it before any looks there.
            name = "decode" if length == 1 else f"prefill_{length}"
            outputs = {"logits": self._logits} if length == 1 else {}
            self._run(name, chunk + [0] * (length - count), position, outputs)
            position += count
        return position

    def _run(self, name: str, token_ids: list[int], position: int, outputs: dict[str, Any]) -> None:
        inputs = self._inputs[name]
        inputs["tokens"].write(np.array([token_ids], np.int32))
        inputs["input_pos"].write(np.arange(position, position + len(token_ids), dtype=np.int32))
        self._model.run_by_name(name, {**inputs, **self._read_caches}, {**outputs, **self._write_caches})
        self._read_caches, self._write_caches = self._write_caches, self._read_caches


def plan_prefill(count: int, prefill_lengths: list[int], context_length: int) -> list[tuple[int, int]]:
    """Cuts a prompt into signatures' lengths.

    With prefills of 16 and 64 and a context of 128: 90 tokens are `[(64, 64), (16, 16), (16, 10)]`, 81 are
    `[(64, 64), (16, 16), (1, 1)]`.

    Args:
        count: Tokens to fill in.
        prefill_lengths: The lengths that exist, ascending.
        context_length: No chunk, padding included, reaches beyond.

    Returns:
        For each chunk the signature's length (1: decode) and how many of its tokens are real.
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
