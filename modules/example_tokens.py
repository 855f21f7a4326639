"""How an example becomes tokens: one definition, for Transform and for the SavedModel's `evaluate`.

There are two kinds of data. An example of kind `text` is one document: its tokens are those of the feature `text`,
and each of them counts in the loss. An example of kind `instruction` is a conversation, see `conversation_tokens`.

The <|endoftext|> that ends an example is not among these tokens: the packer and the scorer add it, and it always
counts.
"""

from collections.abc import Callable

import tensorflow as tf

from modules.bpe_graph import BytePairTokenizer

DATA_KINDS = ("text", "instruction")


def check_data_kind(data_kind: str) -> None:
    """Refuses what is no kind of data.

    Raises:
        ValueError: It is none of `DATA_KINDS`.
    """
    if data_kind not in DATA_KINDS:
        raise ValueError(f"`data_kind` must be one of {DATA_KINDS}. Received: {data_kind!r}.")


def feature_spec(data_kind: str) -> dict[str, tf.io.FixedLenFeature | tf.io.RaggedFeature]:
    """What `tf.io.parse_example` reads of the tf.Examples that TextExampleGen writes."""
    if data_kind == "text":
        return {"text": tf.io.FixedLenFeature([], tf.string)}
    return {name: tf.io.RaggedFeature(tf.string, row_splits_dtype=tf.int64) for name in ("prompt", "completion")}


def tokenize_and_end(tokenizer: BytePairTokenizer, texts: tf.Tensor) -> tf.RaggedTensor:
    """Encodes string `[texts]` as ragged int64 `[texts, tokens + 1]`: each ends with <|endoftext|>."""
    end = tf.fill([tf.size(texts), 1], tokenizer.end_of_text_id())
    return tf.concat([tokenizer.tokenize(texts), end], axis=1)


def conversation_tokens(
    prompts: tf.RaggedTensor, completions: tf.RaggedTensor, tokenize: Callable[[tf.Tensor], tf.RaggedTensor]
) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
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
        tokenize: Encodes string `[texts]` as ragged int64 `[texts, tokens + 1]`, each with <|endoftext|> behind.

    Returns:
        `token_ids` and `loss_mask` (0 or 1), both ragged int64 `[batch, tokens]`.

    Raises:
        tf.errors.InvalidArgumentError: A row's prompts and completions differ in number, or it has no completion
            that is not empty, and so nothing to learn (when the graph runs).
    """
    with tf.control_dependencies(_checks(prompts, completions)):
        texts = tf.concat([prompts.flat_values, completions.flat_values], axis=0)
    pieces = tokenize(texts)
    turns = tf.size(prompts.flat_values, tf.int64)
    prompt_ids, completion_ids = pieces[:turns, :-1], pieces[turns:]
    turn_ids = tf.concat([prompt_ids, completion_ids], axis=1)
    turn_mask = tf.concat([tf.zeros_like(prompt_ids), tf.ones_like(completion_ids)], axis=1)
    token_ids, loss_mask = (completions.with_values(values).merge_dims(1, 2) for values in (turn_ids, turn_mask))
    return token_ids[:, :-1], loss_mask[:, :-1]


def _checks(prompts: tf.RaggedTensor, completions: tf.RaggedTensor) -> list[tf.Operation]:
    longest = tf.reduce_max(tf.ragged.map_flat_values(tf.strings.length, completions), axis=1)
    checks = [
        tf.debugging.assert_equal(
            prompts.row_lengths(),
            completions.row_lengths(),
            "Every `prompt` of an example needs its `completion`, an empty one if need be. Received turns a row:",
        ),
        tf.debugging.assert_positive(
            longest,
            "An example needs a `completion` that is not empty: without one there is nothing to learn. Drop the row. "
            "Received, as bytes of each row's longest completion (below 0: it has none):",
        ),
    ]
    return [check for check in checks if check is not None]  # eagerly they are done already
