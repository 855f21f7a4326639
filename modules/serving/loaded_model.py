"""A SavedModel of a release, loaded into this process, for many texts at a time."""

import functools
import os
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from modules.data.prompt_templates import PromptTemplate
from modules.model.sampling import SamplingSettings, prompt_room
from modules.serving.prompt_fitting import fit_prompt
from modules.tokenization.byte_pair_tokenizer import BytePairTokenizer
from modules.tokenization.vocabulary_files import TABLE_NAME

# Small numbers, so that progress is reported often. The signatures themselves limit the memory that they use.
_PROMPTS_PER_CALL = 8
_COMPLETIONS_PER_CALL = 64


class LoadedModel:
    """A loaded SavedModel, whose signatures `generate` and `score` are called with Python strings.

    `modules.export.text_model.TextModel` describes the signatures.

    Attributes:
        cut_prompts: Number of prompts so far of which the model did not see every token.

    Example:
        >>> import keras_hub
        >>> from modules.export.saved_model import export_saved_model
        >>> from modules.tokenization.vocabulary import Vocabulary
        >>> from modules.tokenization.vocabulary_files import write_table
        >>> write_table(Vocabulary.from_merges([]), "vocabulary.tsv")
        >>> backbone = keras_hub.models.GPT2Backbone(257, 1, 1, 8, 16, max_sequence_length=16)
        >>> export_saved_model(backbone, "vocabulary.tsv", "release")
        >>> model = LoadedModel("release")
        >>> model.nll(["a", "a"], ["b", "bc"]).shape
        (2,)
        >>> model.continued(["a"], SamplingSettings(max_new_tokens=0))
        ['']
    """

    def __init__(self, saved_model_dir: str, on_texts: Callable[[int], None] = lambda seen: None):
        """Loads the folder with plain `tensorflow`, as a server does.

        Args:
            saved_model_dir: Folder of the SavedModel.
            on_texts: Function to call after each call of a signature, with the number of texts processed so far.
        """
        self._model = tf.saved_model.load(saved_model_dir)  # its signatures work only while this object exists
        self._saved_model_dir = saved_model_dir
        self._on_texts = on_texts
        self._seen = 0
        self.cut_prompts = 0

    @property
    def context_length(self) -> int:
        """Largest number of tokens of prompt and continuation together."""
        return int(self._model.model.position_embedding.shape[0])

    @functools.cached_property
    def _row_lengths(self) -> Callable[[tf.Tensor], tf.Tensor]:
        tokenizer = BytePairTokenizer(os.path.join(self._saved_model_dir, "assets", TABLE_NAME))
        # One by one, the tokenizer's many small operations take 20 times as long.
        return tf.function(
            lambda texts: tokenizer.tokenize(texts).row_lengths(),
            input_signature=[tf.TensorSpec([None], tf.string)],
            autograph=False,
        )

    def count_tokens(self, text: str) -> int:
        """Returns the number of tokens of a text."""
        return int(self._count([text])[0])

    def _count(self, texts: Sequence[str]) -> np.ndarray:
        return np.asarray(self._row_lengths(_strings(texts)))

    def continued(
        self, prompts: Sequence[str], settings: SamplingSettings, *, template: PromptTemplate | None = None
    ) -> list[str]:
        """Continues each prompt; a prompt that exceeds the context is cut by `prompt_fitting.fit_prompt`.

        Args:
            prompts: The prompts, in their template.
            settings: How the new tokens are chosen.
            template: The template, whose marks stay where they fit; None for plain text. Where they do not, the model
                gets the end of the prompt, and `cut_prompts` counts it too; only `generate` refuses such a template.
        """
        room = prompt_room(self.context_length, settings.max_new_tokens)
        texts: list[str] = []
        for rows in self._calls(len(prompts), _PROMPTS_PER_CALL):
            fitted = [
                fit_prompt(prompt, template=template, room=room, count_tokens=self.count_tokens)
                for prompt in prompts[rows]
            ]
            self.cut_prompts += sum(prompt.left_out > 0 for prompt in fitted)
            batch = [prompt.text.encode() for prompt in fitted]
            continuations = call_generate(self._model.signatures["generate"], batch, settings)
            texts += [text.decode(errors="replace") for text in continuations]
        return texts

    def nll(self, prompts: Sequence[str], completions: Sequence[str]) -> np.ndarray:
        """Returns the negative log-likelihood in nats of each completion given its prompt, float64 `[completions]`.

        Where both together exceed the context, every token of the completion is still scored, given at least half a
        context of the text before it.
        """
        for rows in self._slices(len(completions), _COMPLETIONS_PER_CALL):
            tokens = self._count(prompts[rows]) + self._count(completions[rows])
            self.cut_prompts += int((tokens > self.context_length).sum())
        sums = [
            self._model.signatures["score"](prompt=_strings(prompts[rows]), completion=_strings(completions[rows]))[
                "nll_sum"
            ].numpy()
            for rows in self._calls(len(completions), _COMPLETIONS_PER_CALL)
        ]
        return np.concatenate(sums) if sums else np.empty(0)

    def _calls(self, total: int, size: int) -> Iterator[slice]:
        for rows in self._slices(total, size):
            yield rows
            self._seen += min(size, total - rows.start)
            self._on_texts(self._seen)

    @staticmethod
    def _slices(total: int, size: int) -> Iterator[slice]:
        return (slice(start, start + size) for start in range(0, total, size))


def call_generate(
    generate: Callable[..., dict[str, tf.Tensor]],
    prompts: Sequence[bytes],
    settings: SamplingSettings,
) -> list[bytes]:
    """Calls the signature `generate` of a SavedModel or a `TextModel`.

    Args:
        generate: The signature.
        prompts: Prompts in UTF-8.
        settings: How the new tokens are chosen.

    Returns:
        The continuations in UTF-8; the last character may be incomplete.
    """
    outputs = generate(
        prompt=tf.constant(prompts, tf.string),
        max_new_tokens=tf.constant(settings.max_new_tokens, tf.int32),
        temperature=tf.constant(settings.temperature, tf.float32),
        top_k=tf.constant(settings.top_k, tf.int32),
        seed=tf.constant(settings.seed, tf.int32),
    )
    return outputs["text"].numpy().tolist()


def _strings(texts: Sequence[str]) -> tf.Tensor:
    return tf.constant([text.encode() for text in texts], tf.string)
