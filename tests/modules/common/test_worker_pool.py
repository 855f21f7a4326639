"""A pool's processes share the work, pass on their errors, and do not survive their parent."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from modules.common.errors import InputError
from modules.common.worker_pool import WorkerError, WorkerPool, usable_processes
from tests.toys.processes import runs, wait_until

STEPS = """
import os, signal, sys, time
from modules.common import worker_pool
from modules.common.errors import InputError

class Odd(Exception):
    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")

def steps(request):
    def run(step, number, tick):
        if step == "double":
            print("libraries may print")
            tick()
            tick()
            return {"double": 2 * number, "request": request, "tensorflow": "tensorflow" in sys.modules}
        if step == "input":
            raise InputError("rows.jsonl, line 7: not valid JSON")
        if step == "disk":
            raise OSError(28, "No space left on device", "/full/file")
        if step == "second" and number == 1:
            time.sleep(0.5)
        if step == "second" and number:
            raise InputError(f"piece {number}")
        if step == "second":
            return number
        if step == "odd":
            raise Odd(1, 2)
        if step == "kill" and number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if step == "wait":
            with open(request, "a") as file:
                file.write(f"{os.getpid()} ")
            time.sleep(1000)
    return run

def main(request):
    worker_pool.serve(request, steps)
"""
PARENT = """
import sys
from modules.common.worker_pool import WorkerPool
with WorkerPool("steps", sys.argv[1], 2) as pool:
    list(pool.results("wait", 2))
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "steps.py").write_text(STEPS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


@pytest.mark.parametrize("processes", [1, 3])
def test_results_come_in_order_and_every_finished_unit_is_counted(processes: int) -> None:
    units: list[int] = []
    with WorkerPool("steps", "a request", processes) as pool:
        for count in (20, 1, 0):
            found = list(pool.results("double", count, units.append))
            assert [row["double"] for row in found] == [2 * number for number in range(count)]
    assert sum(units) == 2 * 21


def test_workers_get_the_request_and_import_no_tensorflow() -> None:
    with WorkerPool("steps", "a request", 1) as pool:
        (row,) = pool.results("double", 1)
    assert row == {"double": 0, "request": "a request", "tensorflow": False}


def test_an_error_of_a_step_is_raised_as_it_was() -> None:
    with pytest.raises(InputError, match=r"^rows\.jsonl, line 7: not valid JSON$"), WorkerPool("steps", "", 2) as pool:
        list(pool.results("input", 5))
    with WorkerPool("steps", "", 1) as pool, pytest.raises(OSError, match="No space left on device") as full:
        list(pool.results("disk", 1))
    assert (full.value.errno, full.value.filename) == (28, "/full/file")
    assert "in run" in full.value.__notes__[0]
    with WorkerPool("steps", "", 1) as pool, pytest.raises(WorkerError, match="Odd: 1 and 2"):
        list(pool.results("odd", 1))


def test_of_several_errors_that_of_the_first_piece_is_raised() -> None:
    with WorkerPool("steps", "", 2) as pool, pytest.raises(InputError, match=r"^piece 1$"):
        list(pool.results("second", 9))


def test_a_killed_worker_is_an_error() -> None:
    with WorkerPool("steps", "", 2) as pool, pytest.raises(WorkerError, match=r"SIGKILL\. The system does this when"):
        list(pool.results("kill", 10))


def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    ids = tmp_path / "ids"
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", PARENT, str(ids)], cwd=root, env=environment) as parent:
        try:
            assert wait_until(lambda: ids.exists() and len(ids.read_text().split()) == 2, 60)
            workers = [int(number) for number in ids.read_text().split()]
            assert all(map(runs, workers))
            parent.send_signal(signal.SIGKILL)
            parent.wait(timeout=10)
        finally:
            parent.kill()
    assert wait_until(lambda: not any(map(runs, workers)), 5)


def test_the_number_of_processes_fits_processors_quota_and_memory(tmp_path: Path) -> None:
    quota = tmp_path / "cpu.max"
    quota.write_text("150000 100000\n")
    processors = len(os.sched_getaffinity(0))
    assert usable_processes(1, quota) == min(2, processors)
    quota.write_text("max 100000\n")
    assert usable_processes(1, quota) == usable_processes(1, tmp_path / "missing") == min(16, processors)
    assert usable_processes(2**60, quota) == 1
