"""Executor of RunReport."""

import json
from typing import Any

from etils import epath
from tfx.dsl.components.base import base_executor
from tfx.types import artifact, artifact_utils

from components.artifact_types import Artifacts
from components.integrity import checked
from components.mlmd_properties import plain_values
from modules.report import gathering, rendering
from modules.report.gathering import SourceArtifact

PAGE = "report.html"
CARD = "model_card.md"


class Executor(base_executor.BaseExecutor):
    """Executor that gathers the outputs of the nodes and renders them."""

    @checked
    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        """Writes the page and the model card.

        Raises:
            OSError: A file that the report shows is missing.
        """
        output = artifact_utils.get_single_instance(output_dict["report"])
        report = gathering.gather(
            # The resolver of the baseline returns an empty list if no model was blessed yet.
            {name: _source(artifacts[0]) for name, artifacts in input_dict.items() if artifacts},
            pipeline=self._context.pipeline_info.id,
            run=self._context.pipeline_run_id,
            configuration=json.loads(exec_properties["configuration"]),
        )
        folder = epath.Path(output.uri)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / PAGE).write_text(rendering.render_html(report), encoding="utf-8")
        (folder / CARD).write_text(rendering.render_markdown(report), encoding="utf-8")
        output.set_string_custom_property("verdict", report.verdict.sentence)
        output.set_int_custom_property("blessed", int(report.verdict.blessed))


def _source(found: artifact.Artifact) -> SourceArtifact:
    properties = plain_values(found.mlmd_artifact.custom_properties)
    return SourceArtifact(id=found.id, type=found.type_name, folder=epath.Path(found.uri), properties=properties)
