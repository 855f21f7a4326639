import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.toys.processes import children, runs, wait_until
from tests.toys.release import saved_release

PARENT = """
import sys
from modules.export.tflite_conversion import convert_all
convert_all(sys.argv[1], {"float16": sys.argv[2], "int8": sys.argv[3]})
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_converting_process_ends_with_its_parent(number: signal.Signals, tmp_path: Path) -> None:
    outputs = [str(tmp_path / "a.tflite"), str(tmp_path / "b.tflite")]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", PARENT, saved_release().preset, *outputs]
    with subprocess.Popen(command, cwd=root, env=environment) as parent:
        try:
            # The SavedModel exists, so the worker is converting now.
            assert wait_until(lambda: list(tmp_path.glob("*/signatures/saved_model.pb")), 240)
            (worker,) = children(parent.pid)
            parent.send_signal(number)
            parent.wait(timeout=10)
        finally:
            parent.kill()
    assert wait_until(lambda: not runs(worker), 2)
    assert not Path(outputs[1]).exists()
