"""The perplexity gate as a TFMA configuration, and its results as numbers."""

import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import config_pb2

from modules.perplexity_metric import CorpusPerplexity

CANDIDATE = "candidate"
BASELINE = "baseline"
PERPLEXITY = "perplexity"


def eval_config(*, max_perplexity: float, max_regression: float) -> config_pb2.EvalConfig:
    """Two thresholds on the corpus perplexity of the overall slice.

    Args:
        max_perplexity: Upper bound of the candidate's perplexity.
        max_regression: Relative rise allowed against the baseline on the same data; ignored without a baseline.
    """
    threshold = config_pb2.MetricThreshold(
        value_threshold=config_pb2.GenericValueThreshold(upper_bound={"value": max_perplexity}),
        change_threshold=config_pb2.GenericChangeThreshold(
            direction=config_pb2.MetricDirection.LOWER_IS_BETTER, relative={"value": max_regression}
        ),
    )
    metric = config_pb2.MetricConfig(
        class_name=CorpusPerplexity.__name__,
        module=CorpusPerplexity.__module__,
        config=f'{{"name": "{PERPLEXITY}"}}',
        per_slice_thresholds=[
            config_pb2.PerSliceMetricThreshold(slicing_specs=[config_pb2.SlicingSpec()], threshold=threshold)
        ],
    )
    return config_pb2.EvalConfig(
        model_specs=[
            config_pb2.ModelSpec(name=CANDIDATE, signature_name="evaluate"),
            config_pb2.ModelSpec(name=BASELINE, signature_name="evaluate", is_baseline=True),
        ],
        slicing_specs=[config_pb2.SlicingSpec()],
        metrics_specs=[config_pb2.MetricsSpec(metrics=[metric])],
    )


def read_metrics(evaluation_dir: str) -> dict[str, float]:
    """Overall figures of an evaluation.

    Args:
        evaluation_dir: Output folder of TFMA.

    Returns:
        `perplexity`, `perplexity_nats_per_token`, `perplexity_tokens`, and the same of the latest blessed model
        with the prefix `baseline_` where there was one. The differences between them are left out.
    """
    overall = next(row for row in tfma.load_metrics(evaluation_dir) if not row.slice_key.single_slice_keys)
    figures = {}
    for metric in overall.metric_keys_and_values:
        if metric.key.is_diff:
            continue
        prefix = "baseline_" if metric.key.model_name == BASELINE else ""
        figures[prefix + metric.key.name] = metric.value.double_value.value
    return figures
