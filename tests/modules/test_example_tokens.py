"""The mask beside the tokens it belongs to, as values."""

import pytest
import tensorflow as tf

from modules.bpe_graph import BytePairTokenizer
from modules.example_tokens import check_data_kind, conversation_tokens, feature_spec, tokenize_and_end
from tests.tiny_release import saved_release

END = 258
A, B, C, D = (ord(letter) - ord("!") for letter in "abcd")
THE = 257  # the vocabulary joins "th" and "the"
T = ord("t") - ord("!")
H = ord("h") - ord("!")


def encode(prompts: list[list[str]], completions: list[list[str]]) -> tuple[list[list[int]], list[list[int]]]:
    tokenizer = BytePairTokenizer(saved_release().table)

    @tf.function  # as in Transform and in the SavedModel
    def encode_rows(prompts: tf.RaggedTensor, completions: tf.RaggedTensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
        return conversation_tokens(prompts, completions, lambda texts: tokenize_and_end(tokenizer, texts))

    rows = [tf.ragged.constant(column, tf.string, ragged_rank=1) for column in (prompts, completions)]
    token_ids, loss_mask = encode_rows(*rows)
    assert token_ids.dtype == loss_mask.dtype == tf.int64
    return token_ids.to_list(), loss_mask.to_list()


def test_only_the_completion_counts() -> None:
    token_ids, loss_mask = encode([["abc"]], [["dthe"]])
    assert token_ids == [[A, B, C, D, THE]]
    assert loss_mask == [[0, 0, 0, 1, 1]]


def test_every_completion_but_the_last_is_followed_by_end_of_text_that_counts() -> None:
    token_ids, loss_mask = encode([["ab"], ["a", "b", "c"]], [["cd"], ["c", "dd", "a"]])
    assert token_ids == [[A, B, C, D], [A, C, END, B, D, D, END, C, A]]
    assert loss_mask == [[0, 0, 1, 1], [0, 1, 1, 0, 1, 1, 1, 0, 1]]


def test_prompt_and_completion_are_tokenized_apart() -> None:
    # In one piece "the" would be one token, and that token half prompt.
    token_ids, loss_mask = encode([["t"]], [["he"]])
    assert token_ids == [[T, H, ord("e") - ord("!")]]
    assert loss_mask == [[0, 1, 1]]


def test_empty_prompts_and_empty_completions_beside_others_are_allowed() -> None:
    token_ids, loss_mask = encode([["", "b"], ["ab", "c"]], [["a", ""], ["", "d"]])
    assert token_ids == [[A, END, B], [A, B, END, C, D]]
    assert loss_mask == [[1, 1, 0], [0, 0, 1, 0, 1]]


def test_no_rows_have_no_tokens() -> None:
    assert encode([], []) == ([], [])


@pytest.mark.parametrize("completions", [[], [""]])
def test_a_row_without_anything_to_learn_is_refused(completions: list[str]) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="needs a `completion` that is not empty"):
        encode([["a"], ["b"] * len(completions)], [["c"], completions])


def test_a_prompt_without_its_completion_is_refused() -> None:
    # As many prompts as completions in all, but not in each row.
    with pytest.raises(tf.errors.InvalidArgumentError, match="Every `prompt` of an example needs its `completion`"):
        encode([["a", "b"], ["c"]], [["a"], ["b", "c"]])


def test_another_kind_of_data_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must be one of \('text', 'instruction'\)\. Received: 'chat'"):
        check_data_kind("chat")


def test_examples_are_parsed_by_their_kind() -> None:
    values = {"prompt": ["a", "b"], "completion": ["c", "d"], "text": ["e"]}
    features = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode() for value in texts]))
        for name, texts in values.items()
    }
    serialized = [tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()]
    parsed = tf.io.parse_example(serialized, feature_spec("instruction"))
    assert {name: column.to_list() for name, column in parsed.items()} == {
        "prompt": [[b"a", b"b"]],
        "completion": [[b"c", b"d"]],
    }
    assert tf.io.parse_example(serialized, feature_spec("text"))["text"].numpy().tolist() == [b"e"]
