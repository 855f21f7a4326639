"""Tests that a batch of texts gives the same results as a reference gives for each text."""

import numpy as np
import pytest

from modules.data.prompt_templates import TEMPLATES
from modules.model.sampling import SamplingSettings
from modules.serving.loaded_model import LoadedModel
from tests.toys.release import reference_greedy, reference_logits, saved_release, tiny_vocabulary


@pytest.fixture(scope="module")
def seen() -> list[int]:
    return []


@pytest.fixture(scope="module")
def model(seen: list[int]) -> LoadedModel:
    return LoadedModel(saved_release().saved_model, on_texts=seen.append)


def test_prompts_are_continued_greedily_in_several_calls(model, seen):
    prompts = [f"ab{letter}" for letter in "ABCDEFGHIJ"]
    texts = model.continued(prompts, SamplingSettings(max_new_tokens=4))
    assert texts == [reference_greedy(prompt, 4).decode(errors="replace") for prompt in prompts]
    assert model.continued([], SamplingSettings(max_new_tokens=4)) == []
    assert seen == [8, 10]


def reference_nll(prompt: str, completion: str) -> float:
    vocabulary = tiny_vocabulary()
    ids = {token: token_id for token_id, token in enumerate(vocabulary.token_bytes())}
    token_ids = [vocabulary.end_of_text_id, *(ids[bytes([byte])] for byte in (prompt + completion).encode())]
    logits = reference_logits(token_ids[:-1]).astype(np.float64)
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    counted = range(len(token_ids) - len(completion.encode()), len(token_ids))
    return -sum(log_probabilities[place - 1, token_ids[place]] for place in counted)


def test_completions_are_scored_given_their_prompts(model):
    pairs = [("abc", " no"), ("", "x"), ("ab", "c é"), *[("", letter) for letter in "abcdefghij" * 8]]
    nll = model.nll([prompt for prompt, _ in pairs], [completion for _, completion in pairs])
    assert nll.shape == (83,)
    assert nll.tolist() == pytest.approx([reference_nll(*pair) for pair in pairs], rel=1e-5)
    assert model.nll([], []).shape == (0,)


def test_prompts_of_which_the_model_did_not_see_every_token_are_counted(model):
    chat, settings = TEMPLATES["chat"], SamplingSettings(max_new_tokens=2)
    assert (model.context_length, model.count_tokens("the thé")) == (32, 1 + 1 + 1 + 2)
    before = model.cut_prompts
    # The context of 32 keeps 30 tokens for a prompt; the second prompt has 2 more.
    model.continued(["a" * 30, "a" * 32], settings)
    assert model.cut_prompts == before + 1
    prompts = [chat.prompt("a"), chat.prompt("abcdefghijklmnop")]
    shortened = chat.prompt("abcdelmnop")
    assert model.continued(prompts, settings, template=chat) == model.continued([prompts[0], shortened], settings)
    assert model.cut_prompts == before + 2
    model.nll(["a" * 16, "a" * 31], ["b" * 16, "bb"])
    assert model.cut_prompts == before + 3
