"""Kills of real runs at moments of their nodes, and what they leave.

`python -m tests.chaos.kills 50` kills 50 runs at random moments over all nodes, with every signal that ends a run, and
prints a table. A second argument is the seed: it decides the moments, the signals and the first node.
"""

import dataclasses
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from pydoc_data import topics

from rich.console import Console
from rich.table import Table

from pipeline.console.run_view import Watch
from pipeline.nodes import NODES
from tests.toys.checkout import Checkout, copy_project
from tests.toys.processes import runs, wait_until

# As small as a run can be: its time is that of importing and of starting nodes.
RECIPE = """
name: topics
data:
  source: texts/*.txt
  document_separator: blank_line
  splits: {train: 8, eval: 1, test: 1}
tokenizer: {vocabulary_size: 300}
model: {num_layers: 1, num_heads: 2, hidden_dim: 16, context_length: 32}
training: {steps: 20, batch_size: 4, learning_rate: 5.0e-3, warmup_steps: 2}
evaluation: {max_perplexity: 1000000}
"""
LOADING = "loading"
# The trained and later nodes: another seed re-runs them and nothing before them.
_AFTER_DATA = NODES[NODES.index("Trainer") :]
_SECONDS_TO_START = 240
# A training run that SIGTERM ends saves its state first.
_SECONDS_TO_END = 30
_WORKSPACE = {"metadata.sqlite", "topics", "tfds"}
_PIPELINE = {".lock", "artifacts", "checkpoints", "logs", "releases"}


@dataclasses.dataclass(frozen=True)
class Kill:
    """One way to end a run.

    Attributes:
        number: The signal.
        to_group: Whether every process of the run gets the signal, as from a terminal, or only the command.
    """

    number: signal.Signals
    to_group: bool


KILLS = tuple(
    Kill(number, to_group)
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    for to_group in (True, False)
)


def small_checkout(folder: Path) -> Checkout:
    """Returns a copy of the project with RECIPE and 60 kB of text."""
    checkout = Checkout(copy_project(folder, RECIPE))
    text = "\n\n".join(topics.topics[name] for name in sorted(topics.topics)[:15])
    (checkout.folder / "texts" / "topics.txt").write_text(text[:60_000], encoding="utf-8")
    return checkout


def killed_at(checkout: Checkout, node: str, delay_s: float, kill: Kill = KILLS[0], *arguments: str) -> str:
    """Starts a run, waits until a node has started, and kills it.

    Args:
        checkout: Where to run.
        node: One of NODES, or LOADING for the time before the first node.
        delay_s: Seconds between the node's start and the kill.
        kill: How to end the run.
        arguments: Options of `run`.

    Returns:
        The node that was running at the kill; `""` if the run ended before.
    """
    logs = checkout.folder / "workspace/topics/logs"
    before = set(logs.glob("*.events.jsonl"))
    with checkout.start("run", "--config", "recipe.yaml", *arguments) as process:
        assert wait_until(lambda: set(logs.glob("*.events.jsonl")) - before or not runs(process.pid), 60)
        (events,) = set(logs.glob("*.events.jsonl")) - before
        watch = Watch(events)
        assert wait_until(lambda: _reached(watch, node) or not runs(process.pid), _SECONDS_TO_START)
        wait_until(lambda: not runs(process.pid), delay_s)
        watch.read()
        running = (watch.current or LOADING) if runs(process.pid) else ""
        if kill.to_group:
            os.killpg(process.pid, kill.number)
        else:
            process.send_signal(kill.number)
    return running


def _reached(watch: Watch, node: str) -> bool:
    watch.read()
    if node == LOADING:
        return watch.phase.startswith("loading")
    return node in watch.nodes and watch.nodes[node]["state"] != "waiting"


def processes(checkout: Checkout) -> list[int]:
    """Returns the ids of the processes that run in a checkout's folder: the command, the run, the conversion."""
    found = []
    for place in Path("/proc").iterdir():
        try:
            if place.name.isdigit() and (place / "cwd").readlink() == checkout.folder:
                found.append(int(place.name))
        except OSError:  # the process has ended, or is another user's
            continue
    return [number for number in found if runs(number)]


def remains(checkout: Checkout, temporary: Path) -> list[Path]:
    """Returns what is neither a log, nor an output in ML Metadata, nor what a later run uses.

    Args:
        checkout: Where runs were killed.
        temporary: The temporary folder of the system during these runs.
    """
    workspace = checkout.folder / "workspace"
    pipeline = workspace / "topics"
    known = _known_outputs(checkout)
    found = [path for path in workspace.iterdir() if path.name not in _WORKSPACE]
    found += [path for path in pipeline.iterdir() if path.name not in _PIPELINE]
    found += [path for path in (pipeline / "releases").glob("*") if path.name != ".id" and path not in known]
    for path in (pipeline / "artifacts").glob("*/*/*"):
        if path.parent.name == ".system":
            found += [inner for inner in path.iterdir() if any(inner.iterdir())]
        elif path not in known:
            found.append(path)
    return sorted(found) + sorted(temporary.iterdir())


def _known_outputs(checkout: Checkout) -> set[Path]:
    if not (checkout.folder / "workspace/metadata.sqlite").is_file():
        return set()
    runs_ = checkout.reader().runs()
    outputs = [
        item for run in runs_ for execution in run.executions for items in execution.outputs.values() for item in items
    ]
    return {Path(item.uri) for item in outputs} | {run.release for run in runs_ if run.release}


def _size(paths: list[Path]) -> int:
    files = [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path])]
    return sum(file.lstat().st_size for file in files if file.is_file())


@dataclasses.dataclass
class _Row:
    """Kills at one node."""

    kills: int = 0
    folders: int = 0
    size_bytes: int = 0
    processes: int = 0
    after: int = 0
    went_on: int = 0


def kill_many(number: int = 50, seed: int = 0) -> bool:
    """Kills runs at random moments, lets a last run complete, and prints what was left.

    Each run after a kill must come as far as its own kill, or to its end; it sweeps what the kill before it left.

    Returns:
        Whether no process and no file was left and every run went on.
    """
    console, chance = Console(width=120), random.Random(seed)
    rows = {name: _Row() for name in (LOADING, *NODES)}
    with tempfile.TemporaryDirectory(prefix="kills_") as folder:
        temporary = Path(folder, "temporary")
        temporary.mkdir()
        os.environ["TMPDIR"] = str(temporary)
        checkout = small_checkout(Path(folder, "checkout"))
        targets = [node for node in (LOADING, *NODES) if node != "WarmStartModel"]
        last: _Row | None = None
        for turn in range(number):
            target = targets[(seed + turn) % len(targets)]
            started = time.monotonic()
            _change(checkout, turn, target)
            kill = chance.choice(KILLS)
            node = killed_at(
                checkout, target, chance.uniform(0, chance.choice((0.2, 6))), kill, "--set", f"training.seed={turn}"
            )
            if last is not None:
                last.went_on += bool(node) or checkout.reader().runs()[0].verdict == "pushed"
            if not node:
                console.print(f"{turn + 1}: the run ended before its kill in {target}")
                last = None
                continue
            last = rows[node]
            last.kills += 1
            if not wait_until(lambda: not processes(checkout), _SECONDS_TO_END):
                last.processes += len(processes(checkout))
            left = remains(checkout, temporary)
            last.folders, last.size_bytes = last.folders + len(left), last.size_bytes + _size(left)
            killed_at(checkout, LOADING, 0, KILLS[0], "--set", f"training.seed={turn}")
            # The run that swept was killed too; its own temporary folder is there.
            last.after += sum(not path.name.startswith("tfx-gpt2-") for path in remains(checkout, temporary))
            name = f"{kill.number.name} to {'all processes' if kill.to_group else 'the command'}"
            console.print(f"{turn + 1}: {node}, {name}, {time.monotonic() - started:.0f} s")
        finished = checkout.run()
        if last is not None:
            last.went_on += finished.status == 0
        at_end = remains(checkout, temporary)
    console.print(_table(rows))
    console.print(f"The last run ended with status {finished.status}; left at the end: {at_end or 'nothing'}")
    good = all((row.processes, row.after) == (0, 0) and row.went_on == row.kills for row in rows.values())
    return good and finished.status == 0 and not at_end


def _change(checkout: Checkout, turn: int, target: str) -> None:
    """Changes the text if nodes before the Trainer shall run and not be cached."""
    if target not in _AFTER_DATA:
        path = checkout.folder / "texts" / "more.txt"
        path.write_text(f"This is the text of the kill with number {turn}.", encoding="utf-8")


def _table(rows: dict[str, _Row]) -> Table:
    table = Table(title="Killed runs")
    for title in ("node", "kills", "left by the kill", "processes left", "left after the next start", "went on"):
        table.add_column(title, justify="left" if title == "node" else "right")
    for name, row in rows.items():
        if row.kills:
            left = f"{row.folders} paths, {row.size_bytes / 1e6:.2f} MB"
            table.add_row(name, str(row.kills), left, str(row.processes), str(row.after), f"{row.went_on}/{row.kills}")
    return table


if __name__ == "__main__":
    sys.exit(0 if kill_many(*map(int, sys.argv[1:])) else 1)
