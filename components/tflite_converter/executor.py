"""Executor of TFLiteConverter."""

import json
import os
import tempfile
from typing import Any

from tfx.dsl.components.base import base_executor
from tfx.types import artifact, artifact_utils
from tfx.utils import path_utils

from components.artifact_types import Artifacts
from components.integrity import checked
from modules.common import progress
from modules.common.files import file_facts
from modules.export import tflite_conversion
from modules.export.tflite_files import TFLITE_FILES, model_file
from modules.export.tflite_metadata import ModelCard
from modules.tokenization.vocabulary_files import TABLE_NAME, read_table, write_tokenizer_folder


class Executor(base_executor.BaseExecutor):
    """Executor that converts the model in a separate process and records facts about the files."""

    @checked
    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        """Converts `model` to `model_fp16` and `model_int8`.

        Raises:
            ConversionError: The conversion process failed.
        """
        model = artifact_utils.get_single_instance(input_dict["model"])
        outputs = {file.precision: artifact_utils.get_single_instance(output_dict[file.key]) for file in TFLITE_FILES}
        paths = {precision: model_file(output.uri) for precision, output in outputs.items()}
        progress.report("TFLiteConverter", done=0, total=len(paths), unit="files")
        with tempfile.TemporaryDirectory() as folder:
            table = os.path.join(path_utils.serving_model_path(model.uri), "assets", TABLE_NAME)
            write_tokenizer_folder(read_table(table), folder)
            conversion = tflite_conversion.convert_all(
                os.path.join(model.uri, "preset"),
                paths,
                context_length=exec_properties["context_length"],
                prefill_lengths=json.loads(exec_properties["prefill_lengths"]),
                card=_card(model, os.path.join(folder, "tokenizer.json")),
            )
        for precision, output in outputs.items():
            facts = file_facts(paths[precision])
            output.set_string_custom_property("precision", precision)
            output.set_string_custom_property("sha256", facts["sha256"])
            output.set_int_custom_property("size_bytes", facts["size_bytes"])
            output.set_int_custom_property("metadata_embedded", int(conversion.metadata_embedded))
        progress.report(
            "TFLiteConverter",
            done=len(paths),
            total=len(paths),
            unit="files",
            metadata="embedded" if conversion.metadata_embedded else "not embedded: tflite-support is missing",
            seconds=conversion.seconds,
        )


def _card(model: artifact.Artifact, tokenizer_json: str) -> ModelCard:
    return ModelCard(
        name="GPT-2",
        description=(
            "Continues text: a GPT-2 with a key/value cache, byte-level BPE. Signatures decode and prefill_<N>; "
            "the vocabulary, tokenizer.json, is appended as a ZIP archive."
        ),
        # The id of the model in ML Metadata leads from a file back to its training run.
        version=f"model artifact {model.id}",
        associated_files=(tokenizer_json,),
    )
