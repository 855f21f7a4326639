"""Perplexity, bits per byte and token accuracy as a TFMA metric: weighted by tokens, never averaged over documents."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.metrics import metric_types, metric_util

from modules.evaluation.confidence_intervals import Interval, RatioSums

CANDIDATE = "candidate"
BASELINE = "baseline"
# The outputs of a model's scoring signature, `[documents]` each: see `modules.export.text_model`.
NLL_SUM, NUM_TOKENS, NUM_CORRECT, NUM_BYTES = "nll_sum", "num_tokens", "num_correct", "num_bytes"
PERPLEXITY, BITS_PER_BYTE, TOKEN_ACCURACY = "perplexity", "bits_per_byte", "token_accuracy"
CHANGE = "perplexity_change"
LOWER, UPPER = "_lower", "_upper"
DOCUMENTS, TOKENS, BYTES = "documents", "tokens", "bytes"

# For each measure the two sums, and the function that turns their ratio into the reported figure. All these functions
# increase, so they also map the ends of an interval to the ends of an interval.
_MEASURES: dict[str, tuple[str, str, Callable[[float], float]]] = {
    PERPLEXITY: (NLL_SUM, NUM_TOKENS, lambda nats_per_token: float(np.exp(nats_per_token))),
    BITS_PER_BYTE: (NLL_SUM, NUM_BYTES, lambda nats_per_byte: nats_per_byte / math.log(2)),
    TOKEN_ACCURACY: (NUM_CORRECT, NUM_TOKENS, float),
}


class LanguageModelMetrics(tfma.metrics.Metric):
    """The figures of a language model on documents, each with its 95% interval (`_lower`, `_upper`).

    `perplexity`: exp(Σ nats / Σ tokens), as in papers on language models. `bits_per_byte`: Σ nats / ln 2 / Σ bytes,
    which can be compared between tokenizers. `token_accuracy`: share of tokens to which the model gave the highest
    probability. There are also `documents`, `tokens` and `bytes`, without intervals.

    A candidate with a baseline also has `perplexity_change`: exp((Σ candidate's nats - Σ baseline's nats) / Σ
    baseline's tokens) - 1. With the same tokenizer, this is the relative change in perplexity. With another tokenizer,
    it is the change in bits per byte, expressed as perplexity per token of the baseline. So a limit of 0.02 is as
    strict as before the tokenizer changed. Its interval comes from pairs: both models on the same document.

    Without tokens, all measures are NaN, which passes no gate.
    """

    def __init__(self, name: str = "language_model"):
        super().__init__(metric_util.merge_per_key_computations(_computations), name=name)


def _computations(name: str, model_name: str = "", **_: Any) -> list[metric_types.MetricComputation]:
    combiner = _Combiner(model_name)
    return [metric_types.MetricComputation(keys=combiner.keys, preprocessors=None, combiner=combiner)]


_Sums = dict[str, RatioSums]


class _Combiner(beam.CombineFn):
    """A sum over documents in float64; it is divided only once, at the end."""

    def __init__(self, model_name: str):
        self._model_name = model_name
        measures = [*_MEASURES, CHANGE] if model_name != BASELINE else list(_MEASURES)
        names = [measure + end for measure in measures for end in ("", LOWER, UPPER)]
        self.keys = [self._key(name) for name in (*names, DOCUMENTS, TOKENS, BYTES)]

    def _key(self, name: str) -> metric_types.MetricKey:
        return metric_types.MetricKey(name=name, model_name=self._model_name)

    def create_accumulator(self) -> _Sums:
        return {}

    def add_input(self, accumulator: _Sums, element: metric_types.StandardMetricInputs) -> _Sums:
        # The predictions are nested by model name only if there is a baseline.
        own = element.prediction.get(self._model_name, element.prediction)
        baseline = element.prediction.get(BASELINE) if self._model_name == CANDIDATE else None
        return self.merge_accumulators([accumulator, _document(own, baseline)])

    def merge_accumulators(self, accumulators: Iterable[_Sums]) -> _Sums:
        merged: _Sums = {}
        for accumulator in accumulators:
            for measure, sums in accumulator.items():
                merged[measure] = merged[measure].plus(sums) if measure in merged else sums
        return merged

    def extract_output(self, accumulator: _Sums) -> dict[metric_types.MetricKey, float]:
        nothing = RatioSums()
        figures: dict[str, float] = {}
        for measure, (_, _, transform) in _MEASURES.items():
            figures |= _reported(measure, accumulator.get(measure, nothing).estimate(), transform)
        if self._model_name != BASELINE:
            figures |= _reported(CHANGE, accumulator.get(CHANGE, nothing).estimate(), np.expm1)
        per_token, per_byte = accumulator.get(PERPLEXITY, nothing), accumulator.get(BITS_PER_BYTE, nothing)
        figures |= {DOCUMENTS: float(per_token.documents), TOKENS: per_token.t, BYTES: per_byte.t}
        return {self._key(name): value for name, value in figures.items()}


def _document(own: Mapping[str, np.ndarray], baseline: Mapping[str, np.ndarray] | None) -> _Sums:
    sums = {measure: RatioSums.of(_value(own[x]), _value(own[t])) for measure, (x, t, _) in _MEASURES.items()}
    if baseline is not None:
        nats = _value(own[NLL_SUM]) - _value(baseline[NLL_SUM])
        sums[CHANGE] = RatioSums.of(nats, _value(baseline[NUM_TOKENS]))
    return sums


def _value(figure: np.ndarray) -> float:
    return float(np.sum(figure, dtype=np.float64))


def _reported(measure: str, estimate: Interval, transform: Callable[[float], float]) -> dict[str, float]:
    with np.errstate(over="ignore"):  # exp may overflow: report infinity
        values = [float(transform(value)) for value in estimate]
    return dict(zip((measure, measure + LOWER, measure + UPPER), values, strict=True))


metric_types.register_metric(LanguageModelMetrics)
