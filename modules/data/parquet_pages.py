"""Sizes of the pages of a Parquet file, from their headers: the memory that reading takes, known before reading.

The footer's sizes do not bound this memory: a row group may hold thousands of short texts and a few long ones, and a
dictionary page of one text of 15 MB may be repeated in any number of rows. A page, however, is decompressed whole, and
no value of a column of texts is larger than the page that holds it.
"""

import dataclasses
from collections.abc import Sequence
from typing import IO, Any

from modules.common.errors import InputError

# pyarrow puts 1,024 values into a page before it looks at its size; its pages of short texts have 1 MiB.
MAX_PAGE_BYTES = 64 * 2**20
# A batch of rows, also if each of its values fills a page.
MAX_BATCH_BYTES = 32 * 2**20
MAX_BATCH_ROWS = 256
_MAX_NESTING = 8


def batch_rows(file: IO[bytes], metadata: Any, row_group: int, columns: Sequence[str], path: str) -> int:
    """Returns the number of rows of a row group that are read at a time.

    Args:
        file: The Parquet file.
        metadata: Its `pyarrow.parquet.FileMetaData`.
        row_group: Number of the row group.
        columns: The columns that are read.
        path: For messages.

    Raises:
        InputError: A page of one of the columns takes more than `MAX_PAGE_BYTES`.
        ValueError: The file is damaged.
    """
    group = metadata.row_group(row_group)
    largest = 1
    for number in range(group.num_columns):
        chunk = group.column(number)
        if chunk.path_in_schema in columns or chunk.path_in_schema.startswith(tuple(f"{name}." for name in columns)):
            largest = max(largest, _largest_page(file, chunk))
    if largest > MAX_PAGE_BYTES:
        raise InputError(
            f"{path}: a page of a Parquet file may take at most {MAX_PAGE_BYTES // 2**20} MiB, because it is "
            f"decompressed at once. Received: {largest / 2**20:,.0f} MiB in row group {row_group + 1}. Write it again "
            "with fewer values per page, for example `pyarrow.parquet.write_table(table, path, write_batch_size=8)`."
        )
    return max(1, min(MAX_BATCH_ROWS, MAX_BATCH_BYTES // largest))


def _largest_page(file: IO[bytes], chunk: Any) -> int:
    position = chunk.data_page_offset
    if chunk.has_dictionary_page and chunk.dictionary_page_offset:
        position = min(position, chunk.dictionary_page_offset)
    end = position + chunk.total_compressed_size
    largest = 0
    while position < end:
        file.seek(position)
        header = _Header(file)
        uncompressed, compressed = header.read_sizes()
        largest = max(largest, uncompressed)
        position = file.tell() + compressed
    return largest


@dataclasses.dataclass(frozen=True)
class _Header:
    """A page's header, a struct in Thrift's compact protocol.

    Formats: https://github.com/apache/parquet-format (`PageHeader` in parquet.thrift) and
    https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md.
    """

    file: IO[bytes]

    def read_sizes(self) -> tuple[int, int]:
        """Returns `uncompressed_page_size` and `compressed_page_size`, fields 2 and 3, and reads the header's rest.

        Raises:
            ValueError: The header lacks one of them, or is damaged.
        """
        sizes: dict[int, int] = {}
        field = 0
        while kind := self._byte():
            field = field + (kind >> 4) if kind >> 4 else self._integer()
            if kind & 15 == 5 and field in (2, 3):
                sizes[field] = self._integer()
            else:
                self._skip(kind & 15, _MAX_NESTING)
        if len(sizes) != 2 or min(sizes.values()) < 0:
            raise ValueError("damaged page header")
        return sizes[2], sizes[3]

    def _byte(self) -> int:
        byte = self.file.read(1)
        if not byte:
            raise ValueError("page header beyond the end of the file")
        return byte[0]

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("damaged page header")

    def _integer(self) -> int:
        value = self._varint()
        return value >> 1 ^ -(value & 1)

    def _skip(self, kind: int, nesting: int) -> None:
        """Reads past a value: booleans are in the kind, 3 is a byte, 4 to 6 integers, 7 a double, 8 bytes, 12 a struct.

        Raises:
            ValueError: The value is of another kind (page headers hold no lists, sets or maps), or is nested deeper.
        """
        if kind in (4, 5, 6):
            self._varint()
        elif kind in (3, 7):
            self.file.read(1 if kind == 3 else 8)
        elif kind == 8:
            self.file.seek(self._varint(), 1)
        elif kind == 12 and nesting:
            while inner := self._byte():
                if not inner >> 4:
                    self._integer()
                self._skip(inner & 15, nesting - 1)
        elif kind not in (1, 2):
            raise ValueError("damaged page header")
