"""The long sweep of changed bytes: the real command runs once for every file of every artifact of a run."""

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rich.progress import track
from rich.table import Table

from tests.chaos.faults import flipped_byte
from tests.toys.checkout import ALL, Checkout, FinishedRun


def written_files(run: FinishedRun) -> Iterator[tuple[int, str, Path]]:
    """Yields execution, node and path of every file of a run that is not empty; resolvers write none."""
    for execution in run.run.executions:
        for artifacts in execution.outputs.values() if execution.node in ALL else ():
            for artifact in artifacts:
                for path in sorted(Path(artifact.uri).rglob("*")):
                    if path.is_file() and path.stat().st_size:
                        yield execution.id, execution.node, path


def sweep(checkout: Checkout) -> Table:
    """Runs the pipeline, then once more for each file with a changed byte; returns the results as a table.

    Before each run, the id of the push directory is removed, so that the Pusher would publish again.
    """
    first = checkout.run()
    assert first.status == 0, first.output
    releases = checkout.folder / "workspace/topics/releases"
    before = sorted(path.name for path in releases.glob("[0-9]*"))
    numbers = random.Random(0)
    files, noticed, released = Counter[str](), Counter[str](), Counter[str]()
    for _, node, path in track(list(written_files(first)), "a changed byte in each file"):
        files[node] += 1
        (releases / ".id").unlink(missing_ok=True)
        with flipped_byte(path, numbers.randrange(path.stat().st_size)):
            run = checkout.run()
        noticed[node] += run.status == 2 and f"Received: {path}, whose content is another" in run.output
        released[node] += sorted(found.name for found in releases.glob("[0-9]*")) != before
    table = Table("node", "files", "noticed", "released")
    for node, count in files.items():
        table.add_row(node, str(count), str(noticed[node]), str(released[node]))
    return table
