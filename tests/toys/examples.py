"""tf.Examples, and files of them, in the form that the pipeline's nodes store."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import tensorflow as tf

from modules.data.examples import serialized_example


def example(features: Mapping[str, Sequence[str | bytes | int]]) -> bytes:
    """Serializes one tf.Example: texts become UTF-8 in a bytes list, integers an int64 list."""
    return tf.train.Example(
        features=tf.train.Features(feature={name: _feature(values) for name, values in features.items()})
    ).SerializeToString()


def _feature(values: Sequence[str | bytes | int]) -> tf.train.Feature:
    if values and isinstance(values[0], int):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    texts = [value.encode() if isinstance(value, str) else value for value in values]
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=texts))


def write_records(path: Path, records: Sequence[bytes]) -> str:
    """Writes a gzip TFRecord file; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
        for record in records:
            writer.write(record)
    return str(path)


def write_documents(path: Path, *documents: Mapping[str, list[str]], source: str = "book.txt") -> str:
    """Writes a file as TextExampleGen does, with all features of a document; returns its path."""
    return write_records(path, [serialized_example(document, "", source) for document in documents])


def write_split(folder: Path, *features: Mapping[str, Sequence[str | bytes | int]]) -> str:
    """Writes a split with one file that holds only the given features; returns the folder."""
    write_records(folder / "data_tfrecord-00000-of-00001.gz", [example(row) for row in features])
    return str(folder)
