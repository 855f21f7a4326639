from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from modules.report.contents import Training
from modules.training.loss_figure import draw_losses, write_picture

LOSSES = [{"step": step, "loss": loss} for step, loss in ((1, 9), (2, 7), (3, 5), (4, 3))]
VALIDATION = [{"step": 2, "loss": 6.0}, {"step": 4, "loss": float("inf")}]


def course(**facts: Any) -> Training:
    return Training.model_validate({"parameters": 1, "loss": LOSSES, "loss_unit": "nats a token", **facts})


def drawn(course: Training) -> Axes:
    axes = Figure().add_subplot()
    draw_losses(axes, course)
    return axes


def test_losses_are_drawn_by_step_without_those_that_are_no_number() -> None:
    training, validation = drawn(course(validation=VALIDATION)).lines
    assert training.get_xydata().tolist() == [[1, 9], [2, 7], [3, 5], [4, 3]]
    assert validation.get_xydata().tolist() == [[2, 6]]


def test_without_validation_the_line_stands_alone() -> None:
    axes = drawn(course(loss_unit=None))
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["training"]
    assert axes.get_ylabel() == "loss"


@pytest.mark.parametrize("loss_unit", ["nats a token", None])
def test_the_picture_is_drawn_with_and_without_validation(tmp_path: Path, loss_unit: str | None) -> None:
    write_picture(course(loss_unit=loss_unit), tmp_path / "training.png")
    write_picture(course(loss_unit=loss_unit, validation=VALIDATION), tmp_path / "both.png")
    pictures = [(tmp_path / name).read_bytes() for name in ("training.png", "both.png")]
    assert [tf.io.decode_png(picture).shape.as_list() for picture in pictures] == [[540, 960, 4]] * 2
    assert pictures[0] != pictures[1]
