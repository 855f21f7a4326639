"""Processes of this machine, as `/proc` shows them."""

import time
from collections.abc import Callable
from pathlib import Path


def children(parent: int) -> list[int]:
    """Returns the ids of a process's children that still run."""
    return [pid for pid in map(int, _numbers()) if runs(pid) and _status(pid)[1] == str(parent)]


def runs(pid: int) -> bool:
    """Returns whether a process still runs; one that ended and was not waited for does not."""
    status = _status(pid)
    return bool(status) and status[0] not in "ZX"


def wait_until(condition: Callable[[], object], seconds: float) -> bool:
    """Waits until the condition holds; returns whether it does in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def _numbers() -> list[str]:
    return [path.name for path in Path("/proc").iterdir() if path.name.isdigit()]


def _status(pid: int) -> list[str]:
    """State, parent's id and so on: what follows the name, which may hold spaces."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
