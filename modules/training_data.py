"""From the transformed examples to the rows that a training shuffles over."""

import dataclasses

import keras
import tensorflow as tf
import tensorflow_transform as tft
from tfx.components.trainer.fn_args_utils import FnArgs
from tfx_bsl.public import tfxio

from modules import batches, preference_pairs
from modules.dpo import add_reference
from modules.errors import InputError
from modules.stored_rows import store_rows
from modules.training_loop import TrainingData
from modules.training_settings import TrainingSettings

DOCUMENTS_A_READ = 64


def read_splits(fn_args: FnArgs) -> tuple[tf.data.Dataset, tf.data.Dataset]:
    """The transformed documents of train and eval, as `packed_windows` or `store_pairs` take them."""
    data_kind = fn_args.custom_config["data_kind"]
    schema = tft.TFTransformOutput(fn_args.transform_graph_path).transformed_metadata.schema
    options = tfxio.TensorFlowDatasetOptions(
        batch_size=DOCUMENTS_A_READ, drop_final_batch=False, num_epochs=1, shuffle=False
    )
    names = {"text": ("token_ids",), "instruction": ("token_ids", "loss_mask"), "preference": preference_pairs.COLUMNS}

    def read(files: list[str]) -> tf.data.Dataset:
        examples = fn_args.data_accessor.tf_dataset_factory(files, options, schema)
        return examples.map(lambda features: {name: features[name] for name in names[data_kind]})

    return read(fn_args.train_files), read(fn_args.eval_files)


def read_rows(
    train: tf.data.Dataset,
    validation: tf.data.Dataset,
    settings: TrainingSettings,
    *,
    context_length: int,
    end_of_text_id: int,
) -> TrainingData:
    """Reads documents once and stores what a training shuffles over: packed windows, or for DPO pairs of answers.

    Args:
        train, validation: See `read_splits`.
        settings: What they are for.
        context_length: Of the model.
        end_of_text_id: Of the vocabulary.

    Raises:
        InputError: If train does not fill one batch, or validation has nothing.
    """
    read = read_pairs if settings.dpo else read_windows
    return read(train, validation, settings, context_length=context_length, end_of_text_id=end_of_text_id)


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
