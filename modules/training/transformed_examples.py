"""Reads the transformed examples and stores the rows that a training run shuffles."""

import collections
import dataclasses
import functools
import os
from collections.abc import Iterable, Mapping, Sequence
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
from modules.training.stored_rows import TrainingData, joined_rows
from modules.training.stored_split import CURE_OF_WINDOWS, StoredSplit, split_of_pairs, store_windows, training_data

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
    context_length: int,
    end_of_text_id: int,
    truncate: bool = False,
) -> TrainingData:
    """Reads the rows of each source, see `read_rows`, and mixes them by their shares of the training tokens.

    The rows of train have tokens of one source each. The rows of validation keep the mix of the documents.

    Args:
        train: The documents with their `source`, see `read_splits`.
        validation: The documents.
        settings: Settings of the training run.
        weights: The share of the training tokens of each source, by name.
        context_length, end_of_text_id, truncate: See `read_rows`.

    Raises:
        InputError: If a source has no row, an epoch does not fill one batch, or the eval split has no row.
    """
    read = functools.partial(
        _read_split,
        settings=settings,
        context_length=context_length,
        end_of_text_id=end_of_text_id,
        truncate=truncate,
    )
    validation_part = read(validation, split="eval")
    validation_part.check()
    parts = []
    for name in weights:
        part = read(_of(train, name), split="train")
        try:
            part.check()
        except InputError as error:
            raise InputError(f"of the source {name!r}, {error}") from error
        parts.append(part)
    rows = [part.rows.count for part in parts]
    tokens = [part.tokens_per_row for part in parts]
    mixture = Mixture.of(rows, tokens, list(weights.values()))
    joined = joined_rows([part.rows for part in parts], mixture, {"token_ids": end_of_text_id})
    uses = [
        SourceUse(name=name, share=weight / sum(weights.values()), rows=count, tokens=count * tokens_per_row)
        for (name, weight), count, tokens_per_row in zip(weights.items(), rows, tokens, strict=True)
    ]
    unused = [part.unused_tokens for part in parts]
    if "loss_mask" not in train.element_spec:
        unused = _unused_of_texts(train, list(weights), window=context_length + 1)
    train_part = dataclasses.replace(
        parts[0],
        rows=joined,
        has="has {} rows of all sources",
        cure=CURE_OF_WINDOWS,
        tokens_per_row=round(np.average(tokens, weights=mixture.drawn)),
        unused_tokens=_sum(unused),
        split_rows=_sum(part.split_rows for part in parts),
    )
    return dataclasses.replace(training_data(train_part, validation_part, settings), sources=tuple(uses))


def _sum(numbers: Iterable[int | None]) -> int | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if known else None


def _unused_of_texts(train: tf.data.Dataset, names: Sequence[str], *, window: int) -> list[int | None]:
    """Returns the tokens after the last full window of each source, in one pass over the texts."""
    lengths: dict[str, collections.Counter[int]] = {name: collections.Counter() for name in names}
    for batch in train:
        of_documents, sources = batch["token_ids"].row_lengths().numpy(), batch["source"].numpy().ravel()
        for name in names:
            lengths[name].update(of_documents[sources == name.encode()].tolist())
    return [packing_efficiency.unused_tokens(lengths[name], window=window) for name in names]


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
    read = functools.partial(
        _read_split,
        settings=settings,
        context_length=context_length,
        end_of_text_id=end_of_text_id,
        truncate=truncate,
    )
    return training_data(read(train, split="train"), read(validation, split="eval"), settings)


def _read_split(
    documents: tf.data.Dataset,
    *,
    split: str,
    settings: TrainingSettings,
    context_length: int,
    end_of_text_id: int,
    truncate: bool = False,
) -> StoredSplit:
    """Reads and stores the rows of one split, or of one source of it, see `read_rows`."""
    window = context_length + 1
    at_most = settings.validation_windows if split == "eval" else None
    if settings.dpo:
        pairs = preference_pairs.store_pairs(
            documents,
            longest=window,
            end_of_text_id=end_of_text_id,
            split=split,
            truncate=truncate,
            at_most=at_most,
        )
        return split_of_pairs(pairs, split=split, longest=window)
    lengths: list[int] | None = None
    if "loss_mask" in documents.element_spec:
        fit = context_limit.fit(fitted_rows.measure_rows(documents), context_length=context_length, truncate=truncate)
        documents = fitted_rows.fitted(documents, fit, context_length=context_length)
        lengths = fit.lengths[fit.kept, 0].tolist()
    windows = packing.packed_windows(
        documents, window=window, end_of_text_id=end_of_text_id, isolate_documents=settings.isolate_documents
    )
    return store_windows(windows, split=split, at_most=at_most, lengths=lengths)


def unused_text(fn_args: FnArgs, *, context_length: int) -> int | None:
    """Returns the number of tokens of plain text after the last full window; None if Transform did not count them."""
    folder = os.path.dirname(os.path.dirname(fn_args.train_files[0]))
    if not tf.io.gfile.exists(os.path.join(folder, packing_efficiency.LENGTHS_FILE)):
        return None
    lengths = read_json(folder, packing_efficiency.LENGTHS_FILE)
    return packing_efficiency.unused_tokens(
        {int(length): number for length, number in lengths.items()}, window=context_length + 1
    )
