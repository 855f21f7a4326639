import functools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from modules.export import saved_model
from modules.export.document_scorer import DocumentScorer
from modules.model.cached_gpt2 import CachedGPT2
from tests.toys.examples import example
from tests.toys.release import reference_greedy, reference_logits, saved_release, tiny_backbone

PROMPTS = ["", "the th", "Ünï\n", "abc"]

# A program that cannot import this project, Keras or TensorFlow Text.
ONLY_TENSORFLOW = """
import json, sys
import tensorflow as tf
for name in ("modules", "keras", "keras_hub", "tensorflow_text"):
    sys.modules[name] = None
signatures = tf.saved_model.load(sys.argv[1]).signatures
texts = signatures["serving_default"](prompt=tf.constant(json.loads(sys.argv[2])))["text"]
print(json.dumps([text.hex() for text in texts.numpy()]))
"""


@functools.cache
def _loaded():
    return tf.saved_model.load(saved_release().saved_model)


def _signature(name: str):
    return _loaded().signatures[name]


def _generate(prompts: list[bytes | str], max_new_tokens: int = 8, temperature: float = 0.0, seed: int = 0):
    outputs = _signature("generate")(
        prompt=tf.constant(prompts),
        max_new_tokens=tf.constant(max_new_tokens),
        temperature=tf.constant(temperature),
        top_k=tf.constant(0),
        seed=tf.constant(seed),
    )
    return outputs["text"].numpy().tolist()


def _examples(*columns: dict[str, list[str]]) -> tf.Tensor:
    return tf.constant([example(column) for column in columns])


def test_a_moved_model_needs_only_tensorflow(tmp_path: Path) -> None:
    moved = shutil.copytree(saved_release().saved_model, tmp_path / "elsewhere")
    command = [sys.executable, "-c", ONLY_TENSORFLOW, str(moved), json.dumps(PROMPTS)]
    run = subprocess.run(command, cwd=tmp_path, env={"PATH": ""}, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    texts = [bytes.fromhex(text) for text in json.loads(run.stdout.splitlines()[-1])]
    # The reference does not merge bytes, so it cannot continue "the th".
    assert texts[3] == reference_greedy("abc", 64)
    assert texts == _signature("serving_default")(prompt=tf.constant(PROMPTS))["text"].numpy().tolist()


def test_greedy_text_equals_greedy_search_without_a_cache() -> None:
    assert _generate(["", "abc", "x y z"], 12) == [reference_greedy(prompt, 12) for prompt in ("", "abc", "x y z")]


def test_a_continuation_does_not_depend_on_its_batch() -> None:
    together = _generate(PROMPTS, temperature=0.9, seed=5)
    assert together == [_generate([prompt], temperature=0.9, seed=5)[0] for prompt in PROMPTS]
    assert together != _generate(PROMPTS, temperature=0.9, seed=6)


def test_only_the_last_tokens_of_a_long_prompt_count() -> None:
    # In a context of 32 with 8 new tokens, 24 tokens of the prompt are kept. They do not include <|endoftext|>.
    assert _generate(["q" * 5 + "z" * 24, "z" * 24, "z" * 999]) == _generate(["z" * 24] * 3)
    assert _generate(["qz" + "z" * 22]) != _generate(["z" * 24])


@pytest.mark.parametrize("max_new_tokens", [0, -3])
def test_zero_or_fewer_new_tokens_give_an_empty_text(max_new_tokens: int) -> None:
    assert _generate(["abc"], max_new_tokens) == [b""]


def test_an_empty_batch_gives_no_texts() -> None:
    assert _generate(tf.zeros([0], tf.string)) == []


def test_evaluate_scores_the_texts_of_examples() -> None:
    outputs = _signature("evaluate")(examples=_examples({"text": ["abc"]}, {"text": [""]}, {"text": ["the " * 30]}))
    scorer = DocumentScorer(CachedGPT2(tiny_backbone()), end_of_text_id=258, sequence_length=16)
    a, the, space = ord("a") - ord("!"), 257, 220  # 188 visible bytes come first; the space is 33rd of the rest
    expected = scorer.score(tf.ragged.constant([[a, a + 1, a + 2], [], [the, space] * 30], tf.int64))
    assert outputs["num_tokens"].numpy().tolist() == expected.num_tokens.numpy().tolist() == [4, 1, 61]
    assert outputs["num_bytes"].numpy().tolist() == [3, 0, 120]
    assert outputs["num_correct"].numpy().tolist() == expected.num_correct.numpy().tolist()
    np.testing.assert_allclose(outputs["nll_sum"], expected.nll_sum, rtol=1e-6)


def _nll(token_ids: list[int], counted: list[int]) -> float:
    """Returns the loss of the counted targets in one window, in float64; the last target is <|endoftext|>."""
    targets = [*token_ids, 258]
    logits = reference_logits([258, *token_ids]).astype(np.float64)
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return float((-np.log(shares[np.arange(len(targets)), targets]) * [*counted, 1]).sum())


def test_a_model_of_instructions_scores_only_the_completions(tmp_path: Path) -> None:
    release = saved_release()
    folder = str(tmp_path / "model")
    saved_model.export_saved_model(
        tiny_backbone(), release.table, folder, data_kind="instruction", context_length=32, sequence_length=16
    )
    evaluate = tf.saved_model.load(folder).signatures["evaluate"]
    outputs = evaluate(
        examples=_examples(
            {"prompt": ["ab"], "completion": ["the"], "source": ["file"]},
            {"prompt": ["a", "b"], "completion": ["c", "da"], "source": ["file"]},
        )
    )
    a, the = ord("a") - ord("!"), 257
    single_turn = [a, a + 1, the], [0, 0, 1]
    two_turns = [a, a + 2, 258, a + 1, a + 3, a], [0, 1, 1, 0, 1, 1]
    np.testing.assert_allclose(outputs["nll_sum"], [_nll(*single_turn), _nll(*two_turns)], rtol=1e-6)
    assert outputs["num_tokens"].numpy().tolist() == [2, 5]
    with pytest.raises(tf.errors.InvalidArgumentError, match="needs a `completion` that is not empty"):
        evaluate(examples=_examples({"prompt": ["a"], "completion": [""]}))
