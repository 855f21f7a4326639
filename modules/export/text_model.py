"""The SavedModel: text in, text out, with the tokenizer, the cached model and the scorer in one graph.

It contains only stock TensorFlow operations, so TensorFlow Serving and plain `tensorflow` can load it.
"""

import functools

import tensorflow as tf

from modules.data.examples import WEIGHT
from modules.export.document_scorer import DocumentScorer, Scores
from modules.model import sampling_in_graph
from modules.model.cached_gpt2 import CachedGPT2, LayerCache
from modules.tokenization import example_tokens
from modules.tokenization.byte_pair_tokenizer import BytePairTokenizer, Detokenizer

DEFAULT_NEW_TOKENS = 64


class TextModel(tf.Module):
    """A module with five signatures that share one set of weights. The SavedModel of a release has these signatures.

    - `serving_default`: `prompt` string `[batch]` -> `text` string `[batch]`. The text is the continuation without the
      prompt: up to 64 tokens by greedy search.
    - `generate`: the same, with the sampling settings as inputs.
    - `evaluate`: serialized tf.Examples `[batch]` -> the outputs of `_scores`. The examples have the feature `text`, or
      `prompt` and `completion` for a model of instructions.
    - `evaluate_strided`: the same in windows that overlap by half. Except at the start of a document, every token is
      predicted from at least half a window of the text before it.
    - `score`: `prompt` and `completion`, string `[batch]` each -> the outputs of `_scores` for the completion.

    The result of a row depends only on that row, not on the rest of the batch.

    Example:
        >>> import keras_hub
        >>> from modules.export.saved_model import build_text_model
        >>> from modules.tokenization.vocabulary import Vocabulary
        >>> from modules.tokenization.vocabulary_files import write_table
        >>> write_table(Vocabulary.from_merges([]), "bytes.tsv")
        >>> backbone = keras_hub.models.GPT2Backbone(257, 1, 1, 8, 16, max_sequence_length=16)
        >>> model = build_text_model(backbone, "bytes.tsv", folder=".")
        >>> model.score(prompt=tf.constant(["a"]), completion=tf.constant(["bc"]))["num_tokens"].numpy()
        array([2])
    """

    def __init__(
        self,
        model: CachedGPT2,
        tokenizer: BytePairTokenizer,
        detokenizer: Detokenizer,
        *,
        data_kind: str,
        end_of_text_id: int,
        sequence_length: int,
    ) -> None:
        super().__init__()
        self.data_kind = data_kind
        self.model = model
        self.tokenizer = tokenizer
        self.detokenizer = detokenizer
        self.end_of_text_id = end_of_text_id
        self.scorer = DocumentScorer(model, end_of_text_id=end_of_text_id, sequence_length=sequence_length)
        self.half_window = -(-sequence_length // 2)

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None], tf.string, name="prompt")])
    def serving_default(self, prompt: tf.Tensor) -> dict[str, tf.Tensor]:
        """Continues prompts by up to 64 tokens, with greedy search."""
        greedy = {"temperature": tf.constant(0.0), "top_k": tf.constant(0), "seed": tf.constant(0)}
        return self.generate(prompt, max_new_tokens=tf.constant(DEFAULT_NEW_TOKENS), **greedy)

    @tf.function(
        autograph=False,
        input_signature=[
            tf.TensorSpec([None], tf.string, name="prompt"),
            tf.TensorSpec([], tf.int32, name="max_new_tokens"),
            tf.TensorSpec([], tf.float32, name="temperature"),
            tf.TensorSpec([], tf.int32, name="top_k"),
            tf.TensorSpec([], tf.int32, name="seed"),
        ],
    )
    def generate(
        self,
        prompt: tf.Tensor,
        max_new_tokens: tf.Tensor,
        temperature: tf.Tensor,
        top_k: tf.Tensor,
        seed: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        """Continues prompts. `modules.model.sampling` defines the settings; temperature 0 means greedy search."""
        token_ids = self._tokenize(prompt)
        end = tf.fill([token_ids.nrows(), 1], tf.constant(self.end_of_text_id, tf.int64))
        # The same rule as in `modules.model.sampling.prompt_room`.
        half = self.model.context_length // 2
        room = self.model.context_length - tf.clip_by_value(max_new_tokens, 0, half)
        token_ids = tf.concat([end, token_ids], axis=1)[:, -room:]
        new_ids = tf.map_fn(
            lambda row: self._continue_row(row, max_new_tokens, temperature, top_k, seed),
            token_ids,
            fn_output_signature=tf.RaggedTensorSpec([None], tf.int64, ragged_rank=0),
            parallel_iterations=2,
        )
        return {"text": self.detokenizer.detokenize(new_ids)}

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def evaluate(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Scores documents in windows that do not overlap; see `_scores`."""
        return self._evaluate(examples, self.scorer.sequence_length)

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def evaluate_strided(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Scores documents in windows that overlap by half; see `_scores`."""
        return self._evaluate(examples, self.half_window)

    @tf.function(
        autograph=False,
        input_signature=[
            tf.TensorSpec([None], tf.string, name="prompt"),
            tf.TensorSpec([None], tf.string, name="completion"),
        ],
    )
    def score(self, prompt: tf.Tensor, completion: tf.Tensor) -> dict[str, tf.Tensor]:
        """Scores completions given their prompts; see `_scores`.

        Prompt and completion are tokenized separately. The end-of-text after the completion does not count.
        """
        prompt_ids, completion_ids = self._tokenize(prompt), self._tokenize(completion)
        token_ids = tf.concat([prompt_ids, completion_ids], axis=1)
        loss_mask = tf.concat([tf.zeros_like(prompt_ids), tf.ones_like(completion_ids)], axis=1)
        scores = self.scorer.score(token_ids, loss_mask, stride=self.half_window, end_counts=False)
        return _scores(scores, tf.strings.length(completion))

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None], tf.string)])
    def _tokenize(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Encodes texts; a function of its own, so that TensorFlow traces it once for all signatures."""
        return self.tokenizer.tokenize(texts)

    def _evaluate(self, examples: tf.Tensor, stride: int) -> dict[str, tf.Tensor]:
        features = tf.io.parse_example(examples, example_tokens.feature_spec(self.data_kind))
        if self.data_kind == "text":
            scores = self.scorer.score(self._tokenize(features["text"]), stride=stride)
            return _scores(scores, tf.strings.length(features["text"]))
        tokenize = functools.partial(example_tokens.tokenize_and_end, self.tokenizer)
        prompts, completions = example_tokens.conversations(features, self.data_kind)
        weights = example_tokens.turn_weights(features[WEIGHT], completions)
        token_ids, loss_mask = example_tokens.conversation_tokens(prompts, completions, tokenize, weights)
        scores = self.scorer.score(token_ids, loss_mask, stride=stride)
        return _scores(scores, example_tokens.counted_bytes(completions, weights))

    def _continue_row(
        self,
        prompt_ids: tf.Tensor,
        max_new_tokens: tf.Tensor,
        temperature: tf.Tensor,
        top_k: tf.Tensor,
        seed: tf.Tensor,
    ) -> tf.Tensor:
        """Returns the continuation of int64 `[tokens]`, int64 `[new tokens]` without end-of-text."""
        prompt_length = tf.size(prompt_ids)
        limit = tf.minimum(max_new_tokens, self.model.context_length - prompt_length)
        logits, caches = self.model.step(prompt_ids[tf.newaxis], tf.range(prompt_length), self.model.empty_caches())

        def choose(logits: tf.Tensor, number: tf.Tensor | int) -> tf.Tensor:
            return sampling_in_graph.sample(logits[0], temperature, top_k, seed, number)

        def add_token(
            new_ids: tf.Tensor, next_id: tf.Tensor, caches: list[LayerCache]
        ) -> tuple[tf.Tensor, tf.Tensor, list[LayerCache]]:
            position = prompt_length + tf.size(new_ids)
            new_ids = tf.concat([new_ids, next_id[tf.newaxis]], 0)
            logits, caches = self.model.step(next_id[tf.newaxis, tf.newaxis], position[tf.newaxis], caches)
            return new_ids, choose(logits, tf.size(new_ids)), caches

        cache_shape = tf.TensorShape([None, self.model.num_heads, None, self.model.head_dim])
        new_ids, _, _ = tf.while_loop(
            lambda new_ids, next_id, caches: (next_id != self.end_of_text_id) & (tf.size(new_ids) < limit),
            add_token,
            (tf.zeros([0], tf.int64), choose(logits, 0), caches),
            shape_invariants=(
                tf.TensorShape([None]),
                tf.TensorShape([]),
                [(cache_shape, cache_shape)] * self.model.num_layers,
            ),
            parallel_iterations=1,
        )
        return new_ids


def _scores(scores: Scores, num_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
    """Returns the outputs of the scoring signatures, each of shape `[batch]`.

    - `num_tokens`, int64: the number of tokens that count.
    - `nll_sum`, float64: the negative log-likelihood of these tokens in nats.
    - `num_correct`, int64: the number of these tokens that are the model's most likely token.
    - `num_bytes`, int64: the size of their text.
    """
    return {**scores._asdict(), "num_bytes": tf.cast(num_bytes, tf.int64)}
