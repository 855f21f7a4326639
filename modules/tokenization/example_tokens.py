"""The conversion of an example to tokens: one definition for Transform and for the SavedModel's `evaluate`.

There are three kinds of data. An example of kind `text` is one document: its tokens are those of the feature `text`,
and all of them count in the loss. An example of kind `instruction` is a conversation, see `conversation_tokens`. An
example of kind `preference` is a pair of conversations for training, see `preference_tokens`. When a model is measured,
only the conversation with the chosen answer is used.

A turn may have weight 0: its completion is context, and neither its tokens nor its <|endoftext|> count in the loss. The
last turn always counts, because `modules.data.messages` leaves out what follows the last completion that counts.

The <|endoftext|> that ends an example is not among these tokens. The packer and the scorer add it, and it always
counts in the loss.
"""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import tensorflow as tf

from modules.data.examples import WEIGHT
from modules.tokenization.byte_pair_tokenizer import BytePairTokenizer

# The columns of tokens that Transform writes for each kind of data.
TOKEN_COLUMNS = {
    "text": ("token_ids",),
    "instruction": ("token_ids", "loss_mask"),
    "preference": ("token_ids", "loss_mask", "rejected_token_ids", "rejected_loss_mask"),
}
DATA_KINDS = tuple(TOKEN_COLUMNS)
# The feature that holds the answer to each prompt.
_ANSWERS = {"instruction": "completion", "preference": "chosen"}


# A function that encodes string `[texts]` as ragged int64 `[texts, tokens + 1]`; each row ends with <|endoftext|>.
Tokenize: TypeAlias = Callable[[tf.Tensor], tf.RaggedTensor]
# `token_ids` and `loss_mask` (0 or 1), both ragged int64 `[batch, tokens]`.
MaskedTokens: TypeAlias = tuple[tf.RaggedTensor, tf.RaggedTensor]


def check_data_kind(data_kind: str) -> None:
    """Checks that `data_kind` is a kind of data.

    Raises:
        ValueError: `data_kind` is not one of `DATA_KINDS`.
    """
    if data_kind not in DATA_KINDS:
        raise ValueError(f"`data_kind` must be one of {DATA_KINDS}. Received: {data_kind!r}.")


def feature_spec(data_kind: str) -> dict[str, tf.io.FixedLenFeature | tf.io.RaggedFeature]:
    """Returns the features with which `tf.io.parse_example` reads TextExampleGen's tf.Examples to measure a model."""
    if data_kind == "text":
        return {"text": tf.io.FixedLenFeature([], tf.string)}
    names = ("prompt", _ANSWERS[data_kind], WEIGHT)
    return {name: tf.io.RaggedFeature(tf.string, row_splits_dtype=tf.int64) for name in names}


def conversations(features: Mapping[str, tf.RaggedTensor], data_kind: str) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
    """Returns the prompts and completions among the features of `feature_spec`, for `conversation_tokens`."""
    return features["prompt"], features[_ANSWERS[data_kind]]


def turn_weights(weights: tf.RaggedTensor | None, completions: tf.RaggedTensor) -> tf.RaggedTensor:
    """Returns the weight of each turn, 0 or 1: ragged int64 `[batch, turns]`, 1 for all turns of a row without weights.

    ```
    weights     = [["0", "1"], []]
    completions = [["c", "d"], ["c"]]    ->    [[0, 1], [1]]
    ```

    Args:
        weights: The feature `WEIGHT`, ragged string `[batch, turns or 0]`; None: there is no such feature.
        completions: Ragged string `[batch, turns]`.
    """
    turns = completions.row_lengths()
    missing = turns if weights is None else tf.where(weights.row_lengths() == 0, turns, tf.zeros_like(turns))
    ones = tf.RaggedTensor.from_row_lengths(tf.ones([tf.reduce_sum(missing)], tf.int64), missing)
    if weights is None:
        return ones
    numbers = tf.strings.to_number(weights.flat_values, tf.int64)
    return tf.concat([weights.with_flat_values(numbers), ones], axis=1)


def counted_bytes(completions: tf.RaggedTensor, weights: tf.RaggedTensor) -> tf.Tensor:
    """Returns the bytes of each row's completions that count, int32 `[batch]`; `weights` is that of `turn_weights`."""
    lengths = tf.strings.length(completions.flat_values) * tf.cast(weights.flat_values, tf.int32)
    return tf.reduce_sum(completions.with_flat_values(lengths), axis=1)


def tokenize_and_end(tokenizer: BytePairTokenizer, texts: tf.Tensor) -> tf.RaggedTensor:
    """Encodes string `[texts]` as ragged int64 `[texts, tokens + 1]`; each row ends with <|endoftext|>."""
    end = tf.fill([tf.size(texts), 1], tokenizer.end_of_text_id())
    return tf.concat([tokenizer.tokenize(texts), end], axis=1)


def conversation_tokens(
    prompts: tf.RaggedTensor,
    completions: tf.RaggedTensor,
    tokenize: Tokenize,
    weights: tf.RaggedTensor | None = None,
) -> MaskedTokens:
    """Joins the turns of conversations, and marks the tokens that count in the loss.

    Each prompt and each completion is tokenized separately, because at inference the prompt is encoded without its
    completion. So the mask is exact. <|endoftext|> follows every completion, because the model must learn to stop; the
    packer and the scorer add the last <|endoftext|>. With `{a: 5, b: 6, c: 7, d: 8}` and 1 for <|endoftext|>:

    ```
    prompts     = [["ab"], ["a", "b"]]
    completions = [["cd"], ["c", "dd"]]
    token_ids   = [[5, 6, 7, 8], [5, 7, 1, 6, 8, 8]]
    loss_mask   = [[0, 0, 1, 1], [0, 1, 1, 0, 1, 1]]
    ```

    The same conversations with `weights = [[1], [0, 1]]` have the same tokens, and the second mask is
    `[0, 0, 0, 0, 1, 1]`.

    Args:
        prompts: Ragged string `[batch, turns]`.
        completions: Ragged string `[batch, turns]`, the answer to each prompt.
        tokenize: See `Tokenize`.
        weights: The result of `turn_weights`; None: all turns count.

    Raises:
        tf.errors.InvalidArgumentError: When the graph runs: a row's prompts, completions and weights differ in number,
            or all its completions that count are empty, so that there is nothing to learn.
    """
    (tokens,) = _answered(prompts, {"completion": completions}, tokenize, weights)
    return tokens


def preference_tokens(
    prompts: tf.RaggedTensor,
    chosen: tf.RaggedTensor,
    rejected: tf.RaggedTensor,
    tokenize: Tokenize,
    weights: tf.RaggedTensor | None = None,
) -> tuple[MaskedTokens, MaskedTokens]:
    """Returns the tokens of the conversations with the chosen and with the rejected answers.

    Both have the form that `conversation_tokens` returns:

    ```
    prompts   = [["ab"]]
    chosen    = [["cd"]]    token_ids = [[5, 6, 7, 8]]    loss_mask = [[0, 0, 1, 1]]
    rejected  = [["d"]]     token_ids = [[5, 6, 8]]       loss_mask = [[0, 0, 1]]
    ```

    All texts are tokenized in one call, so that a vocabulary that is learned from them counts each text once.

    Args:
        prompts: Ragged string `[batch, turns]`.
        chosen, rejected: Ragged string `[batch, turns]`, the better and the worse completion of each prompt.
        tokenize: See `Tokenize`.
        weights: The result of `turn_weights`, for both; None: all turns count.

    Raises:
        tf.errors.InvalidArgumentError: As in `conversation_tokens`, for the chosen or the rejected answers.
    """
    chosen_tokens, rejected_tokens = _answered(prompts, {"chosen": chosen, "rejected": rejected}, tokenize, weights)
    return chosen_tokens, rejected_tokens


def _answered(
    prompts: tf.RaggedTensor,
    answers: Mapping[str, tf.RaggedTensor],
    tokenize: Tokenize,
    weights: tf.RaggedTensor | None,
) -> list[MaskedTokens]:
    """Returns the tokens of the prompts with each column of completions; `answers` maps features to columns."""
    weights = turn_weights(None, prompts) if weights is None else weights
    checks = [check for name, completions in answers.items() for check in _checks(prompts, completions, weights, name)]
    columns = [prompts, *answers.values()]
    with tf.control_dependencies(checks):
        texts = tf.concat([column.flat_values for column in columns], axis=0)
    pieces = tokenize(texts)
    turns = tf.size(prompts.flat_values, tf.int64)  # every column has so many
    prompt_ids, *answer_ids = (pieces[number * turns : (number + 1) * turns] for number in range(len(columns)))
    return [
        _join_turns(prompt_ids[:, :-1], completion_ids, weights.flat_values, rows)
        for completion_ids, rows in zip(answer_ids, answers.values(), strict=True)
    ]


def _join_turns(
    prompt_ids: tf.RaggedTensor, completion_ids: tf.RaggedTensor, weights: tf.Tensor, rows: tf.RaggedTensor
) -> MaskedTokens:
    """Joins ragged `[turns, tokens]` to rows.

    Args:
        prompt_ids, completion_ids: Ragged int64 `[turns, tokens]`.
        weights: int64 `[turns]`, 1 for completions that count and 0 for others.
        rows: Any ragged `[batch, turns]`; only its shape is used.
    """
    turn_ids = tf.concat([prompt_ids, completion_ids], axis=1)
    completion_mask = completion_ids.with_values(tf.gather(weights, completion_ids.value_rowids()))
    turn_mask = tf.concat([tf.zeros_like(prompt_ids), completion_mask], axis=1)
    token_ids, loss_mask = (rows.with_values(values).merge_dims(1, 2) for values in (turn_ids, turn_mask))
    return token_ids[:, :-1], loss_mask[:, :-1]


def _checks(
    prompts: tf.RaggedTensor, completions: tf.RaggedTensor, weights: tf.RaggedTensor, name: str
) -> list[tf.Operation]:
    turns = tf.debugging.assert_equal(
        prompts.row_lengths(),
        weights.row_lengths(),
        "Every `prompt` of an example needs its `weight`, or the example has none. Received, as turns per row:",
    )
    with tf.control_dependencies([turns] if turns is not None else []):  # in eager mode it has run already
        lengths = tf.strings.length(completions.flat_values)
    counted = completions.with_flat_values(lengths * tf.cast(weights.flat_values, tf.int32))
    longest = tf.reduce_max(counted, axis=1)
    checks = [
        tf.debugging.assert_equal(
            prompts.row_lengths(),
            completions.row_lengths(),
            f"Every `prompt` of an example needs its `{name}`, which may be empty. Received, as turns per row:",
        ),
        tf.debugging.assert_positive(
            longest,
            f"An example needs a `{name}` that is not empty: otherwise there is nothing to learn. Drop the row. "
            f"Received, as bytes of each row's longest `{name}` (below 0 if the row has none):",
        ),
    ]
    return [check for check in checks if check is not None]  # in eager mode they have run already, and are None
