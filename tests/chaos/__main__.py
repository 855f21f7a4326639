"""The long chaos tests, `make test-chaos`: a changed byte in every file of a run, and kills at random moments."""

import sys
import tempfile
from pathlib import Path

from rich.console import Console

from tests.chaos import changed_bytes, kills
from tests.toys.checkout import topics_checkout

KILLS = 50


def main() -> int:
    """Runs the two sweeps, of about 10 and 40 minutes, and prints their tables; returns 1 if a kill left something."""
    console = Console()
    with tempfile.TemporaryDirectory(prefix="chaos_") as folder:
        console.print(changed_bytes.sweep(topics_checkout(Path(folder))))
    return 0 if kills.kill_many(KILLS) else 1


if __name__ == "__main__":
    sys.exit(main())
