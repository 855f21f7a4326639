"""Executor of LengthGate."""

import io
from typing import Any

import numpy as np
from tfx.dsl.components.base import base_executor
from tfx.dsl.io import fileio
from tfx.types import artifact, artifact_utils

from components.artifact_types import Artifacts
from components.integrity import checked
from modules.common.json_files import write_json
from modules.tokenization import context_limit
from modules.tokenization.context_limit import RowLengths

LENGTHS_FILE = "lengths.json"


class Executor(base_executor.BaseExecutor):
    """Executor that reads the lengths of the rows which Transform wrote, and fails if too many are too long."""

    @checked
    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        """Counts the rows of the splits that a training run reads.

        Raises:
            InputError: See `context_limit.check`.
        """
        examples = artifact_utils.get_single_instance(input_dict["transformed_examples"])
        context_length = exec_properties["context_length"]
        too_long = exec_properties["too_long"] or None
        lengths = {split: _read(examples, split) for split in context_limit.SPLITS}
        context_limit.check(
            lengths,
            context_length=context_length,
            too_long=too_long,
            largest_context=exec_properties["largest_context"],
        )
        counts = context_limit.count(
            RowLengths.joined(list(lengths.values())),
            context_length=context_length,
            truncate=too_long == "truncate",
        )
        output = artifact_utils.get_single_instance(output_dict["length_check"])
        for name, number in counts.items():
            output.set_int_custom_property(name, number)
        longest = max(int(rows.longest.max(initial=0)) for rows in lengths.values())
        output.set_int_custom_property("longest_row", longest)
        write_json(output.uri, LENGTHS_FILE, {**counts, "longest_row": longest})


def _read(examples: artifact.Artifact, split: str) -> RowLengths:
    with fileio.open(f"{examples.uri}/{context_limit.lengths_file(split)}", "rb") as file:
        return RowLengths.from_array(np.load(io.BytesIO(file.read()), allow_pickle=False))
