"""Documents from a TFDS dataset: finds it by name, prepares it on disk, and reads it in bounded memory."""

import difflib
import math
import os
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator

import tensorflow_datasets as tfds

from modules.common.errors import InputError
from modules.data.bad_rows import BadRows, RowError
from modules.data.documents import Document, ReadCounts
from modules.data.file_documents import columns_of, document_of, record_of, split_and_cut
from modules.data.python_documentation import BUILDERS, EnvironmentConfig
from modules.data.source import DataSource, is_python_documentation

EXAMPLES_PER_SLICE = 50_000
_BATCH_SIZE = 256
# The dataset's own feature for the origin of a text. Without it, the names of the dataset and its split are used.
_SOURCE_FEATURE = "source"
# TFDS and the libraries below it raise these for lost networks, moved files and manual downloads.
_PREPARATION_ERRORS = (
    OSError,
    ImportError,
    AssertionError,
    tfds.download.DownloadError,
    tfds.download.download_manager.NonMatchingChecksumError,
)


def open_builder(source: DataSource, data_directory: str) -> tfds.core.DatasetBuilder:
    """Returns the dataset's builder, which reads and writes only below `data_directory`.

    Raises:
        InputError: TFDS knows no such dataset, configuration or version.
    """
    if is_python_documentation(source):
        name = str(source.tfds).split("/")[0].split(":")[0]
        return BUILDERS[name](config=EnvironmentConfig.of(), data_dir=data_directory)
    try:
        return tfds.builder(str(source.tfds), data_dir=data_directory)
    except tfds.core.registered.DatasetNotFoundError as error:
        name = str(source.tfds).split("/")[0].split(":")[0]
        near = difflib.get_close_matches(name, set(tfds.list_builders(with_community_datasets=False)), n=3)
        hint = f"Did you mean {' or '.join(near)}?" if near else "See https://www.tensorflow.org/datasets/catalog."
        raise InputError(f"TFDS knows no dataset of this name. Received: {source.tfds!r}. {hint}") from error
    except (ValueError, AssertionError, OSError, RuntimeError) as error:
        raise InputError(
            f"TFDS cannot build the dataset {source.tfds!r}: {_first_line(error)} "
            f"Check the configuration and the version in its name."
        ) from error


def check(source: DataSource, data_directory: str) -> None:
    """Finds reasons why `prepare` would fail at once; takes about a second and does not import TensorFlow.

    Raises:
        InputError: TFDS knows no such dataset, it lacks the features of the source's kind, or it is not prepared and no
            host to download it from is found.
    """
    builder = open_builder(source, data_directory)
    if source.kind != "text":
        # A row of empty texts has the same columns as the dataset's rows.
        record_of(dict.fromkeys(builder.info.features, ""), source, f"tfds:{source.tfds}")
    hosts = _hosts(builder)
    # Behind a proxy only the proxy can resolve names.
    if os.path.isdir(builder.data_path) or not hosts or urllib.request.getproxies():
        return
    for host in hosts:
        try:
            socket.getaddrinfo(host, None)
            return
        except OSError as error:
            failure = error
    raise _not_prepared(source, data_directory, builder, failure)


def _hosts(builder: tfds.core.DatasetBuilder) -> list[str]:
    """Returns the hosts that the dataset is downloaded from, if TFDS's checksums name them."""
    return sorted({urllib.parse.urlsplit(url).hostname or "" for url in builder.url_infos or ()} - {""})


def _not_prepared(
    source: DataSource, data_directory: str, builder: tfds.core.DatasetBuilder, error: Exception
) -> InputError:
    hosts = _hosts(builder)
    return InputError(
        f"The dataset {source.tfds!r} could not be downloaded and prepared: {_first_line(error)} "
        f"Check the network connection{' to ' + ', '.join(hosts) if hosts else ''}, or prepare it elsewhere and "
        f"copy it to {os.path.join(data_directory, builder.name)}."
    )


def prepare(source: DataSource, data_directory: str) -> tfds.core.DatasetBuilder:
    """Downloads and prepares the dataset below `data_directory`, unless it is there already.

    Raises:
        InputError: The dataset cannot be downloaded, or has no such split, or lacks the features of its kind.
    """
    check(source, data_directory)  # TFDS itself would retry for minutes.
    builder = open_builder(source, data_directory)
    tfds.disable_progress_bar()  # Bars on standard error would spoil the run's own display.
    try:
        builder.download_and_prepare(download_dir=f"{data_directory}/downloads")
    except _PREPARATION_ERRORS as error:
        raise _not_prepared(source, data_directory, builder, error) from error
    _check_splits_and_features(source, builder)
    return builder


def slices(source: DataSource, builder: tfds.core.DatasetBuilder) -> list[tuple[str, int]]:
    """Cuts the splits into pieces with their sizes: `[("train[0:50000]", 50000), ("test[0:1200]", 1200)]`."""
    pieces = []
    for split in source.tfds_splits or sorted(builder.info.splits):
        examples = builder.info.splits[split].num_examples
        for number in range(math.ceil(examples / EXAMPLES_PER_SLICE)):
            start = number * EXAMPLES_PER_SLICE
            end = min(examples, start + EXAMPLES_PER_SLICE)
            pieces.append((f"{split}[{start}:{end}]", end - start))
    return pieces


def read_slice(
    source: DataSource,
    data_directory: str,
    piece: str,
    counts: ReadCounts | None = None,
    bad_rows: BadRows | None = None,
) -> Iterator[Document]:
    """Streams the cleaned documents of one piece, e.g. `"train[0:50000]"`, of a prepared dataset.

    Args:
        source: The source, a TFDS dataset.
        data_directory: Folder of TFDS's datasets.
        piece: A slice of a split.
        counts: Reading adds to these counts.
        bad_rows: Collects the rows that cannot be used; default: those of this piece, checked at its end.

    Raises:
        InputError: A text is not UTF-8, or a file of the dataset is damaged.
        BadRowsError: Rows cannot be used, and the source's settings do not drop them.
    """
    import tensorflow as tf

    builder = open_builder(source, data_directory)
    used, refused = columns_of(source)
    columns = [name for name in (*used, *refused) if _is_text(builder, name)]
    has_source = _is_text(builder, _SOURCE_FEATURE)
    dataset = builder.as_dataset(
        split=piece,
        decoders=tfds.decode.PartialDecoding(dict.fromkeys([*columns, *([_SOURCE_FEATURE] * has_source)], True)),
        read_config=tfds.ReadConfig(try_autocache=False),  # A cache would keep the whole dataset in memory.
    )
    default = f"{builder.name}/{piece.split('[')[0]}"
    place = f"tfds:{source.tfds}, {piece}"
    counts = counts if counts is not None else ReadCounts()
    collected = bad_rows or BadRows(source.on_bad_row, counts)
    number = 0
    try:
        for batch in dataset.batch(_BATCH_SIZE).as_numpy_iterator():
            for index in range(len(batch[columns[0]])):
                number += 1
                row = {column: _decoded(batch[column][index], place) for column in columns}
                name = source.name or (batch[_SOURCE_FEATURE][index].decode() if has_source else default)
                where = f"{place}, row {number}"
                try:
                    record = record_of(row, source, where)
                    document = document_of(record, source.kind, name=name, place=where, counts=counts)
                except RowError as error:
                    collected.add(where, error, row)
                    continue
                if document is not None:
                    yield from split_and_cut(document, source.split or "", source.split_long_documents, counts)
    except tf.errors.DataLossError as error:
        raise InputError(
            f"tfds:{source.tfds}, {piece}: a file in {builder.data_path} is damaged ({_first_line(error)}) "
            "Remove that folder, so that the dataset is prepared again."
        ) from error
    if bad_rows is None:
        collected.check()


def _check_splits_and_features(source: DataSource, builder: tfds.core.DatasetBuilder) -> None:
    unknown = sorted(set(source.tfds_splits or ()) - set(builder.info.splits))
    if unknown:
        raise InputError(
            f"tfds:{source.tfds} has no split {unknown[0]!r}. Its splits: {', '.join(sorted(builder.info.splits))}."
        )
    texts = [name for name in builder.info.features if _is_text(builder, name)]
    if source.kind != "text":
        record_of(dict.fromkeys(texts, ""), source, f"tfds:{source.tfds}")
    elif source.text_column not in texts:
        raise InputError(
            f"tfds:{source.tfds}: the feature {source.text_column!r} must exist and hold text. "
            f"Text features: {', '.join(texts) or 'none'}. Set `text_column` to one of them."
        )


def _is_text(builder: tfds.core.DatasetBuilder, name: str) -> bool:
    features = builder.info.features
    return name in features and features[name].shape == () and features[name].tf_dtype.name == "string"


def _decoded(raw: bytes, place: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{place}: a text is not UTF-8 ({error.reason} at byte {error.start}).") from error


def _first_line(error: Exception) -> str:
    line = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    return line if line.endswith(".") else f"{line}."
