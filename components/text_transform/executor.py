"""Executor of TextTransform."""

from typing import Any

from tfx.components.transform import executor as transform_executor
from tfx.dsl.io import fileio
from tfx.types import artifact, artifact_utils

from modules import token_counts


class Executor(transform_executor.Executor):
    """Runs TFX's Transform, then counts the tokens of every split."""

    def Do(
        self,
        input_dict: dict[str, list[artifact.Artifact]],
        output_dict: dict[str, list[artifact.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Transforms; `tokens_<split>` become properties of the transformed examples."""
        super().Do(input_dict, output_dict, exec_properties)
        examples = artifact_utils.get_single_instance(output_dict["transformed_examples"])
        for split in artifact_utils.decode_split_names(examples.split_names):
            folder = artifact_utils.get_split_uri([examples], split)
            tokens = token_counts.count_tokens(fileio.glob(f"{folder}/*"))
            examples.set_int_custom_property(f"tokens_{split}", tokens)
