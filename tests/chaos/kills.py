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
evaluation: {max_perplexity: 1000000, max_regression: 1000}
"""
# The times before the first node and after the last one.
LOADING, ENDING = "loading", "ending"
# Another seed re-runs these nodes and nothing before them.
# Nodes of warm starts, and of rows of instructions and preferences.
_NOT_IN_THIS_DAG = ("WarmStartModel", "LengthGate")
_FROM_TRAINER = NODES[NODES.index("Trainer") :]
# Nodes that take seconds; the others take a fraction of a second.
_LONG = {
    LOADING, "TextExampleGen", "StatisticsGen", "Transform", "TokenStatistics", "Trainer", "TaskEvaluator", "Evaluator",
    "TFLiteConverter", "TFLiteEvaluator",
}  # fmt: skip
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
        node: One of NODES, or LOADING.
        delay_s: Seconds between the node's start and the kill.
        kill: How to end the run.
        arguments: Options of `run`.

    Returns:
        The node that was running at the kill, LOADING or ENDING; `""` if the run ended before.
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
        between = ENDING if watch.nodes else LOADING
        running = (watch.current or between) if runs(process.pid) else ""
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
    """Kills at one node, and what they left."""

    kills: int = 0
    paths: int = 0
    size_bytes: int = 0
    processes: int = 0
    paths_after_sweep: int = 0
    went_on: int = 0


class _Campaign:
    """Kills of runs of one checkout; each run sweeps what the kill before it left."""

    def __init__(self, folder: Path, seed: int):
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        os.environ["TMPDIR"] = str(self.temporary)
        self.checkout = small_checkout(folder / "checkout")
        self.chance = random.Random(seed)
        self.rows = {name: _Row() for name in (LOADING, *NODES, ENDING)}
        self.last: _Row | None = None  # of the kill before the current run

    def kill(self, turn: int, target: str) -> str:
        """Kills a run at the target or soon after it, and looks at what is left; returns a line about it."""
        if target not in _FROM_TRAINER:
            # So that the nodes before the Trainer run and are not cached.
            text = f"This is the text of the kill with number {turn}."
            (self.checkout.folder / "texts" / "more.txt").write_text(text, encoding="utf-8")
        kill, seed = self.chance.choice(KILLS), ("--set", f"training.seed={turn}")
        delay_s = self.chance.uniform(0, 6 if target in _LONG else 0.2)
        node = killed_at(self.checkout, target, delay_s, kill, *seed)
        self.note_previous(bool(node) or self.checkout.reader().runs()[0].verdict == "pushed")
        if not node:
            return f"the run ended before its kill in {target}"
        self.last = self.rows[node]
        self.count_remains(self.last)
        killed_at(self.checkout, LOADING, 0, KILLS[0], *seed)
        # The run that swept was killed too; its own temporary folder is there.
        left = [path for path in remains(self.checkout, self.temporary) if not path.name.startswith("tfx-gpt2-")]
        self.last.paths_after_sweep += len(left)
        names = "".join(f"; left: {path.relative_to(self.checkout.folder.parent)}" for path in left)
        return f"{node}, {kill.number.name} to {'all processes' if kill.to_group else 'the command'}{names}"

    def note_previous(self, went_on: bool) -> None:
        """Notes whether the run after the last kill came to its own kill, or to its end."""
        if self.last is not None:
            self.last.went_on += went_on
        self.last = None

    def count_remains(self, row: _Row) -> None:
        """Counts the processes and files that a kill has left."""
        row.kills += 1
        if not wait_until(lambda: not processes(self.checkout), _SECONDS_TO_END):
            row.processes += len(processes(self.checkout))
        left = remains(self.checkout, self.temporary)
        row.paths += len(left)
        row.size_bytes += _size(left)


def kill_many(number: int = 50, seed: int = 0) -> bool:
    """Kills runs at random moments, lets a last run complete, and prints what was left.

    Returns:
        Whether no process and no file was left and every run went on.
    """
    console = Console(width=120)
    targets = [node for node in (LOADING, *NODES) if node not in _NOT_IN_THIS_DAG]
    with tempfile.TemporaryDirectory(prefix="kills_") as folder:
        campaign = _Campaign(Path(folder), seed)
        for turn in range(number):
            started = time.monotonic()
            line = campaign.kill(turn, targets[(seed + turn) % len(targets)])
            console.print(f"{turn + 1}: {line}, {time.monotonic() - started:.0f} s")
        finished = campaign.checkout.run()
        campaign.note_previous(finished.status == 0)
        at_end = remains(campaign.checkout, campaign.temporary)
    console.print(_table(campaign.rows))
    console.print(f"The last run ended with status {finished.status}; left at the end: {at_end or 'nothing'}")
    swept = all((row.processes, row.paths_after_sweep) == (0, 0) for row in campaign.rows.values())
    return swept and not at_end and all(row.went_on == row.kills for row in campaign.rows.values())


def _table(rows: dict[str, _Row]) -> Table:
    table = Table(title="Killed runs")
    for title in ("node", "kills", "left by the kill", "processes left", "paths left after the sweep", "went on"):
        table.add_column(title, justify="left" if title == "node" else "right")
    for name, row in rows.items():
        if row.kills:
            left = f"{row.paths} paths, {row.size_bytes / 1e6:.2f} MB"
            table.add_row(
                name, str(row.kills), left, str(row.processes), str(row.paths_after_sweep), f"{row.went_on}/{row.kills}"
            )
    return table


if __name__ == "__main__":
    sys.exit(0 if kill_many(*map(int, sys.argv[1:])) else 1)
