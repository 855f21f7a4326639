"""How an example becomes tokens: one definition, for Transform and for the SavedModel's `evaluate`.

There are three kinds of data. An example of kind `text` is one document: its tokens are those of the feature `text`,
and each of them counts in the loss. An example of kind `instruction` is a conversation, see `conversation_tokens`. One
of kind `preference` is to training a pair of conversations, see `preference_tokens`, and to everything that measures a
model the conversation with the answer that was chosen.

The <|endoftext|> that ends an example is not among these tokens: the packer and the scorer add it, and it always
counts.
"""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import tensorflow as tf

from modules.tokenization.byte_pair_tokenizer import BytePairTokenizer

# The columns of tokens that Transform writes of each kind of data.
TOKEN_COLUMNS = {
    "text": ("token_ids",),
    "instruction": ("token_ids", "loss_mask"),
    "preference": ("token_ids", "loss_mask", "rejected_token_ids", "rejected_loss_mask"),
}
DATA_KINDS = tuple(TOKEN_COLUMNS)
# The feature with what answers each prompt.
_ANSWERS = {"instruction": "completion", "preference": "chosen"}


# Encodes string `[texts]` as ragged int64 `[texts, tokens + 1]`, each with <|endoftext|> behind.
Tokenize: TypeAlias = Callable[[tf.Tensor], tf.RaggedTensor]
# `token_ids` and `loss_mask` (0 or 1), both ragged int64 `[batch, tokens]`.
MaskedTokens: TypeAlias = tuple[tf.RaggedTensor, tf.RaggedTensor]


def check_data_kind(data_kind: str) -> None:
    """Refuses what is no kind of data.

    Raises:
        ValueError: It is none of `DATA_KINDS`.
    """
    if data_kind not in DATA_KINDS:
        raise ValueError(f"`data_kind` must be one of {DATA_KINDS}. Received: {data_kind!r}.")


def feature_spec(data_kind: str) -> dict[str, tf.io.FixedLenFeature | tf.io.RaggedFeature]:
    """What `tf.io.parse_example` reads of the tf.Examples that TextExampleGen writes, to measure a model on them."""
    if data_kind == "text":
        return {"text": tf.io.FixedLenFeature([], tf.string)}
    names = ("prompt", _ANSWERS[data_kind])
    return {name: tf.io.RaggedFeature(tf.string, row_splits_dtype=tf.int64) for name in names}


def conversations(features: Mapping[str, tf.RaggedTensor], data_kind: str) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
    """The prompts and completions of what `feature_spec` reads, for `conversation_tokens`."""
    return features["prompt"], features[_ANSWERS[data_kind]]


def tokenize_and_end(tokenizer: BytePairTokenizer, texts: tf.Tensor) -> tf.RaggedTensor:
    """Encodes string `[texts]` as ragged int64 `[texts, tokens + 1]`: each ends with <|endoftext|>."""
    end = tf.fill([tf.size(texts), 1], tokenizer.end_of_text_id())
    return tf.concat([tokenizer.tokenize(texts), end], axis=1)


def conversation_tokens(prompts: tf.RaggedTensor, completions: tf.RaggedTensor, tokenize: Tokenize) -> MaskedTokens:
    """Joins the turns of conversations: the tokens, and which of them count in the loss.

    Each prompt and each completion is tokenized by itself, as at inference, where the prompt is encoded alone: so
    the mask is exact. <|endoftext|> follows every completion, as the model must learn to stop; that of the last
    one is left to the packer and the scorer. With `{a: 5, b: 6, c: 7, d: 8}` and 1 for <|endoftext|>:

    ```
    prompts     = [["ab"], ["a", "b"]]
    completions = [["cd"], ["c", "dd"]]
    token_ids   = [[5, 6, 7, 8], [5, 7, 1, 6, 8, 8]]
    loss_mask   = [[0, 0, 1, 1], [0, 1, 1, 0, 1, 1]]
    ```

    Args:
        prompts: Ragged string `[batch, turns]`.
        completions: Ragged string `[batch, turns]`, what answers each prompt.
        tokenize: See `Tokenize`.

    Raises:
        tf.errors.InvalidArgumentError: A row's prompts and completions differ in number, or it has no completion
            that is not empty, and so nothing to learn (when the graph runs).
    """
    (tokens,) = _answered(prompts, {"completion": completions}, tokenize)
    return tokens


def preference_tokens(
    prompts: tf.RaggedTensor, chosen: tf.RaggedTensor, rejected: tf.RaggedTensor, tokenize: Tokenize
) -> tuple[MaskedTokens, MaskedTokens]:
    """The conversations with the chosen and with the rejected answers, each as `conversation_tokens` has it.

    ```
    prompts   = [["ab"]]
    chosen    = [["cd"]]    token_ids = [[5, 6, 7, 8]]    loss_mask = [[0, 0, 1, 1]]
    rejected  = [["d"]]     token_ids = [[5, 6, 8]]       loss_mask = [[0, 0, 1]]
    ```

    All texts are tokenized in one go: a vocabulary that is learned from them counts each of them once.

    Args:
        prompts: Ragged string `[batch, turns]`.
        chosen, rejected: Ragged string `[batch, turns]`, the better and the worse completion of each prompt.
        tokenize: See `Tokenize`.

    Raises:
        tf.errors.InvalidArgumentError: As in `conversation_tokens`, of either answer.
    """
    chosen_tokens, rejected_tokens = _answered(prompts, {"chosen": chosen, "rejected": rejected}, tokenize)
    return chosen_tokens, rejected_tokens


def _answered(
    prompts: tf.RaggedTensor, answers: Mapping[str, tf.RaggedTensor], tokenize: Tokenize
) -> list[MaskedTokens]:
    """The same prompts with each of some columns of completions, given by the names of their features."""
    checks = [check for name, completions in answers.items() for check in _checks(prompts, completions, name)]
    columns = [prompts, *answers.values()]
    with tf.control_dependencies(checks):
        texts = tf.concat([column.flat_values for column in columns], axis=0)
    pieces = tokenize(texts)
    turns = tf.size(prompts.flat_values, tf.int64)  # of each column
    prompt_ids, *answer_ids = (pieces[number * turns : (number + 1) * turns] for number in range(len(columns)))
    return [
        _join_turns(prompt_ids[:, :-1], completion_ids, rows)
        for completion_ids, rows in zip(answer_ids, answers.values(), strict=True)
    ]


def _join_turns(prompt_ids: tf.RaggedTensor, completion_ids: tf.RaggedTensor, rows: tf.RaggedTensor) -> MaskedTokens:
    """From ragged `[turns, tokens]`, and any ragged `[batch, turns]` that says which turns make a row."""
    turn_ids = tf.concat([prompt_ids, completion_ids], axis=1)
    turn_mask = tf.concat([tf.zeros_like(prompt_ids), tf.ones_like(completion_ids)], axis=1)
    token_ids, loss_mask = (rows.with_values(values).merge_dims(1, 2) for values in (turn_ids, turn_mask))
    return token_ids[:, :-1], loss_mask[:, :-1]


def _checks(prompts: tf.RaggedTensor, completions: tf.RaggedTensor, name: str) -> list[tf.Operation]:
    longest = tf.reduce_max(tf.ragged.map_flat_values(tf.strings.length, completions), axis=1)
    checks = [
        tf.debugging.assert_equal(
            prompts.row_lengths(),
            completions.row_lengths(),
            f"Every `prompt` of an example needs its `{name}`, an empty one if need be. Received turns a row:",
        ),
        tf.debugging.assert_positive(
            longest,
            f"An example needs a `{name}` that is not empty: without one there is nothing to learn. Drop the row. "
            f"Received, as bytes of each row's longest `{name}` (below 0: it has none):",
        ),
    ]
    return [check for check in checks if check is not None]  # eagerly they are done already
