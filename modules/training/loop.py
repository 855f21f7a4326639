"""The training loop: trains a model on rows for an objective, with checkpoints from which it can resume."""

import functools
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from modules.model.fused_decoder import fuse
from modules.model.rematerialization import rematerialize
from modules.objectives.objective import Objective
from modules.training.callbacks import TrainingWatch, Validation
from modules.training.checkpoint_file import CheckpointFile
from modules.training.checkpoints import Checkpoints, ModelState, Resumable
from modules.training.devices import feed, is_chief
from modules.training.language_model_trainer import LanguageModelTrainer
from modules.training.loss_curve import LossCurve
from modules.training.optimizers import build_optimizer
from modules.training.settings import TrainingSettings
from modules.training.stored_rows import TrainingData, batches_in_order, shuffled_batches


def fit(
    language_model: keras.Model,
    objective: Objective,
    data: TrainingData,
    settings: TrainingSettings,
    *,
    log_dir: str | None = None,
    checkpoint: CheckpointFile | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> LossCurve:
    """Trains a model in place.

    Args:
        language_model: The model. Its trainable variables are trained, by the strategy in whose scope it was built.
        objective: The objective to minimise.
        data: Rows for the objective; every worker gets the same rows.
        settings: The settings of the training run.
        log_dir: Folder for TensorBoard's files; only the chief writes them.
        checkpoint: The file in which the state is saved periodically and at the end. If it exists, training resumes
            from it; on a CPU the weights are then bit for bit those of an uninterrupted run. The file remains
            afterwards, because the weights are not yet written and recorded.
        callbacks: Further callbacks; their state is not in the checkpoint.

    Returns:
        The losses of the run.

    Raises:
        FloatingPointError: The loss or the gradients become NaN or infinite; the message names the step.
        TrainingInterrupted: On SIGTERM or Ctrl-C, if there is a `checkpoint`.
    """
    steps = settings.count_steps(data.train.epoch_rows)
    model = build_trainer(language_model, objective, settings, steps)
    strategy = model.distribute_strategy
    chief = is_chief(strategy)
    tokens_per_step = settings.batch_size * data.tokens_per_row
    run_facts: dict[str, Any] = {
        "tokens_per_step": tokens_per_step,
        "steps": steps,
        "metric_names": objective.metric_names,
    }
    curve = LossCurve(**run_facts, log_dir=log_dir if chief else None)
    rows_at_once = settings.micro_batch_size
    read = functools.partial(batches_in_order, data.validation, batch_size=rows_at_once, to_batch=data.to_batch)
    validation = Validation(
        feed(strategy, lambda share: read(share=share)),
        curve,
        validation_batches=-(-data.validation.count // rows_at_once),
        steps=steps,
        every=settings.evaluation_interval(steps),
        patience=settings.early_stopping,
        keep_best=settings.restore_best,
    )
    validation.set_model(model)
    watching = [TrainingWatch(**run_facts, reports=chief), curve, validation, *callbacks]
    if checkpoint is None:
        _run(model, data, settings, steps, watching)
    else:
        parts: dict[str, Resumable] = {"model": ModelState(model), "curve": curve, "validation": validation}
        checkpoints = Checkpoints(checkpoint, parts, seconds=settings.checkpoint_seconds, strategy=strategy)
        checkpoints.set_model(model)
        checkpoints.restore()
        if not validation.stopped:
            with checkpoints.ending_on_signals():
                _run(model, data, settings, steps, [*watching, checkpoints])
                checkpoints.finish()
    validation.restore_best_weights()
    return curve


def build_trainer(
    language_model: keras.Model, objective: Objective, settings: TrainingSettings, steps: int
) -> LanguageModelTrainer:
    """Returns the compiled model for `fit`; its variables are on the same devices as the language model's."""
    with language_model.distribute_strategy.scope():
        language_model = fuse(language_model)
        model = LanguageModelTrainer(
            rematerialize(language_model) if settings.remat else language_model,
            objective,
            micro_batches=settings.micro_batches,
            gradient_clip_norm=settings.gradient_clip_norm,
        )
        model.compile(optimizer=build_optimizer(settings, steps), jit_compile=settings.jit_compile)
        model.optimizer.build(model.language_model.trainable_variables)
    return model


def _run(
    model: LanguageModelTrainer,
    data: TrainingData,
    settings: TrainingSettings,
    steps: int,
    callbacks: Sequence[keras.callbacks.Callback],
) -> None:
    """Takes the remaining steps. For Keras they are a single epoch, which may contain several passes over the data."""
    first = int(model.step.numpy())
    if first >= steps:
        return
    read = functools.partial(
        shuffled_batches,
        data.train,
        batch_size=settings.batch_size,
        seed=settings.seed,
        first=first,
        end=steps,
        to_batch=data.to_batch,
    )
    batches = feed(model.distribute_strategy, lambda share: read(share=share))
    model.fit(batches, steps_per_epoch=steps - first, callbacks=list(callbacks), shuffle=False, verbose=0)


def checkpoint_file(
    folder: str | None,
    language_model: keras.Model,
    data: TrainingData,
    settings: TrainingSettings,
    *,
    facts: Mapping[str, Any],
) -> CheckpointFile | None:
    """Returns the checkpoint file of a training run; None without a folder.

    Its name is a hash of the initial weights, the data and the settings. So only the same training run resumes from it.

    Args:
        folder: Folder of all checkpoints; None for no checkpoint.
        language_model: The model before training.
        data: The rows of the training run.
        settings: The settings of the training run.
        facts: Further JSON values that change the result and are not visible in the initial weights: attention heads,
            dropout, settings of the objective.
    """
    if folder is None:
        return None
    digest = hashlib.sha256()
    everything = [data.train.digest, data.validation.digest, settings.model_dump(mode="json"), facts]
    digest.update(json.dumps(everything, sort_keys=True).encode())
    for variable in language_model.variables:
        # Not its path, because Keras numbers the objects of a process in it.
        digest.update(f"{variable.name} {variable.shape} {variable.dtype}".encode())
        digest.update(variable.numpy().tobytes())
    return CheckpointFile(os.path.join(folder, f"{digest.hexdigest()[:32]}.npz"))
