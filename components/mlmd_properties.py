"""Properties of ML Metadata as plain values."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

# Properties of a DataBlessing: the id of the ExampleStatistics that passed, and the file of the contract.
STATISTICS_ID = "statistics_id"
CONTRACT = "contract"
# Property of any artifact: what people should know about it, one line each. The summary and the report show them.
WARNINGS = "warnings"
# Properties of `components.integrity`: the SHA-256 of every file of an artifact, and of what an evaluation measured.
WRITTEN_FILES = "written_files"
MEASURED_FILES = "measured_files"

_BOOKKEEPING = {"name", "tfx_version", "state", "producer_component", "is_external", WRITTEN_FILES, MEASURED_FILES}
_PLAIN = ("int_value", "double_value", "string_value")


def set_finite(artifact: Any, figures: Mapping[str, float]) -> None:
    """Sets custom properties of a TFX artifact, without NaN and infinity, which ML Metadata cannot store."""
    for name, value in figures.items():
        if math.isfinite(value):
            artifact.set_float_custom_property(name, value)


def set_warnings(artifact: Any, lines: Sequence[str]) -> None:
    """Sets the warnings that the summary and the report show about a TFX artifact; each is one line."""
    if lines:
        artifact.set_string_custom_property(WARNINGS, "\n".join(lines))


def plain_values(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Returns numbers and strings of properties (`ml_metadata.proto.Value` by name), without bookkeeping and hashes."""
    return {
        name: getattr(value, value.WhichOneof("value"))
        for name, value in sorted(properties.items())
        if name not in _BOOKKEEPING and value.WhichOneof("value") in _PLAIN
    }
