"""A function call in a process of its own, with its processor time and its memory measured."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
MAX_SECONDS = 5.0
MAX_BYTES = 500 * 10**6

# `ru_maxrss` would begin with the memory of the test's process, which the child had for a moment. VmHWM does not.
_CHILD = """
import json, sys, time, importlib
from modules.common.errors import InputError
module, function, arguments = json.loads(sys.argv[1])
call = getattr(importlib.import_module(module), function)
start, message = time.process_time(), None
try:
    result = call(*arguments)
    for _ in result if hasattr(result, "__next__") else ():
        pass
except InputError as error:
    message = str(error)
seconds = time.process_time() - start
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
json.dump({"message": message, "seconds": seconds, "peak_bytes": 1024 * peak}, sys.stdout)
"""


class Outcome(NamedTuple):
    """Message of the InputError (None without one), processor time of the call, and peak memory of its process."""

    message: str | None
    seconds: float
    peak_bytes: int


def call(module: str, function: str, *arguments: object) -> Outcome:
    """Calls a function with JSON arguments in a new interpreter, and reads to the end what it yields.

    Any exception but an InputError is an error of the test, and so is a call that takes a minute.
    """
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, json.dumps([module, function, arguments])],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=60,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return Outcome(**json.loads(done.stdout))


def refusal(module: str, function: str, *arguments: object) -> str:
    """Returns the message of a call that must be refused within `MAX_SECONDS` and `MAX_BYTES`."""
    outcome = call(module, function, *arguments)
    assert outcome.message is not None, "nothing was refused"
    assert outcome.seconds < MAX_SECONDS
    assert outcome.peak_bytes < MAX_BYTES
    assert len(outcome.message) < 2000
    return outcome.message
