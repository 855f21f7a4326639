"""Comparison of two runs: differences in data, settings, code, results and time."""

import dataclasses
import math
import os
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table

from modules.common.formatting import duration
from modules.common.visible_text import visible
from pipeline.console.terminal import Text
from pipeline.metadata.reader import Execution, Run
from pipeline.nodes import NODES

_RESOLVER = "tfx.dsl.components.common.resolver.Resolver"
# Properties that TFX itself writes to examples and statistics.
_TFX_PROPERTIES = {"file_format", "payload_format", "span", "split_names", "stats_dashboard_link", "version"}
_DATA_NODES = NODES[: NODES.index("WarmStartModel")]

# Settings that name the text; the files of `data.splits` are among the other settings.
_TEXT = ("data.source", "data.sources")

# With this width a table with the longest setting name and two values fits 80 columns.
_VALUE_WIDTH = 18
_ABSENT = "-"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Changes:
    """Differences between two runs' values, and how many values are the same.

    Attributes:
        differing: Both runs' values by name; None if a run does not have the value.
        unchanged: Number of names with the same value in both.
    """

    differing: Mapping[str, tuple[Any, Any]]
    unchanged: int


def changes(left: Mapping[str, Any], right: Mapping[str, Any]) -> Changes:
    """Compares two runs' values by name.

    ```
    left  = {"steps": 10, "seed": 0}
    right = {"steps": 20, "seed": 0, "epochs": 1}    differing = {"steps": (10, 20), "epochs": (None, 1)}, unchanged = 1
    ```
    """
    pairs = {name: (left.get(name), right.get(name)) for name in [*left, *right]}
    differing = {name: pair for name, pair in pairs.items() if not _same(*pair)}
    return Changes(differing=differing, unchanged=len(pairs) - len(differing))


def comparison(left: Run, right: Run) -> RenderableType:
    """Draws the comparison as tables that fit 80 columns."""
    data = [_source(run) | _measured(run, _DATA_NODES) for run in (left, right)]
    rest = [node for node in _nodes(left, right) if node not in _DATA_NODES]
    results = [_measured(run, rest) for run in (left, right)]
    return Group(
        _runs(left, right),
        *_section("Data", "figures", changes(*data), measured=True),
        *_records(left, right),
        *_section("Results", "figures", changes(*results), measured=True),
        *_times(left, right),
    )


def _runs(left: Run, right: Run) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    for title, cells in {
        "run": [run.id for run in (left, right)],
        "pipeline": [run.pipeline for run in (left, right)],
        "started": [f"{run.started:%Y-%m-%d %H:%M:%S} UTC" if run.started else _ABSENT for run in (left, right)],
        "git commit": [run.record.commit if run.record and run.record.commit else _ABSENT for run in (left, right)],
        "verdict": [run.verdict for run in (left, right)],
    }.items():
        table.add_row(title, *(Text(cell, style="bold" if title in ("run", "verdict") else "") for cell in cells))
    return table


def _nodes(left: Run, right: Run) -> list[str]:
    """Returns the nodes of both runs in the order of their start."""
    return list(dict.fromkeys(execution.node for run in (left, right) for execution in run.executions))


def _source(run: Run) -> dict[str, Any]:
    """Returns the settings that name the text, e.g. `/data.source`, a name of `_measured` without a node."""
    settings = dotted(run.record.configuration) if run.record else {}
    return {f"/{name}": value for name, value in settings.items() if name in _TEXT}


def _measured(run: Run, nodes: Iterable[str]) -> dict[str, Any]:
    """Returns the properties of nodes' outputs: `{"Evaluator evaluation/perplexity": 151.8, …}`.

    The outputs of resolvers are left out: other nodes wrote them, usually in other runs.
    """
    return {
        f"{execution.node} {output}/{name}": value
        for execution in run.executions
        if execution.node in nodes and execution.type != _RESOLVER
        for output, artifacts in execution.outputs.items()
        for artifact in artifacts
        for name, value in artifact.properties.items()
        if name not in _TFX_PROPERTIES and not _identifies(name, value) and value != ""
    }


def _identifies(name: str, value: Any) -> bool:
    """Returns whether a property identifies the artifact or its location instead of describing its content."""
    return name.endswith("_id") or name == "sha256" or (isinstance(value, str) and os.path.isabs(value))


def _records(left: Run, right: Run) -> list[RenderableType]:
    """Compares settings and code if ML Metadata has the records of both runs."""
    if left.record is None or right.record is None:
        unknown = " and ".join(dict.fromkeys(run.id for run in (left, right) if run.record is None))
        return [Text(), Text(f"Configuration and code of {unknown} are not known: ML Metadata has no record of them.")]
    settings = changes(*(dotted(run.configuration) for run in (left.record, right.record)))
    code = changes(left.record.code, right.record.code)
    return [*_section("Configuration", "settings", settings), *_section("Code", "files", code)]


def dotted(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flattens nested settings: `{"training": {"steps": 10}}` becomes `{"training.steps": 10}`."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= dotted(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def _section(title: str, noun: str, found: Changes, *, measured: bool = False) -> list[RenderableType]:
    """Draws a heading with the number of unchanged values, and one row per difference.

    Args:
        title: The heading.
        noun: Name of the values, in the plural.
        found: The differences.
        measured: Whether the values are figures with names of `_measured`; if so, the change is shown too.
    """
    table = _table()
    if not measured:
        for name, pair in found.differing.items():
            _add_row(table, Text(name), *_shortened(*map(_shown, pair)))
        return [*_heading(title, noun, found), table]
    groups: dict[str, list[tuple[str, tuple[Any, Any]]]] = {}
    for name, pair in found.differing.items():
        group, _, label = name.partition("/")
        groups.setdefault(group, []).append((label.replace("_", " "), pair))
    for group, rows in groups.items():
        if group:
            table.add_row(Text(group, style="cyan"))
        for label, pair in rows:
            indented = Padding(Text(label), (0, 0, 0, 2 if group else 0))
            _add_row(table, indented, *_shortened(*map(_shown, pair)), _change(*pair))
    return [*_heading(title, noun, found), table]


def _times(left: Run, right: Run) -> list[RenderableType]:
    """Compares the nodes' durations; nodes with the same duration, or cached in both runs, are only counted."""
    took = [{execution.node: _took(execution) for execution in run.executions} for run in (left, right)]
    found = changes(*took)
    table = _table()
    for node, pair in found.differing.items():
        _add_row(table, Text(node), *(cell or _ABSENT for cell in pair))
    _add_row(table, Text("total"), duration(left.seconds), duration(right.seconds))
    return [*_heading("Time", "nodes", found), table]


def _took(execution: Execution) -> str:
    if execution.state == "complete":
        return duration(execution.seconds)
    return execution.state if execution.state == "cached" else f"{execution.state}, {duration(execution.seconds)}"


def _heading(title: str, noun: str, found: Changes) -> list[Text]:
    unchanged = f"{found.unchanged} {noun} unchanged"
    return [
        Text(),
        Text.assemble((title, "bold"), "  ", (unchanged if found.differing else f"all {unchanged}", "dim")),
    ]


def _table() -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(overflow="fold")
    for _ in range(3):
        table.add_column(justify="right", no_wrap=True)
    return table


def _add_row(table: Table, label: RenderableType, *cells: str) -> None:
    """Adds a row of plain texts, so that `[red]` in a setting is not read as markup."""
    table.add_row(label, *map(Text, cells))


def _same(left: Any, right: Any) -> bool:
    """Returns whether two values are equal; NaN equals NaN."""
    return bool(left == right) or (left != left and right != right)


def _shown(value: Any) -> str:
    """Returns a value as text: `4,096`, `151.806`, `true`, `a.txt, b.txt`; a dash for no value."""
    if value is None or value == "":
        return _ABSENT
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:,.0f}" if math.isfinite(value) and value == round(value) else f"{value:,.6g}"
    if isinstance(value, list):
        return ", ".join(_shown(item) for item in value)
    # Hidden characters become visible before the text is cut to a width.
    return visible(" ".join(str(value).split()))


def _shortened(left: str, right: str) -> tuple[str, str]:
    """Cuts long texts so that their first difference stays visible.

    ```
    texts/of/the/year/2024.txt    …the/year/2024.txt
    texts/of/the/year/2025.txt    …the/year/2025.txt
    ```
    """
    longest = max(len(left), len(right))
    if longest <= _VALUE_WIDTH:
        return left, right
    difference = next((place for place, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), longest)
    # The end of the longer text is shown if the first difference is then still visible.
    start = min(difference, longest - _VALUE_WIDTH + 1)
    return _cut(left, start), _cut(right, start)


def _cut(text: str, start: int) -> str:
    text = f"…{text[start:]}" if start > 0 else text
    return text if len(text) <= _VALUE_WIDTH else f"{text[: _VALUE_WIDTH - 1]}…"


def _change(left: Any, right: Any) -> str:
    """Returns the change of a figure, `-641.9 (-80.9%)`; an empty text for flags and for values that are no numbers."""
    numbers = [value for value in (left, right) if isinstance(value, int | float) and math.isfinite(value)]
    if len(numbers) < 2 or {left, right} == {0, 1}:  # 0 and 1 are a flag: no and yes
        return ""
    change = right - left
    text = f"{change:+,.0f}" if change == round(change) else f"{change:+,.4g}"
    return f"{text} ({change / abs(left):+,.1%})" if left else text
