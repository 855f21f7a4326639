"""Text generation from a prompt, with the same interface for every format of a release.

`LiteRTGenerator` needs `ai_edge_litert`, `tokenizers` and NumPy. Only `SavedModelGenerator` imports TensorFlow.
"""

import os
from typing import Protocol

from modules.common.errors import InputError
from modules.model.sampling import SamplingSettings
from modules.serving.litert_model import LiteRTModel, continue_tokens
from modules.tokenization.vocabulary import END_OF_TEXT


class TextGenerator(Protocol):
    """Interface of the generators for both runtimes, TensorFlow and LiteRT."""

    @property
    def context_length(self) -> int:
        """Largest number of tokens of prompt and continuation together."""
        ...

    def count_tokens(self, text: str) -> int:
        """Returns the number of tokens of a text."""
        ...

    def generate(self, prompt: str, settings: SamplingSettings) -> str:
        """Continues a prompt, which is the start of a document.

        Args:
            prompt: Text to continue; only the last tokens of a long prompt are kept, see `sampling.prompt_room`.
            settings: How the new tokens are chosen.

        Returns:
            The continuation without the prompt. It ends before <|endoftext|>. Bytes that are not UTF-8 become U+FFFD.
        """
        ...


class SavedModelGenerator:
    """Generator that calls the signature `generate` of a release's SavedModel."""

    def __init__(self, saved_model_dir: str) -> None:
        """Loads the folder.

        Raises:
            InputError: The folder holds no SavedModel.
        """
        if not os.path.exists(os.path.join(saved_model_dir, "saved_model.pb")):
            raise InputError(
                f"a release must hold saved_model.pb. Received: {saved_model_dir}, which holds no such file. "
                "Use another --release."
            )
        from modules.serving.loaded_model import LoadedModel

        self._model = LoadedModel(saved_model_dir)

    @property
    def context_length(self) -> int:
        """Largest number of tokens of prompt and continuation together."""
        return self._model.context_length

    def count_tokens(self, text: str) -> int:
        """Returns the number of tokens of a text."""
        return self._model.count_tokens(text)

    def generate(self, prompt: str, settings: SamplingSettings) -> str:
        """Continues a prompt; see `TextGenerator.generate`."""
        (text,) = self._model.continued([prompt], settings)
        return text


class LiteRTGenerator:
    """Generator that runs a TFLite file with LiteRT's CompiledModel."""

    def __init__(self, tflite_path: str, tokenizer_json: str, *, num_threads: int | None = None) -> None:
        """Loads the two files.

        Args:
            tflite_path: A file that `modules.export.tflite_conversion` wrote.
            tokenizer_json: The vocabulary in the `tokenizers` library's format.
            num_threads: Processor threads; all of them if None.

        Raises:
            InputError: A file is missing, or the tokenizer has no <|endoftext|>.
        """
        if not os.path.isfile(tokenizer_json):
            raise InputError(
                f"a release must hold its tokenizer. Received: {tokenizer_json}, which is not a file. "
                "Use another --release."
            )
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(tokenizer_json)
        end_of_text_id = self._tokenizer.token_to_id(END_OF_TEXT)
        if end_of_text_id is None:
            raise InputError(
                f"a tokenizer must have the token {END_OF_TEXT}. Received: {tokenizer_json}, which does not have it. "
                "Use another --release."
            )
        self._end_of_text_id = end_of_text_id
        self._model = LiteRTModel(tflite_path, num_threads=num_threads)

    @property
    def context_length(self) -> int:
        """Largest number of tokens of prompt and continuation together."""
        return self._model.context_length

    def count_tokens(self, text: str) -> int:
        """Returns the number of tokens of a text."""
        return len(self._tokenizer.encode(text).ids)

    def generate(self, prompt: str, settings: SamplingSettings) -> str:
        """Continues a prompt; see `TextGenerator.generate`."""
        new_ids = continue_tokens(
            self._model,
            [self._end_of_text_id, *self._tokenizer.encode(prompt).ids],
            settings,
            end_of_text_id=self._end_of_text_id,
        )
        return str(self._tokenizer.decode(new_ids, skip_special_tokens=False))
