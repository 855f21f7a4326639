import copy
import json
from pathlib import Path

from modules.evaluation.task_figures import TaskFigure, read_task_figures
from tests.toys.report import HOSTILE, TASKS


def figures(folder: Path, results: dict) -> list[TaskFigure]:
    (folder / "tasks.json").write_text(json.dumps(results))
    return read_task_figures(folder)


def test_every_task_has_a_figure_without_passages_of_the_training_text(tmp_path: Path) -> None:
    shown = figures(tmp_path, TASKS)
    assert [(figure.name, figure.value, figure.note) for figure in shown] == [
        (
            "memorisation",
            "1 of 32 recited",
            "continuations with 20 words in a row from train (95%: 0.6% to 15.7%); the longest run is 23 words",
        ),
        (HOSTILE, "30.5% right", "by nats per byte, 246 questions (95%: 25.0% to 36.5%); chance 25.0%"),
        ("ROUGE-L", "0.257", "50 answers to prompts of the eval split"),
        ("BLEU", "not measured", "50 answers to prompts of the eval split"),
    ]
    assert "by heart" not in str(shown)


def test_a_share_that_could_not_be_measured_has_a_reason(tmp_path: Path) -> None:
    results = copy.deepcopy(TASKS)
    results["memorisation"] |= {"share": None, "share_interval": None, "longest": None}
    results["tasks"] = []
    (figure,) = figures(tmp_path, results)
    assert figure.value == "not measured: most continuations are shorter than 20 words"
    assert figure.note == "no run is long enough to report"


def test_there_are_no_figures_without_measurements(tmp_path: Path) -> None:
    assert figures(tmp_path, {"memorisation": None, "tasks": []}) == []
