"""Artifact types of the project's own that several components share."""

from tfx.types import artifact


class Report(artifact.Artifact):
    """What a run's figures look like to a reader: a folder with `report.html` and `model_card.md`."""

    TYPE_NAME = "tfx-gpt2.Report"  # Vertex asks custom types for a name space
