"""The figures of `tasks.json` that readers see: memorisation and tasks.

They contain no passage of the training text, because a report may be published.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from modules.common.formatting import NOT_MEASURED
from modules.common.json_files import reading

# In the output of the TaskEvaluator; `TaskResults.write` writes it.
TASKS_FILE = "tasks.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskFigure:
    """One figure, and how it was measured.

    Attributes:
        name: `memorisation`, or the name of the task or metric.
        value: The value in words: `0 of 32 recited`, `30.5% right`.
        note: The way of measuring, the sample size and the 95% interval.
    """

    name: str
    value: str
    note: str


def read_task_figures(folder: str | Path) -> list[TaskFigure]:
    """Reads the figures from the TaskEvaluator's output; the list is empty if nothing was measured.

    Raises:
        OSError: The folder has no `tasks.json`.
        InputError: The file lacks a value or has one of another type.
    """
    with reading(folder, TASKS_FILE) as results:
        figures = [_memorisation(results["memorisation"])] if results["memorisation"] else []
        for task in results["tasks"]:
            figures += [_multiple_choice(task)] if task["kind"] == "multiple_choice" else _answers(task)
        return figures


def _memorisation(found: Mapping[str, Any]) -> TaskFigure:
    settings, longest = found["settings"], found["longest"]
    words = settings["run_words"]
    run = f"the longest run is {longest['words']} words" if longest else "no run is long enough to report"
    if found["share"] is None:
        value, note = f"not measured: most continuations are shorter than {words} words", run
    else:
        value = f"{found['recited']} of {found['long_enough']} recited"
        note = f"continuations with {words} words in a row from train{_interval(found['share_interval'])}; {run}"
    return TaskFigure(name="memorisation", value=value, note=note)


def _multiple_choice(found: Mapping[str, Any]) -> TaskFigure:
    by_bytes = found["settings"]["normalise"] == "bytes"
    key, method = ("accuracy_bytes", "by nats per byte") if by_bytes else ("accuracy", "by nats")
    measured = found[key]
    interval = _interval(found[f"{key}_interval"])
    return TaskFigure(
        name=found["name"],
        value=NOT_MEASURED if measured is None else f"{measured:.1%} right",
        note=f"{method}, {found['questions']:,} questions{interval}; chance {found['chance']:.1%}",
    )


def _answers(found: Mapping[str, Any]) -> Iterator[TaskFigure]:
    note = f"{len(found['answers']):,} answers to prompts of the eval split"
    for name, key, digits in (("ROUGE-L", "rouge_l", 3), ("BLEU", "bleu", 1)):
        measured = found[key]
        yield TaskFigure(name=name, value=NOT_MEASURED if measured is None else f"{measured:.{digits}f}", note=note)


def _interval(ends: tuple[float, float] | None) -> str:
    return f" (95%: {ends[0]:.1%} to {ends[1]:.1%})" if ends else ""
