"""A training run in its own process, which prints how much memory it took.

Run as `python -m tests.toys.peak_memory JSON`, with `model` (ModelSettings), `training` (TrainingSettings) and
`vocabulary_size`.
"""

import json
import sys
from pathlib import Path

import tensorflow as tf

from modules.model import gpt2
from modules.model.settings import ModelSettings
from modules.objectives.objective import LanguageModelling
from modules.training import loop, packing
from modules.training.settings import TrainingSettings
from modules.training.stored_rows import TrainingData, store_rows
from tests.toys import training


def peak_bytes() -> int:
    """Returns the largest memory of this process so far; `ru_maxrss` would begin with the parent's."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def main(request: str) -> None:
    """Prints the parameters of the model, and the growth of the peak in bytes."""
    values = json.loads(request)
    model, vocabulary_size = ModelSettings(**values["model"]), values["vocabulary_size"]
    settings = TrainingSettings(**values["training"])
    training.train(training.changed(training.SETTINGS, steps=1))  # what TensorFlow itself needs is not counted
    rows = store_rows(
        tf.data.Dataset.range(32).map(
            lambda n: {
                "token_ids": tf.cast((tf.range(model.context_length + 1, dtype=tf.int64) + n) % 10, tf.int32),
            }
        )
    )
    data = TrainingData(train=rows, validation=rows, to_batch=packing.to_batch, tokens_per_row=model.context_length)
    before = peak_bytes()
    backbone = gpt2.build_backbone(model, vocabulary_size=vocabulary_size, dtype=settings.precision)
    loop.fit(gpt2.language_model(backbone), LanguageModelling(), data, settings)
    print(json.dumps({"parameters": backbone.count_params(), "grown": peak_bytes() - before}))


if __name__ == "__main__":
    main(sys.argv[1])
