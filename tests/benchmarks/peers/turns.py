"""Turns of the trainers: each is a process that waits and runs as many steps as it is asked for; only plain Python."""

import json
import os
import resource
import sys
import time
from dataclasses import asdict, dataclass


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Sizes of a GPT-2 and of its batch; every attention head has 64 dimensions."""

    num_layers: int
    hidden_dim: int
    vocabulary_size: int
    batch_size: int
    length: int = 256

    @property
    def num_heads(self) -> int:
        return self.hidden_dim // 64

    @property
    def tokens(self) -> int:
        """Returns the number of tokens per step."""
        return self.batch_size * self.length


SHAPES = {
    "small": Shape(num_layers=4, hidden_dim=256, vocabulary_size=8000, batch_size=8),
    "large": Shape(num_layers=12, hidden_dim=768, vocabulary_size=50257, batch_size=2),
    "tiny": Shape(num_layers=1, hidden_dim=64, vocabulary_size=320, batch_size=2),  # for the benchmark's own test
}
# Settings of both sides, so that they do the same work.
LEARNING_RATE = 5e-4
WARMUP_STEPS = 10
WEIGHT_DECAY = 0.1
BETA_2 = 0.95
CLIP_NORM = 1.0
MAX_STEPS = 100_000
# A turn that takes longer ends with its current step: PyTorch takes minutes for a bfloat16 step if the processor has no
# bfloat16.
TURN_SECONDS = 20


@dataclass(frozen=True, kw_only=True)
class Turn:
    """Figures of the steps of one turn.

    Attributes:
        steps: Number of steps; fewer than requested if they took long.
        seconds: Wall-clock time.
        cpu_seconds: CPU time of all threads; other programs on the cores hardly change it.
        peak_mb: Peak resident memory of the process so far.
    """

    steps: int
    seconds: float
    cpu_seconds: float
    peak_mb: float


class Worker:
    """Worker inside a training loop, which must call `begin_step` and `end_step` around each step.

    After a turn the worker prints its figures and waits for the next turn. If standard input closes, the process ends.
    """

    def __init__(self) -> None:
        # Results go to the original standard output. The output of libraries goes to standard error.
        self._results = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        self._left = self._done = 0
        self._start = (0.0, 0.0)

    def begin_step(self) -> None:
        if self._left == 0:
            line = sys.stdin.readline()
            if not line:
                os._exit(0)  # ends the process from inside the training loop
            self._left, self._done = int(line), 0
            self._start = (time.perf_counter(), time.process_time())

    def end_step(self) -> None:
        self._left, self._done = self._left - 1, self._done + 1
        seconds = time.perf_counter() - self._start[0]
        if self._left == 0 or seconds > TURN_SECONDS:
            self._left = 0
            turn = Turn(
                steps=self._done,
                seconds=seconds,
                cpu_seconds=time.process_time() - self._start[1],
                peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            )
            print(json.dumps(asdict(turn)), file=self._results, flush=True)
