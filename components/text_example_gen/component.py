"""TextExampleGen: documents from files or TFDS as tf.Examples, without duplicates, split by content."""

import json
from typing import Any, ClassVar

from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

from components.text_example_gen import executor
from modules.cleaning.buckets import checked_weights
from modules.cleaning.filters import CleaningSettings
from modules.data.source import Corpus


class TextExampleGenSpec(component_spec.ComponentSpec):
    """Interface of TextExampleGen."""

    INPUTS: ClassVar[dict[str, Any]] = {}
    OUTPUTS = {"examples": component_spec.ChannelParameter(type=standard_artifacts.Examples)}
    PARAMETERS = {
        "source": component_spec.ExecutionParameter(type=str),
        "cleaning": component_spec.ExecutionParameter(type=str),
        "splits": component_spec.ExecutionParameter(type=str),
        "input_fingerprint": component_spec.ExecutionParameter(type=str),
        "data_directory": component_spec.ExecutionParameter(type=str),
    }


class TextExampleGen(base_beam_component.BaseBeamComponent):
    """Generator that reads and cleans documents and splits them by the hash of their text.

    Example:
        >>> from tfx.components import StatisticsGen
        >>> from modules.data.source import DataSource
        >>> example_gen = TextExampleGen(
        ...     source=Corpus(sources=(DataSource.from_string("poems/*.txt"),)).model_dump_json(),
        ...     splits='{"train": 18, "eval": 1, "test": 1}',
        ...     input_fingerprint="1f1f",  # corpus.corpus_fingerprint(sources)
        ...     data_directory="workspace/tfds",
        ... )
        >>> statistics_gen = StatisticsGen(examples=example_gen.outputs["examples"])
        >>> statistics_gen.outputs["statistics"].type_name
        'ExampleStatistics'
    """

    SPEC_CLASS = TextExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(
        self,
        *,
        source: str,
        cleaning: str = "{}",
        splits: str,
        input_fingerprint: str,
        data_directory: str,
    ):
        """Checks the wiring; nothing is read yet.

        Args:
            source: JSON of a `source.Corpus`.
            cleaning: JSON of a `filters.CleaningSettings`.
            splits: JSON of each split's weight, `{"train": 18, "eval": 1, "test": 1}`, for the documents whose split
                neither their source nor a column gives.
            input_fingerprint: `corpus.corpus_fingerprint` of the sources; part of TFX's cache key, and a property of
                the output.
            data_directory: Folder in which TFDS prepares data sets.

        Raises:
            ValueError: `source`, `cleaning` or `splits` is not valid.
        """
        Corpus.model_validate_json(source)
        CleaningSettings.model_validate_json(cleaning)
        checked_weights(json.loads(splits))
        super().__init__(
            TextExampleGenSpec(
                source=source,
                cleaning=cleaning,
                splits=splits,
                input_fingerprint=input_fingerprint,
                data_directory=data_directory,
                examples=channel.Channel(type=standard_artifacts.Examples),
            )
        )
