"""Properties of ML Metadata as plain values."""

import math
from collections.abc import Mapping
from typing import Any

# On a DataBlessing: the id of the ExampleStatistics that passed, and the contract's file that they met.
STATISTICS_ID = "statistics_id"
CONTRACT = "contract"

_BOOKKEEPING = {"name", "tfx_version", "state", "producer_component", "is_external"}
_PLAIN = ("int_value", "double_value", "string_value")


def set_finite(artifact: Any, figures: Mapping[str, float]) -> None:
    """Sets custom properties of a TFX artifact; ML Metadata cannot hold NaN and infinity, so those are left out."""
    for name, value in figures.items():
        if math.isfinite(value):
            artifact.set_float_custom_property(name, value)


def plain_values(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers and strings among the properties (`ml_metadata.proto.Value` by name), without TFX's own bookkeeping."""
    return {
        name: getattr(value, value.WhichOneof("value"))
        for name, value in sorted(properties.items())
        if name not in _BOOKKEEPING and value.WhichOneof("value") in _PLAIN
    }
