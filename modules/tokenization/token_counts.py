"""The number of tokens in a split, and in each of its rows."""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx_bsl.public import tfxio

from modules.tokenization import context_limit
from modules.tokenization.context_limit import Ragged, RowLengths

# The only features that are decoded: of texts, and to count by source.
_NUM_TOKENS, _TOKEN_IDS, _SOURCE = (
    schema_pb2.Feature(name=name, type=kind)
    for name, kind in (
        ("num_tokens", schema_pb2.INT),
        ("token_ids$ragged_values", schema_pb2.INT),
        ("source", schema_pb2.BYTES),
    )
)
_TEXTS = schema_pb2.Schema(feature=[_NUM_TOKENS])
_SOURCES_OF_TEXTS = schema_pb2.Schema(feature=[_NUM_TOKENS, _SOURCE])
_SOURCES_OF_ROWS = schema_pb2.Schema(feature=[_TOKEN_IDS, _SOURCE])


@dataclass(frozen=True, kw_only=True)
class TokenCounts:
    """The counts of one split.

    Attributes:
        loss_tokens: The number of targets that count in the loss, including the <|endoftext|> that ends each document.
        lengths: The number of documents by their number of tokens, without that <|endoftext|>.
        rows: The lengths of all rows in the order of the files; no rows for plain text, which has none.
    """

    loss_tokens: int
    lengths: Mapping[int, int]
    rows: RowLengths = field(default_factory=lambda: RowLengths.joined([]), compare=False)

    @property
    def documents(self) -> int:
        """Number of examples in the split."""
        return sum(self.lengths.values())

    @property
    def tokens(self) -> int:
        """Number of tokens in all documents, without the <|endoftext|> that ends each."""
        return sum(length * documents for length, documents in self.lengths.items())


def count_tokens(files: Sequence[str]) -> TokenCounts:
    """Counts the tokens in gzip TFRecord files of transformed tf.Examples, in one pass.

    It reads Arrow batches instead of tensors: several million tokens per second, in bounded memory.

    ```
    token_ids = [[5, 6, 7], [8, 8, 8, 8], []]     lengths = {3: 1, 4: 1, 0: 1}
    loss_mask = [[0, 1, 1], [0, 0, 0, 1], []]     loss_tokens = 6
    ```

    Args:
        files: Paths; the list may be empty.
    """
    loss_tokens = 0
    lengths: Counter[int] = Counter()
    rows: list[RowLengths] = []
    for batch in _batches(files):
        values = _values_per_row(_column(batch, "token_ids"), batch.num_rows)
        mask = _column(batch, "loss_mask")
        lengths.update(values.tolist())
        loss_tokens += batch.num_rows + (int(values.sum()) if mask is None else _sum(mask))
        if mask is not None:
            rows.append(_row_lengths(batch))
    return TokenCounts(loss_tokens=loss_tokens, lengths=dict(lengths), rows=RowLengths.joined(rows))


def count_text_tokens(files: Sequence[str]) -> TokenCounts:
    """Counts the tokens of texts as `count_tokens` does, without decoding token ids: of texts, every token counts.

    Args:
        files: Paths; the list may be empty.
    """
    lengths: Counter[int] = Counter()
    for batch in _batches(files, _TEXTS):
        lengths.update(batch.column("num_tokens").flatten().to_pylist())
    counts = TokenCounts(loss_tokens=0, lengths=dict(lengths))
    return dataclasses.replace(counts, loss_tokens=counts.tokens + counts.documents)


def _row_lengths(batch: pa.RecordBatch) -> RowLengths:
    rejected = _column(batch, "rejected_token_ids")
    return context_limit.measure(
        _ragged(_column(batch, "token_ids"), batch.num_rows),
        _ragged(_column(batch, "loss_mask"), batch.num_rows),
        None if rejected is None else _ragged(rejected, batch.num_rows),
    )


def _ragged(column: pa.Array | None, num_rows: int) -> Ragged:
    lengths = _values_per_row(column, num_rows)
    # `flatten` leaves out the values of rows that are null.
    values = np.zeros(0, np.int64) if column is None else column.flatten().to_numpy().astype(np.int64)
    return Ragged(values, np.concatenate([[0], np.cumsum(lengths)]))


def _batches(files: Sequence[str], schema: schema_pb2.Schema | None = None) -> Iterable[pa.RecordBatch]:
    if not files:
        return []
    examples = tfxio.TFExampleRecord(list(files), schema=schema, telemetry_descriptors=["token_counts"])
    options = tfxio.RecordBatchesOptions(batch_size=1024, drop_final_batch=False, num_epochs=1, shuffle=False)
    return examples.RecordBatches(options)


def _column(batch: pa.RecordBatch, name: str) -> pa.Array | None:
    # Ragged features are stored as `<name>$ragged_values`.
    return next((batch.column(column) for column in batch.schema.names if column.split("$")[0] == name), None)


def _values_per_row(column: pa.Array | None, num_rows: int) -> np.ndarray:
    if column is None:  # a batch of empty documents
        return np.zeros(num_rows, np.int64)
    lengths = pyarrow.compute.fill_null(pyarrow.compute.list_value_length(column), 0)
    return lengths.to_numpy().astype(np.int64)


def _sum(column: pa.Array) -> int:
    return pyarrow.compute.sum(column.flatten()).as_py() or 0


def count_tokens_by_source(files: Sequence[str], sources: Sequence[str], *, is_text: bool = False) -> dict[str, int]:
    """Counts the tokens of the documents of each source, without the <|endoftext|> that ends each document.

    Args:
        files: Paths of gzip TFRecord files of transformed tf.Examples.
        sources: Values of their feature `source`; documents of other sources are not counted.
        is_text: Whether the examples are texts, whose token ids need not be decoded, see `count_text_tokens`.
    """
    counts = dict.fromkeys(sources, 0)
    for batch in _batches(files, _SOURCES_OF_TEXTS if is_text else _SOURCES_OF_ROWS):
        lengths = (
            batch.column("num_tokens").flatten().to_numpy()
            if is_text
            else _values_per_row(_column(batch, "token_ids"), batch.num_rows)
        )
        names = np.array(batch.column("source").flatten().to_pylist())
        for source in sources:
            counts[source] += int(lengths[names == source.encode()].sum())
    return counts
