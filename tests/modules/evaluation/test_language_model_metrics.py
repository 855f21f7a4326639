import math

import numpy as np
import pytest
from tensorflow_model_analysis.metrics import metric_types

from modules.evaluation.language_model_metrics import LanguageModelMetrics


def computed(predictions: list[dict], model_name: str = "") -> dict[str, float]:
    """Runs the metric's combiner over two shards, like Beam."""
    (computation,) = LanguageModelMetrics().computations(model_names=[model_name])
    combiner = computation.combiner
    shards = []
    for shard in (predictions[::2], predictions[1::2]):
        accumulator = combiner.create_accumulator()
        for prediction in shard:
            inputs = metric_types.StandardMetricInputs(label=None, prediction=prediction, example_weight=None)
            accumulator = combiner.add_input(accumulator, inputs)
        shards.append(accumulator)
    output = combiner.extract_output(combiner.merge_accumulators(shards))
    assert list(output) == computation.keys
    return {key.name: value for key, value in output.items()}


def scored(nll_sum: float, num_tokens: int, num_correct: int = 0, num_bytes: int = 1) -> dict[str, np.ndarray]:
    figures = {"nll_sum": nll_sum, "num_tokens": num_tokens, "num_correct": num_correct, "num_bytes": num_bytes}
    return {name: np.array([value]) for name, value in figures.items()}


def test_long_documents_weigh_more_than_short_ones() -> None:
    # 9 tokens at 1 nat each and 1 token at 6 nats: (9 + 6) / 10 = 1.5 nats per token, not (1 + 6) / 2.
    figures = computed([scored(9.0, 9, num_correct=3, num_bytes=36), scored(6.0, 1, num_correct=1, num_bytes=4)])
    assert figures["perplexity"] == pytest.approx(math.exp(1.5))
    assert figures["bits_per_byte"] == pytest.approx(15 / math.log(2) / 40)
    assert figures["token_accuracy"] == 0.4
    assert [figures[name] for name in ("documents", "tokens", "bytes")] == [2, 10, 40]
    assert figures["perplexity_lower"] < figures["perplexity"] < figures["perplexity_upper"]


def test_predictions_that_are_nested_by_model_are_read() -> None:
    nested = [{"candidate": scored(2.0, 2), "baseline": scored(6.0, 2)}]
    assert computed(nested, "candidate")["perplexity"] == pytest.approx(math.e)
    assert computed(nested, "baseline")["perplexity"] == pytest.approx(math.exp(3))
    assert "perplexity_change" not in computed(nested, "baseline")


def test_with_the_same_tokenizer_the_change_is_that_of_the_perplexities() -> None:
    nested = [
        {"candidate": scored(2.0, 2), "baseline": scored(3.0, 2)},
        {"candidate": scored(9.0, 4), "baseline": scored(9.3, 4)},
    ]
    candidate, baseline = computed(nested, "candidate"), computed(nested, "baseline")
    assert candidate["perplexity_change"] == pytest.approx(candidate["perplexity"] / baseline["perplexity"] - 1)
    # Both documents became better, so the change is negative.
    assert candidate["perplexity_change_lower"] < candidate["perplexity_change"] < 0


def test_with_another_tokenizer_the_change_is_that_of_the_bits_per_byte() -> None:
    # The baseline has the same nats in half as many, longer tokens. Its perplexity is higher, but it is not worse.
    nested = [
        {"candidate": scored(4.0, 4, num_bytes=8), "baseline": scored(4.0, 2, num_bytes=8)},
        {"candidate": scored(5.0, 4, num_bytes=8), "baseline": scored(5.0, 2, num_bytes=8)},
    ]
    candidate, baseline = computed(nested, "candidate"), computed(nested, "baseline")
    assert candidate["perplexity"] < baseline["perplexity"]
    assert candidate["bits_per_byte"] == baseline["bits_per_byte"]
    assert candidate["perplexity_change"] == 0.0

    # One nat more for the baseline's 4 tokens is the same change as with the baseline's own tokenizer.
    nested[0]["candidate"] = scored(5.0, 4, num_bytes=8)
    assert computed(nested, "candidate")["perplexity_change"] == pytest.approx(math.expm1(1 / 4))


@pytest.mark.parametrize("predictions", [[], [scored(0.0, 0)], [scored(math.nan, 3)], [scored(math.inf, 3)]])
def test_a_perplexity_without_tokens_or_with_bad_scores_is_not_finite(predictions: list[dict]) -> None:
    assert not math.isfinite(computed(predictions)["perplexity"])
