"""Tokens and their loss masks, compared as values."""

import pytest
import tensorflow as tf

from modules.tokenization.byte_pair_tokenizer import BytePairTokenizer
from modules.tokenization.example_tokens import (
    check_data_kind,
    conversation_tokens,
    conversations,
    counted_bytes,
    feature_spec,
    preference_tokens,
    tokenize_and_end,
    turn_weights,
)
from tests.toys.examples import example
from tests.toys.release import saved_release

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


def test_end_of_text_follows_every_completion_except_the_last_and_counts() -> None:
    token_ids, loss_mask = encode([["ab"], ["a", "b", "c"]], [["cd"], ["c", "dd", "a"]])
    assert token_ids == [[A, B, C, D], [A, C, END, B, D, D, END, C, A]]
    assert loss_mask == [[0, 0, 1, 1], [0, 1, 1, 0, 1, 1, 1, 0, 1]]


def test_prompt_and_completion_are_tokenized_separately() -> None:
    # As one text, "the" would be one token, which would belong to both prompt and completion.
    token_ids, loss_mask = encode([["t"]], [["he"]])
    assert token_ids == [[T, H, ord("e") - ord("!")]]
    assert loss_mask == [[0, 1, 1]]


def test_prompts_and_some_completions_of_a_row_may_be_empty() -> None:
    token_ids, loss_mask = encode([["", "b"], ["ab", "c"]], [["a", ""], ["", "d"]])
    assert token_ids == [[A, END, B], [A, B, END, C, D]]
    assert loss_mask == [[1, 1, 0], [0, 0, 1, 0, 1]]


def test_no_rows_have_no_tokens() -> None:
    assert encode([], []) == ([], [])


@pytest.mark.parametrize("completions", [[], [""]])
def test_a_row_with_nothing_to_learn_is_refused(completions: list[str]) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="needs a `completion` that is not empty"):
        encode([["a"], ["b"] * len(completions)], [["c"], completions])


def test_a_prompt_without_its_completion_is_refused() -> None:
    # The total numbers of prompts and completions are equal, but not the numbers in each row.
    with pytest.raises(tf.errors.InvalidArgumentError, match="Every `prompt` of an example needs its `completion`"):
        encode([["a", "b"], ["c"]], [["a"], ["b", "c"]])


def preferences(prompts: list[list[str]], chosen: list[list[str]], rejected: list[list[str]]) -> list[list[list[int]]]:
    tokenizer = BytePairTokenizer(saved_release().table)
    calls = []

    def tokenize(texts: tf.Tensor) -> tf.RaggedTensor:
        calls.append(texts)
        return tokenize_and_end(tokenizer, texts)

    rows = [tf.ragged.constant(column, tf.string, ragged_rank=1) for column in (prompts, chosen, rejected)]
    tokens = preference_tokens(*rows, tokenize)
    assert len(calls) == 1  # so that one vocabulary is learned
    return [column.to_list() for pair in tokens for column in pair]


def test_a_preference_becomes_two_conversations() -> None:
    token_ids, loss_mask, rejected_ids, rejected_mask = preferences(
        [["ab"], ["c"]],
        [["cd"], ["a"]],
        [
            ["d"],
            [
                "the",
            ],
        ],
    )
    assert (token_ids, loss_mask) == ([[A, B, C, D], [C, A]], [[0, 0, 1, 1], [0, 1]])
    assert (rejected_ids, rejected_mask) == ([[A, B, D], [C, THE]], [[0, 0, 1], [0, 1]])


def test_a_preference_without_one_of_its_answers_is_refused() -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="needs a `rejected` that is not empty"):
        preferences([["a"]], [["b"]], [[""]])
    with pytest.raises(tf.errors.InvalidArgumentError, match="Every `prompt` of an example needs its `chosen`"):
        preferences([["a"]], [["b", "c"]], [["b"]])


def test_a_model_is_measured_on_the_chosen_answers() -> None:
    record = example({"prompt": ["a"], "chosen": ["b"], "rejected": ["c"]})
    parsed = tf.io.parse_example(tf.constant([record]), feature_spec("preference"))
    assert [column.to_list() for column in conversations(parsed, "preference")] == [[[b"a"]], [[b"b"]]]


def test_an_unknown_kind_of_data_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must be one of \('text', 'instruction', 'preference'\)\. Received: 'chat'"):
        check_data_kind("chat")


def test_only_the_features_of_the_data_kind_are_parsed() -> None:
    serialized = [example({"prompt": ["a", "b"], "completion": ["c", "d"], "text": ["e"]})]
    parsed = tf.io.parse_example(serialized, feature_spec("instruction"))
    assert {name: column.to_list() for name, column in parsed.items()} == {
        "prompt": [[b"a", b"b"]],
        "completion": [[b"c", b"d"]],
        "weight": [[]],
    }
    assert tf.io.parse_example(serialized, feature_spec("text"))["text"].numpy().tolist() == [b"e"]


@pytest.mark.parametrize("data_kind", ["instruction", "preference"])
def test_a_turn_of_weight_0_has_the_same_tokens_and_another_mask(data_kind: str) -> None:
    answers = {"instruction": ("completion",), "preference": ("chosen", "rejected")}[data_kind]
    features = {"prompt": ["ab", "c"], **{name: ["d", "a"] for name in answers}}
    tokenizer = BytePairTokenizer(saved_release().table)

    def read(*records: bytes) -> list[list[list[int]]]:
        parsed = tf.io.parse_example(tf.constant(records), feature_spec(data_kind))
        prompts, completions = conversations(parsed, data_kind)
        weights = turn_weights(parsed["weight"], completions)
        columns = conversation_tokens(prompts, completions, lambda texts: tokenize_and_end(tokenizer, texts), weights)
        assert counted_bytes(completions, weights).numpy().tolist() == [sum(weight) for weight in weights.to_list()]
        return [column.to_list() for column in columns]

    token_ids, loss_mask = read(example({**features, "weight": ["0", "1"]}), example(features))
    assert token_ids == [[A, B, D, END, C, A]] * 2
    assert loss_mask == [[0, 0, 0, 0, 0, 1], [0, 0, 1, 1, 0, 1]]


def test_both_answers_of_a_preference_follow_the_same_context() -> None:
    columns = [[["a", "b"]], [["c", "d"]], [["c", "a"]]]
    prompts, chosen, rejected = (tf.ragged.constant(column, tf.string, ragged_rank=1) for column in columns)
    tokenizer = BytePairTokenizer(saved_release().table)
    weights = turn_weights(tf.ragged.constant([["0", "1"]], tf.string), chosen)
    pairs = preference_tokens(prompts, chosen, rejected, lambda texts: tokenize_and_end(tokenizer, texts), weights)
    assert [[column.to_list() for column in pair] for pair in pairs] == [
        [[[A, C, END, B, D]], [[0, 0, 0, 0, 1]]],
        [[[A, C, END, B, A]], [[0, 0, 0, 0, 1]]],
    ]


def test_each_turn_needs_its_weight_and_a_turn_that_counts_an_answer() -> None:
    tokenizer = BytePairTokenizer(saved_release().table)
    prompts, completions = (tf.ragged.constant([["a", "b"]], tf.string, ragged_rank=1) for _ in range(2))
    for weights, message in ((["1"], "needs its `weight`"), (["0", "0"], "otherwise there is nothing to learn")):
        numbers = turn_weights(tf.ragged.constant([weights], tf.string), completions)
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            conversation_tokens(prompts, completions, lambda texts: tokenize_and_end(tokenizer, texts), numbers)
