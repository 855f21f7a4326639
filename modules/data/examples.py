"""Writer and reader of the tf.Examples that TextExampleGen stores, and of the counts in their folder.

TensorFlow is imported only inside the functions that need it, so that the command line starts without it.
"""

import dataclasses
import hashlib
import heapq
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Self, TypeVar

import pydantic

from modules.common.errors import InputError
from modules.common.json_files import reading, write_json
from modules.data.example_encoding import encoded_example

COUNTS_FILE = "counts.json"
# The feature with "1" for each turn whose completion counts in the loss, and "0" for each other one. An example lacks
# it if all of them count.
WEIGHT = "weight"
# Features of a tf.Example by the names in `NAMES`; a conversation has one value per turn.
Texts = dict[str, list[str]]
# From the name of a feature to its name for readers. They see a preference as a conversation with the chosen answer.
NAMES = {
    "text": "text",
    "prompt": "prompt",
    "completion": "completion",
    "chosen": "completion",
    WEIGHT: WEIGHT,
    "source": "source",
}

SAMPLE_WORDS = 32

# Similar to GPT-2's pattern, which Python's `re` cannot express; a statistic need not be exact.
_WORD = re.compile(r"[^\W\d_]+|\d+|[^\s\w]+|_+")
# Usually the first words need no more.
_SAMPLE_CHARACTERS = 256

# A step of tf.data's iterator costs more than reading a record, so each step reads a batch. A record may take
# 16 MiB, so a batch holds few records.
_RECORDS_PER_BATCH = 16

Taken = TypeVar("Taken")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExampleCounts:
    """Content of `counts.json` in the folder of the examples: numbers of stored and of dropped documents.

    Attributes:
        documents: Number of documents stored, by split.
        bytes: Size of their texts in UTF-8, by split.
        dropped: Number of documents left out, by reason.
        changed: Number of changes to stored documents, by what was done, e.g. `control_characters_removed`.
        secrets: Number of passages that look like a secret, by kind.
        secret_places: Places of the first few such passages, e.g. `notes.txt, line 1: email_address`.
    """

    documents: Mapping[str, int]
    bytes: Mapping[str, int]
    dropped: Mapping[str, int]
    changed: Mapping[str, int]
    secrets: Mapping[str, int]
    secret_places: Sequence[str]

    def write(self, folder: str | os.PathLike[str]) -> None:
        """Writes the counts into the folder of the examples, a path or a URL such as `gs://bucket/path`."""
        write_json(folder, COUNTS_FILE, self)

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> Self:
        """Reads what `write` wrote; keys of other versions are ignored.

        Raises:
            OSError: The folder holds no such file.
            InputError: The file lacks a value or has one of another type.
        """
        with reading(folder, COUNTS_FILE) as content:
            return pydantic.TypeAdapter(cls).validate_python(content)


def serialized_example(features: Mapping[str, Sequence[str]], content: str, source: str) -> bytes:
    """Returns a serialized tf.Example: the features as UTF-8, `source`, and features that StatisticsGen can summarise.

    `characters` (int64) is the length of the content, `length` is the bucket of this length, and `words` holds the
    content's first words as a sample.
    """
    return encoded_example(
        {
            **features,
            "source": [source],
            "length": [length_bucket(len(content))],
            "words": word_sample(content),
            "characters": len(content),
        }
    )


def length_bucket(characters: int) -> str:
    """Returns the range between two powers of two that contains a length: `"256-511"` for 300.

    Lengths of documents differ by several orders of magnitude; a histogram of equal widths would show only the longest.
    """
    start = 1 << max(characters.bit_length() - 1, 0)
    return f"{start}-{2 * start - 1}"


def word_sample(text: str) -> list[str]:
    """Returns the text's first words, numbers and runs of punctuation, at most `SAMPLE_WORDS`, without leading spaces.

    `"It was 1984, again."  ->  ["It", "was", "1984", ",", "again", "."]`
    """
    end = _SAMPLE_CHARACTERS
    words = _WORD.findall(text, 0, end)
    # The last word may be cut unless another one follows.
    while len(words) <= SAMPLE_WORDS and end < len(text):
        end *= 8
        words = _WORD.findall(text, 0, end)
    return words[:SAMPLE_WORDS]


def split_files(split_dir: str) -> list[str]:
    """Returns the files of one split's folder, sorted by name."""
    import tensorflow as tf

    return sorted(tf.io.gfile.glob(f"{split_dir}/*"))


def read_examples(files: Sequence[str]) -> Iterator[Texts]:
    """Streams the tf.Examples in gzip TFRecord files, file after file in the given order.

    ```
    {"text": ["It was a dark and stormy night."], "source": ["novels.txt"]}
    {"prompt": ["Hi", "Bye"], "completion": ["Hello!", "See you."], "source": ["chats.jsonl"]}
    {"prompt": ["Hi"], "completion": ["Hello!"], "source": ["pairs.jsonl"]}     a preference
    ```

    Args:
        files: Paths; may be empty.
    """
    return map(_texts, read_records(files))


def first_turn(example: Texts) -> tuple[str, str] | None:
    """Returns the first prompt and completion of a conversation; None if that completion does not count in the loss."""
    return (example["prompt"][0], example["completion"][0]) if example.get(WEIGHT, ["1"])[0] != "0" else None


def sample_examples(files: Sequence[str], count: int, take: Callable[[Texts], Taken | None]) -> list[Taken]:
    """Returns the results of `take` for the `count` examples with the smallest hashes, or for all if there are fewer.

    The examples come from all parts of the files. The number and the order of the files do not matter. An example's
    hash depends only on its own content, so a small change of the corpus changes few examples of the sample.

    Args:
        files: Gzip TFRecord files of tf.Examples, read once.
        count: Size of the sample, at least 0.
        take: Returns the value to keep for an example, or None to skip it.
    """
    # The hashes are negated so that the heap removes the largest hash first. `number` decides between equal hashes.
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
    """Streams the serialized tf.Examples in gzip TFRecord files, file after file; `files` may be empty.

    Raises:
        InputError: A file is damaged or missing.
    """
    import tensorflow as tf

    if not files:
        return
    try:
        batches = tf.data.TFRecordDataset(list(files), "GZIP").batch(_RECORDS_PER_BATCH).prefetch(1)
        for batch in batches.as_numpy_iterator():
            yield from batch.tolist()
    except tf.errors.OpError as error:
        raise _damaged(files, error) from error


def has_weights(record: bytes) -> bool:
    """Returns True if a reply of a serialized tf.Example does not count in the loss."""
    # The search for the name decides nearly all examples, so a whole split is searched without parsing it.
    return WEIGHT.encode() in record and WEIGHT in _texts(record)


def counted_bytes(record: bytes) -> int:
    """Returns the bytes of the completions of a serialized tf.Example that count in the loss."""
    texts = _texts(record)
    turns = zip(texts["completion"], texts[WEIGHT], strict=True)
    return sum(len(text.encode("utf-8")) for text, weight in turns if weight != "0")


def _damaged(files: Sequence[str], error: Exception) -> InputError:
    """Returns the error about the first file that cannot be read; TensorFlow does not name it."""
    import tensorflow as tf

    for path in files:
        try:
            for _ in tf.data.TFRecordDataset([path], "GZIP"):
                pass
        except tf.errors.OpError as found:
            return _damaged_file(path, found)
    return _damaged_file(", ".join(files), error)


def _damaged_file(path: str, error: Exception) -> InputError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return InputError(
        f"{path}: must be a whole gzip file of tf.Examples, as the run wrote it. Received: {reason}. Delete the folder "
        f"{os.path.dirname(os.path.dirname(path))} and run again without `--from-node`: then the node that wrote it "
        "runs again."
    )


def _texts(record: bytes) -> Texts:
    import tensorflow as tf

    features = tf.train.Example.FromString(record).features.feature
    return {
        name: [value.decode(errors="replace") for value in features[feature].bytes_list.value]
        for feature, name in NAMES.items()
        if feature in features
    }
