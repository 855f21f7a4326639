"""Executor of TextTransform."""

from typing import Any

from tfx.components.transform import executor as transform_executor
from tfx.dsl.io import fileio
from tfx.types import artifact, artifact_utils, standard_component_specs
from tfx.utils import json_utils

from modules import token_counts


class Executor(transform_executor.Executor):
    """Runs TFX's Transform, then counts the tokens of every split.

    Transform's `custom_config` also holds `sequence_length`, the tokens of a training window.
    """

    def Do(
        self,
        input_dict: dict[str, list[artifact.Artifact]],
        output_dict: dict[str, list[artifact.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Transforms, and writes counts as properties of the transformed examples.

        They are `tokens_<split>`, for instructions `loss_tokens_<split>`, and of the train split
        `packed_useful_share` and `unpacked_useful_share`; see `token_counts.TokenCounts`.
        """
        super().Do(input_dict, output_dict, exec_properties)
        custom_config = json_utils.loads(exec_properties[standard_component_specs.CUSTOM_CONFIG_KEY])
        examples = artifact_utils.get_single_instance(output_dict["transformed_examples"])
        for split in artifact_utils.decode_split_names(examples.split_names):
            files = fileio.glob(f"{artifact_utils.get_split_uri([examples], split)}/*")
            counts = token_counts.count_tokens(files, sequence_length=custom_config["sequence_length"])
            examples.set_int_custom_property(f"tokens_{split}", counts.tokens)
            if custom_config["data_kind"] == "instruction":
                examples.set_int_custom_property(f"loss_tokens_{split}", counts.loss_tokens)
            if split == "train":
                examples.set_float_custom_property("packed_useful_share", counts.packed_useful_share)
                examples.set_float_custom_property("unpacked_useful_share", counts.unpacked_useful_share)
