"""How many tokens a split holds."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute
from tfx_bsl.public import tfxio

_TOKEN_IDS = "token_ids"


def count_tokens(files: Sequence[str]) -> int:
    """Counts the values of `token_ids` in gzip TFRecord files of transformed tf.Examples.

    Reads Arrow batches rather than tensors: several million tokens a second, in bounded memory.
    """
    if not files:
        return 0
    examples = tfxio.TFExampleRecord(list(files), telemetry_descriptors=["token_counts"])
    options = tfxio.RecordBatchesOptions(batch_size=1024, drop_final_batch=False, num_epochs=1, shuffle=False)
    return sum(_tokens(batch) for batch in examples.RecordBatches(options))


def _tokens(batch: pa.RecordBatch) -> int:
    # Ragged features are stored as `<name>$ragged_values`.
    columns = [name for name in batch.schema.names if name.split("$")[0] == _TOKEN_IDS]
    if not columns:  # a batch of empty documents
        return 0
    lengths = pyarrow.compute.list_value_length(batch.column(columns[0]))
    return pyarrow.compute.sum(lengths).as_py() or 0
