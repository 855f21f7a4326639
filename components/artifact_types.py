"""Artifact types that several components share."""

from tfx.types import artifact

# The inputs or outputs of a node by their names, as TFX passes them to an executor or a resolver's strategy.
Artifacts = dict[str, list[artifact.Artifact]]


class Report(artifact.Artifact):
    """Report of a run: a folder with `report.html` and `model_card.md`."""

    TYPE_NAME = "tfx-gpt2.Report"  # Vertex asks custom types for a name space
