"""The loss of a training run as a figure, for the report and as a picture file."""

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from modules.training.record import LossPoint, TrainingRecord, ValidationPoint


def draw_losses(
    axes: Axes, record: TrainingRecord, *, training_colour: str = "C0", validation_colour: str = "C1"
) -> None:
    """Draws the training loss by step as a line, and the validation loss, if there is any, as dots."""
    axes.plot(*_losses(record.loss), color=training_colour, linewidth=1.2, label="training")
    steps, losses = _losses(record.validation)
    if steps:
        axes.plot(
            steps, losses, color=validation_colour, linestyle="none", marker="o", markersize=5, label="validation"
        )
    axes.set_xlabel("step")
    axes.set_ylabel(f"loss, {record.loss_unit}" if record.loss_unit else "loss")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.grid(axis="y", linewidth=0.5)
    axes.legend(loc="upper right", frameon=False)


def write_picture(record: TrainingRecord, path: str | Path) -> None:
    """Writes the figure as a PNG. The axis on the right shows perplexity if the losses have a unit.

    Args:
        record: A record with at least one point.
        path: Path of the file.
    """
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    draw_losses(axes, record)
    if record.loss_unit:
        _add_perplexity(axes)
    figure.savefig(path, dpi=120, metadata={"Software": None})


def _losses(points: Sequence[LossPoint | ValidationPoint]) -> tuple[list[int], list[float]]:
    steps = [point.step for point in points if point.loss is not None]
    return steps, [point.loss for point in points if point.loss is not None]


def _add_perplexity(axes: Axes) -> None:
    losses = axes.get_ylim()
    right = axes.twinx()
    right.set_ylim(losses)
    ticks = [tick for tick in axes.get_yticks() if losses[0] <= tick <= losses[1]]
    right.set_yticks(ticks, [f"{math.exp(min(tick, 700)):,.4g}" for tick in ticks])
    right.set_ylabel("perplexity")
