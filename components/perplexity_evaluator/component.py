"""PerplexityEvaluator: TFX's Evaluator whose artifacts carry the measured values."""

from tfx.components import Evaluator
from tfx.dsl.components.base import executor_spec

from components.perplexity_evaluator import executor


class PerplexityEvaluator(Evaluator):
    """The stock Evaluator; only its executor also writes perplexities to the artifact's properties."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)
