"""Tables and figures of ML Metadata, for notebooks."""

from collections.abc import Sequence
from pathlib import Path

import networkx as nx
import pandas as pd
from matplotlib.figure import Figure

from pipeline.metadata.reader import Run

_COLORS = {"artifact": "#cfe3f7", "execution": "#f9d9b0"}


def runs_table(runs: Sequence[Run]) -> pd.DataFrame:
    """Returns one row per run: start, duration, verdict, perplexities and release."""
    return pd.DataFrame(
        {
            "run": run.id,
            "pipeline": run.pipeline,
            "started": run.started,
            "seconds": round(run.seconds, 1),
            "verdict": run.verdict,
            "perplexity": run.perplexity,
            "baseline": run.baseline_perplexity,
            "release": run.release.name if run.release else "",
        }
        for run in runs
    )


def executions_table(run: Run) -> pd.DataFrame:
    """Returns one row per node of a run: state, duration, and the artifacts that it read and wrote."""
    return pd.DataFrame(
        {
            "node": execution.node,
            "state": execution.state,
            "seconds": round(execution.seconds, 1),
            "reads": ", ".join(f"{name} {item.id}" for name, items in execution.inputs.items() for item in items),
            "writes": ", ".join(f"{name} {item.id}" for name, items in execution.outputs.items() for item in items),
        }
        for execution in run.executions
    )


def properties_table(run: Run) -> pd.DataFrame:
    """Returns one row per measured value of a run, with the artifact that carries it."""
    return pd.DataFrame(
        {"artifact": item.type, "id": item.id, "property": key, "value": value}
        for execution in run.executions
        for items in execution.outputs.values()
        for item in items
        for key, value in item.properties.items()
    )


def plot_perplexities(runs: Sequence[Run]) -> Figure:
    """Plots the perplexity of the runs, oldest first; a cross marks models that a gate refused."""
    shown = [(run.id, run.verdict, run.perplexity) for run in reversed(runs) if run.perplexity is not None]
    figure = Figure(figsize=(8, 3.5), layout="constrained")
    axes = figure.subplots()
    places = range(len(shown))
    axes.plot(places, [perplexity for _, _, perplexity in shown], color="#9aa5b1", zorder=1)
    for verdict, color, marker in (("pushed", "#2a7f3f", "o"), ("refused", "#c0392b", "X")):
        chosen = [place for place in places if shown[place][1] == verdict]
        if chosen:
            heights = [shown[place][2] for place in chosen]
            axes.scatter(chosen, heights, color=color, marker=marker, s=60, label=verdict, zorder=2)
    axes.set_xticks(list(places), [run_id[:13] for run_id, _, _ in shown], rotation=30, ha="right")
    axes.set_ylabel("perplexity (eval split)")
    if shown:
        axes.set_yscale("log")
        axes.legend()
    return figure


def draw_lineage(graph: nx.DiGraph, title: Path | str = "") -> Figure:
    """Draws artifacts (blue) and executions (orange), from the text on the left to the release on the right."""
    for layer, nodes in enumerate(nx.topological_generations(graph)):
        for node in nodes:
            graph.nodes[node]["layer"] = layer
    positions = nx.multipartite_layout(graph, subset_key="layer", scale=2.0)
    figure = Figure(figsize=(14, 6), layout="constrained")
    axes = figure.subplots()
    nx.draw_networkx_edges(graph, positions, ax=axes, edge_color="#9aa5b1", arrowsize=10, node_size=900)
    for node, (x, y) in positions.items():
        kind, number = node
        axes.text(
            x, y, f"{graph.nodes[node]['label']}\n{number}", ha="center", va="center", fontsize=7,
            bbox={"boxstyle": "round", "facecolor": _COLORS[kind], "edgecolor": "none"},
        )  # fmt: skip
    axes.margins(0.08)
    axes.set_axis_off()
    axes.set_title(str(title))
    return figure
