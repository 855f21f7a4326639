"""Artifact types that several components share."""

from tfx.types import artifact

# Inputs or outputs of a node by name, as TFX passes them to an executor or a resolver strategy.
Artifacts = dict[str, list[artifact.Artifact]]


class LengthCheck(artifact.Artifact):
    """Numbers of rows that are too long: `lengths.json`, and custom properties by `context_limit.count`."""

    TYPE_NAME = "tfx-gpt2.LengthCheck"  # Vertex requires a name space in custom types


class Report(artifact.Artifact):
    """Report of a run: a folder with `report.html` and `model_card.md`."""

    TYPE_NAME = "tfx-gpt2.Report"  # Vertex requires a name space in custom types
