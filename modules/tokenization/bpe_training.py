"""The training of byte-pair merges on the words of a corpus: the algorithm, and the Beam analyzer that runs it.

The algorithm is that of Sennrich, Haddow and Birch, "Neural Machine Translation of Rare Words with Subword Units",
https://arxiv.org/abs/1508.07909. It works on bytes, as in GPT-2.
"""

import heapq
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

import apache_beam as beam
import numpy as np
import tensorflow as tf
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue
from tensorflow_transform.beam.experimental import PTransformAnalyzer

from modules.common import progress
from modules.tokenization.frequent_words import MAX_WORDS, MIN_COUNT
from modules.tokenization.vocabulary import Vocabulary, byte_characters
from modules.tokenization.vocabulary_files import TABLE_NAME, table_text

Pair = tuple[int, int]

# A worker passes its counts on when it holds more distinct words than this.
_MAX_WORDS_HELD = 500_000


def train_merges(
    word_counts: Mapping[bytes, int],
    num_merges: int,
    min_frequency: int = 2,
    on_merge: Callable[[int], None] | None = None,
) -> list[Pair]:
    """Finds the merges by repeatedly merging the most frequent pair.

    The result equals that of `tokenizers.trainers.BpeTrainer` on the same counts: of equally frequent pairs, the pair
    of smaller ids is merged first. There is one difference: a merge is left out if an earlier merge made the same
    string (see `Vocabulary`).

    Args:
        word_counts: The number of occurrences of each word. `byte_pair_tokenizer.split_words` makes the words.
        num_merges: The largest number of merges.
        min_frequency: Pairs that occur less often are not merged.
        on_merge: A function that is called after each merge, with the number of merges found.

    Returns:
        Pairs (left_id, right_id) by rank, for `Vocabulary.from_merges`. Ids below 256 are bytes in GPT-2's order, and
        the merge of rank r makes the id 256 + r. There are fewer than `num_merges` if the words have no more pairs.
    """
    return _train(_Words(word_counts), num_merges, min_frequency, on_merge)


def train_and_encode(
    word_counts: Mapping[bytes, int], num_merges: int, on_merge: Callable[[int], None] | None = None
) -> tuple[list[Pair], dict[bytes, list[int]]]:
    """Returns the merges as `train_merges` does, and the token ids of each word, the most frequent words first.

    The training run has already merged all words in the order of the ranks. So the token ids are those of
    `Vocabulary.encode_word`, and need no more work. Equally frequent words are sorted by their bytes. Words that occur
    less than `MIN_COUNT` times are left out.
    """
    words = _Words(word_counts)
    merges = _train(words, num_merges, on_merge=on_merge)
    # Words that are one token are not in the table, so it takes more than `MAX_WORDS` words to fill it.
    number = MAX_WORDS + 256 + len(merges)
    frequent = [word for word, count in word_counts.items() if count >= MIN_COUNT]
    return merges, words.encodings(heapq.nsmallest(number, frequent, key=lambda word: (-word_counts[word], word)))


def _train(
    words: "_Words", num_merges: int, min_frequency: int = 2, on_merge: Callable[[int], None] | None = None
) -> list[Pair]:
    token_bytes = [bytes([byte]) for byte in byte_characters()]
    made = set(token_bytes)
    merges: list[Pair] = []
    queue = [(-count, key) for key, count in words.pair_counts.items()]
    heapq.heapify(queue)
    while queue and len(merges) < num_merges:
        negative_count, key = heapq.heappop(queue)
        count = words.pair_counts.get(key, 0)
        if count != -negative_count:
            # Later merges used some of the pair's occurrences: put it back into the queue with its present count.
            if count > 0:
                heapq.heappush(queue, (-count, key))
            continue
        if count < max(min_frequency, 1):
            break
        pair = (key >> 32, key & 0xFFFFFFFF)
        joined = token_bytes[pair[0]] + token_bytes[pair[1]]
        if joined in made:
            continue
        for grown in words.merge(key, new_id=len(token_bytes)):
            heapq.heappush(queue, (-words.pair_counts[grown], grown))
        made.add(joined)
        token_bytes.append(joined)
        merges.append(pair)
        if on_merge:
            on_merge(len(merges))
    return merges


class _Words:
    """The distinct words as token ids, and the number of occurrences of each pair of neighbouring tokens.

    The arrays hold all words, with one slot per byte, so that one merge is a few numpy operations on all its
    occurrences. For each slot they hold the slots of the previous and the next token of its word, or -1 if there is
    none. A pair's key is `left_id << 32 | right_id`, and its occurrences are the slots of its left token.
    """

    def __init__(self, word_counts: Mapping[bytes, int]):
        ids = np.zeros(256, np.int64)
        ids[list(byte_characters())] = np.arange(256)
        lengths = np.array([len(word) for word in word_counts], np.int64)
        self._tokens = ids[np.frombuffer(b"".join(word_counts), np.uint8)]
        slots = np.arange(len(self._tokens))
        ends = np.cumsum(lengths)
        self._next = slots + 1
        self._next[ends - 1] = -1
        self._previous = slots - 1
        self._previous[ends - lengths] = -1
        self._limits = dict(zip(word_counts, ends.tolist(), strict=True))
        self._counts = np.repeat(np.array(list(word_counts.values()), np.int64), lengths)
        self._slots: dict[int, list[np.ndarray]] = {}
        self.pair_counts: dict[int, int] = {}
        self._add(slots[self._next >= 0])

    def merge(self, key: int, new_id: int) -> list[int]:
        """Replaces a pair by a token in every word.

        Returns:
            The keys of the pairs that the new token forms with its neighbours.
        """
        left = self._occurrences(key)
        right = self._next[left]
        self._subtract(_distinct(self._previous[left], left, right[self._next[right] >= 0]))
        behind = self._next[right]
        self._tokens[left] = new_id
        self._tokens[right] = -1
        self._next[left] = behind
        inside = behind >= 0
        self._previous[behind[inside]] = left[inside]
        grown = self._add(_distinct(self._previous[left], left[inside]))
        self.pair_counts.pop(key, None)
        return grown

    def encodings(self, words: Iterable[bytes]) -> dict[bytes, list[int]]:
        """Returns the token ids of each of these words after the merges so far, in the order of `words`."""
        pieces = ((word, self._tokens[self._limits[word] - len(word) : self._limits[word]]) for word in words)
        return {word: ids[ids >= 0].tolist() for word, ids in pieces}

    def _occurrences(self, key: int) -> np.ndarray:
        """Returns the slots where a pair still occurs: of overlapping pairs ("aaa") the first, third, fifth, …"""
        slots = np.sort(np.concatenate(self._slots.pop(key)))
        slots = slots[(self._tokens[slots] == key >> 32) & (self._next[slots] >= 0)]
        slots = slots[self._tokens[self._next[slots]] == key & 0xFFFFFFFF]
        if key >> 32 != key & 0xFFFFFFFF:
            return slots
        numbers = np.arange(len(slots))
        starts_run = np.append(True, self._next[slots[:-1]] != slots[1:])
        return slots[(numbers - np.maximum.accumulate(np.where(starts_run, numbers, 0))) % 2 == 0]

    def _add(self, slots: np.ndarray) -> list[int]:
        """Counts the pairs that start in these slots, and stores their slots; returns the pairs' keys."""
        if not len(slots):
            return []
        keys, groups, counts = self._grouped(slots)
        order = np.argsort(groups, kind="stable")
        parts = np.split(slots[order], np.cumsum(np.bincount(groups, minlength=len(keys)))[:-1])
        for key, count, part in zip(keys, counts, parts, strict=True):
            self.pair_counts[key] = self.pair_counts.get(key, 0) + count
            self._slots.setdefault(key, []).append(part)
        return keys

    def _subtract(self, slots: np.ndarray) -> None:
        keys, _, counts = self._grouped(slots)
        for key, count in zip(keys, counts, strict=True):
            self.pair_counts[key] -= count

    def _grouped(self, slots: np.ndarray) -> tuple[list[int], np.ndarray, list[int]]:
        """Returns the keys of the distinct pairs in these slots, the index of each slot's pair, and the counts."""
        keys, groups = np.unique(self._tokens[slots] << 32 | self._tokens[self._next[slots]], return_inverse=True)
        counts = np.zeros(len(keys), np.int64)
        np.add.at(counts, groups, self._counts[slots])
        return keys.tolist(), groups, counts.tolist()


def _distinct(*slots: np.ndarray) -> np.ndarray:
    """Returns all the slots, sorted and without repetitions; -1 (no slot) is left out."""
    distinct = np.unique(np.concatenate(slots))
    return distinct[1:] if len(distinct) and distinct[0] < 0 else distinct


class BytePairAnalyzer(PTransformAnalyzer):
    """A Beam analyzer that learns a vocabulary from a whole dataset, for `tft.experimental.ptransform_analyzer`.

    Its inputs are words of a batch and their counts: string `[words]` and int64 `[words]`. The counts of a word that
    occurs several times are added. Its output is the path of the asset `vocabulary.tsv`, string scalar. Memory grows
    with the number of distinct words in the dataset, and not with its length. The result depends only on the counts,
    and not on order, bundles or workers.
    """

    def __init__(self, vocabulary_size: int):
        """Sets the number of tokens, including 256 bytes and <|endoftext|>. A small corpus may give fewer."""
        super().__init__()
        self._num_merges = vocabulary_size - 257

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        """Counts words over all batches and trains on the counts."""
        # Local names, because the function below is sent to workers and must not contain this pipeline object.
        folder, num_merges = self.base_temp_dir, self._num_merges

        def train(counts: list[tuple[bytes, int]]) -> str:
            return _write_vocabulary(counts, num_merges, folder)

        return (
            batches
            | "CountWords" >> beam.ParDo(_CountWords())
            | "SumCounts" >> beam.CombinePerKey(sum)
            | "ToList" >> beam.combiners.ToList()
            | "Train" >> beam.Map(train)
        )


class _CountWords(beam.DoFn):
    """A sum of the counts of many batches, so that Beam groups each word once per bundle and not once per batch."""

    def start_bundle(self) -> None:
        self._counts: Counter[bytes] = Counter()

    def process(self, batch: tuple[np.ndarray, np.ndarray]) -> Iterator[tuple[bytes, int]]:
        words, counts = batch
        for word, count in zip(words.tolist(), counts.tolist(), strict=True):  # a word may occur in both halves
            self._counts[word] += count
        if len(self._counts) > _MAX_WORDS_HELD:
            yield from self._counts.items()
            self._counts = Counter()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        for pair in self._counts.items():
            yield GlobalWindows.windowed_value(pair)


def _write_vocabulary(counts: Iterable[tuple[bytes, int]], num_merges: int, folder: str) -> str:
    def report_progress(done: int) -> None:
        if done % 100 == 0 or done == num_merges:
            progress.report("Transform", done=done, total=num_merges, unit="merges")

    merges, frequent_words = train_and_encode(dict(sorted(counts)), num_merges, on_merge=report_progress)
    path = os.path.join(folder, TABLE_NAME)
    tf.io.gfile.makedirs(folder)
    with tf.io.gfile.GFile(path, "w") as file:
        file.write(table_text(Vocabulary.from_merges(merges), frequent_words))
    return path
