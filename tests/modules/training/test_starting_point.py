import numpy as np
import pytest
import tensorflow as tf

from modules.export import saved_model
from modules.training import starting_point
from modules.training.starting_point import corpus_perplexity, measure_start, prompt_tokens, sample_prompts
from tests.toys.release import CONTEXT_LENGTH, saved_release, tiny_backbone, tiny_vocabulary


def documents(*texts: bytes) -> tf.data.Dataset:
    """Makes batches of two documents as `read_documents` does. Each byte is a token; the token of `!` is 0."""
    ids = {token: token_id for token_id, token in enumerate(tiny_vocabulary().token_bytes())}
    rows = [[ids[bytes([byte])] for byte in text] for text in texts]
    token_ids = tf.ragged.constant(rows, tf.int64, ragged_rank=1, row_splits_dtype=tf.int64)
    return tf.data.Dataset.from_tensor_slices({"token_ids": token_ids}).ragged_batch(2)


@pytest.mark.parametrize(
    ("token_ids", "loss_mask", "prompt"),
    [
        ([5, 6, 7, 8], None, [5, 6]),
        ([5, 6, 7], None, [5, 6]),
        ([5], None, [5]),
        ([], None, []),
        (list(range(99)), None, list(range(16))),
        ([5, 6, 7, 8], [0, 1, 1, 0], [5]),
        ([5, 6, 7, 8], [1, 1, 0, 1], []),
        ([5, 6], [0, 0], [5, 6]),  # the completion is only <|endoftext|>
    ],
)
def test_prompts_are_document_beginnings(token_ids: list[int], loss_mask: list[int] | None, prompt: list[int]) -> None:
    assert prompt_tokens(token_ids, loss_mask) == prompt


def test_prompts_come_from_the_first_documents() -> None:
    texts = [b"the cat!", b"", "caf\u00e9 au lait".encode()[:8], b"once", b"the fifth"]
    # The half of 8 bytes, `caf\xc3`, ends within a character.
    prompts = sample_prompts(documents(*texts), tiny_vocabulary(), context_length=32)
    assert [prompt.text for prompt in prompts] == ["the ", "", "caf", "on"]


def test_a_long_prompt_loses_its_beginning() -> None:
    # The context has 12 tokens: 6 new tokens, 1 <|endoftext|>, and 5 tokens of the prompt.
    (prompt,) = sample_prompts(documents(b"abcdefghijklmnopqrst"), tiny_vocabulary(), context_length=12)
    assert (prompt.text, prompt.left_out) == ("fghij", 5)


def test_the_starting_model_is_measured_like_the_saved_model() -> None:
    texts = [b"the end of the beginning", b"this", b"that"]
    start = measure_start(
        tiny_backbone(), saved_release().table, documents(*texts), data_kind="text", context_length=CONTEXT_LENGTH,
        with_perplexity=False,
    )  # fmt: skip
    assert start.perplexity is None
    assert start.prompts == ["the end of t", "th", "th"]
    generate = tf.saved_model.load(saved_release().saved_model).signatures["generate"]
    assert start.continuations == starting_point.continue_prompts(generate, start.prompts)
    assert len(start.continuations[0]) > 0


def test_perplexity_sums_over_all_batches(tmp_path) -> None:
    model = saved_model.build_text_model(tiny_backbone(), saved_release().table, str(tmp_path), context_length=16)
    model.model.token_embedding.assign(tf.zeros_like(model.model.token_embedding))
    model.model.token_embedding.assign_add(tf.eye(259, 32))  # predictions are not uniform and differ between tokens
    texts = [b"a", b"bb", b"ccc " * 9]  # two batches of unequal length
    separate_scores = [model.scorer.score(next(iter(documents(text)))["token_ids"]) for text in texts]
    nll = sum(float(scores.nll_sum[0]) for scores in separate_scores)
    assert [int(scores.num_tokens[0]) for scores in separate_scores] == [2, 3, 37]
    assert corpus_perplexity(model.scorer, documents(*texts)) == pytest.approx(np.exp(nll / 42), rel=1e-6)


def test_tokens_that_do_not_count_are_not_in_the_perplexity(tmp_path) -> None:
    model = saved_model.build_text_model(tiny_backbone(), saved_release().table, str(tmp_path), context_length=16)
    only_ends = documents(b"the", b"end").map(
        lambda columns: {**columns, "loss_mask": tf.zeros_like(columns["token_ids"])}
    )
    [columns] = only_ends
    scores = model.scorer.score(columns["token_ids"], columns["loss_mask"])
    assert scores.num_tokens.numpy().tolist() == [1, 1]  # only <|endoftext|>
    nll = np.mean(scores.nll_sum, dtype=np.float64)
    assert corpus_perplexity(model.scorer, only_ends) == pytest.approx(np.exp(nll), rel=2e-6)


def test_a_perplexity_that_is_not_finite_is_none(tmp_path) -> None:
    model = saved_model.build_text_model(tiny_backbone(), saved_release().table, str(tmp_path), context_length=16)
    assert corpus_perplexity(model.scorer, documents(b"x").take(0)) is None
    for value in (float("nan"), 1e30):
        model.model.final_norm.scale.assign(tf.fill(model.model.final_norm.scale.shape, value))
        assert corpus_perplexity(model.scorer, documents(b"some", b"text")) is None
