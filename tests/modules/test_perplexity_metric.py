import math

import numpy as np
import pytest
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.metrics import metric_types

from modules.evaluation import eval_config
from modules.perplexity_metric import CorpusPerplexity


def computed(predictions: list[dict], model_name: str = "") -> dict[str, float]:
    """Runs the metric's combiner over two shards, as Beam does."""
    (computation,) = CorpusPerplexity().computations(model_names=[model_name])
    combiner = computation.combiner
    shards = []
    for shard in (predictions[::2], predictions[1::2]):
        accumulator = combiner.create_accumulator()
        for prediction in shard:
            inputs = metric_types.StandardMetricInputs(label=None, prediction=prediction, example_weight=None)
            accumulator = combiner.add_input(accumulator, inputs)
        shards.append(accumulator)
    return {key.name: value for key, value in combiner.extract_output(combiner.merge_accumulators(shards)).items()}


def scored(nll_sum: float, num_tokens: int) -> dict[str, np.ndarray]:
    return {"nll_sum": np.array([nll_sum]), "num_tokens": np.array([num_tokens])}


def test_long_documents_weigh_more_than_short_ones() -> None:
    # 9 tokens at 1 nat each and 1 token at 6 nats: (9 + 6) / 10 = 1.5 nats a token, not (1 + 6) / 2.
    figures = computed([scored(9.0, 9), scored(6.0, 1)])
    assert figures == {
        "perplexity": pytest.approx(math.exp(1.5)),
        "perplexity_nats_per_token": 1.5,
        "perplexity_tokens": 10.0,
    }


def test_a_baseline_nests_the_predictions_by_model() -> None:
    nested = [{"candidate": scored(2.0, 2), "baseline": scored(6.0, 2)}]
    assert computed(nested, "candidate")["perplexity_nats_per_token"] == 1.0
    assert computed(nested, "baseline")["perplexity_nats_per_token"] == 3.0


@pytest.mark.parametrize("predictions", [[], [scored(0.0, 0)], [scored(math.nan, 3)], [scored(math.inf, 3)]])
def test_what_is_no_number_cannot_pass_the_gate(predictions: list[dict]) -> None:
    perplexity = computed(predictions)["perplexity"]
    assert not perplexity <= 1e300
    validated = tfma.evaluators.metrics_validator.validate_metrics(
        ((), {metric_types.MetricKey(name="perplexity", model_name="candidate"): perplexity}),
        tfma.utils.update_eval_config_with_defaults(
            eval_config(max_perplexity=1e9, max_regression=0.0), has_baseline=False, rubber_stamp=True
        ),
    )
    assert not validated.validation_ok
