"""Processes of this machine that share pieces of work; they end when their parent ends, even if SIGKILL ends it.

`multiprocessing` would import the program's main module in each process, and with it TensorFlow. Here each process
imports only the module that does the work. The pieces wait in a pipe, from which each process takes the next; the
processes answer on their standard output, a line of JSON for each answer.
"""

import base64
import contextlib
import itertools
import json
import math
import os
import pickle
import selectors
import signal
import struct
import subprocess
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Self

from modules.common import child_process
from modules.common.errors import InputError
from modules.common.machine_memory import read_memory

# Reads of so few bytes are never cut, so each process takes whole tasks from the pipe.
_STEP_BYTES = 16
_TASK = struct.Struct(f">{_STEP_BYTES}sI")  # the name of a step, and the number of a piece of work
_REPORT_INTERVAL_S = 0.5
# More would wait for the disk.
_MAX_PROCESSES = 16
# More than one waiting task per process, so that no process waits for the parent.
_TASKS_PER_PROCESS = 2

# Runs a step on the piece of work with a number; the third argument is called for each finished unit of work.
Run = Callable[[Any, int, Callable[[], None]], Any]


class WorkerError(RuntimeError):
    """A process of the pool ended before its work was done."""


class WorkerPool:
    """Processes that run the steps of one module; use it in a `with` block, whose end also ends the processes."""

    def __init__(self, module: str, request: str, processes: int):
        """Starts the processes.

        Args:
            module: Dotted name of the module. Its `main` passes its request to `serve`.
            request: One line of text for `serve`.
            processes: Number of processes, at least 1.
        """
        self._in_flight = 0
        with contextlib.ExitStack() as stack:
            read, write = os.pipe()
            self._tasks = stack.enter_context(os.fdopen(write, "wb", buffering=0))
            try:
                self._workers = [stack.enter_context(_Worker(module, request, read)) for _ in range(processes)]
            finally:
                os.close(read)
            stack.callback(self._tasks.close)
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def results(self, step: str, count: int, on_progress: Callable[[int], None] = lambda units: None) -> Iterator[Any]:
        """Runs a step on the pieces of work 0 to `count - 1`; yields the results in this order.

        Args:
            step: Name of the step, at most 16 characters.
            count: Number of pieces.
            on_progress: Called with the number of units that a process has finished since its last call.

        Raises:
            WorkerError: A process ended early, for example because the memory is full.
            ValueError: The name of the step is too long.
            Exception: The exception of a step, as it was raised in the process; that of the first piece of several.
        """
        if len(step) > _STEP_BYTES:
            raise ValueError(f"The name of a step has at most {_STEP_BYTES} characters. Received: {step!r}.")
        waiting = iter(range(count))
        early: dict[int, Any] = {}
        following = 0
        for _ in range(_TASKS_PER_PROCESS * len(self._workers)):
            self._give(step, waiting)
        with selectors.DefaultSelector() as selector:
            for worker in self._workers:
                selector.register(worker.answers, selectors.EVENT_READ, worker)
            while self._in_flight:
                for key, _ in selector.select():
                    for answer in key.data.read():
                        on_progress(answer["units"])
                        if "number" in answer:
                            self._in_flight -= 1
                            early[answer["number"]] = answer
                            if "error" in answer:
                                waiting = iter(())  # only the pieces before this one still matter
                            self._give(step, waiting)
                    while following in early:
                        yield _result(early.pop(following))
                        following += 1

    def _give(self, step: str, waiting: Iterator[int]) -> None:
        for number in itertools.islice(waiting, 1):
            self._in_flight += 1
            with contextlib.suppress(BrokenPipeError):  # all processes have ended; reading their answers finds it
                self._tasks.write(_TASK.pack(step.encode("ascii"), number))


class _Worker:
    """Process of a pool, and its answers."""

    def __init__(self, module: str, request: str, tasks: int):
        self._module = module
        self._child = child_process.start(
            module,
            f"{tasks} {request}",
            environment={"OPENBLAS_NUM_THREADS": "1"},  # the processes together use all processors
            stdout=subprocess.PIPE,
            pass_fds=[tasks],
        )
        assert self._child.stdout is not None
        self.answers = self._child.stdout.fileno()
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._child.__exit__(None, None, None)

    def read(self) -> list[dict[str, Any]]:
        """Returns the answers that have arrived."""
        chunk = os.read(self.answers, 2**16)
        if not chunk:
            raise self._ended()
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        return [json.loads(line) for line in lines]

    def _ended(self) -> WorkerError:
        status = self._child.wait()
        ending = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        cause = " The system does this when the memory is full: close other programs." if status == -9 else ""
        return WorkerError(
            f"Every process of {self._module} must run to the end of the work. Received: one {ending}.{cause} Then run "
            "the same command again, which resumes a run; the log may show more."
        )


def _result(answer: Mapping[str, Any]) -> Any:
    if "error" in answer:
        raise pickle.loads(base64.b64decode(answer["error"]))
    return answer["result"]


def usable_processes(bytes_each: int, quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Returns how many processes can work at once on this machine or in this container, from 1 to `_MAX_PROCESSES`.

    Args:
        bytes_each: Memory that each of them takes.
        quota: File of version 2 of cgroups with the microseconds of processor time per period; it may be missing.
    """
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):  # `max` is no number
        limit, period = map(int, quota.read_text().split())
        processors = min(processors, math.ceil(limit / period))
    memory = read_memory()
    fitting = memory.available // bytes_each if memory else processors
    return max(1, min(processors, fitting, _MAX_PROCESSES))


def serve(request: str, start: Callable[[str], Run]) -> None:
    """Works on the tasks of a `WorkerPool` until the pool closes.

    Args:
        request: The request that the module's `main` received.
        start: Receives the request that the pool was created with; returns the function that runs a step.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the parent, and then this process
    tasks, _, own_request = request.partition(" ")
    with _own_stdout() as answers:
        run = start(own_request)
        while task := os.read(int(tasks), _TASK.size):
            step, number = _TASK.unpack(task)
            meter = _Meter(answers)
            try:
                result = run(step.rstrip(b"\0").decode("ascii"), number, meter.tick)
            except Exception as error:
                _write(answers, units=meter.take(), number=number, error=_pickled(error))
                continue
            _write(answers, units=meter.take(), number=number, result=result)


class _Meter:
    """Counter of finished units of work, which reports them at intervals."""

    def __init__(self, answers: IO[bytes]):
        self._answers = answers
        self._units = 0
        self._reported_s = time.monotonic()

    def tick(self) -> None:
        """Counts one unit."""
        self._units += 1
        if time.monotonic() - self._reported_s >= _REPORT_INTERVAL_S:
            self._reported_s = time.monotonic()
            _write(self._answers, units=self.take())

    def take(self) -> int:
        """Returns the units since the last call."""
        units, self._units = self._units, 0
        return units


def _write(answers: IO[bytes], **answer: Any) -> None:
    """Writes one answer: finished units, and the number and the result of a finished piece of work, or an error."""
    answers.write(json.dumps(answer).encode("ascii") + b"\n")


@contextlib.contextmanager
def _own_stdout() -> Iterator[IO[bytes]]:
    """Yields the standard output, unbuffered; what libraries print meanwhile goes to the standard error."""
    with os.fdopen(os.dup(1), "wb", buffering=0) as answers:
        os.dup2(2, 1)
        yield answers


def _pickled(error: Exception) -> str:
    """Returns an exception as text; all but errors of the input get their traceback as a note."""
    if not isinstance(error, InputError):
        error.add_note(traceback.format_exc())
    try:
        content = pickle.dumps(error)
        pickle.loads(content)  # an exception whose arguments are not those of its class can be written but not read
    except Exception:
        content = pickle.dumps(WorkerError(traceback.format_exc()))
    return base64.b64encode(content).decode("ascii")
