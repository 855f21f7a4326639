"""Live view of a run: its nodes and the progress of the running node."""

import contextlib
import datetime
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Column, Table

from modules.common import child_process, failures
from modules.common.formatting import duration, significant
from modules.common.progress import EVENTS_VARIABLE
from pipeline.config import PipelineConfig
from pipeline.console.terminal import Console, Text
from pipeline.request import RunRequest

EXIT_PUSHED, EXIT_ERROR, EXIT_INPUT, EXIT_REFUSED = 0, 1, 2, 3

# With less free space a process cannot report its own failure.
_ALMOST_FULL_BYTES = 2**16

_POLL_SECONDS = 0.1
_SECONDS_BETWEEN_LINES = 10


class Watch:
    """Reader of a run's events; keeps the state of the nodes, their progress, and the reason of a failure."""

    def __init__(self, events_path: Path):
        self.path = events_path
        self._position = 0
        self.phase = "starting"
        self.nodes: dict[str, dict[str, Any]] = {}
        self.current: str | None = None
        self.failure: dict[str, Any] | None = None

    def read(self) -> list[dict[str, Any]]:
        """Reads the new events, updates the state and returns the events."""
        if not self.path.exists():
            return []
        with self.path.open(encoding="utf-8") as file:
            file.seek(self._position)
            text = file.read()
        complete, newline, _ = text.rpartition("\n")
        self._position += len((complete + newline).encode())
        events = []
        for line in complete.splitlines():
            with contextlib.suppress(ValueError):  # a full disk cuts lines
                events.append(json.loads(line))
        for event in events:
            self._take(event)
        return events

    def _take(self, event: dict[str, Any]) -> None:
        kind, node = event["event"], event.get("node", "")
        if kind == "phase":
            self.phase = event["text"]
        elif kind == "plan":
            self.nodes = {name: {"state": "waiting"} for name in event["nodes"]}
        elif kind == "started":
            self.current = node
            self._node(node).update(state="running", start=event["time"])
        elif kind == "cached":
            self._node(node)["state"] = "cached"
        elif kind == "progress" and node in self.nodes:
            self.nodes[node]["progress"] = event
        elif kind == "finished_node":
            known = self._node(node)
            state = "cached" if known["state"] == "cached" else "done"
            known.update(state=state, seconds=event["time"] - known.get("start", event["time"]))
            self.current = None
        elif kind == "failed":
            self.failure = event
            if self.current:
                self._node(self.current)["state"] = "failed"

    def _node(self, name: str) -> dict[str, Any]:
        """Returns a node's state; a full disk may have lost its earlier events."""
        return self.nodes.setdefault(name, {"state": "waiting"})


def run_in_child(request: RunRequest, log_path: Path, console: Console) -> Watch:
    """Runs the request in a child process, writes its output to a log, and shows its progress until it ends.

    Args:
        request: What to run.
        log_path: File for the child's output; it and its folder are created.
        console: Shows the progress: a live table in a terminal, otherwise one line per event.

    Returns:
        The events that were read; `failure` is None if every node succeeded. Ctrl-C and SIGTERM end the child, which
        first saves the training run in progress; they are reported as a failure.
    """
    log_path.parent.mkdir(parents=True, exist_ok=True)
    watch = Watch(log_path.with_suffix(".events.jsonl"))
    environment = {
        EVENTS_VARIABLE: str(watch.path),
        "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2"),
    }
    with log_path.open("wb") as log:
        child = child_process.start(
            "pipeline.runners.local",
            request.model_dump_json(),
            environment=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        interrupted = False
        try:
            with _interrupted_by_sigterm():
                _show(watch, child, console)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            if child.poll() is None:
                child.terminate()
            child.wait()
    watch.read()
    if child.returncode and watch.failure is None:
        watch.failure = _ending(child.returncode, interrupted, log_path.parent)
    return watch


def _ending(status: int, interrupted: bool, folder: Path) -> dict[str, Any]:
    """Returns the failure of a child that did not report one.

    Args:
        status: Exit status, or the negative number of the signal that ended the child.
        interrupted: Whether Ctrl-C or SIGTERM ended this process.
        folder: Folder of the log.
    """
    resume = "Run the same command again to resume it."
    if interrupted:
        return {"input": False, "message": f"the run was interrupted. {resume}"}
    if failures.free_bytes(folder) < _ALMOST_FULL_BYTES:
        return {"input": True, "message": str(failures.disk_sentence(folder))}
    if status > 0:
        message = f"the run's process ended with status {status} and gave no reason. The log's last lines may show it."
    elif -status == signal.SIGKILL:
        message = (
            "the run's process was killed by SIGKILL; probably the machine had too little free memory. "
            f"Free memory, or set a smaller `training.batch_size` or model. {resume}"
        )
    else:
        message = f"the run's process was ended by {_signal_name(-status)}. {resume}"
    return {"input": False, "message": message}


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


@contextlib.contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """Makes SIGTERM raise KeyboardInterrupt, as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _show(watch: Watch, child: "subprocess.Popen[bytes]", console: Console) -> None:
    if not console.is_terminal:
        for event in _events_until_end(watch, child):
            line = _plain_line(event, watch)
            if line:
                console.print(line, markup=False, highlight=False, soft_wrap=True)
        return
    with Live(console=console, refresh_per_second=8, transient=True, get_renderable=lambda: picture(watch)):
        for _ in _events_until_end(watch, child):
            pass


def _events_until_end(watch: Watch, child: "subprocess.Popen[bytes]") -> Iterator[dict[str, Any]]:
    while child.poll() is None:
        yield from watch.read()
        time.sleep(_POLL_SECONDS)
    yield from watch.read()


def _plain_line(event: dict[str, Any], watch: Watch) -> str | None:
    node = event.get("node", "")
    if event["event"] == "phase":
        return f"… {event['text']}"
    if event["event"] == "started":
        return f"▶ {node}"
    if event["event"] == "finished_node":
        state = watch.nodes[node]
        return f"✔ {node}: {'cached' if state['state'] == 'cached' else duration(state['seconds'])}"
    if event["event"] == "progress":
        shown = watch.nodes.get(node, {})
        # Fewer lines are enough for a log.
        if event["done"] != event["total"] and event["time"] - shown.get("printed", 0) < _SECONDS_BETWEEN_LINES:
            return None
        shown["printed"] = event["time"]
        return f"    {node}: {' · '.join(filter(None, describe_progress(event)))}"
    return None


def picture(watch: Watch) -> Table | Spinner:
    """Draws the nodes of a run, with the progress of the running node; before the nodes are known, the phase."""
    if not watch.nodes:
        return Spinner("dots", text=Text(f"{watch.phase} …"))
    table = Table.grid(padding=(0, 2))
    marks: dict[str, Text | Spinner] = {
        "waiting": Text("·", style="dim"), "running": Spinner("dots"), "done": Text("✔", style="green"),
        "cached": Text("✔", style="cyan"), "failed": Text("✘", style="red"),
    }  # fmt: skip
    name_width = max(map(len, watch.nodes))
    for name, node in watch.nodes.items():
        table.add_row(marks[node["state"]], _node_lines(name.ljust(name_width), node))
    return table


def _node_lines(name: str, node: dict[str, Any]) -> RenderableType:
    state = node["state"]
    if state == "running":
        return _running_lines(Text(name, style="bold"), node)
    if state == "done":
        return Text.assemble(name, "  ", (duration(node["seconds"]), "dim"))
    if state == "cached":
        return Text.assemble(name, "  ", ("cached", "cyan"))
    return Text(name, style="dim" if state == "waiting" else "")


def _running_lines(name: Text, node: dict[str, Any]) -> RenderableType:
    """Draws a line with a progress bar and, below it, a line with the figures; both fit 80 columns."""
    event = node.get("progress")
    if event is None:
        return Text.assemble(name, "  ", (duration(time.time() - node["start"]), "dim"))
    position, figures = describe_progress(event)
    if not event["total"]:
        return Text.assemble(name, "  ", " · ".join(filter(None, (position, figures))))
    line = Table.grid(Column(no_wrap=True), Column(ratio=1), Column(no_wrap=True), padding=(0, 1), expand=True)
    line.add_row(Text.assemble(name, " "), ProgressBar(total=event["total"], completed=event["done"]), Text(position))
    return Group(line, Text(figures)) if figures else line


def describe_progress(event: dict[str, Any]) -> tuple[str, str]:
    """Returns the position and the figures of a progress event: `250/1,000 steps · 1:40 left`, `loss 4.21`."""
    total = f"/{event['total']:,.0f}" if event["total"] else ""
    position = [f"{event['done']:,.0f}{total} {event['unit']}"]
    figures: list[str] = []
    for name, value in event["facts"].items():
        shown = significant(value) if isinstance(value, int | float) else value
        if name == "left":
            position.append(f"{shown} left")
        elif name == "tokens_per_second":
            figures.append(f"{shown} tokens/s")
        else:
            figures.append(f"{name.replace('_', ' ')} {shown}")
    return " · ".join(position), " · ".join(figures)


def log_path(config: PipelineConfig, run_id: str) -> Path:
    """Returns the path of a run's log file."""
    return config.workspace / config.name / "logs" / f"{run_id}.log"


def new_run_id() -> str:
    """Returns an id for a run that starts now, from the time in UTC: `20261123T104501.250`."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%S.%f")[:-3]
