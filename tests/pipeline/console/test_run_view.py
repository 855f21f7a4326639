"""Live view of a run, rendered in terminals of several widths."""

import io
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from modules.common import child_process
from pipeline.config import load_config
from pipeline.console.run_view import Watch, describe_progress, picture, run_in_child
from pipeline.console.terminal import Console
from pipeline.request import RunRequest

TEXT = {"loss": 10.82, "perplexity": 12345.67, "tokens_per_second": 123456, "left": "12:34:56"}
PAIRS = {
    "loss": 0.69,
    "reward_margin": -0.12345,
    "reward_accuracy": 0.953125,
    "tokens_per_second": 123456,
    "left": "9:59",
}


def progress(facts: dict[str, Any], *, total: int | None = 500_000) -> dict[str, Any]:
    return {"event": "progress", "node": "Trainer", "done": 123456, "total": total, "unit": "steps", "facts": facts}


def lines(event: dict[str, Any], tmp_path: Path, *, width: int = 80) -> list[str]:
    """Returns the lines of the view, without marks, of a run whose third node has the progress of the event."""
    events = [
        {"event": "plan", "nodes": ["Transform", "LatestBlessedTokens", "Trainer", "Evaluator"]},
        {"event": "started", "node": "Transform", "time": 0.0},
        {"event": "finished_node", "node": "Transform", "time": 70.0},
        {"event": "started", "node": "LatestBlessedTokens", "time": 70.0},
        {"event": "cached", "node": "LatestBlessedTokens"},
        {"event": "finished_node", "node": "LatestBlessedTokens", "time": 70.0},
        {"event": "started", "node": "Trainer", "time": 70.0},
        event,
    ]
    path = tmp_path / "events.jsonl"
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    watch = Watch(path)
    watch.read()
    file = io.StringIO()
    Console(file=file, width=width, no_color=True, force_terminal=True, color_system=None).print(picture(watch))
    return [line[3:].rstrip() for line in file.getvalue().splitlines()]


def test_progress_of_any_size_fits_80_columns(tmp_path: Path) -> None:
    assert lines(progress(TEXT), tmp_path) == [
        "Transform            1:10 min",
        "LatestBlessedTokens  cached",
        "Trainer              ━━━━               123,456/500,000 steps · 12:34:56 left",
        "loss 10.82 · perplexity 12,346 · 123,456 tokens/s",
        "Evaluator",
    ]
    assert lines(progress(PAIRS), tmp_path)[3] == (
        "loss 0.69 · reward margin -0.1235 · reward accuracy 0.9531 · 123,456 tokens/s"  # 77 columns
    )


@pytest.mark.parametrize(("width", "bar"), [(80, 18), (120, 58)])
def test_the_bar_fills_the_remaining_width(tmp_path: Path, width: int, bar: int) -> None:
    finished = {**progress(TEXT), "done": 500_000}
    line = lines(finished, tmp_path, width=width)[2]
    assert (3 + len(line), line.count("━")) == (width, bar)


def test_without_a_known_end_there_is_no_bar(tmp_path: Path) -> None:
    assert lines(progress({"phase": "writing"}, total=None), tmp_path)[2:] == [
        "Trainer              123,456 steps · phase writing",
        "Evaluator",
    ]


def test_progress_is_described_by_position_and_figures() -> None:
    assert describe_progress(progress(TEXT)) == (
        "123,456/500,000 steps · 12:34:56 left",
        "loss 10.82 · perplexity 12,346 · 123,456 tokens/s",
    )
    assert describe_progress(progress({}, total=None)) == ("123,456 steps", "")
    seconds = {"float16": 3.1, "int8": 4.2}
    assert describe_progress(progress({"seconds": seconds}))[1] == "seconds {'float16': 3.1, 'int8': 4.2}"


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("kill -9 $$", "was killed by SIGKILL; probably the machine had too little free memory."),
        ("kill -11 $$", "the run's process was ended by SIGSEGV. Run the same command again to resume it."),
        ("exit 5", "the run's process ended with status 5 and gave no reason. The log's last lines may show it."),
    ],
)
def test_a_child_that_ends_without_a_reason_is_described_by_its_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, message: str
) -> None:
    monkeypatch.setattr(child_process, "start", lambda *arguments, **settings: subprocess.Popen(["sh", "-c", program]))
    request = RunRequest(config=load_config(), run_id="1")
    watch = run_in_child(request, tmp_path / "logs/1.log", Console(file=io.StringIO()))
    assert watch.failure is not None
    assert message in watch.failure["message"]
    assert watch.failure["input"] is False


def test_lines_that_a_full_disk_has_cut_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    failed = {"event": "failed", "input": True, "message": "full", "time": 9.0}
    # The events `plan` and `started` are lost.
    finished = {"event": "finished_node", "node": "Transform", "time": 8.0}
    path.write_text(
        '{"event": "pla\n' + json.dumps(finished) + '\n{"event": "started", "no\n' + json.dumps(failed) + "\n"
    )
    watch = Watch(path)
    assert watch.read() == [finished, failed]
    assert watch.failure == failed
