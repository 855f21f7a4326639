"""Fine-tunes GPT-2: the Trainer's `run_fn` and the plain functions behind it."""

import dataclasses
import functools
import math
import os
import time
from collections.abc import Sequence
from typing import Any

import keras
import keras_hub
import tensorflow as tf
import tensorflow_transform as tft
from tfx.components.trainer.fn_args_utils import FnArgs
from tfx_bsl.public import tfxio

from modules import batches, gpt2, progress, serving, training_record
from modules.errors import InputError
from modules.vocabulary import Vocabulary, find_table

DOCUMENTS_A_READ = 64
VALIDATION_WINDOWS = 80


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How to train; the fields of the configuration's `training`.

    Attributes:
        steps: Optimizer steps, or None to train for `epochs`.
        epochs: Passes over the train split, or None to train for `steps`.
        batch_size: Windows a step.
        learning_rate: Peak of the schedule, after the warm-up.
        warmup_steps: Steps of linear rise from 0 to the peak.
        weight_decay: AdamW's, not applied to biases and layer norms.
        gradient_clip_norm: Largest global norm of the gradients.
        precision: Keras policy of the computation; variables stay float32.
        jit_compile: Whether XLA compiles the step.
        isolate_documents: Whether documents that share a window do not see each other.
        seed: Of the weights, the dropout and the order of the windows.
    """

    steps: int | None
    epochs: float | None
    batch_size: int
    learning_rate: float
    warmup_steps: int
    weight_decay: float
    gradient_clip_norm: float
    precision: str
    jit_compile: bool
    isolate_documents: bool
    seed: int


def run_fn(fn_args: FnArgs) -> None:
    """TFX's entry: trains on the transformed examples, writes the SavedModel, the preset and `training.json`.

    Args:
        fn_args: `custom_config` holds `model` (ModelSettings), `training` (TrainingSettings) and `data_kind`, one of
            `example_tokens.DATA_KINDS`.
    """
    model_settings = gpt2.ModelSettings(**fn_args.custom_config["model"])
    settings = TrainingSettings(**fn_args.custom_config["training"])
    data_kind = fn_args.custom_config["data_kind"]
    keras.utils.set_random_seed(settings.seed)

    table_path = find_table(fn_args.transform_graph_path)
    vocabulary = Vocabulary.from_table(table_path)
    serving_settings = {"data_kind": data_kind, "context_length": model_settings.context_length}
    train_documents, eval_documents = (
        read_documents(fn_args, files, data_kind) for files in (fn_args.train_files, fn_args.eval_files)
    )
    train, validation = (
        batches.packed_windows(
            documents,
            window=model_settings.context_length + 1,
            end_of_text_id=vocabulary.end_of_text_id,
            isolate_documents=settings.isolate_documents,
        )
        for documents in (train_documents, eval_documents)
    )

    backbone = gpt2.build_backbone(model_settings, vocabulary_size=vocabulary.size, dtype=settings.precision)
    start = training_record.measure_start(
        backbone, table_path, eval_documents, **serving_settings, with_perplexity=model_settings.preset is not None
    )
    curve = training_record.LossCurve(tokens_a_step=settings.batch_size * model_settings.context_length)
    fit(backbone, train, validation, settings, log_dir=fn_args.model_run_dir, callbacks=[curve])

    saved_model_dir = fn_args.serving_model_dir
    backbone.save_to_preset(os.path.join(os.path.dirname(saved_model_dir), "preset"))
    serving.export_saved_model(backbone, table_path, saved_model_dir, **serving_settings)
    record = training_record.finish_record(
        start, curve, parameters=backbone.count_params(), saved_model_dir=saved_model_dir
    )
    training_record.write_record(fn_args.model_run_dir, record)


def read_documents(fn_args: FnArgs, files: list[str], data_kind: str) -> tf.data.Dataset:
    """One split of the transformed examples, as `batches.packed_windows` takes them."""
    schema = tft.TFTransformOutput(fn_args.transform_graph_path).transformed_metadata.schema
    options = tfxio.TensorFlowDatasetOptions(
        batch_size=DOCUMENTS_A_READ, drop_final_batch=False, num_epochs=1, shuffle=False
    )
    examples = fn_args.data_accessor.tf_dataset_factory(files, options, schema)
    names = ("token_ids",) if data_kind == "text" else ("token_ids", "loss_mask")
    return examples.map(lambda features: {name: features[name] for name in names})


def fit(
    backbone: keras_hub.models.GPT2Backbone,
    train: tf.data.Dataset,
    validation: tf.data.Dataset,
    settings: TrainingSettings,
    *,
    log_dir: str,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> keras.callbacks.History:
    """Trains the backbone in place on windows of `time + 1` tokens, as `batches.packed_windows` gives them.

    The loss of a batch is the mean over its targets that count. What Keras logs of an epoch, and of the validation
    windows, is the mean of their batches' losses, weighted by windows and not by targets that count.

    Raises:
        InputError: If a split does not fill one batch.
        FloatingPointError: If the loss becomes NaN or infinite; the message names the step.
    """
    train_windows = count_windows(train, split="train", at_least=settings.batch_size)
    count_windows(validation, split="eval", at_least=1)
    steps = settings.steps or max(1, round((settings.epochs or 1) * train_windows / settings.batch_size))
    model = gpt2.language_model(backbone, isolate_documents=settings.isolate_documents)
    model.compile(
        optimizer=build_optimizer(settings, steps),
        loss=build_loss(),
        jit_compile=settings.jit_compile,
    )
    rounds = next(count for count in (4, 3, 2, 1) if steps % count == 0)  # exactly `steps` in all
    tokens_a_step = settings.batch_size * (train.element_spec["token_ids"].shape[0] - 1)
    return model.fit(
        batches.training_batches(train, batch_size=settings.batch_size, seed=settings.seed),
        steps_per_epoch=steps // rounds,
        epochs=rounds,
        validation_data=batches.sample(validation, VALIDATION_WINDOWS),
        validation_batch_size=settings.batch_size,
        callbacks=[
            TrainingWatch(tokens_a_step=tokens_a_step, steps=steps),
            keras.callbacks.TensorBoard(log_dir, write_graph=False, update_freq=10),
            *callbacks,
        ],
        verbose=0,
    )


def count_windows(windows: tf.data.Dataset, *, split: str, at_least: int) -> int:
    """Counts a split's windows by reading it once.

    Raises:
        InputError: If there are fewer than `at_least`.
    """
    count = int(windows.reduce(tf.constant(0, tf.int64), lambda total, _: total + 1))
    if count < at_least:
        window = windows.element_spec["token_ids"].shape[0]
        counted = " that hold a token of a completion" if "loss_mask" in windows.element_spec else ""
        raise InputError(
            f"the {split} split fills {count} windows of {window} tokens{counted}, fewer than "
            f"{at_least}; add text, or lower `model.context_length` or `training.batch_size`, or raise "
            f"`data.splits.{split}`."
        )
    return count


def build_loss() -> keras.losses.Loss:
    """Mean cross-entropy in nats over the targets that count: all, or those of weight 1 where there are weights.

    Without any target that counts it would be 0; `batches.packed_windows` leaves such windows out.
    """
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="mean_with_sample_weight")


def build_optimizer(settings: TrainingSettings, steps: int) -> keras.optimizers.AdamW:
    """AdamW with linear warm-up, cosine decay to zero and global-norm clipping."""
    warmup_steps = min(settings.warmup_steps, steps - 1)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        warmup_target=settings.learning_rate,
        warmup_steps=warmup_steps,
        decay_steps=steps - warmup_steps,
    )
    optimizer = keras.optimizers.AdamW(
        schedule,
        beta_2=0.95,
        weight_decay=settings.weight_decay,
        global_clipnorm=settings.gradient_clip_norm,
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "beta", "gamma"])
    return optimizer


class TrainingWatch(keras.callbacks.Callback):
    """Reports step, loss and tokens/s about once a second; stops where the loss is no longer a number."""

    def __init__(self, *, tokens_a_step: int, steps: int):
        super().__init__()
        self._tokens_a_step = tokens_a_step
        self._steps = steps
        self._report = functools.partial(progress.report, "Trainer", total=steps, unit="steps")
        self._step = 0
        self._last_time = 0.0
        self._last_step = 0

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if self._last_time == 0.0:
            self._last_time = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._step += 1
        loss = float(logs["loss"]) if logs else math.nan
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the loss became {loss} at step {self._step} of {self._steps}; lower "
                "`training.learning_rate`, or train in float32."
            )
        elapsed = time.monotonic() - self._last_time
        if elapsed < 1.0 and self._step != self._steps:
            return
        tokens_per_second = (self._step - self._last_step) * self._tokens_a_step / elapsed
        self._report(done=self._step, loss=round(loss, 2), tokens_per_second=round(tokens_per_second))
        self._last_time, self._last_step = time.monotonic(), self._step
