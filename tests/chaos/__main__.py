"""The long chaos tests, `make test-chaos`: a changed byte in every file of a run, and kills at random moments."""

import tempfile
from pathlib import Path

from rich.console import Console

from tests.chaos import changed_bytes, kills
from tests.toys.checkout import topics_checkout

KILLS = 50


def main() -> None:
    """Runs the two sweeps, about half an hour each, and prints their tables."""
    console = Console()
    with tempfile.TemporaryDirectory(prefix="chaos_") as folder:
        checkout = topics_checkout(Path(folder, "checkout"))
        console.print(changed_bytes.sweep(checkout))
        temporary = Path(folder, "tmp")
        temporary.mkdir()
        console.print(kills.sweep(checkout, temporary, KILLS))


if __name__ == "__main__":
    main()
