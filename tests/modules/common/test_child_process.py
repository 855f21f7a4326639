import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from modules.common import child_process
from tests.toys.processes import runs, wait_until

# Writes its process id, then computes for hours with the interpreter's lock held, as TFLite's converter does.
CHILD = """
import os, pathlib
def main(request):
    pathlib.Path(request).write_text(str(os.getpid()))
    sum(range(10**12))
"""
# A background job ignores SIGINT, and so do its children, so this program restores the default handler.
PARENT = """
import signal, sys
from modules.common import child_process
signal.signal(signal.SIGINT, signal.default_int_handler)
with child_process.start("busy", sys.argv[1]) as child:
    child.wait()
"""
ANSWER = """
import sys
def main(request):
    sys.stdout.buffer.write(request.upper().encode())
    return 3
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_child_ends_with_its_parent(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "busy.py").write_text(CHILD)
    id_file = tmp_path / "id"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    root = Path(__file__).parents[3]
    with subprocess.Popen([sys.executable, "-c", PARENT, str(id_file)], cwd=root, env=environment) as parent:
        try:
            assert wait_until(lambda: id_file.exists() and id_file.read_text(), 60)
            child = int(id_file.read_text())
            assert runs(child)
            parent.send_signal(number)
            parent.wait(timeout=10)
        finally:
            parent.kill()
    assert wait_until(lambda: not runs(child), 2)


def test_a_child_gets_the_request_and_returns_its_status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "answer.py").write_text(ANSWER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with child_process.start("answer", "ü and more", stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        output = child.stdout.read()
        assert child.wait() == 3
    assert output == "Ü AND MORE".encode()


def test_a_child_that_ends_without_reading_shows_its_status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ending = tmp_path / "python"
    ending.write_text("#!/bin/sh\nexec 0<&-\nexit 4\n")
    ending.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(ending))
    # The request is larger than the buffer of a pipe.
    with child_process.start("any", "x" * 200_000) as child:
        assert child.wait() == 4


def test_a_request_with_two_lines_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must be one line\. Received: 'a\\nb'"):
        child_process.start("any", "a\nb")
