"""The measurement of a model on the eval split by TFMA: the metrics to compute, and the results as numbers."""

import hashlib
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import config_pb2

from modules.common.errors import InputError
from modules.data.examples import counted_bytes, has_weights, read_records
from modules.evaluation import language_model_metrics as metrics
from modules.evaluation.language_model_metrics import BASELINE, CANDIDATE
from modules.evaluation.results import Change, Figures, Interval, SliceResult

# The result for an eval split without documents.
_NOTHING = SliceResult(
    feature="",
    value="",
    documents=0,
    candidate=Figures(
        perplexity=math.nan,
        perplexity_interval=None,
        bits_per_byte=math.nan,
        bits_per_byte_interval=None,
        token_accuracy=math.nan,
        token_accuracy_interval=None,
        tokens=0,
        bytes=0,
    ),
    baseline=None,
    change=None,
)


def eval_config(*, strided: bool, slices: Sequence[str]) -> config_pb2.EvalConfig:
    """Returns TFMA's configuration. It has no thresholds: `modules.evaluation.perplexity_gate` applies the limits.

    Args:
        strided: True if windows overlap by half.
        slices: Names of features. Each of their values is a slice of the eval split.
    """
    signature = "evaluate_strided" if strided else "evaluate"
    metric = config_pb2.MetricConfig(
        class_name=metrics.LanguageModelMetrics.__name__, module=metrics.LanguageModelMetrics.__module__
    )
    return config_pb2.EvalConfig(
        model_specs=[
            config_pb2.ModelSpec(name=CANDIDATE, signature_name=signature),
            config_pb2.ModelSpec(name=BASELINE, signature_name=signature, is_baseline=True),
        ],
        slicing_specs=[config_pb2.SlicingSpec(), *(config_pb2.SlicingSpec(feature_keys=[name]) for name in slices)],
        metrics_specs=[config_pb2.MetricsSpec(metrics=[metric])],
    )


def read_slices(evaluation_dir: str) -> list[SliceResult]:
    """Reads TFMA's results: first the whole split, even if it is empty, then the slices by feature and value."""
    results = []
    for row in tfma.load_metrics(evaluation_dir):
        models: dict[str, dict[str, float]] = {CANDIDATE: {}, BASELINE: {}}
        for metric in row.metric_keys_and_values:
            if not metric.key.is_diff:
                models[metric.key.model_name or CANDIDATE][metric.key.name] = metric.value.double_value.value
        results.append(_slice_result(row.slice_key.single_slice_keys, models[CANDIDATE], models[BASELINE]))
    if not any(not result.feature for result in results):
        results.append(_NOTHING)
    return sorted(results, key=lambda result: (result.feature, _natural_order(result.value)))


def _natural_order(value: str) -> tuple[float, str]:
    """Returns a sort key that puts `64-127` before `1024-2047`, and numbers before names."""
    digits = re.match(r"\d+", value)
    return (float(digits[0]) if digits else math.inf, value)


def _slice_result(keys: Any, candidate: dict[str, float], baseline: dict[str, float]) -> SliceResult:
    return SliceResult(
        feature=keys[0].column if keys else "",
        value=_text(getattr(keys[0], keys[0].WhichOneof("kind"))) if keys else "",
        documents=round(candidate.get(metrics.DOCUMENTS, 0)),
        candidate=_figures(candidate),
        baseline=_figures(baseline) if baseline else None,
        change=Change(
            perplexity=candidate.get(metrics.CHANGE, math.nan),
            perplexity_interval=_interval(candidate, metrics.CHANGE),
        )
        if baseline
        else None,
    )


def _figures(values: dict[str, float]) -> Figures:
    measured: dict[str, Any] = {}
    for name in (metrics.PERPLEXITY, metrics.BITS_PER_BYTE, metrics.TOKEN_ACCURACY):
        # A figure that TFMA did not report becomes NaN, which passes no gate.
        measured |= {name: values.get(name, math.nan), f"{name}_interval": _interval(values, name)}
    tokens, size_bytes = values.get(metrics.TOKENS, 0), values.get(metrics.BYTES, 0)
    return Figures(**measured, tokens=round(tokens), bytes=round(size_bytes))


def _interval(values: dict[str, float], name: str) -> Interval | None:
    interval = (values.get(name + metrics.LOWER, math.nan), values.get(name + metrics.UPPER, math.nan))
    return None if any(map(math.isnan, interval)) else interval


def _text(value: bytes | int | float) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def examples_fingerprint(files: Iterable[str]) -> str:
    """Returns a hash (hexadecimal) of the examples in gzip TFRecord files, in any order and any number of files."""
    total = 0
    for record in read_records(sorted(files)):
        total += int.from_bytes(hashlib.sha256(record).digest(), "big")
    return f"{total % (1 << 256):064x}"


def check_baseline(saved_model_dir: str, files: Iterable[str], *, strided: bool) -> None:
    """Checks that the baseline can be measured on this eval split, by scoring one example.

    This is one with replies that do not count (`weight` 0), if the split has such a one: a model that an earlier
    version exported would score these replies as well.

    Raises:
        InputError: The baseline was trained on another kind of data, or exported by an earlier version.
    """
    cure = "Give the pipeline a new `name`, so that it starts without a baseline."
    signature = tf.saved_model.load(saved_model_dir).signatures.get("evaluate_strided" if strided else "evaluate")
    figures = {metrics.NLL_SUM, metrics.NUM_TOKENS, metrics.NUM_CORRECT, metrics.NUM_BYTES}
    if signature is None or not figures <= set(signature.structured_outputs):
        raise InputError(
            "for a comparison, the latest blessed model must return nats, tokens, correct tokens and bytes of a "
            f"document. Received: a model of an earlier version, {saved_model_dir}. {cure}"
        )
    for record in _example_to_score(read_records(sorted(files))):
        try:
            scores = signature(examples=tf.constant([record]))
        except tf.errors.InvalidArgumentError as error:
            raise InputError(
                "the latest blessed model cannot score the eval data, because it was trained on another `data.kind`. "
                f"{cure} Received: {error.message.splitlines()[0]}"
            ) from error
        if has_weights(record) and int(scores[metrics.NUM_BYTES][0]) != counted_bytes(record):
            raise InputError(
                "for a comparison, the latest blessed model must leave out replies of `weight` 0. Received: a model of "
                f"an earlier version, {saved_model_dir}, which scores all replies. {cure}"
            )


def _example_to_score(records: Iterable[bytes]) -> list[bytes]:
    """Returns the first example with a reply that does not count, or else the first; none if there are none."""
    first: list[bytes] = []
    for record in records:
        if has_weights(record):
            return [record]
        first = first or [record]
    return first
