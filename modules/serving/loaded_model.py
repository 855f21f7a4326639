"""A SavedModel of a release, loaded into this process, for many texts at a time."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from modules.model.sampling import SamplingSettings

# Small numbers, so that progress is reported often. The signatures themselves limit the memory that they use.
_PROMPTS_PER_CALL = 8
_COMPLETIONS_PER_CALL = 64


class LoadedModel:
    """A loaded SavedModel, whose signatures `generate` and `score` are called with Python strings.

    `modules.export.text_model.TextModel` describes the signatures.

    Example:
        >>> import keras_hub
        >>> from modules.export.saved_model import export_saved_model
        >>> from modules.tokenization.vocabulary import Vocabulary
        >>> from modules.tokenization.vocabulary_files import write_table
        >>> write_table(Vocabulary.from_merges([]), "bytes.tsv")
        >>> backbone = keras_hub.models.GPT2Backbone(257, 1, 1, 8, 16, max_sequence_length=16)
        >>> export_saved_model(backbone, "bytes.tsv", "release")
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
        self._on_texts = on_texts
        self._seen = 0

    def continued(self, prompts: Sequence[str], settings: SamplingSettings) -> list[str]:
        """Continues each prompt. If a prompt exceeds the context, the model sees only its end."""
        texts: list[str] = []
        for rows in self._calls(len(prompts), _PROMPTS_PER_CALL):
            batch = [prompt.encode() for prompt in prompts[rows]]
            continuations = call_generate(self._model.signatures["generate"], batch, settings)
            texts += [text.decode(errors="replace") for text in continuations]
        return texts

    def nll(self, prompts: Sequence[str], completions: Sequence[str]) -> np.ndarray:
        """Returns the negative log-likelihood in nats of each completion given its prompt, float64 `[completions]`."""
        sums = [
            self._model.signatures["score"](prompt=_strings(prompts[rows]), completion=_strings(completions[rows]))[
                "nll_sum"
            ].numpy()
            for rows in self._calls(len(completions), _COMPLETIONS_PER_CALL)
        ]
        return np.concatenate(sums) if sums else np.empty(0)

    def _calls(self, total: int, size: int) -> Iterator[slice]:
        for start in range(0, total, size):
            yield slice(start, start + size)
            self._seen += min(size, total - start)
            self._on_texts(self._seen)


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
