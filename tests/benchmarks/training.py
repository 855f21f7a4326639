"""Tokens per second of training GPT-2, compared with Hugging Face's Trainer on the same cores: `make bench-training`.

Both sides train two shapes in float32 and bfloat16, without dropout, evaluation and saving, with AdamW, warm-up and
cosine decay, clipping, and the loss read after each step. The trainers are processes that take turns of a few steps,
so that a busy machine slows all of them. The first turn of each trainer, with its tracing and warm-up, does not count.
A third trainer repeats one batch from memory: its advantage is the cost of the input pipeline. The ceiling is the speed
of matrix products of the feed-forward layer's shape, measured in the same turns. The floating-point operations of a
step are those of its matrix products, 6 × parameters + 12 × layers × width × length per token ("PaLM", 2022, appendix
B).

The table shows speeds by wall-clock time and by the CPU time of all cores. Other programs on the machine disturb the
CPU time less, and with `--threads 1` hardly at all. The last line of the output contains the figures of the best turns
as JSON; `gemm_share_large` is the figure of the worse precision.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf
from rich.console import Console
from rich.table import Table

from tests.benchmarks.peers.turns import SHAPES, Shape, Turn

ROOT = Path(__file__).parents[2]
PEERS_PYTHON = ROOT / ".peers" / "bin" / "python"
TURNS = 5
# Time limit of one shape in one precision, after which `LEAST_TURNS` turns are enough.
LONGEST_SECONDS = 300
LEAST_TURNS = 2
PRODUCTS = 20
STEPS_PER_TURN = {"small": 6, "large": 2}
PRECISIONS = ("float32", "bfloat16")
OURS, CACHED, HF = "ours", "ours, one cached batch", "HF Trainer"
QUIET_LOAD = 0.5
CONSOLE = Console(width=120)


class Trainer:
    """Process that trains in turns, on request."""

    def __init__(self, python: Path | str, module: str, *arguments: str):
        command = [str(python), "-m", f"tests.benchmarks.peers.{module}", *arguments]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def turn(self, steps: int) -> Turn:
        """Trains this number of steps, or fewer if they take long.

        Raises:
            RuntimeError: The process ended; the message is the end of its error output.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(steps, file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a trainer ended: {self._process.communicate()[1][-2000:]}")
        return Turn(**json.loads(line))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.communicate()  # closes its standard input, which ends it


def step_flops(shape: Shape) -> float:
    """Returns the floating-point operations of a step's matrix products, forward and backward."""
    parameters = 12 * shape.num_layers * shape.hidden_dim**2 + shape.vocabulary_size * shape.hidden_dim
    return shape.tokens * (6 * parameters + 12 * shape.num_layers * shape.hidden_dim * shape.length)


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Rate per second of wall-clock time, and per second of the CPU time of all cores."""

    by_clock: float
    by_cores: float


def matrix_product(shape: Shape, precision: str) -> Callable[[], Speed]:
    """Returns a function that measures products of the feed-forward layer's shape, in operations per second."""
    dtype = tf.as_dtype(precision)
    x = tf.cast(tf.random.normal([shape.tokens, shape.hidden_dim]), dtype)
    kernel = tf.cast(tf.random.normal([shape.hidden_dim, 4 * shape.hidden_dim]), dtype)
    flops = PRODUCTS * 2 * shape.tokens * 4 * shape.hidden_dim**2

    def measure() -> Speed:
        clock, cores = time.perf_counter(), time.process_time()
        for _ in range(PRODUCTS):
            tf.matmul(x, kernel)
        return Speed(by_clock=flops / (time.perf_counter() - clock), by_cores=flops / (time.process_time() - cores))

    return measure


def measure(shape_name: str, precision: str) -> tuple[dict[str, list[Turn]], Speed]:
    """Returns each trainer's turns, and the operations per second of the best matrix products."""
    steps = STEPS_PER_TURN[shape_name]
    multiply = matrix_product(SHAPES[shape_name], precision)
    with (
        Trainer(sys.executable, "ours", shape_name, precision, "documents") as ours,
        Trainer(sys.executable, "ours", shape_name, precision, "cached") as cached,
        Trainer(PEERS_PYTHON, "hf_trainer", shape_name, precision) as peer,
    ):
        trainers = {OURS: ours, CACHED: cached, HF: peer}
        measured: dict[str, list[Turn]] = {name: [] for name in trainers}
        flops: list[Speed] = []
        start = time.monotonic()
        for number in range(TURNS + 1):
            if number > LEAST_TURNS and time.monotonic() - start > LONGEST_SECONDS:
                break
            flops.append(multiply())
            for name, trainer in trainers.items():
                turn = trainer.turn(steps)
                if number > 0:
                    measured[name].append(turn)
    ceiling = Speed(by_clock=max(speed.by_clock for speed in flops), by_cores=max(speed.by_cores for speed in flops))
    return measured, ceiling


def profile(shape_name: str, precision: str) -> dict[str, float]:
    """Returns milliseconds per step by group of operations, see `ours.profile`."""
    command = [sys.executable, "-m", "tests.benchmarks.peers.ours", shape_name, precision, "profile"]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return json.loads(output.splitlines()[-1])


def best_speeds(shape_name: str, measured: dict[str, list[Turn]]) -> dict[str, Speed]:
    """Returns the tokens per second of each trainer's best turn."""
    tokens = SHAPES[shape_name].tokens
    return {
        name: Speed(
            by_clock=max(turn.steps * tokens / turn.seconds for turn in turns),
            by_cores=max(turn.steps * tokens / turn.cpu_seconds for turn in turns),
        )
        for name, turns in measured.items()
    }


def ceiling_share(shape: Shape, speed: Speed, ceiling: Speed) -> Speed:
    """Returns training's operations per second as a share of those of the matrix products."""
    flops = step_flops(shape) / shape.tokens
    return Speed(by_clock=speed.by_clock * flops / ceiling.by_clock, by_cores=speed.by_cores * flops / ceiling.by_cores)


def print_turns(shape_name: str, precision: str, measured: dict[str, list[Turn]], ceiling: Speed) -> None:
    """Prints a row per trainer: best and median turn by wall-clock time, and the best turn by CPU time."""
    best = best_speeds(shape_name, measured)
    tokens = SHAPES[shape_name].tokens
    speeds = {name: [turn.steps * tokens / turn.seconds for turn in turns] for name, turns in measured.items()}
    median = {name: statistics.median(by_turn) for name, by_turn in speeds.items()}
    title = f"{shape_name}, {precision}; ceiling {ceiling.by_clock / 1e9:,.0f} GFLOP/s"
    table = Table("trainer", "tokens/s", "× HF", "ceiling", "median", "× HF", title=title)
    for column in ("tokens/CPU s", "× HF", "ceiling", "peak MB"):
        table.add_column(column)
    for name, turns in measured.items():
        share = ceiling_share(SHAPES[shape_name], best[name], ceiling)
        table.add_row(
            name,
            f"{best[name].by_clock:,.0f}",
            f"{best[name].by_clock / best[HF].by_clock:.2f}",
            f"{share.by_clock:.0%}",
            f"{median[name]:,.0f}",
            f"{median[name] / median[HF]:.2f}",
            f"{best[name].by_cores:,.0f}",
            f"{best[name].by_cores / best[HF].by_cores:.2f}",
            f"{share.by_cores:.0%}",
            f"{max(turn.peak_mb for turn in turns):,.0f}",
        )
    CONSOLE.print(table)


def print_profile(shape_name: str, precision: str, milliseconds: dict[str, float]) -> None:
    """Prints the time of a step by group of operations."""
    table = Table("operations", "ms per step, all threads", "share", title=f"{shape_name}, {precision}")
    for group, taken in milliseconds.items():
        table.add_row(group, f"{taken:,.1f}", f"{taken / sum(milliseconds.values()):.0%}")
    CONSOLE.print(table)


def processor_features() -> list[str]:
    """Returns the features of an x86 processor that decide the speed of matrix products, by their Linux names."""
    flags = Path("/proc/cpuinfo").read_text().split()
    return [name for name in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16") if name in flags]


def use_threads(threads: int) -> None:
    """Limits the threads of this process and of its children; call it before the first operation."""
    for variable in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ[variable] = str(threads)


def main(arguments: list[str] | None = None) -> None:
    """Measures and prints the tables and the JSON line."""
    parser = argparse.ArgumentParser(description="Compares training with Hugging Face's Trainer.")
    parser.add_argument("--threads", type=int, help="threads of each trainer; default: the trainer's own choice")
    threads = parser.parse_args(arguments).threads
    if not PEERS_PYTHON.is_file():
        raise SystemExit("HF Trainer is not installed. Cure: make bench-peers")
    if threads:
        use_threads(threads)
    load = os.getloadavg()[0]
    cores = f"{os.cpu_count()} cores ({', '.join(processor_features())}), {threads or 'all'} used"
    CONSOLE.print(f"{cores}; load average {load:.1f}; {TURNS} turns each.")
    if load > QUIET_LOAD:
        CONSOLE.print(
            "Other programs are running. They slow PyTorch's OpenMP threads, which wait for one another, more than "
            "TensorFlow's threads, so the ratios to HF are too high. With --threads 1 and CPU time they are correct."
        )
    figures: dict[str, float] = {}
    shares = []
    for shape_name in STEPS_PER_TURN:
        for precision in PRECISIONS:
            measured, ceiling = measure(shape_name, precision)
            print_turns(shape_name, precision, measured, ceiling)
            print_profile(shape_name, precision, profile(shape_name, precision))
            best = best_speeds(shape_name, measured)
            figures[f"{precision}_{shape_name}_vs_hf"] = round(best[OURS].by_clock / best[HF].by_clock, 2)
            if shape_name == "large":
                shares.append(ceiling_share(SHAPES[shape_name], best[OURS], ceiling).by_clock)
    CONSOLE.print(f"Load average at the end: {os.getloadavg()[0]:.1f}.")
    print(json.dumps({**figures, "gemm_share_large": round(min(shares), 2)}))


if __name__ == "__main__":
    main()
