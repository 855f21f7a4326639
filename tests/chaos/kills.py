"""Kills of the real command at moments of a node, and a search for what they leave."""

import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

from rich.progress import track
from rich.table import Table

from modules.release.manifest import Manifest
from modules.release.verification import check_files
from pipeline.nodes import NODES
from tests.toys.checkout import ALL, Checkout


def kill_in(checkout: Checkout, node: str, *arguments: str, delay_s: float = 0.0) -> bool:
    """Runs the pipeline and kills the command with all its processes, after a node has started.

    Args:
        checkout: The project's copy.
        node: Id of the node.
        arguments: Further arguments of the command `run`.
        delay_s: Seconds from the start of the node to the kill.

    Returns:
        False if the run ended before.
    """
    with checkout.start("run", "--config", "recipe.yaml", *arguments) as command:
        assert command.stdout is not None
        for line in command.stdout:
            if line.strip() == f"▶ {node}":
                time.sleep(delay_s)
                os.killpg(command.pid, signal.SIGKILL)
                return True
    return False


def remains(checkout: Checkout, temporary: Path) -> list[str]:
    """Returns what runs have left in their artifacts without ML Metadata's knowledge, and in their temporary folder.

    Args:
        checkout: The project's copy; no run may be in progress.
        temporary: The folder of temporary files, TMPDIR of the runs.
    """
    known = {
        Path(artifact.uri)
        for run in checkout.reader().runs()
        for execution in run.executions
        for artifacts in execution.outputs.values()
        for artifact in artifacts
    }
    artifacts = checkout.folder / "workspace/topics/artifacts"
    versions = [path for path in artifacts.glob("*/*/*") if path.parent.name != ".system"]
    unknown = [path for path in versions if path not in known]
    corpora = [path for path in artifacts.glob("*/.system/**/*") if path.is_file()]
    return [str(path) for path in (*unknown, *corpora, *temporary.iterdir())]


def processes_of(temporary: Path) -> list[int]:
    """Returns the ids of all processes whose temporary files are below a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes()
        except OSError:  # it has ended
            continue
        if f"TMPDIR={temporary}".encode() in environment:
            found.append(int(process.name))
    return found


def sweep(checkout: Checkout, temporary: Path, count: int) -> Table:
    """Kills runs in all nodes in turn, at random moments; returns the results as a table.

    Each run has another text, so that no node is cached. Then one run goes to its end.

    Args:
        checkout: The project's copy.
        temporary: TMPDIR of the runs.
        count: Number of kills.
    """
    os.environ["TMPDIR"] = str(temporary)
    numbers = random.Random(0)
    nodes = [node for node in NODES if node in ALL]
    kills, processes = Counter[str](), Counter[str]()
    for number in track(range(count), "kills"):
        node = nodes[number % len(nodes)]
        (checkout.folder / "texts" / "more.txt").write_text(f"Text number {number}.\n")
        kills[node] += kill_in(checkout, node, delay_s=numbers.uniform(0, 3))
        time.sleep(1)
        processes[node] += len(processes_of(temporary))
    final = checkout.run()
    assert final.status == 0, final.output
    for release in (checkout.folder / "workspace/topics/releases").glob("[0-9]*"):
        check_files(release, Manifest.read(release))
    table = Table("node", "kills", "processes left", title=f"after one more run: {remains(checkout, temporary)} left")
    for node in nodes:
        table.add_row(node, str(kills[node]), str(processes[node]))
    return table
