"""The examples that TextExampleGen wrote, read back as text."""

import hashlib
import heapq
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

# Of a tf.Example, what `NAMES` calls those of its features that it names; a conversation's have a value a turn.
Texts = dict[str, list[str]]
# To who reads examples, a preference is a conversation with the answer that was chosen.
NAMES = {"text": "text", "prompt": "prompt", "completion": "completion", "chosen": "completion", "source": "source"}

# A step of tf.data's iterator costs more than a record: one for each is many times as slow. A record may have 16 MiB.
_RECORDS_A_BATCH = 16

Taken = TypeVar("Taken")


def split_files(split_dir: str) -> list[str]:
    """The files of one split's folder, in the order of their names."""
    import tensorflow as tf

    return sorted(tf.io.gfile.glob(f"{split_dir}/*"))


def read_examples(files: Sequence[str]) -> Iterator[Texts]:
    """Streams gzip TFRecord files of tf.Examples, in their order.

    ```
    {"text": ["It was a dark and stormy night."], "source": ["novels.txt"]}
    {"prompt": ["Hi", "Bye"], "completion": ["Hello!", "See you."], "source": ["chats.jsonl"]}
    {"prompt": ["Hi"], "completion": ["Hello!"], "source": ["pairs.jsonl"]}     a preference
    ```

    Args:
        files: Paths; there may be none.
    """
    return map(_texts, read_records(files))


def sample_examples(files: Sequence[str], count: int, take: Callable[[Texts], Taken | None]) -> list[Taken]:
    """What `take` makes of the `count` examples with the least hashes, or of all if there are fewer.

    So they come from everywhere in the files, and an example is in or out by its own content: the sample changes by
    single examples where the corpus does, and not at all with the number or the order of the files.

    Args:
        files: Gzip TFRecord files of tf.Examples, read once.
        count: From 0.
        take: Returns what is to be kept of an example, or None to pass it over.
    """
    # The largest hash is the first to go: a heap of negated ones. Equal ones are told apart by their number.
    chosen: list[tuple[int, int, Taken]] = []
    for number, record in enumerate(read_records(files) if count else ()):
        key = -int.from_bytes(hashlib.blake2b(record, digest_size=8).digest(), "big")
        if len(chosen) == count and key < chosen[0][0]:
            continue
        taken = take(_texts(record))
        if taken is not None:
            change = heapq.heappush if len(chosen) < count else heapq.heapreplace
            change(chosen, (key, number, taken))
    return [taken for _, _, taken in sorted(chosen, key=lambda row: row[:2], reverse=True)]


def read_records(files: Sequence[str]) -> Iterator[bytes]:
    """Streams the serialized tf.Examples of gzip TFRecord files, in their order; there may be no files."""
    import tensorflow as tf

    if not files:
        return
    for batch in tf.data.TFRecordDataset(list(files), "GZIP").batch(_RECORDS_A_BATCH).as_numpy_iterator():
        yield from batch.tolist()


def _texts(record: bytes) -> Texts:
    import tensorflow as tf

    features = tf.train.Example.FromString(record).features.feature
    return {
        name: [value.decode(errors="replace") for value in features[feature].bytes_list.value]
        for feature, name in NAMES.items()
        if feature in features
    }
