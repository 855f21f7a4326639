"""Executor of TextTransform."""

import io
import json
from collections.abc import Sequence
from typing import Any
from unittest import mock

import numpy as np
from tfx.components.transform import executor as transform_executor
from tfx.dsl.io import fileio
from tfx.types import artifact, artifact_utils, standard_component_specs
from tfx.utils import json_utils

from components.artifact_types import Artifacts
from components.integrity import checked
from components.mlmd_properties import set_warnings
from components.text_transform.processor import BatchedTransformProcessor
from modules.data.source_counts import TOKENS, count_of
from modules.tokenization import context_limit, packing_efficiency, token_counts, tokenizer_files
from modules.tokenization.vocabulary_files import find_table, read_table


class Executor(transform_executor.Executor):
    """Executor that runs TFX's Transform and then counts the tokens of every split."""

    @checked
    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        """Transforms the examples and writes counts as properties of the transformed examples.

        The properties are `tokens_<split>`, `loss_tokens_<split>` (not for plain text), and `packed_useful_share` of
        the train split, whose document lengths go to `token_lengths.json`; see `token_counts` and `packing_efficiency`.
        Preferences are not packed: they have no `packed_useful_share`, and only the tokens of prompts with their chosen
        answers are counted. `tokens_train_of_<source>` counts the tokens of each of several named sources. The lengths
        of rows of instructions and preferences go to `row_lengths_<split>.npy`, see `context_limit.RowLengths`; they do
        not depend on the model's context. `warnings` reports a vocabulary that is smaller than the settings ask for.
        """
        # TFX has no setting for this class.
        with mock.patch.object(transform_executor, "TransformProcessor", BatchedTransformProcessor):
            super().Do(input_dict, output_dict, exec_properties)
        graph = artifact_utils.get_single_instance(output_dict["transform_graph"])
        custom_config = json_utils.loads(exec_properties[standard_component_specs.CUSTOM_CONFIG_KEY])
        examples = artifact_utils.get_single_instance(output_dict["transformed_examples"])
        for split in artifact_utils.decode_split_names(examples.split_names):
            files = fileio.glob(f"{artifact_utils.get_split_uri([examples], split)}/*")
            is_text = custom_config["data_kind"] == "text"
            counts = token_counts.count_text_tokens(files) if is_text else token_counts.count_tokens(files)
            examples.set_int_custom_property(f"tokens_{split}", counts.tokens)
            if not is_text:
                examples.set_int_custom_property(f"loss_tokens_{split}", counts.loss_tokens)
                content = io.BytesIO()
                np.save(content, counts.rows.to_array())
                with fileio.open(f"{examples.uri}/{context_limit.lengths_file(split)}", "wb") as file:
                    file.write(content.getvalue())
            if split == "train":
                self._count_sources(examples, custom_config["sources"], is_text=is_text)
            if split == "train" and custom_config["data_kind"] != "preference":
                examples.set_float_custom_property(
                    "packed_useful_share", packing_efficiency.packed_useful_share(counts.lengths)
                )
                with fileio.open(f"{examples.uri}/{packing_efficiency.LENGTHS_FILE}", "w") as file:
                    file.write(json.dumps(counts.lengths))
        vocabulary = read_table(find_table(graph.uri))
        set_warnings(examples, tokenizer_files.vocabulary_warnings(custom_config["tokenizer"], vocabulary.size))

    def _count_sources(self, examples: artifact.Artifact, sources: Sequence[str], *, is_text: bool) -> None:
        """Sets the number of train tokens of each named source."""
        if not sources:
            return
        files = fileio.glob(f"{artifact_utils.get_split_uri([examples], 'train')}/*")
        for source, tokens in token_counts.count_tokens_by_source(files, sources, is_text=is_text).items():
            examples.set_int_custom_property(count_of(TOKENS, source), tokens)
