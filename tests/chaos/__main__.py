"""The long chaos tests, `make test-chaos`: a changed byte in every file of a run, and kills at random moments."""

import tempfile
from pathlib import Path

from rich.console import Console

from tests.chaos import changed_bytes
from tests.toys.checkout import topics_checkout


def main() -> None:
    """Runs all of it, about ten minutes for the bytes and half an hour for the kills, and prints tables."""
    console = Console()
    with tempfile.TemporaryDirectory(prefix="chaos_") as folder:
        console.print(changed_bytes.sweep(topics_checkout(Path(folder))))


if __name__ == "__main__":
    main()
