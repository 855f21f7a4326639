"""TextTransform's own reading and writing of examples: the same records and files as Beam's."""

import io
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from components.text_transform.record_batches import (
    BatchedExampleRecord,
    WriteBatches,
    _BackgroundFile,
    framed,
    grouped,
)
from pipeline.dag import BEAM_ARGS
from tests.toys.examples import example, write_records

SCHEMA = text_format.Parse(
    'feature { name: "text" type: BYTES } feature { name: "source" type: BYTES }', schema_pb2.Schema()
)
TEXTS = [f"text {number} " + "é" * (number % 50) for number in range(10_000)]


def test_a_batch_ends_with_the_record_that_reaches_a_limit() -> None:
    records = [b"aa", b"bbb", b"c", b"d", b"e"]
    assert list(grouped(records, max_bytes=4, max_records=2)) == [[b"aa", b"bbb"], [b"c", b"d"], [b"e"]]
    assert list(grouped([b"long", b"x"], max_bytes=1, max_records=9)) == [[b"long"], [b"x"]]
    assert list(grouped([])) == []


def test_files_are_read_and_written_in_order_by_batches(tmp_path: Path) -> None:
    rows = [{"text": [text], "source": ["a"]} for text in TEXTS]
    files = [
        write_records(tmp_path / f"{name}.gz", [example(row) for row in part])
        for name, part in (("a", rows[:7000]), ("b", rows[7000:]))
    ]
    sizes = tmp_path / "sizes"
    with beam.Pipeline(argv=BEAM_ARGS) as pipeline:
        read = pipeline | BatchedExampleRecord(files, SCHEMA).BeamSource()
        _ = read | "Sizes" >> beam.Map(lambda batch: append_line(sizes, f"{batch.num_rows} {batch.num_columns}"))
        _ = read | beam.Map(lambda batch: (batch, {})) | WriteBatches(SCHEMA, str(tmp_path / "written" / "examples"))
    assert sizes.read_text().split("\n") == ["4096 2", "2904 2", "3000 2", ""]
    (written,) = (tmp_path / "written").iterdir()
    assert written.name == "examples-00000-of-00001.gz"
    records = tf.data.TFRecordDataset(str(written), "GZIP").as_numpy_iterator()
    found = [tf.train.Example.FromString(record).features.feature for record in records]
    assert [features["text"].bytes_list.value[0].decode() for features in found] == TEXTS
    assert found[0]["source"].bytes_list.value == [b"a"]


def append_line(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(f"{line}\n")


def test_only_projected_columns_are_decoded(tmp_path: Path) -> None:
    file = write_records(tmp_path / "a.gz", [example({"text": ["one"], "source": ["a"]})])
    projected = BatchedExampleRecord([file], SCHEMA).Project(["text"])
    assert projected.ArrowSchema() == pa.schema([("text", pa.large_list(pa.large_binary()))])


def test_framed_records_are_the_content_of_a_tfrecord_file(tmp_path: Path) -> None:
    with tf.io.TFRecordWriter(str(tmp_path / "a")) as writer:
        writer.write(b"one")
        writer.write(b"")
    assert framed([b"one", b""]) == (tmp_path / "a").read_bytes()


class FullDisk(io.BytesIO):
    """A file of which only the first write succeeds."""

    def write(self, content: bytes) -> int:
        if self.tell():
            raise OSError(28, "No space left on device")
        return super().write(content)


def test_an_error_while_writing_in_the_background_is_raised() -> None:
    disk = FullDisk()
    file = _BackgroundFile(disk)
    file.write(b"one")
    file.write(b"two")
    with pytest.raises(OSError, match="No space left"):
        file.close()
    assert disk.closed
