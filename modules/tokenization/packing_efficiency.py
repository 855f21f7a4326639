"""The share of the training windows that holds text, with and without packing; it needs no TensorFlow."""

from collections.abc import Iterable, Mapping

# A JSON file next to the splits of the transformed examples: the number of train documents by their number of tokens.
LENGTHS_FILE = "token_lengths.json"


def packed_useful_share(lengths: Mapping[int, int]) -> float:
    """Returns the share of the packed windows' slots that hold tokens of documents; the rest are <|endoftext|>.

    ```
    lengths = {3: 1, 4: 1, 0: 1}     1 5 6 7  1 8 8 8  8 1     7 of 10
    ```

    Args:
        lengths: The number of documents by their number of tokens, without their <|endoftext|>.
    """
    tokens, documents = _sums(lengths)
    return tokens / (tokens + documents) if documents else 0.0


def unpacked_useful_share(lengths: Mapping[int, int], *, sequence_length: int) -> float:
    """Returns the same share if each document had its own windows; the rest are <|endoftext|> and padding.

    ```
    lengths = {3: 1, 4: 1, 0: 1}     1 5 6 7  1 8 8 8  8 . . .  1 . . .     7 of 16, in windows of 4
    ```

    Args:
        lengths: The number of documents by their number of tokens, without their <|endoftext|>.
        sequence_length: The number of slots in a window.
    """
    windows = sum(documents * -(-(length + 1) // sequence_length) for length, documents in lengths.items())
    return _sums(lengths)[0] / (windows * sequence_length) if windows else 0.0


def unused_tokens(lengths: Mapping[int, int], *, window: int) -> int:
    """Returns the number of tokens after the last full window, which a training run leaves out.

    ```
    lengths = {3: 1, 4: 1, 0: 1}     1 5 6 7  1 8 8 8  8 1     2, in windows of 4
    ```

    Args:
        lengths: The number of documents by their number of tokens, without their <|endoftext|>.
        window: The number of slots in a window with its last target.
    """
    return sum(_sums(lengths)) % window


def split_documents(lengths: Iterable[int], *, window: int) -> int:
    """Returns the number of documents that begin in one window and go on in the next.

    ```
    lengths = [3, 4, 0]     1 5 6 7  1 8 8 8  8 1     1, in windows of 4
    ```

    Args:
        lengths: The documents' numbers of tokens in their order, without their <|endoftext|>.
        window: The number of slots in a window with its last target.
    """
    start = found = 0
    for length in lengths:
        found += start // window != (start + length) // window
        start += length + 1
    return found


def _sums(lengths: Mapping[int, int]) -> tuple[int, int]:
    return sum(length * documents for length, documents in lengths.items()), sum(lengths.values())
