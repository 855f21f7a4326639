"""Child processes that end with their parent, even where that is killed by SIGKILL.

A child's standard input is a pipe whose other end only the parent holds. The parent writes the request into it and
leaves it open; however the parent ends, the operating system closes the pipe and the child gets SIGTERM.

`python -m modules.common.child_process MODULE` is the child: it watches from the start, before it imports the module,
as importing TensorFlow takes seconds.
"""

import contextlib
import fcntl
import importlib
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

_ROOT = Path(__file__).resolve().parents[2]


def start(
    module: str,
    request: str,
    *,
    options: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    stdout: IO[bytes] | int | None = None,
    stderr: IO[bytes] | int | None = None,
) -> "subprocess.Popen[bytes]":
    """Starts a module of this project in a new interpreter, which calls the module's `main(request)`.

    Use the result in a `with` block and wait for the child inside it: the block's end closes the pipe, so that an
    exception, such as Ctrl-C's, ends the child too. `communicate` closes the pipe as well: read `stdout` instead.

    Args:
        module: Dotted name of the module. The exit status of the child is what its `main` returns.
        request: A line of text for the child.
        options: Options of the interpreter, such as `-S`.
        environment: Environment variables besides this process's own.
        stdout: As for `subprocess.Popen`.
        stderr: As for `subprocess.Popen`.

    Raises:
        ValueError: If the request is more than one line.
    """
    if "\n" in request:
        raise ValueError(f"A request must be one line. Received: {request!r}.")
    python_path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    child = subprocess.Popen(
        [sys.executable, *options, "-m", "modules.common.child_process", module],
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=stderr,
        env={**os.environ, "PYTHONPATH": python_path, **(environment or {})},
    )
    assert child.stdin is not None
    try:
        child.stdin.write(request.encode() + b"\n")
        child.stdin.flush()
    except BrokenPipeError:  # it has ended already; the caller sees its status
        with contextlib.suppress(BrokenPipeError):
            child.stdin.close()  # else the `with` block's end would try to write the rest again
    except BaseException:
        child.kill()
        raise
    return child


def main(module: str) -> int | None:
    """Reads the parent's request and runs it; ends as on SIGTERM as soon as the parent has ended.

    Returns:
        The exit status; None is 0.
    """
    request = sys.stdin.buffer.readline().decode().removesuffix("\n")
    _end_with_the_parent()
    status: int | None = importlib.import_module(module).main(request)
    return status


def _end_with_the_parent() -> None:
    """Has SIGTERM sent to this process as soon as its standard input is closed."""
    if sys.platform != "linux":
        threading.Thread(target=_wait_for_the_end, daemon=True).start()
        return
    # By the kernel, as a thread would have to wait for the interpreter's lock, which TFLite's converter holds for as
    # long as it computes: minutes.
    fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(0, fcntl.F_SETSIG, signal.SIGTERM)
    fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([0], [], [], 0)[0]:  # the parent had ended before
        _wait_for_the_end()


def _wait_for_the_end() -> None:
    # Not through `sys.stdin`, whose lock the interpreter needs when it ends.
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
