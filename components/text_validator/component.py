"""TextValidator: TFX's ExampleValidator, which also compares with the statistics of the last run."""

from tfx.components import ExampleValidator
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import channel, component_spec, standard_artifacts
from tfx.types.standard_component_specs import ExampleValidatorSpec

from components.text_validator import executor


class TextValidatorSpec(ExampleValidatorSpec):
    """Interface of TextValidator."""

    INPUTS = {
        **ExampleValidatorSpec.INPUTS,
        "previous_statistics": component_spec.ChannelParameter(
            type=standard_artifacts.ExampleStatistics, optional=True
        ),
    }


class TextValidator(ExampleValidator):
    """Validator of statistics by a contract, including the contract's comparators for drift and skew.

    A feature's `drift_comparator` compares each split with the same split of the last run; its `skew_comparator`
    compares the train split with the eval split. The first run has no drift, because there is no earlier run. Splits of
    fewer than 100 examples are not used for comparisons.
    """

    SPEC_CLASS = TextValidatorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        *,
        statistics: channel.BaseChannel,
        schema: channel.BaseChannel,
        previous_statistics: channel.BaseChannel | None = None,
    ):
        """Wires the component with StatisticsGen's statistics, the contract, and the statistics to compare with."""
        spec = TextValidatorSpec(
            statistics=statistics,
            schema=schema,
            previous_statistics=previous_statistics,
            exclude_splits="[]",
            anomalies=channel.Channel(type=standard_artifacts.ExampleAnomalies),
        )
        base_component.BaseComponent.__init__(self, spec=spec)
