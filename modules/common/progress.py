"""Progress events: how long work tells a watching process how far it is.

The process that shows the run sets `TFX_GPT2_PROGRESS` to the path of a file and reads the JSON lines that
appear there. Without the variable nothing is written, so every module also works on its own.
"""

import json
import os
import time

EVENTS_VARIABLE = "TFX_GPT2_PROGRESS"


def report(node: str, *, done: float, total: float | None, unit: str, **facts: object) -> None:
    """Tells how far a pipeline node has come.

    Args:
        node: The node's id in the DAG, e.g. `"Trainer"`.
        done: Units of work finished.
        total: Units of work in all, or None where that is unknown.
        unit: What is counted, in the plural: `"steps"`, `"documents"`.
        **facts: More to show beside it, e.g. `loss=3.2`; values that JSON can hold.
    """
    emit({"event": "progress", "node": node, "done": done, "total": total, "unit": unit, "facts": facts})


def emit(event: dict[str, object]) -> None:
    """Appends one event as a JSON line to the events file, if a process watches."""
    path = os.environ.get(EVENTS_VARIABLE)
    if not path:
        return
    line = json.dumps({"time": time.time(), **event}) + "\n"
    # One write of one line: lines of several writers never interleave (POSIX append).
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)
