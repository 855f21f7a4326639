"""The tf.Examples that TextExampleGen stores, written and read back as text, and the counts in their folder.

TensorFlow is imported only where a function needs it: the command line starts without it.
"""

import dataclasses
import hashlib
import heapq
import itertools
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Self, TypeVar

from modules.common.json_files import read_json, write_json

COUNTS_FILE = "counts.json"
# The features of a tf.Example that `NAMES` lists, under the names it gives them; a conversation has one value per turn.
Texts = dict[str, list[str]]
# Readers of examples see a preference as a conversation with the answer that was chosen.
NAMES = {"text": "text", "prompt": "prompt", "completion": "completion", "chosen": "completion", "source": "source"}

SAMPLE_WORDS = 32

# Close to GPT-2's pattern, as far as Python's own expressions can be: a statistic need not be exact.
_WORD = re.compile(r" ?[^\W\d_]+| ?\d+| ?[^\s\w]+| ?_+")

# A step of tf.data's iterator costs more than a record: one step per record is many times as slow. A record may have
# 16 MiB.
_RECORDS_PER_BATCH = 16

Taken = TypeVar("Taken")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExampleCounts:
    """The content of `counts.json`, in the folder of the examples: what was stored, and what was not.

    Attributes:
        documents: Number of documents stored, by split.
        bytes: Size of their texts as UTF-8, by split.
        dropped: Number of documents left out, by reason.
        control_characters_removed: Characters taken out of texts.
        secrets: Passages that look like a secret, by kind.
        secret_places: The first few of them, e.g. `notes.txt, line 1: email_address`.
    """

    documents: Mapping[str, int]
    bytes: Mapping[str, int]
    dropped: Mapping[str, int]
    control_characters_removed: int
    secrets: Mapping[str, int]
    secret_places: Sequence[str]

    def write(self, folder: str | os.PathLike[str]) -> None:
        """Writes the counts into the folder of the examples, a path or a URL such as `gs://bucket/path`."""
        write_json(folder, COUNTS_FILE, self)

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> Self:
        """Reads what `write` wrote.

        Raises:
            OSError: The folder holds no such file.
        """
        return cls(**read_json(folder, COUNTS_FILE))


def serialized_example(features: Mapping[str, Sequence[str]], content: str, source: str) -> bytes:
    """Returns a tf.Example with the features as UTF-8, `source`, and features that StatisticsGen can summarise.

    `characters` (int64) is the length of the content, `length` its bucket; `words` is a sample, the first few words.
    """
    import tensorflow as tf

    lists = {**features, "source": [source], "length": [length_bucket(len(content))], "words": word_sample(content)}
    columns = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode("utf-8") for value in values]))
        for name, values in lists.items()
    }
    columns["characters"] = tf.train.Feature(int64_list=tf.train.Int64List(value=[len(content)]))
    return tf.train.Example(features=tf.train.Features(feature=columns)).SerializeToString(deterministic=True)


def length_bucket(characters: int) -> str:
    """Returns the range from one power of two to the next that holds a length: 300 gives `"256-511"`.

    Lengths of documents spread over several magnitudes; a histogram of equal widths would show only the longest.
    """
    start = 1 << max(characters.bit_length() - 1, 0)
    return f"{start}-{2 * start - 1}"


def word_sample(text: str) -> list[str]:
    """Returns the text's first words, numbers and runs of marks, at most `SAMPLE_WORDS`, without the space before them.

    `"It was 1984, again."  ->  ["It", "was", "1984", ",", "again", "."]`
    """
    return [match.group().lstrip(" ") for match in itertools.islice(_WORD.finditer(text), SAMPLE_WORDS)]


def split_files(split_dir: str) -> list[str]:
    """Returns the files of one split's folder, sorted by name."""
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
    """Returns what `take` makes of the `count` examples with the smallest hashes, or of all if there are fewer.

    The sample comes from everywhere in the files, and only an example's own content decides whether it is in: when the
    corpus changes, the sample changes by single examples; the number and order of the files do not matter.

    Args:
        files: Gzip TFRecord files of tf.Examples, read once.
        count: From 0.
        take: Returns what is to be kept of an example, or None to pass it over.
    """
    # A heap of negated hashes, because the largest hash is the first to go. The number decides between equal hashes.
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
    for batch in tf.data.TFRecordDataset(list(files), "GZIP").batch(_RECORDS_PER_BATCH).as_numpy_iterator():
        yield from batch.tolist()


def _texts(record: bytes) -> Texts:
    import tensorflow as tf

    features = tf.train.Example.FromString(record).features.feature
    return {
        name: [value.decode(errors="replace") for value in features[feature].bytes_list.value]
        for feature, name in NAMES.items()
        if feature in features
    }
