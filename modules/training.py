"""Fine-tunes GPT-2: the Trainer's `run_fn` and the plain functions behind it."""

import dataclasses
import os

import keras
import tensorflow as tf
import tensorflow_transform as tft
from tfx.components.trainer.fn_args_utils import FnArgs
from tfx_bsl.public import tfxio

from modules import batches, gpt2, lora, loss_curve, preference_pairs, serving, training_record
from modules.dpo import DirectPreferenceOptimization, add_reference
from modules.errors import InputError
from modules.objectives import LanguageModelling, Objective
from modules.stored_rows import store_rows
from modules.training_loop import TrainingData, checkpoint_file, fit
from modules.training_settings import TrainingSettings
from modules.vocabulary import Vocabulary, find_table

DOCUMENTS_A_READ = 64
# Beside `preset/` in the Model artifact.
ADAPTERS_FILE = "adapters.safetensors"


def run_fn(fn_args: FnArgs) -> None:
    """TFX's entry: trains on the transformed examples, writes the SavedModel, the preset, `training.json` and a plot.

    With LoRA the adapters are written by themselves too, and the other files hold the model with them merged.

    Args:
        fn_args: `custom_config` holds `model` (ModelSettings), `training` (TrainingSettings) and `data_kind`, one of
            `example_tokens.DATA_KINDS`; and `checkpoint_directory`, a folder that outlives the run's artifacts, if a
            run that was interrupted is to be gone on with.
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
    read_rows = read_pairs if settings.dpo else read_windows
    data = read_rows(
        train_documents,
        eval_documents,
        settings,
        context_length=model_settings.context_length,
        end_of_text_id=vocabulary.end_of_text_id,
    )

    backbone = gpt2.build_backbone(model_settings, vocabulary_size=vocabulary.size, dtype=settings.precision)
    start = training_record.measure_start(
        backbone, table_path, eval_documents, **serving_settings, with_perplexity=model_settings.preset is not None
    )
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
    objective: Objective = LanguageModelling(label_smoothing=settings.label_smoothing)
    if settings.dpo:
        objective = DirectPreferenceOptimization(beta=settings.dpo.beta)
        data = with_reference(data, model, settings)
    curve = fit(model, objective, data, settings, log_dir=fn_args.model_run_dir, checkpoint=checkpoint)

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


def read_documents(fn_args: FnArgs, files: list[str], data_kind: str) -> tf.data.Dataset:
    """One split of the transformed examples, as `batches.packed_windows` or `preference_pairs.store_pairs` take it."""
    schema = tft.TFTransformOutput(fn_args.transform_graph_path).transformed_metadata.schema
    options = tfxio.TensorFlowDatasetOptions(
        batch_size=DOCUMENTS_A_READ, drop_final_batch=False, num_epochs=1, shuffle=False
    )
    examples = fn_args.data_accessor.tf_dataset_factory(files, options, schema)
    names = {"text": ("token_ids",), "instruction": ("token_ids", "loss_mask"), "preference": preference_pairs.COLUMNS}
    return examples.map(lambda features: {name: features[name] for name in names[data_kind]})


def read_windows(
    train: tf.data.Dataset,
    validation: tf.data.Dataset,
    settings: TrainingSettings,
    *,
    context_length: int,
    end_of_text_id: int,
) -> TrainingData:
    """Packs documents and reads them once; see `batches.packed_windows` and `store_windows`."""
    train_windows, validation_windows = (
        batches.packed_windows(
            documents,
            window=context_length + 1,
            end_of_text_id=end_of_text_id,
            isolate_documents=settings.isolate_documents,
        )
        for documents in (train, validation)
    )
    return store_windows(train_windows, validation_windows, settings)


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


def read_pairs(
    train: tf.data.Dataset,
    validation: tf.data.Dataset,
    settings: TrainingSettings,
    *,
    context_length: int,
    end_of_text_id: int,
) -> TrainingData:
    """Reads pairs of answers; see `preference_pairs.store_pairs`.

    Raises:
        InputError: If train does not fill one batch, or validation has no pair.
    """
    rows = {
        split: preference_pairs.store_pairs(
            documents, longest=context_length + 1, end_of_text_id=end_of_text_id, split=split, at_most=at_most
        )
        for split, documents, at_most in (("train", train, None), ("eval", validation, settings.validation_windows))
    }
    for split, at_least in (("train", settings.batch_size), ("eval", 1)):
        if rows[split].count < at_least:
            raise InputError(
                f"the {split} split has {rows[split].count} pairs that fit into {context_length + 1} tokens, "
                f"fewer than {at_least}; add rows, or raise `model.context_length` or `data.splits.{split}`, or lower "
                "`training.batch_size`."
            )
    return TrainingData(
        train=rows["train"],
        validation=rows["eval"],
        to_batch=preference_pairs.to_batch,
        tokens_a_row=preference_pairs.mean_tokens(rows["train"]),
    )


def with_reference(data: TrainingData, language_model: keras.Model, settings: TrainingSettings) -> TrainingData:
    """Adds to the pairs of both splits what the model thinks of them before its training; see `dpo.add_reference`."""
    train, validation = (
        add_reference(rows, language_model, batch_size=settings.batch_size // settings.micro_batches)
        for rows in (data.train, data.validation)
    )
    return dataclasses.replace(data, train=train, validation=validation)
