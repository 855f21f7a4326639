"""Fine-tunes GPT-2: the Trainer's `run_fn` and the plain functions behind it."""

import os

import keras
import tensorflow as tf
import tensorflow_transform as tft
from tfx.components.trainer.fn_args_utils import FnArgs
from tfx_bsl.public import tfxio

from modules import batches, devices, gpt2, lora, loss_curve, serving, training_record
from modules.errors import InputError
from modules.objectives import LanguageModelling
from modules.stored_rows import store_rows
from modules.training_loop import TrainingData, checkpoint_file, fit
from modules.training_settings import TrainingSettings
from modules.vocabulary import Vocabulary, find_table

DOCUMENTS_A_READ = 64
# Beside `preset/` in the Model artifact.
ADAPTERS_FILE = "adapters.safetensors"


def run_fn(fn_args: FnArgs) -> None:
    """TFX's entry: trains on the transformed examples, writes the SavedModel, the preset, `training.json` and a plot.

    Of several workers, each of which runs this, the chief alone writes, and the others wait until it has.

    With LoRA the adapters are written by themselves too, and the other files hold the model with them merged.

    Args:
        fn_args: `custom_config` holds `model` (ModelSettings), `training` (TrainingSettings) and `data_kind`, one of
            `example_tokens.DATA_KINDS`; and `checkpoint_directory`, a folder that outlives the run's artifacts, if a
            run that was interrupted is to be gone on with.
    """
    model_settings = gpt2.ModelSettings(**fn_args.custom_config["model"])
    settings = TrainingSettings(**fn_args.custom_config["training"])
    data_kind = fn_args.custom_config["data_kind"]
    strategy = devices.build_strategy(settings)  # first, see there
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
    data = store_windows(train, validation, settings)

    with strategy.scope():
        backbone = gpt2.build_backbone(model_settings, vocabulary_size=vocabulary.size, dtype=settings.precision)
    start = training_record.measure_start(
        backbone, table_path, eval_documents, **serving_settings, with_perplexity=model_settings.preset is not None
    )
    with strategy.scope():
        if settings.lora:
            lora.apply(backbone, settings.lora)
        model = gpt2.language_model(backbone, isolate_documents=settings.isolate_documents)
    checkpoint = checkpoint_file(
        fn_args.custom_config.get("checkpoint_directory"),
        model,
        data,
        settings,
        facts=model_settings.model_dump(mode="json"),
    )
    objective = LanguageModelling(label_smoothing=settings.label_smoothing)
    curve = fit(model, objective, data, settings, log_dir=fn_args.model_run_dir, checkpoint=checkpoint)
    if not devices.is_chief(strategy):
        devices.gather_from_workers(strategy, 0)  # TFX looks for the model when this returns
        return

    saved_model_dir = fn_args.serving_model_dir
    model_dir = os.path.dirname(saved_model_dir)
    if settings.lora:
        os.makedirs(model_dir, exist_ok=True)
        lora.save_adapters(backbone, settings.lora, os.path.join(model_dir, ADAPTERS_FILE))
        backbone = lora.merge(backbone)
    backbone.save_to_preset(os.path.join(model_dir, "preset"))
    serving.export_saved_model(backbone, table_path, saved_model_dir, **serving_settings)
    record = training_record.finish_record(
        start, curve, parameters=backbone.count_params(), saved_model_dir=saved_model_dir
    )
    training_record.write_record(fn_args.model_run_dir, record)
    loss_curve.draw_curve(curve, os.path.join(fn_args.model_run_dir, loss_curve.PICTURE_FILE))
    if checkpoint is not None:
        checkpoint.remove()
    devices.gather_from_workers(strategy, 0)  # the others have waited


def read_documents(fn_args: FnArgs, files: list[str], data_kind: str) -> tf.data.Dataset:
    """One split of the transformed examples, as `batches.packed_windows` takes them."""
    schema = tft.TFTransformOutput(fn_args.transform_graph_path).transformed_metadata.schema
    options = tfxio.TensorFlowDatasetOptions(
        batch_size=DOCUMENTS_A_READ, drop_final_batch=False, num_epochs=1, shuffle=False
    )
    examples = fn_args.data_accessor.tf_dataset_factory(files, options, schema)
    names = ("token_ids",) if data_kind == "text" else ("token_ids", "loss_mask")
    return examples.map(lambda features: {name: features[name] for name in names})


def store_windows(train: tf.data.Dataset, validation: tf.data.Dataset, settings: TrainingSettings) -> TrainingData:
    """Reads packed windows of `time + 1` tokens once; see `batches.packed_windows`.

    Raises:
        InputError: If train does not fill one batch, or validation one window.
    """
    if settings.validation_windows is not None:
        validation = validation.take(settings.validation_windows)
    data = TrainingData(
        train=store_rows(train),
        validation=store_rows(validation),
        to_batch=batches.to_batch,
        tokens_a_row=train.element_spec["token_ids"].shape[0] - 1,
    )
    for split, rows, at_least in (("train", data.train, settings.batch_size), ("eval", data.validation, 1)):
        if rows.count < at_least:
            counted = " that hold a token of a completion" if "loss_mask" in rows.columns else ""
            raise InputError(
                f"the {split} split fills {rows.count} windows of {data.tokens_a_row + 1} tokens{counted}, fewer than "
                f"{at_least}; add text, or lower `model.context_length` or `training.batch_size`, or raise "
                f"`data.splits.{split}`."
            )
    return data
