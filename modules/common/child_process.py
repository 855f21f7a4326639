"""Child processes that end when their parent ends, even if SIGKILL ends the parent.

A child's standard input is a pipe, and only the parent holds the other end. The parent writes the request into the pipe
and leaves the pipe open. When the parent ends, for any reason, the operating system closes the pipe, and the child
receives SIGTERM.

The child runs `python -m modules.common.child_process MODULE`. It watches the pipe before it imports the module,
because importing TensorFlow takes seconds.
"""

import contextlib
import fcntl
import gc
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

# Python's own (700, 10, 10) spends a fifth of the time of importing TFX, and a tenth of that of tracing TensorFlow's
# graphs, on searches for garbage among millions of objects that stay.
_GARBAGE_COLLECTION = (50_000, 20, 20)

_ROOT = Path(__file__).resolve().parents[2]


def start(
    module: str,
    request: str,
    *,
    options: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    stdout: IO[bytes] | int | None = None,
    stderr: IO[bytes] | int | None = None,
    pass_fds: Sequence[int] = (),
) -> "subprocess.Popen[bytes]":
    """Starts a module of this project in a new interpreter, which calls the module's `main(request)`.

    Use the result in a `with` block, and wait for the child inside the block. The end of the block closes the pipe, so
    an exception, such as KeyboardInterrupt on Ctrl-C, ends the child too. Do not call `communicate`, because it closes
    the pipe; read `stdout` instead.

    Args:
        module: Dotted name of the module. Its `main` returns the exit status of the child.
        request: One line of text for the child.
        options: Options of the interpreter, such as `-S`.
        environment: Environment variables to add to those of this process.
        stdout: As for `subprocess.Popen`.
        stderr: As for `subprocess.Popen`.
        pass_fds: As for `subprocess.Popen`.

    Raises:
        ValueError: The request has more than one line.
    """
    if "\n" in request:
        raise ValueError(f"A request must be one line. Received: {request!r}. Write it as JSON without line breaks.")
    python_path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    child = subprocess.Popen(
        [sys.executable, *options, "-m", "modules.common.child_process", module],
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=stderr,
        pass_fds=pass_fds,
        env={**os.environ, "PYTHONPATH": python_path, **(environment or {})},
    )
    assert child.stdin is not None
    try:
        child.stdin.write(request.encode() + b"\n")
        child.stdin.flush()
    except BrokenPipeError:  # the child has already ended; the caller sees its status
        with contextlib.suppress(BrokenPipeError):
            child.stdin.close()  # otherwise the end of the `with` block would try to write the rest again
    except BaseException:
        child.kill()
        raise
    return child


def main(module: str) -> int | None:
    """Reads the parent's request and calls the module's `main` with it.

    SIGTERM ends this process as soon as the parent has ended.

    Returns:
        The exit status; None means 0.
    """
    gc.set_threshold(*_GARBAGE_COLLECTION)
    request = sys.stdin.buffer.readline().decode().removesuffix("\n")
    _end_with_the_parent()
    status: int | None = importlib.import_module(module).main(request)
    return status


def _end_with_the_parent() -> None:
    """Arranges that this process receives SIGTERM as soon as its standard input is closed."""
    if sys.platform != "linux":
        threading.Thread(target=_wait_for_the_end, daemon=True).start()
        return
    # The kernel sends the signal. A thread would have to wait for the interpreter's lock, and TFLite's converter holds
    # that lock for minutes, as long as it computes.
    fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(0, fcntl.F_SETSIG, signal.SIGTERM)
    fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([0], [], [], 0)[0]:  # the parent has already ended
        _wait_for_the_end()


def _wait_for_the_end() -> None:
    # `sys.stdin` must not be used here: the interpreter needs its lock when it ends.
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
