"""Corpus perplexity as a TFMA metric: token-weighted, never averaged over documents."""

from collections.abc import Iterable
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.metrics import metric_types, metric_util

NLL_KEY = "nll_sum"
TOKENS_KEY = "num_tokens"


class CorpusPerplexity(tfma.metrics.Metric):
    """exp(Σ negative log-likelihood / Σ tokens), the perplexity of language-model papers.

    The model's signature returns, a document, `nll_sum` (nats) and `num_tokens`. Beside the perplexity the metric
    gives `<name>_nats_per_token` and `<name>_tokens`. Without a token it is NaN, which fails any threshold.
    """

    def __init__(self, name: str = "perplexity"):
        super().__init__(metric_util.merge_per_key_computations(_computations), name=name)


def _computations(
    name: str, model_name: str = "", output_name: str = "", **_: Any
) -> list[metric_types.MetricComputation]:
    keys = [
        metric_types.MetricKey(name=key, model_name=model_name, output_name=output_name)
        for key in (name, f"{name}_nats_per_token", f"{name}_tokens")
    ]
    return [metric_types.MetricComputation(keys=keys, preprocessors=None, combiner=_SumAndDivide(keys, model_name))]


class _SumAndDivide(beam.CombineFn):
    """Sums nats and tokens in float64; divides once, at the end."""

    def __init__(self, keys: list[metric_types.MetricKey], model_name: str):
        self._keys = keys
        self._model_name = model_name

    def create_accumulator(self) -> tuple[float, float]:
        return 0.0, 0.0

    def add_input(
        self, accumulator: tuple[float, float], element: metric_types.StandardMetricInputs
    ) -> tuple[float, float]:
        # With a baseline the predictions are nested by model name, without one they are not.
        predictions = element.prediction.get(self._model_name, element.prediction)
        nats, tokens = accumulator
        return (
            nats + float(np.sum(predictions[NLL_KEY], dtype=np.float64)),
            tokens + float(np.sum(predictions[TOKENS_KEY], dtype=np.float64)),
        )

    def merge_accumulators(self, accumulators: Iterable[tuple[float, float]]) -> tuple[float, float]:
        nats, tokens = zip(*accumulators, strict=True)
        return sum(nats), sum(tokens)

    def extract_output(self, accumulator: tuple[float, float]) -> dict[metric_types.MetricKey, float]:
        nats, tokens = accumulator
        nats_per_token = nats / tokens if tokens else float("nan")
        return dict(zip(self._keys, (float(np.exp(nats_per_token)), nats_per_token, tokens), strict=True))


metric_types.register_metric(CorpusPerplexity)
