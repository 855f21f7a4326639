"""Progress events that long work writes for the process that shows the run.

The showing process sets `TFX_GPT2_PROGRESS` to the path of a file and reads the JSON lines that are appended to it.
Without the variable nothing is written, so every module also works on its own.
"""

import contextlib
import json
import os
import time

EVENTS_VARIABLE = "TFX_GPT2_PROGRESS"


def report(node: str, *, done: float, total: float | None, unit: str, **facts: object) -> None:
    """Reports the progress of a pipeline node.

    Args:
        node: The node's id in the DAG, e.g. `"Trainer"`.
        done: Finished units of work.
        total: All units of work, or None if the number is unknown.
        unit: Name of the unit in the plural: `"steps"`, `"documents"`.
        **facts: Further JSON values to show, e.g. `loss=3.2`.
    """
    emit({"event": "progress", "node": node, "done": done, "total": total, "unit": unit, "facts": facts})


def emit(event: dict[str, object]) -> None:
    """Appends one event as a JSON line to the events file, if a process watches and the disk has room."""
    path = os.environ.get(EVENTS_VARIABLE)
    if not path:
        return
    line = json.dumps({"time": time.time(), **event}) + "\n"
    if event["event"] == "failed":
        line = "\n" + line  # a full disk may have cut the line before
    # The work does not depend on who watches it: a full disk stops it only when it needs the disk itself.
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            # A line is a single write, so lines of several writers never interleave (POSIX append).
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)
