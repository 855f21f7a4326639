"""Two runs side by side: what changed between them, and what came of it."""

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
# What TFX itself writes onto examples and statistics.
_TFX_PROPERTIES = {"file_format", "payload_format", "span", "split_names", "stats_dashboard_link", "version"}
_DATA_NODES = NODES[: NODES.index("WarmStartModel")]

# So that a table of the longest setting's name and two values fits 80 columns.
_VALUE_WIDTH = 18
_ABSENT = "-"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Changes:
    """Differences between two runs' values, and how many values are the same.

    Attributes:
        differing: The values of both runs by name; None where a run has none.
        alike: How many names have the same value in both.
    """

    differing: Mapping[str, tuple[Any, Any]]
    alike: int


def changes(one: Mapping[str, Any], other: Mapping[str, Any]) -> Changes:
    """Compares two runs' values by name.

    ```
    one   = {"steps": 10, "seed": 0}
    other = {"steps": 20, "seed": 0, "epochs": 1}    differing = {"steps": (10, 20), "epochs": (None, 1)}, alike = 1
    ```
    """
    pairs = {name: (one.get(name), other.get(name)) for name in [*one, *other]}
    differing = {name: pair for name, pair in pairs.items() if not _same(*pair)}
    return Changes(differing=differing, alike=len(pairs) - len(differing))


def comparison(one: Run, other: Run) -> RenderableType:
    """Draws the two runs in tables that fit 80 columns."""
    data = [_source(run) | _measured(run, _DATA_NODES) for run in (one, other)]
    rest = [node for node in _nodes(one, other) if node not in _DATA_NODES]
    results = [_measured(run, rest) for run in (one, other)]
    return Group(
        _runs(one, other),
        *_section("Data", "figures", changes(*data), measured=True),
        *_records(one, other),
        *_section("Results", "figures", changes(*results), measured=True),
        *_times(one, other),
    )


def _runs(one: Run, other: Run) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    for title, cells in {
        "run": [run.id for run in (one, other)],
        "pipeline": [run.pipeline for run in (one, other)],
        "started": [f"{run.started:%Y-%m-%d %H:%M:%S} UTC" if run.started else _ABSENT for run in (one, other)],
        "git commit": [run.record.commit if run.record and run.record.commit else _ABSENT for run in (one, other)],
        "verdict": [run.verdict for run in (one, other)],
    }.items():
        table.add_row(title, *(Text(cell, style="bold" if title in ("run", "verdict") else "") for cell in cells))
    return table


def _nodes(one: Run, other: Run) -> list[str]:
    """Returns the nodes of both, in the order in which they started."""
    return list(dict.fromkeys(execution.node for run in (one, other) for execution in run.executions))


def _source(run: Run) -> dict[str, Any]:
    """Returns the data's source, by a name as `_measured` gives to what belongs to no node."""
    settings = dotted(run.record.configuration) if run.record else {}
    return {f"/{name}": value for name, value in settings.items() if name == "data.source"}


def _measured(run: Run, nodes: Iterable[str]) -> dict[str, Any]:
    """Returns the properties of nodes' outputs: `{"Evaluator evaluation/perplexity": 151.8, …}`.

    A resolver's outputs are left out: others made them, mostly in other runs.
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
    """Returns whether a property names the artifact or its place, rather than what it is like."""
    return name.endswith("_id") or name == "sha256" or (isinstance(value, str) and os.path.isabs(value))


def _records(one: Run, other: Run) -> list[RenderableType]:
    """Compares settings and code, where those of both runs are known."""
    if one.record is None or other.record is None:
        unknown = " and ".join(dict.fromkeys(run.id for run in (one, other) if run.record is None))
        return [Text(), Text(f"Configuration and code of {unknown} are not known: runs did not keep theirs then.")]
    settings = changes(*(dotted(run.configuration) for run in (one.record, other.record)))
    code = changes(one.record.code, other.record.code)
    return [*_section("Configuration", "settings", settings), *_section("Code", "files", code)]


def dotted(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"training": {"steps": 10}}` as `{"training.steps": 10}`."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= dotted(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def _section(title: str, noun: str, found: Changes, *, measured: bool = False) -> list[RenderableType]:
    """Draws a heading with how much is alike, and one row per difference.

    Args:
        title: The heading.
        noun: What is counted, in the plural.
        found: The differences.
        measured: Whether they are figures, by names as `_measured` gives them: then the change is shown too.
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


def _times(one: Run, other: Run) -> list[RenderableType]:
    """Compares the nodes' times; those that took the same, like all that were cached in both, are only counted."""
    took = [{execution.node: _took(execution) for execution in run.executions} for run in (one, other)]
    found = changes(*took)
    table = _table()
    for node, pair in found.differing.items():
        _add_row(table, Text(node), *(cell or _ABSENT for cell in pair))
    _add_row(table, Text("all"), duration(one.seconds), duration(other.seconds))
    return [*_heading("Time", "nodes", found), table]


def _took(execution: Execution) -> str:
    if execution.state == "complete":
        return duration(execution.seconds)
    return execution.state if execution.state == "cached" else f"{execution.state}, {duration(execution.seconds)}"


def _heading(title: str, noun: str, found: Changes) -> list[Text]:
    alike = f"{found.alike} {noun} alike" if found.differing else f"all {found.alike} {noun} alike"
    return [Text(), Text.assemble((title, "bold"), "  ", (alike, "dim"))]


def _table() -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(overflow="fold")
    for _ in range(3):
        table.add_column(justify="right", no_wrap=True)
    return table


def _add_row(table: Table, label: RenderableType, *cells: str) -> None:
    """Adds a row of plain texts: `[red]` in a setting is no markup."""
    table.add_row(label, *map(Text, cells))


def _same(one: Any, other: Any) -> bool:
    """Returns whether two values are equal; NaN equals itself."""
    return bool(one == other) or (one != one and other != other)


def _shown(value: Any) -> str:
    """Returns a value in words: `4,096`, `151.806`, `true`, `a.txt, b.txt`; a dash for nothing."""
    if value is None or value == "":
        return _ABSENT
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:,.0f}" if math.isfinite(value) and value == round(value) else f"{value:,.6g}"
    if isinstance(value, list):
        return ", ".join(_shown(item) for item in value)
    # Before it is cut to a width.
    return visible(" ".join(str(value).split()))


def _shortened(one: str, other: str) -> tuple[str, str]:
    """Cuts long texts so that they still show where they part.

    ```
    texts/of/the/year/2024.txt    …the/year/2024.txt
    texts/of/the/year/2025.txt    …the/year/2025.txt
    ```
    """
    longest = max(len(one), len(other))
    if longest <= _VALUE_WIDTH:
        return one, other
    parting = next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), longest)
    # From as far left as lets the longer one's end be seen, but not beyond where they part.
    start = min(parting, longest - _VALUE_WIDTH + 1)
    return _cut(one, start), _cut(other, start)


def _cut(text: str, start: int) -> str:
    text = f"…{text[start:]}" if start > 0 else text
    return text if len(text) <= _VALUE_WIDTH else f"{text[: _VALUE_WIDTH - 1]}…"


def _change(one: Any, other: Any) -> str:
    """Returns `-641.9 (-80.9%)`; nothing where it would mean nothing."""
    numbers = [value for value in (one, other) if isinstance(value, int | float) and math.isfinite(value)]
    if len(numbers) < 2 or {one, other} == {0, 1}:  # the latter: no and yes
        return ""
    change = other - one
    text = f"{change:+,.0f}" if change == round(change) else f"{change:+,.4g}"
    return f"{text} ({change / abs(one):+,.1%})" if one else text
