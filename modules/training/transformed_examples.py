"""Reads the transformed examples and stores the rows that a training run shuffles."""

import collections
import dataclasses
import functools
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from tfx.components.trainer.fn_args_utils import FnArgs
from tfx_bsl.public import tfxio

from modules.common.errors import InputError
from modules.common.json_files import read_json
from modules.tokenization import context_limit, packing_efficiency
from modules.tokenization.example_tokens import TOKEN_COLUMNS
from modules.training import fitted_rows, packing, preference_pairs
from modules.training.record import SourceUse
from modules.training.settings import TrainingSettings
from modules.training.source_mixture import Mixture
from modules.training.stored_rows import StoredRows, TrainingData, joined_rows, store_rows

READ_BATCH_SIZE = 64


def read_splits(fn_args: FnArgs) -> tuple[tf.data.Dataset, tf.data.Dataset]:
    """Returns the transformed documents of train and eval, in the form that `packed_windows` or `store_pairs` needs.

    If `custom_config` has `token_weights`, the documents of train have their `source`, too, for `read_weighted_rows`.
    """
    schema = tft.TFTransformOutput(fn_args.transform_graph_path).transformed_metadata.schema
    options = tfxio.TensorFlowDatasetOptions(
        batch_size=READ_BATCH_SIZE, drop_final_batch=False, num_epochs=1, shuffle=False
    )
    names = TOKEN_COLUMNS[fn_args.custom_config["data_kind"]]

    def read(files: list[str], *more: str) -> tf.data.Dataset:
        examples = fn_args.data_accessor.tf_dataset_factory(files, options, schema)
        return examples.map(lambda features: {name: features[name] for name in (*names, *more)})

    source = ("source",) if fn_args.custom_config["token_weights"] else ()
    return read(fn_args.train_files, *source), read(fn_args.eval_files)


def read_weighted_rows(
    train: tf.data.Dataset,
    validation: tf.data.Dataset,
    settings: TrainingSettings,
    *,
    weights: Mapping[str, float],
    end_of_text_id: int,
    **options: Any,
) -> TrainingData:
    """Reads the rows of each source, see `read_rows`, and mixes them by their shares of the training tokens.

    The rows of train have tokens of one source each. The rows of validation keep the mix of the documents.

    Args:
        train: The documents with their `source`, see `read_splits`.
        validation: The documents.
        settings: Settings of the training run.
        weights: The share of the training tokens of each source, by name.
        end_of_text_id: Id of `<|endoftext|>` in the vocabulary.
        options: Further arguments of `read_rows`.

    Raises:
        InputError: If a source has no row, an epoch does not fill one batch, or the eval split has no row.
    """
    one_row = settings.model_copy(update={"batch_size": 1})
    parts = []
    for name in weights:
        try:
            part = read_rows(_of(train, name), validation, one_row, end_of_text_id=end_of_text_id, **options)
            if "loss_mask" not in train.element_spec:
                lengths = collections.Counter(_lengths(_of(train, name)))
                part = dataclasses.replace(
                    part, unused_tokens=packing_efficiency.unused_tokens(lengths, window=options["context_length"] + 1)
                )
        except InputError as error:
            raise InputError(f"of the source {name!r}, {error}") from error
        parts.append(part)
    rows = [part.train.count for part in parts]
    tokens = [part.tokens_per_row for part in parts]
    mixture = Mixture.of(rows, tokens, list(weights.values()))
    joined = joined_rows([part.train for part in parts], mixture, {"token_ids": end_of_text_id})
    uses = [
        SourceUse(name=name, share=weight / sum(weights.values()), rows=count, tokens=count * tokens_per_row)
        for (name, weight), count, tokens_per_row in zip(weights.items(), rows, tokens, strict=True)
    ]
    data = dataclasses.replace(
        parts[0],
        train=joined,
        tokens_per_row=round(np.average(tokens, weights=mixture.drawn)),
        sources=tuple(uses),
        unused_tokens=_sum(part.unused_tokens for part in parts),
        split_rows=_sum(part.split_rows for part in parts),
    )
    _check_filled(
        joined,
        data.validation,
        settings,
        has="has {} rows of all sources",
        cure="add text, or lower `model.context_length` or `training.batch_size`",
    )
    return data


def _sum(numbers: Iterable[int | None]) -> int | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if known else None


def _lengths(documents: tf.data.Dataset) -> Iterator[int]:
    for batch in documents:
        yield from batch["token_ids"].row_lengths().numpy().tolist()


def _of(documents: tf.data.Dataset, name: str) -> tf.data.Dataset:
    """Returns the documents of one source, without their `source`."""

    def select(columns: dict[str, Any]) -> dict[str, tf.RaggedTensor]:
        is_chosen = tf.reshape(columns["source"], [-1]) == name
        return {
            column: tf.ragged.boolean_mask(values, is_chosen)
            for column, values in columns.items()
            if column != "source"
        }

    return documents.map(select)


def read_rows(
    train: tf.data.Dataset,
    validation: tf.data.Dataset,
    settings: TrainingSettings,
    *,
    context_length: int,
    end_of_text_id: int,
    truncate: bool = False,
) -> TrainingData:
    """Reads documents and stores the rows to shuffle: packed windows, or pairs of answers for DPO.

    Rows of instructions and preferences that are longer than the context are left out, or cut.

    Args:
        train, validation: The documents, see `read_splits`.
        settings: Settings of the training run.
        context_length: Context length of the model, in tokens.
        end_of_text_id: Id of `<|endoftext|>` in the vocabulary.
        truncate: Whether to cut long rows instead of leaving them out, see `context_limit.fit`.

    Raises:
        InputError: If the train split does not fill one batch, or the eval split has no row.
    """
    longest = context_length + 1
    if settings.dpo:
        store = functools.partial(
            preference_pairs.store_pairs, longest=longest, end_of_text_id=end_of_text_id, truncate=truncate
        )
        pairs = store(train, split="train")
        validation_pairs = store(validation, split="eval", at_most=settings.validation_windows)
        return pair_data(pairs, validation_pairs, settings, longest=longest)
    pack = functools.partial(
        packing.packed_windows,
        window=longest,
        end_of_text_id=end_of_text_id,
        isolate_documents=settings.isolate_documents,
    )
    if "loss_mask" not in train.element_spec:
        return store_windows(pack(train), pack(validation), settings)
    rows = [fitted_rows.measure_rows(documents) for documents in (train, validation)]
    fits = [context_limit.fit(lengths, context_length=context_length, truncate=truncate) for lengths in rows]
    train, validation = (
        fitted_rows.fitted(documents, fit, context_length=context_length)
        for documents, fit in zip((train, validation), fits, strict=True)
    )
    kept = fits[0].lengths[fits[0].kept, 0].tolist()
    return dataclasses.replace(
        store_windows(pack(train), pack(validation), settings),
        unused_tokens=packing_efficiency.unused_tokens(collections.Counter(kept), window=longest),
        split_rows=packing_efficiency.split_documents(kept, window=longest),
    )


def unused_text(fn_args: FnArgs, *, context_length: int) -> int | None:
    """Returns the number of tokens of plain text after the last full window; None if Transform did not count them."""
    folder = os.path.dirname(os.path.dirname(fn_args.train_files[0]))
    if not tf.io.gfile.exists(os.path.join(folder, packing_efficiency.LENGTHS_FILE)):
        return None
    lengths = read_json(folder, packing_efficiency.LENGTHS_FILE)
    return packing_efficiency.unused_tokens(
        {int(length): number for length, number in lengths.items()}, window=context_length + 1
    )


def store_windows(train: tf.data.Dataset, validation: tf.data.Dataset, settings: TrainingSettings) -> TrainingData:
    """Reads packed windows of `time + 1` tokens once and stores them; see `packing.packed_windows`.

    Raises:
        InputError: If the train split does not fill one batch, or the eval split does not fill one window.
    """
    if settings.validation_windows is not None:
        validation = validation.take(settings.validation_windows)
    rows, validation_rows = store_rows(train), store_rows(validation)
    tokens = train.element_spec["token_ids"].shape[0]
    counted = " that hold a token of a completion" if "loss_mask" in rows.columns else ""
    _check_filled(
        rows,
        validation_rows,
        settings,
        has=f"fills {{}} windows of {tokens} tokens{counted}",
        cure="add text, or lower `model.context_length` or `training.batch_size`",
    )
    return TrainingData(train=rows, validation=validation_rows, to_batch=packing.to_batch, tokens_per_row=tokens - 1)


def pair_data(
    pairs: StoredRows, validation_pairs: StoredRows, settings: TrainingSettings, *, longest: int
) -> TrainingData:
    """Makes training data from stored pairs of at most `longest` tokens; see `preference_pairs.store_pairs`.

    Raises:
        InputError: If the train split does not fill one batch, or the eval split has no pair.
    """
    _check_filled(
        pairs,
        validation_pairs,
        settings,
        has=f"has {{}} pairs that fit into {longest} tokens",
        cure="add rows, or raise `model.context_length`, or lower `training.batch_size`",
    )
    return TrainingData(
        train=pairs,
        validation=validation_pairs,
        to_batch=preference_pairs.to_batch,
        tokens_per_row=preference_pairs.mean_tokens(pairs),
    )


def _check_filled(
    train: StoredRows, validation: StoredRows, settings: TrainingSettings, *, has: str, cure: str
) -> None:
    """Refuses a train split that does not fill one batch, and an eval split without a row.

    Args:
        train, validation: The stored rows.
        settings: Settings of the training run.
        has: Words of the message that follow "the train split"; `{}` is replaced by the number of rows.
        cure: Words of the message that name the cures, except for a larger share of the data for the split.
    """
    for split, rows, at_least in (("train", train, settings.batch_size), ("eval", validation, 1)):
        if rows.count < at_least:
            raise InputError(
                f"the {split} split {has.format(rows.count)}, fewer than {at_least}; {cure}, or raise "
                f"`data.splits.{split}`."
            )
