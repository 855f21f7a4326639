"""Beam transforms that read and write files of tf.Examples by batches instead of by records.

Beam's own transforms call several Python functions per record. For documents of a kilobyte that takes as long as the
tokenizer. Here Python is called per batch where possible; the records, their order and the names of files are the same.
"""

import io
from collections.abc import Iterable, Iterator, Sequence
from concurrent import futures

import apache_beam as beam
import pyarrow as pa
from apache_beam.coders import BytesCoder
from apache_beam.io import filebasedsink
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx_bsl.coders import example_coder
from tfx_bsl.public import tfxio

from modules.data.example_encoding import record_frame
from modules.data.examples import read_records

# A batch ends with the record that reaches one of these limits. Large batches make the tokenizer's graph efficient;
# the limit of bytes keeps memory flat when documents are long.
_BATCH_BYTES = 2_000_000
_BATCH_RECORDS = 4096


def grouped(
    records: Iterable[bytes], max_bytes: int = _BATCH_BYTES, max_records: int = _BATCH_RECORDS
) -> Iterator[list[bytes]]:
    """Groups records in their order; a batch ends with the record that reaches a limit.

    ```
    [b"aa", b"bbb", b"c", b"d", b"e"], max_bytes=4, max_records=2     [b"aa", b"bbb"], [b"c", b"d"], [b"e"]
    ```
    """
    batch: list[bytes] = []
    size_bytes = 0
    for record in records:
        batch.append(record)
        size_bytes += len(record)
        if size_bytes >= max_bytes or len(batch) >= max_records:
            yield batch
            batch, size_bytes = [], 0
    if batch:
        yield batch


class BatchedExampleRecord(tfxio.TFExampleRecord):
    """TFXIO of gzip TFRecord files of tf.Examples, whose Beam source reads by batches."""

    def __init__(self, files: Sequence[str], schema: schema_pb2.Schema):
        """Sets the files, read in this order, and the schema of the columns that are decoded."""
        super().__init__(list(files), schema=schema, telemetry_descriptors=["text_transform"])
        self._files = list(files)

    def BeamSource(self, batch_size: int | None = None) -> beam.PTransform:
        """Returns a transform from a pipeline to Arrow record batches; `batch_size` is a number of records."""
        del batch_size  # TFX passes None for tf.Examples
        return _ReadBatches(self._files, self._schema.SerializeToString())

    def _ProjectImpl(self, tensor_names: list[str]) -> tfxio.TFXIO:
        projected = super()._ProjectImpl(tensor_names)
        return BatchedExampleRecord(self._files, projected._schema)


class _ReadBatches(beam.PTransform):
    def __init__(self, files: Sequence[str], schema: bytes):
        super().__init__()
        self._files, self._schema = files, schema

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        # Not reshuffled: on one machine, the order of the records is the order of the files in every run. A cluster
        # may give each worker some of the files.
        files = pipeline | "Files" >> beam.Create(self._files, reshuffle=False)
        return files | "Read" >> beam.ParDo(_DecodeFile(self._schema)).with_output_types(pa.RecordBatch)


class _DecodeFile(beam.DoFn):
    def __init__(self, schema: bytes):
        self._schema = schema

    def setup(self) -> None:
        self._decoder = example_coder.ExamplesToRecordBatchDecoder(self._schema)

    def process(self, file: str) -> Iterator[pa.RecordBatch]:
        for batch in grouped(read_records([file])):
            yield self._decoder.DecodeBatch(batch)


class WriteBatches(beam.PTransform):
    """Writes Arrow record batches as gzip TFRecord files of tf.Examples, as `beam.io.WriteToTFRecord` names them."""

    def __init__(self, schema: schema_pb2.Schema, path_prefix: str):
        """Sets the schema of the columns, and the files' path up to the number of the shard."""
        super().__init__()
        self._schema, self._path_prefix = schema.SerializeToString(), path_prefix

    def expand(self, record_batches: beam.PCollection) -> beam.PCollection:
        """Writes a PCollection of pairs of a record batch and features that are not used."""
        encoded = record_batches | "Encode" >> beam.ParDo(_EncodeBatch(self._schema)).with_output_types(bytes)
        return encoded | "Write" >> beam.io.Write(_EncodedRecordsSink(self._path_prefix))


class _EncodeBatch(beam.DoFn):
    def __init__(self, schema: bytes):
        self._schema = schema

    def setup(self) -> None:
        schema = schema_pb2.Schema.FromString(self._schema)
        self._encoder = example_coder.RecordBatchToExamplesEncoder(schema)

    def process(self, batch: tuple[pa.RecordBatch, object]) -> Iterator[bytes]:
        yield framed(self._encoder.encode(batch[0]))


def framed(records: Iterable[bytes]) -> bytes:
    """Returns records as the content of a TFRecord file: each with its length and checksums."""
    return b"".join(map(record_frame, records))


class _EncodedRecordsSink(filebasedsink.FileBasedSink):
    """Sink of the results of `framed`, which are compressed in the background."""

    def __init__(self, path_prefix: str):
        super().__init__(path_prefix, coder=BytesCoder(), file_name_suffix=".gz")

    def open(self, temp_path: str) -> "_BackgroundFile":
        """Opens a file; the name ends with .gz, so Beam compresses it."""
        return _BackgroundFile(super().open(temp_path))

    def write_encoded_record(self, file_handle: "_BackgroundFile", encoded_value: bytes) -> None:
        """Writes the result of `framed`."""
        file_handle.write(encoded_value)

    def close(self, file_handle: "_BackgroundFile") -> None:
        """Closes a file."""
        file_handle.close()


class _BackgroundFile:
    """A file that another thread writes, so that one core compresses while others tokenize the next batch."""

    def __init__(self, file: io.BufferedIOBase):
        self._file = file
        self._thread = futures.ThreadPoolExecutor(max_workers=1)
        self._writing: futures.Future[int] | None = None

    def write(self, content: bytes) -> None:
        """Starts to write; waits first for what was given before, and raises its errors."""
        if self._writing:
            self._writing.result()
        self._writing = self._thread.submit(self._file.write, content)

    def close(self) -> None:
        """Waits for what was given, and closes the file."""
        try:
            if self._writing:
                self._writing.result()
        finally:
            self._thread.shutdown()
            self._file.close()
