"""Training with this project's trainer in turns, and a profile of its steps."""

import collections
import json
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from tensorflow.tsl.profiler.protobuf import xplane_pb2

from modules.model import gpt2
from modules.objectives.objective import LanguageModelling
from modules.training import packing
from modules.training.language_model_trainer import LanguageModelTrainer
from modules.training.loop import build_trainer
from modules.training.settings import TrainingSettings
from modules.training.stored_rows import shuffled_batches, store_rows
from tests.benchmarks.peers import turns

WARM_UP_STEPS = 3
PROFILED_STEPS = 5
# Group of an operation by a part of its name, or of the name of the function that XLA compiled. The first match counts.
ATTENTION, FEEDFORWARD, CROSS_ENTROPY = "attention", "feed-forward", "cross-entropy over the vocabulary"
CLIPPING, REST = "gradient norm and clipping", "layer norms, residuals and the rest"
GROUPS = {
    "IteratorGetNextOp::DoCompute": "waiting for the input pipeline",
    "inference__losses": CROSS_ENTROPY,
    "inference__gradient": CROSS_ENTROPY,
    "inference__gelu": FEEDFORWARD,
    "inference__probabilities": ATTENTION,
    "inference__scores_gradient": ATTENTION,
    "inference__": REST,
    "fused_adam_w": "optimizer",
    "StatefulPartitionedCall/global_norm": CLIPPING,
    "StatefulPartitionedCall/mul": CLIPPING,
    "token_embedding": "embedding, and its product for the logits",
    "layer_norm": REST,
    "self_attention": ATTENTION,
    "BatchMatMul": ATTENTION,
    "feedforward": FEEDFORWARD,
    "StatefulPartitionedCall/": REST,
}


class _Turns(keras.callbacks.Callback):
    def __init__(self) -> None:
        super().__init__()
        self._worker = turns.Worker()

    def on_train_batch_begin(self, batch: int, logs: dict[str, object] | None = None) -> None:
        self._worker.begin_step()

    def on_train_batch_end(self, batch: int, logs: dict[str, object] | None = None) -> None:
        assert np.isfinite(float(logs["loss"]))  # waits for the step, as the Trainer's progress bar does
        self._worker.end_step()


def build_model(shape: turns.Shape, settings: TrainingSettings) -> LanguageModelTrainer:
    """Returns the model of `shape`, compiled as the Trainer compiles it."""
    model_settings = gpt2.ModelSettings(
        num_layers=shape.num_layers,
        num_heads=shape.num_heads,
        hidden_dim=shape.hidden_dim,
        context_length=shape.length,
    )
    backbone = gpt2.build_backbone(model_settings, vocabulary_size=shape.vocabulary_size, dtype=settings.precision)
    return build_trainer(gpt2.language_model(backbone), LanguageModelling(), settings, turns.MAX_STEPS)


def build_settings(shape: turns.Shape, precision: str) -> TrainingSettings:
    """Returns the settings that both sides share; all others are this project's defaults."""
    return TrainingSettings(
        steps=turns.MAX_STEPS,
        batch_size=shape.batch_size,
        learning_rate=turns.LEARNING_RATE,
        warmup_steps=turns.WARMUP_STEPS,
        weight_decay=turns.WEIGHT_DECAY,
        gradient_clip_norm=turns.CLIP_NORM,
        precision={"float32": "float32", "bfloat16": "mixed_bfloat16"}[precision],
    )


def build_data(shape: turns.Shape, source: str) -> tf.data.Dataset:
    """Returns batches: `"documents"` reads them as training does, `"cached"` repeats one batch from memory."""
    generator = np.random.default_rng(0)
    documents = [generator.integers(shape.vocabulary_size, size=size) for size in generator.integers(20, 600, 512)]
    windows = packing.packed_windows(
        tf.data.Dataset.from_tensors({"token_ids": tf.ragged.constant(documents, dtype=tf.int64)}),
        window=shape.length + 1,
        end_of_text_id=0,
    )
    pipeline = shuffled_batches(
        store_rows(windows),
        batch_size=shape.batch_size,
        seed=0,
        first=0,
        end=turns.MAX_STEPS,
        to_batch=packing.to_batch,
    )
    return pipeline if source == "documents" else pipeline.take(1).cache().repeat()


class _Profiler(keras.callbacks.Callback):
    """Callback that profiles steps of a running `fit` after some warm-up steps."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self._folder = folder

    def on_train_batch_begin(self, batch: int, logs: dict[str, object] | None = None) -> None:
        if batch == WARM_UP_STEPS:
            tf.profiler.experimental.start(self._folder)

    def on_train_batch_end(self, batch: int, logs: dict[str, object] | None = None) -> None:
        if batch == WARM_UP_STEPS + PROFILED_STEPS - 1:
            tf.profiler.experimental.stop()


def profile(shape: turns.Shape, precision: str) -> dict[str, float]:
    """Returns milliseconds per step by group of operations, summed over all threads, in descending order."""
    model, data = build_model(shape, build_settings(shape, precision)), build_data(shape, "documents")
    with tempfile.TemporaryDirectory() as folder:
        model.fit(data, steps_per_epoch=WARM_UP_STEPS + PROFILED_STEPS, verbose=0, callbacks=[_Profiler(folder)])
        (path,) = Path(folder).glob("**/*.xplane.pb")
        space = xplane_pb2.XSpace.FromString(path.read_bytes())
    milliseconds: collections.Counter[str] = collections.Counter()
    for plane in space.planes:
        for event in (event for line in plane.lines for event in line.events):
            name = plane.event_metadata[event.metadata_id].name
            for stat in event.stats:
                if plane.stat_metadata[stat.metadata_id].name == "hlo_module":
                    name = plane.stat_metadata[stat.ref_value].name or stat.str_value
            group = next((GROUPS[part] for part in GROUPS if part in name), None)
            if group is not None:
                milliseconds[group] += event.duration_ps / 1e9 / PROFILED_STEPS
    return dict(milliseconds.most_common())


def main(shape_name: str, precision: str, source: str) -> None:
    """Trains until standard input closes; with `"profile"` as the source it prints a profile as JSON instead."""
    shape = turns.SHAPES[shape_name]
    if source == "profile":
        print(json.dumps(profile(shape, precision)))
        return
    model = build_model(shape, build_settings(shape, precision))
    model.fit(build_data(shape, source), steps_per_epoch=turns.MAX_STEPS, verbose=0, callbacks=[_Turns()])


if __name__ == "__main__":
    main(*sys.argv[1:])
