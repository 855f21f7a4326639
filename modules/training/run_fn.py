"""Fine-tunes GPT-2: the Trainer's `run_fn` and the plain functions behind it."""

import os

import keras
import keras_hub
from absl import logging
from tfx.components.trainer.fn_args_utils import FnArgs

from modules.common.errors import InputError
from modules.export import saved_model
from modules.model import gpt2, lora
from modules.objectives.distillation import Distillation, load_teacher
from modules.objectives.dpo import DirectPreferenceOptimization
from modules.objectives.objective import LanguageModelling, Objective
from modules.tokenization.vocabulary import Vocabulary
from modules.tokenization.vocabulary_files import TABLE_NAME, find_table, read_table
from modules.training import devices, starting_point
from modules.training.dpo_reference import with_reference
from modules.training.loop import checkpoint_file, fit
from modules.training.loss_curve import LossCurve
from modules.training.loss_figure import write_picture
from modules.training.settings import TrainingSettings
from modules.training.stored_rows import TrainingData
from modules.training.transformed_examples import read_rows, read_splits

# Beside `preset/` in the Model artifact.
ADAPTERS_FILE = "adapters.safetensors"
# In the ModelRun artifact.
PICTURE_FILE = "loss.png"


def run_fn(fn_args: FnArgs) -> None:
    """TFX's entry: trains on the transformed examples, writes the SavedModel, the preset, `training.json` and a plot.

    With LoRA the adapters are written by themselves too, and the other files hold the model with them merged.
    Of several workers, each of which runs this, the chief alone writes, and the others wait until it has.

    Args:
        fn_args: `custom_config` holds `model` (ModelSettings), `training` (TrainingSettings), `training_fingerprint`
            (`TrainingSettings.fingerprint`) and `data_kind`, one of `example_tokens.DATA_KINDS`; and
            `checkpoint_directory`, a folder that outlives the run's artifacts, if a run that was interrupted is to be
            gone on with; whoever records the model removes the folder then. `base_model` is the SavedModel of the model
            that a warm start begins with, if there is one.
    """
    config = fn_args.custom_config
    model_settings = gpt2.ModelSettings(**config["model"])
    settings = TrainingSettings(**config["training"])
    strategy = devices.build_strategy(settings)  # first, see there
    table_path = find_table(fn_args.transform_graph_path)
    vocabulary = read_table(table_path)
    context_length = model_settings.context_length
    with strategy.scope():
        objective = build_objective(settings, vocabulary, context_length=context_length)
        # After the teacher, whose making draws numbers: the student's start does not depend on it.
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
    data = read_rows(
        train_documents, eval_documents, settings, context_length=context_length, end_of_text_id=end_of_text_id
    )
    warm_start = fn_args.base_model is not None
    serving_settings = {"data_kind": config["data_kind"], "context_length": context_length}
    start = starting_point.measure_start(
        backbone,
        table_path,
        eval_documents,
        **serving_settings,
        with_perplexity=warm_start or model_settings.preset is not None,
    )
    curve = train(backbone, objective, data, settings, fn_args)
    if devices.is_chief(strategy):
        backbone = write_weights(backbone, settings, os.path.dirname(fn_args.serving_model_dir))
        saved_model.export_saved_model(backbone, table_path, fn_args.serving_model_dir, **serving_settings)
        write_run(fn_args, start, curve, parameters=backbone.count_params(), warm_start=warm_start)
    devices.wait_for_workers(strategy)  # TFX looks for the model when this returns


def build_objective(settings: TrainingSettings, vocabulary: Vocabulary, *, context_length: int) -> Objective:
    """What the settings ask to minimise.

    Raises:
        InputError: If there is to be a teacher, and it cannot be loaded or does not fit.
    """
    if settings.dpo:
        return DirectPreferenceOptimization(beta=settings.dpo.beta)
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
    """The model before its training.

    Args:
        base_model: The SavedModel in a Model artifact, for a warm start; None: there is none to start from.
        settings: What to build without it.
        vocabulary: This run's.
        dtype: Keras precision policy.
        adapters: Whether adapters alone are to be trained on it, by LoRA.

    Raises:
        InputError: A model cannot be loaded, or does not fit; or adapters would be trained on random weights.
    """
    if base_model is not None:
        model_dir = os.path.dirname(base_model)
        logging.info("Warm start: the training begins with the weights of %s.", model_dir)
        check_same_vocabulary(model_dir, vocabulary)
        return gpt2.load_trained(model_dir, settings, dtype=dtype)
    if adapters and settings.preset is None:
        raise InputError(
            "`training.lora` must start from a trained model. Received: no `model.preset`, and no model that is "
            "blessed yet for `model.warm_start`. Run without `training.lora` until one is blessed, or name a "
            "`model.preset`."
        )
    if settings.warm_start:
        logging.info("No model is blessed yet to start from: the training begins as without `model.warm_start`.")
    return gpt2.build_backbone(settings, vocabulary_size=vocabulary.size, dtype=dtype)


def check_same_vocabulary(model_dir: str, vocabulary: Vocabulary) -> None:
    """Makes sure that a trained model has exactly this run's vocabulary.

    A vocabulary of the same size, trained on other text, would give every token another token's embedding.

    Args:
        model_dir: The folder of TFX's Model artifact, with `Format-Serving/`; a path or a URL such as `gs://bucket/x`.
        vocabulary: This run's.

    Raises:
        InputError: The vocabularies differ, or the trained model's cannot be read.
    """
    trained = read_table(os.path.join(model_dir, "Format-Serving", "assets", TABLE_NAME))
    if trained != vocabulary:
        raise InputError(
            f"a warm start needs the tokenizer of the model in {model_dir}, of {trained.size} tokens. "
            f"Received: another one, of {vocabulary.size}. {gpt2.WARM_START_CURE}"
        )


def train(
    backbone: keras_hub.models.GPT2Backbone,
    objective: Objective,
    data: TrainingData,
    settings: TrainingSettings,
    fn_args: FnArgs,
) -> LossCurve:
    """Trains a backbone in place, or its adapters; goes on where a run of the same training was interrupted."""
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
    """Writes `preset/`, and the adapters of LoRA beside it; returns the model that is released, with them merged."""
    if settings.lora:
        os.makedirs(model_dir, exist_ok=True)
        lora.save_adapters(backbone, settings.lora, os.path.join(model_dir, ADAPTERS_FILE))
        backbone = lora.merge(backbone)
    backbone.save_to_preset(os.path.join(model_dir, "preset"))
    return backbone


def write_run(
    fn_args: FnArgs, start: starting_point.Start, curve: LossCurve, *, parameters: int, warm_start: bool
) -> None:
    """Writes into the ModelRun artifact what was seen of the training: `training.json` and the plot."""
    record = starting_point.finish_record(
        start,
        curve,
        parameters=parameters,
        warm_start=warm_start,
        saved_model_dir=fn_args.serving_model_dir,
    )
    record.write(fn_args.model_run_dir)
    write_picture(record, os.path.join(fn_args.model_run_dir, PICTURE_FILE))
