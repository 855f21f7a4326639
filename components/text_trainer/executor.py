"""Executor of TextTrainer."""

from typing import Any

from tfx.components.trainer import executor as trainer
from tfx.types import artifact, artifact_utils

from components.artifact_types import Artifacts
from components.integrity import checked
from components.mlmd_properties import set_warnings
from modules.data.source_counts import TIMES_READ, TOKENS_READ, UNREAD, count_of
from modules.training.record import TrainingRecord


class Executor(trainer.GenericExecutor):
    """Executor of Trainer, which also records what the training run left out, and its use of each source."""

    @checked
    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        """Trains, and sets properties of the ModelRun.

        They are `unused_tokens` and `changed_rows_split_over_windows`, see `stored_rows.TrainingData`,
        `changed_prompts_of_samples_cut`, and for each weighted source those of `_record_sources`. A number that is not
        known is left out. `warnings` are those of `training.json`.
        """
        super().Do(input_dict, output_dict, exec_properties)
        model_run = artifact_utils.get_single_instance(output_dict["model_run"])
        record = TrainingRecord.read(model_run.uri)
        for name, number in (
            ("unused_tokens", record.unused_tokens),
            ("changed_rows_split_over_windows", record.split_rows),
            ("changed_prompts_of_samples_cut", sum(sample.left_out > 0 for sample in record.samples)),
        ):
            if number is not None:
                model_run.set_int_custom_property(name, number)
        _record_sources(model_run, record)
        set_warnings(model_run, record.warnings)


def _record_sources(model_run: artifact.Artifact, record: TrainingRecord) -> None:
    """Sets `tokens_read_of_<source>`, `times_read_of_<source>` and `unread_tokens_of_<source>` of a ModelRun."""
    for source in record.sources:
        model_run.set_int_custom_property(count_of(TOKENS_READ, source.name), source.drawn_tokens)
        model_run.set_float_custom_property(count_of(TIMES_READ, source.name), source.times_read)
        model_run.set_int_custom_property(count_of(UNREAD, source.name), source.unread_tokens)
