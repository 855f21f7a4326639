from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from modules.training.loss_figure import draw_losses, write_picture
from modules.training.record import TrainingRecord
from tests.toys.report import loss_point, training_record

LOSSES = [loss_point(step, loss) for step, loss in ((1, 9), (2, 7), (3, 5), (4, 3))]
VALIDATION = [{"step": 2, "loss": 6.0}, {"step": 4, "loss": float("inf")}]


def record(**facts: Any) -> TrainingRecord:
    return training_record(**{"loss": LOSSES, "validation": [], **facts})


def drawn(shown: TrainingRecord) -> Axes:
    axes = Figure().add_subplot()
    draw_losses(axes, shown)
    return axes


def test_only_finite_losses_are_drawn() -> None:
    training, validation = drawn(record(validation=VALIDATION)).lines
    assert training.get_xydata().tolist() == [[1, 9], [2, 7], [3, 5], [4, 3]]
    assert validation.get_xydata().tolist() == [[2, 6]]


def test_without_validation_only_the_training_loss_is_drawn() -> None:
    axes = drawn(record(loss_unit=None))
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["training"]
    assert axes.get_ylabel() == "loss"


@pytest.mark.parametrize("loss_unit", ["nats per token", None])
def test_the_picture_is_drawn_with_and_without_validation(tmp_path: Path, loss_unit: str | None) -> None:
    write_picture(record(loss_unit=loss_unit), tmp_path / "training.png")
    write_picture(record(loss_unit=loss_unit, validation=VALIDATION), tmp_path / "both.png")
    pictures = [(tmp_path / name).read_bytes() for name in ("training.png", "both.png")]
    assert [tf.io.decode_png(picture).shape.as_list() for picture in pictures] == [[540, 960, 4]] * 2
    assert pictures[0] != pictures[1]
