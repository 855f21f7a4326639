"""How the trainers take turns: each is a process that waits, and runs so many steps when told; plain Python only."""

import json
import os
import resource
import sys
import time
from dataclasses import asdict, dataclass


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A GPT-2 and its batch; heads of 64."""

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
        """Tokens a step."""
        return self.batch_size * self.length


SHAPES = {
    "small": Shape(num_layers=4, hidden_dim=256, vocabulary_size=8000, batch_size=8),
    "large": Shape(num_layers=12, hidden_dim=768, vocabulary_size=50257, batch_size=2),
    "tiny": Shape(num_layers=1, hidden_dim=64, vocabulary_size=320, batch_size=2),  # for the benchmark's own test
}
# Of both sides, so that they do the same work.
LEARNING_RATE = 5e-4
WARMUP_STEPS = 10
WEIGHT_DECAY = 0.1
BETA_2 = 0.95
CLIP_NORM = 1.0
MAX_STEPS = 100_000
# After which a turn ends with its step: PyTorch takes minutes for a bfloat16 step where the processor has no such type.
TURN_SECONDS = 20


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What a worker measured of some steps.

    Attributes:
        steps: Taken; fewer than asked for where they took long.
        seconds: By the clock.
        cpu_seconds: Of all threads; unlike the clock, hardly longer where other programs share the cores.
        peak_mb: Largest resident size of the process so far.
    """

    steps: int
    seconds: float
    cpu_seconds: float
    peak_mb: float


class Worker:
    """A training loop's side of the turns: call `begin_step` and `end_step` around each step.

    Before the loop waits for its next turn it tells what the last one took; a closed input ends the process.
    """

    def __init__(self) -> None:
        # The results go where the standard output went, and what libraries print to the standard error.
        self._results = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        self._left = self._done = 0
        self._start = (0.0, 0.0)

    def begin_step(self) -> None:
        if self._left == 0:
            line = sys.stdin.readline()
            if not line:
                os._exit(0)  # from inside a training loop, whose clean end nobody waits for
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
