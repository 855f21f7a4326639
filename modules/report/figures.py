"""The plots of a report as SVG. They use the colours of the page, so they fit light and dark."""

import io
import math
import re
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from modules.common.formatting import significant
from modules.evaluation.gates import Check
from modules.evaluation.perplexity_gate import PERPLEXITY, REGRESSION
from modules.evaluation.results import Evaluation, Figures, SliceResult
from modules.report import sentences
from modules.report.escaping import visible
from modules.training.loss_figure import draw_losses
from modules.training.record import TrainingRecord

MOST_SLICES = 40
_LABEL_CHARACTERS = 26
_WIDE_RANGE = 5.0
# In CSS pixels. A phone shows text of this figure width at nearly its natural size.
_WIDTH, _FONT_SIZE = 400, 10.5
_INK, _FAINT, _CANDIDATE, _BASELINE, _LIMIT = (f"#00000{digit}" for digit in range(1, 6))
_CSS_COLOURS = {_INK: "ink", _FAINT: "line", _CANDIDATE: "candidate", _BASELINE: "baseline", _LIMIT: "limit"}
_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_STYLE: dict[Any, Any] = {
    # Text stays text: readers can search it or have it read aloud, and the browser has glyphs for every script.
    "svg.fonttype": "none",
    "text.parse_math": False,  # a source may be named `$x$`
    "font.size": _FONT_SIZE,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _FAINT,
    "xtick.color": _FAINT,
    "ytick.color": _FAINT,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "grid.color": _FAINT,
    "grid.linewidth": 0.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}


def loss_plot(training: TrainingRecord) -> str:
    """Returns training and validation loss by step as an `<svg>` element; empty if no step was logged."""
    if all(point.loss is None for point in training.loss):
        return ""

    def draw(axes: Axes) -> None:
        draw_losses(axes, training, training_colour=_CANDIDATE, validation_colour=_LIMIT)

    title, description = "Loss by training step", sentences.loss(training)
    return _svg(draw, height=240, name="loss", title=title, description=description)


def perplexity_plot(evaluation: Evaluation, checks: Sequence[Check]) -> str:
    """Returns the perplexities of the slices, next to the baseline and the limits, as an `<svg>` element.

    Each perplexity has its 95% interval. If there are many slices, only the largest are drawn, see `shown_slices`.
    """
    slices = shown_slices(evaluation)
    limits = perplexity_limits(slices, checks)

    def draw(axes: Axes) -> None:
        _draw_figures(axes, [result.candidate for result in slices], offset=0.0, colour=_CANDIDATE, label="this model")
        if sentences.comparable(evaluation):
            _draw_figures(
                axes, [result.baseline for result in slices], offset=0.28, colour=_BASELINE, label="latest blessed"
            )
        marks = [(limits[result.name], row) for row, result in enumerate(slices) if result.name in limits]
        if marks:
            axes.plot(
                *zip(*marks, strict=True),
                color=_LIMIT, linestyle="none", marker="|", markersize=15, markeredgewidth=2, label="limit",
            )  # fmt: skip
        _slice_axis(axes, slices)
        _perplexity_axis(axes)

    return _svg(
        draw,
        height=90 + 24 * len(slices),
        name="slices",
        title="Perplexity by slice",
        description=sentences.perplexity(evaluation),
    )


def shown_slices(evaluation: Evaluation) -> list[SliceResult]:
    """Returns the overall slice and the `MOST_SLICES` largest slices, in the evaluation's order."""
    largest = sorted(evaluation.slices[1:], key=lambda result: -result.documents)[:MOST_SLICES]
    return [evaluation.overall, *(result for result in evaluation.slices[1:] if result in largest)]


def perplexity_limits(slices: Sequence[SliceResult], checks: Sequence[Check]) -> dict[str, float]:
    """Returns the strictest upper limit of each slice's perplexity, by the slice's name.

    A limit of the rise over the baseline also limits the perplexity if both models have the same tokenizer.
    """
    baselines = {result.name: result.baseline.perplexity for result in slices if result.baseline}
    limits: dict[str, float] = {}
    for check in checks:
        limit = check.limit if check.metric == PERPLEXITY else math.inf
        if check.metric == REGRESSION and check.of in baselines:
            limit = baselines[check.of] * (1 + check.limit)
        if math.isfinite(limit):
            limits[check.of] = min(limit, limits.get(check.of, limit))
    return limits


def _draw_figures(axes: Axes, figures: Sequence[Figures | None], *, offset: float, colour: str, label: str) -> None:
    filled = colour == _CANDIDATE
    for row, measured in enumerate(figures):
        if measured and measured.perplexity_interval and all(map(math.isfinite, measured.perplexity_interval)):
            axes.plot(
                measured.perplexity_interval, [row + offset] * 2,
                color=colour, linewidth=2.5 if filled else 1.5, alpha=0.6, solid_capstyle="round",
            )  # fmt: skip
    points = [
        (measured.perplexity, row + offset)
        for row, measured in enumerate(figures)
        if measured and math.isfinite(measured.perplexity)
    ]
    if points:
        axes.plot(
            *zip(*points, strict=True),
            color=colour, linestyle="none", marker="o", markersize=6 if filled else 5,
            markerfacecolor=colour if filled else "none", label=label,
        )  # fmt: skip


def _slice_axis(axes: Axes, slices: Sequence[SliceResult]) -> None:
    axes.set_yticks(range(len(slices)), [_label(result.name or "all documents") for result in slices])
    axes.set_ylim(len(slices) - 0.4, -0.6)  # the first on top
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _perplexity_axis(axes: Axes) -> None:
    axes.grid(axis="x")
    axes.set_xlabel("perplexity")
    low, high = axes.dataLim.intervalx
    if 0 < low * _WIDE_RANGE < high < float("inf"):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=6))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.minorticks_off()
        axes.set_xlabel("perplexity, logarithmic")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: significant(value)))
    if axes.get_legend_handles_labels()[0]:
        axes.figure.legend(loc="outside upper right", ncols=3, columnspacing=1.2, handletextpad=0.3)


def _label(name: str) -> str:
    line = " ".join(visible(name).split())
    return line if len(line) <= _LABEL_CHARACTERS else f"{line[: _LABEL_CHARACTERS - 1]}…"


def _svg(draw: Callable[[Axes], None], *, height: int, name: str, title: str, description: str) -> str:
    """Draws one pair of axes as an `<svg>` element.

    Args:
        draw: Draws into the axes.
        height: Height in CSS pixels at the figure's natural width.
        name: Prefix of all ids, so that several figures on a page have different ids.
        title: Title for readers who do not see the figure.
        description: Description for readers who do not see the figure.
    """
    # A point in matplotlib is a unit of the view box, and the page scales the view box.
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
        # Matplotlib's font is used only to measure widths; the browser draws the text.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(_WIDTH / 72, height / 72), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.add_subplot())
        buffer = io.BytesIO()
        no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=no_metadata)
    return _for_page(buffer.getvalue(), name=name, title=title, description=description)


def _for_page(svg: bytes, *, name: str, title: str, description: str) -> str:
    """Fits matplotlib's SVG into a page: without doctype and style, with unique ids and a text alternative."""
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    root = ElementTree.fromstring(svg)
    for defs in root.findall(f"{{{_SVG}}}defs"):
        for style in defs.findall(f"{{{_SVG}}}style"):
            defs.remove(style)  # its selector is `*`, which in HTML selects the whole page
    for attribute in ("width", "height", "version"):
        root.attrib.pop(attribute, None)
    for element in root.iter():
        if "id" in element.attrib:
            element.set("id", f"{name}-{element.get('id')}")
        for attribute, value in element.attrib.items():
            if attribute == f"{{{_XLINK}}}href":
                element.set(attribute, value.replace("#", f"#{name}-", 1))
            elif attribute != "id":
                element.set(attribute, _in_page(value, name))
    for tag, text in (("desc", description), ("title", title)):
        words = ElementTree.Element(f"{{{_SVG}}}{tag}", id=f"{name}-{tag}")
        words.text = text
        root.insert(0, words)
    root.set("role", "img")
    root.set("aria-labelledby", f"{name}-title {name}-desc")
    return ElementTree.tostring(root, encoding="unicode")


def _in_page(value: str, name: str) -> str:
    for colour, variable in _CSS_COLOURS.items():
        value = value.replace(colour, f"var(--{variable})")
    value = re.sub(r"font-family: [^;]*; ?", "", value)  # the page's font is used
    return value.replace("url(#", f"url(#{name}-")
