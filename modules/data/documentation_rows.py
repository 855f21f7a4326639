"""Rows of instructions and of preferences about documented functions: the example of what such rows look like.

The columns are those that `modules.data.records` reads from everybody's rows.
"""

import hashlib
from collections.abc import Iterable, Iterator

from modules.data.documented_functions import Function

INSTRUCTION_COLUMNS = ("instruction", "input", "output", "source")
PREFERENCE_COLUMNS = ("prompt", "chosen", "rejected", "source")

Row = dict[str, str]


def instructions(functions: Iterable[Function]) -> Iterator[tuple[str, Row]]:
    """Yields pairs (key, row) with the columns `INSTRUCTION_COLUMNS`, one for each function.

    The function's summary is the answer to one of three requests. The hash of the name decides which:

    ```
    {"instruction": "What does `numpy.mean` do?", "input": ""}
    {"instruction": "Summarize this function in one sentence.", "input": "numpy.mean(a, axis=None)"}
    {"instruction": "Write a docstring of one line.", "input": "def mean(a, axis=None):"}
    ```
    """
    for function in functions:
        form = _number(function.name) % 3 if function.parameters else 0
        *places, last = function.name.split(".")
        instruction, text = question(function), ""
        if form == 1:
            instruction = f"Summarize this {'class' if _is_class(last) else 'function'} in one sentence."
            text = function.name + function.parameters
        # Without its class, the first line of a method explains too little.
        elif form == 2 and not _is_class(places[-1]):
            instruction = "Write a docstring of one line."
            text = f"class {last}:" if _is_class(last) else f"def {last}{function.parameters}:"
        row = {"instruction": instruction, "input": text, "output": function.summary, "source": function.package}
        yield function.name, row


def preferences(functions: Iterable[Function]) -> Iterator[tuple[str, Row]]:
    """Yields pairs (key, row) with the columns `PREFERENCE_COLUMNS`, one for each function.

    The chosen answer is the function's own summary. The rejected answer is the summary of another function of the same
    package. Each summary is chosen once and rejected once, so no summary is better by itself.
    """
    packages: dict[str, list[Function]] = {}
    for function in functions:
        packages.setdefault(function.package, []).append(function)
    for package, members in packages.items():
        members.sort(key=lambda function: _number(function.name))
        for function, neighbour in zip(members, [*members[1:], members[0]], strict=True):
            if function is not neighbour:
                row = {"prompt": question(function), "chosen": function.summary, "rejected": neighbour.summary}
                yield function.name, row | {"source": package}


def question(function: Function) -> str:
    """Returns the question that a function's summary answers, e.g. ``What does `numpy.mean` return?``."""
    if _is_class(function.name.rpartition(".")[2]) or function.summary.startswith(("A ", "An ", "The ")):
        return f"What is `{function.name}`?"
    verb = "return" if function.summary.startswith("Return") else "do"
    return f"What does `{function.name}` {verb}?"


def _is_class(name: str) -> bool:
    return name[0].isupper() and not name.isupper()


def _number(name: str) -> int:
    """Returns a number that follows only from the name, so that rows are the same in every process."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
