"""The `run_fn` of the Trainer, which fine-tunes GPT-2, and the plain functions that it calls."""

import dataclasses
import os

import keras
import keras_hub
from absl import logging
from tfx.components.trainer.fn_args_utils import FnArgs

from modules.common.errors import InputError
from modules.common.files import written_locally
from modules.data.prompt_templates import TEMPLATES
from modules.export import saved_model
from modules.model import gpt2, lora
from modules.objectives.distillation import Distillation, load_teacher
from modules.objectives.dpo import DirectPreferenceOptimization
from modules.objectives.objective import LanguageModelling, Objective
from modules.tokenization.vocabulary import Vocabulary
from modules.tokenization.vocabulary_files import TABLE_NAME, find_table, read_table
from modules.training import devices, run_warnings, starting_point
from modules.training.dpo_reference import with_reference
from modules.training.loop import checkpoint_file, fit
from modules.training.loss_curve import LossCurve
from modules.training.loss_figure import write_picture
from modules.training.settings import TrainingSettings
from modules.training.stored_rows import TrainingData
from modules.training.transformed_examples import read_rows, read_splits, read_weighted_rows, unused_text

# In the Model artifact, next to `preset/`.
ADAPTERS_FILE = "adapters.safetensors"
# In the ModelRun artifact.
PICTURE_FILE = "loss.png"


def run_fn(fn_args: FnArgs) -> None:
    """Trains GPT-2 on the transformed examples and writes the SavedModel, the preset, `training.json` and a plot.

    Supports:

    - plain text and instructions (cross-entropy), and preferences (DPO);
    - distillation from a larger model, and label smoothing;
    - starts from random weights, a keras-hub preset, a Hugging Face folder or the latest blessed model;
    - all weights, or the adapters of LoRA and QLoRA. The adapters are written too; the other files contain the model
      with the adapters merged;
    - float32, bfloat16 and float16, XLA, gradient accumulation and rematerialization;
    - a CPU, a GPU, all GPUs of a machine, several machines, and a TPU. Every worker calls this function. Only the
      chief writes, and the other workers wait for it;
    - early stopping, and restoring the best weights;
    - checkpoints, from which an interrupted run resumes.

    Args:
        fn_args: `custom_config` contains `model` (ModelSettings), `training` (TrainingSettings),
            `training_fingerprint` (`TrainingSettings.fingerprint`), `token_weights`, the share of the training tokens
            of each source by name (empty: the mix stays as it is), `data_kind`, one of `example_tokens.DATA_KINDS`,
            `truncate`, True if rows that are longer than the context are cut instead of left out, and `template`, the
            name of the prompts' template, None for plain text. It may contain `checkpoint_directory`, a folder that
            outlives the run's artifacts, so that an interrupted run can resume. The caller that records the model
            removes the folder.
            `base_model` is the SavedModel from which a warm start begins; None without a warm start.

    Raises:
        InputError: A model, a teacher or a vocabulary cannot be loaded or does not fit.
        FloatingPointError: The loss or the gradients become NaN or infinite.
        TrainingInterrupted: On SIGTERM or Ctrl-C, if there is a `checkpoint_directory`.
    """
    config = fn_args.custom_config
    model_settings = gpt2.ModelSettings(**config["model"])
    settings = TrainingSettings(**config["training"])
    strategy = devices.build_strategy(settings)  # must come first, see `build_strategy`
    table_path = find_table(fn_args.transform_graph_path)
    vocabulary = read_table(table_path)
    context_length = model_settings.context_length
    with strategy.scope():
        objective = build_objective(settings, vocabulary, context_length=context_length)
        # Seeded after the teacher, which draws random numbers: so the student's start does not depend on it.
        keras.utils.set_random_seed(settings.seed)
        backbone = starting_model(
            fn_args.base_model,
            model_settings,
            vocabulary,
            dtype=settings.precision,
            adapters=settings.lora is not None,
        )
    train_documents, eval_documents = read_splits(fn_args)
    end_of_text_id = vocabulary.end_of_text_id
    options = {"context_length": context_length, "end_of_text_id": end_of_text_id, "truncate": config["truncate"]}
    if config["token_weights"]:
        data = read_weighted_rows(train_documents, eval_documents, settings, weights=config["token_weights"], **options)
    else:
        data = read_rows(train_documents, eval_documents, settings, **options)
        if config["data_kind"] == "text":
            data = dataclasses.replace(data, unused_tokens=unused_text(fn_args, context_length=context_length))
    warm_start = fn_args.base_model is not None
    serving_settings = {"data_kind": config["data_kind"], "context_length": context_length}
    start = starting_point.measure_start(
        backbone,
        table_path,
        eval_documents,
        **serving_settings,
        with_perplexity=warm_start or model_settings.preset is not None,
        template=TEMPLATES[config["template"]] if config["template"] else None,
    )
    curve = train(backbone, objective, data, settings, fn_args)
    if devices.is_chief(strategy):
        backbone = write_weights(backbone, settings, os.path.dirname(fn_args.serving_model_dir))
        saved_model.export_saved_model(backbone, table_path, fn_args.serving_model_dir, **serving_settings)
        rows_read = curve.points[-1].step * settings.batch_size
        data = dataclasses.replace(data, sources=data.drawn(rows_read, seed=settings.seed))
        write_run(fn_args, start, curve, data, parameters=backbone.count_params(), warm_start=warm_start)
    devices.wait_for_workers(strategy)  # TFX looks for the model when this returns


def build_objective(settings: TrainingSettings, vocabulary: Vocabulary, *, context_length: int) -> Objective:
    """Returns the objective that the settings describe.

    Raises:
        InputError: The teacher cannot be loaded or does not fit.
    """
    if settings.dpo:
        return DirectPreferenceOptimization(beta=settings.dpo.beta, imitation=settings.dpo.imitation)
    text = LanguageModelling(label_smoothing=settings.label_smoothing)
    if settings.distillation is None:
        return text
    teacher = load_teacher(
        settings.distillation,
        vocabulary,
        context_length=context_length,
        isolate_documents=settings.isolate_documents,
        dtype=settings.precision,
    )
    return Distillation(
        text=text, teacher=teacher, temperature=settings.distillation.temperature, mix=settings.distillation.mix
    )


def starting_model(
    base_model: str | None, settings: gpt2.ModelSettings, vocabulary: Vocabulary, *, dtype: str, adapters: bool
) -> keras_hub.models.GPT2Backbone:
    """Returns the model before training.

    Args:
        base_model: The SavedModel in a Model artifact, for a warm start; None without a warm start.
        settings: The settings of the model; they are used if there is no `base_model`.
        vocabulary: The vocabulary of this run.
        dtype: Keras precision policy.
        adapters: Whether only adapters are trained, by LoRA.

    Raises:
        InputError: A model cannot be loaded or does not fit, or adapters would be trained on random weights.
    """
    if base_model is not None:
        model_dir = os.path.dirname(base_model)
        logging.info("Warm start: training starts from the weights of %s.", model_dir)
        check_same_vocabulary(model_dir, vocabulary)
        return gpt2.load_trained(model_dir, settings, dtype=dtype)
    if adapters and settings.preset is None:
        raise InputError(
            "`training.lora` must start from a trained model. Received: no `model.preset`, and no blessed model for "
            "`model.warm_start`. Run without `training.lora` until a model is blessed, or set `model.preset`."
        )
    if settings.warm_start:
        logging.info("There is no blessed model yet: training starts as without `model.warm_start`.")
    return gpt2.build_backbone(settings, vocabulary_size=vocabulary.size, dtype=dtype)


def check_same_vocabulary(model_dir: str, vocabulary: Vocabulary) -> None:
    """Checks that a trained model has exactly the vocabulary of this run.

    With another vocabulary of the same size, tokens would get the embeddings of other tokens.

    Args:
        model_dir: The folder of TFX's Model artifact, with `Format-Serving/`; a path or a URL such as `gs://bucket/x`.
        vocabulary: The vocabulary of this run.

    Raises:
        InputError: The vocabularies differ, or the trained model's cannot be read.
    """
    trained = read_table(os.path.join(model_dir, "Format-Serving", "assets", TABLE_NAME))
    if trained != vocabulary:
        raise InputError(
            f"a warm start needs the tokenizer of the model in {model_dir}, which has {trained.size} tokens. "
            f"Received: another tokenizer, with {vocabulary.size} tokens. {gpt2.WARM_START_CURE}"
        )


def train(
    backbone: keras_hub.models.GPT2Backbone,
    objective: Objective,
    data: TrainingData,
    settings: TrainingSettings,
    fn_args: FnArgs,
) -> LossCurve:
    """Trains a backbone, or only its adapters, in place. Resumes if the same training run was interrupted."""
    with backbone.distribute_strategy.scope():
        if settings.lora:
            lora.apply(backbone, settings.lora)
        model = gpt2.language_model(backbone, isolate_documents=settings.isolate_documents)
    config = fn_args.custom_config
    checkpoint = checkpoint_file(
        config.get("checkpoint_directory"),
        model,
        data,
        settings,
        facts={**config["model"], "training_fingerprint": config["training_fingerprint"]},
    )
    if settings.dpo:
        data = with_reference(data, model, settings)
    return fit(model, objective, data, settings, log_dir=fn_args.model_run_dir, checkpoint=checkpoint)


def write_weights(
    backbone: keras_hub.models.GPT2Backbone, settings: TrainingSettings, model_dir: str
) -> keras_hub.models.GPT2Backbone:
    """Writes `preset/` and the adapters of LoRA. Returns the released model, with the adapters merged."""
    with written_locally(model_dir) as folder:
        if settings.lora:
            lora.save_adapters(backbone, settings.lora, os.path.join(folder, ADAPTERS_FILE))
            backbone = lora.merge(backbone)
        backbone.save_to_preset(os.path.join(folder, "preset"))
    return backbone


def write_run(
    fn_args: FnArgs,
    start: starting_point.Start,
    curve: LossCurve,
    data: TrainingData,
    *,
    parameters: int,
    warm_start: bool,
) -> None:
    """Writes the record of the training run, `training.json`, and its plot into the ModelRun artifact."""
    settings = TrainingSettings(**fn_args.custom_config["training"])
    record = starting_point.finish_record(
        start,
        curve,
        parameters=parameters,
        warm_start=warm_start,
        saved_model_dir=fn_args.serving_model_dir,
    )
    record = dataclasses.replace(
        record,
        sources=list(data.sources),
        unused_tokens=data.unused_tokens,
        split_rows=data.split_rows,
        warnings=run_warnings.all_warnings(settings, windows=data.train.count, sources=data.sources),
    )
    record.write(fn_args.model_run_dir)
    with written_locally(fn_args.model_run_dir) as folder:
        write_picture(record, os.path.join(folder, PICTURE_FILE))
