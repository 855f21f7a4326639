"""Learns byte-pair merges from the words of a corpus: the algorithm, and the Beam analyzer that feeds it.

Sennrich, Haddow and Birch, "Neural Machine Translation of Rare Words with Subword Units",
https://arxiv.org/abs/1508.07909, on bytes as in GPT-2.
"""

import heapq
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise

import apache_beam as beam
import numpy as np
import tensorflow as tf
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue
from tensorflow_transform.beam.experimental import PTransformAnalyzer

from modules import progress
from modules.vocabulary import TABLE_NAME, Vocabulary, byte_characters, replace_pair

Pair = tuple[int, int]

_WORDS_AT_ONCE = 500_000


def train_merges(
    word_counts: Mapping[bytes, int],
    num_merges: int,
    min_frequency: int = 2,
    on_merge: Callable[[int], None] | None = None,
) -> list[Pair]:
    """Finds the merges of the most frequent pairs, one after the other.

    Equal to `tokenizers.trainers.BpeTrainer` on the same counts: ties go to the pair of smaller ids. One
    difference: a merge whose string an earlier merge made is left out (see `Vocabulary`).

    Args:
        word_counts: How often each word (as `bpe_graph.split_words` cuts them) occurs.
        num_merges: At most so many merges.
        min_frequency: A pair that occurs less often is not merged.
        on_merge: Is called with the number of merges found, after each.

    Returns:
        Pairs (left_id, right_id) by rank for `Vocabulary.from_merges`: ids below 256 are bytes in GPT-2's
        order, rank r makes the id 256 + r. Fewer than `num_merges` where the words offer no more.
    """
    token_bytes = [bytes([byte]) for byte in byte_characters()]
    words = _Words(word_counts, ids={token: token_id for token_id, token in enumerate(token_bytes)})
    made = set(token_bytes)
    merges: list[Pair] = []
    queue = [(-count, pair) for pair, count in words.pair_counts.items()]
    heapq.heapify(queue)
    while queue and len(merges) < num_merges:
        negative_count, pair = heapq.heappop(queue)
        count = words.pair_counts[pair]
        if count != -negative_count:
            # Merges since then took some of its occurrences: back into the queue with what is left.
            if count > 0:
                heapq.heappush(queue, (-count, pair))
            continue
        if count < max(min_frequency, 1):
            break
        joined = token_bytes[pair[0]] + token_bytes[pair[1]]
        if joined in made:
            continue
        for grown in words.merge(pair, new_id=len(token_bytes)):
            heapq.heappush(queue, (-words.pair_counts[grown], grown))
        made.add(joined)
        token_bytes.append(joined)
        merges.append(pair)
        if on_merge:
            on_merge(len(merges))
    return merges


class _Words:
    """The distinct words as token ids, and how often each pair of neighbours occurs in all of them."""

    def __init__(self, word_counts: Mapping[bytes, int], ids: Mapping[bytes, int]):
        self._tokens = [[ids[bytes([byte])] for byte in word] for word in word_counts]
        self._counts = list(word_counts.values())
        self._words_with: defaultdict[Pair, set[int]] = defaultdict(set)
        self.pair_counts: Counter[Pair] = Counter()
        for index, tokens in enumerate(self._tokens):
            for pair in pairwise(tokens):
                self.pair_counts[pair] += self._counts[index]
                self._words_with[pair].add(index)

    def merge(self, pair: Pair, new_id: int) -> set[Pair]:
        """Replaces a pair by a token in every word; returns the pairs that now occur for the first time."""
        grown = set()
        for index in self._words_with.pop(pair):
            before, count = self._tokens[index], self._counts[index]
            after = replace_pair(before, pair, new_id)
            if len(after) == len(before):
                continue  # an earlier merge took the pair out of this word
            for old in pairwise(before):
                self.pair_counts[old] -= count
            for new in pairwise(after):
                self.pair_counts[new] += count
                if new_id in new:
                    self._words_with[new].add(index)
                    grown.add(new)
            self._tokens[index] = after
        del self.pair_counts[pair]
        return grown


class BytePairAnalyzer(PTransformAnalyzer):
    """Learns a vocabulary from a whole dataset, for `tft.experimental.ptransform_analyzer`.

    Its inputs are a batch's distinct words and their counts: string `[words]` and int64 `[words]`. Its output
    is the path of the asset `vocabulary.tsv`, string scalar. Memory grows with the distinct words of the
    dataset, never with its length. The result depends on the counts alone, not on order, bundles or workers.
    """

    def __init__(self, vocabulary_size: int):
        """Sets the number of tokens, 256 bytes and <|endoftext|> included; a small corpus may give fewer."""
        super().__init__()
        self._num_merges = vocabulary_size - 257

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        """Counts words over all batches and trains on the counts."""
        # Local names: the functions below go to workers, where a pipeline object cannot follow.
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
    """Adds up the counts of many batches, so that Beam groups each word once a bundle and not once a batch."""

    def start_bundle(self) -> None:
        self._counts: Counter[bytes] = Counter()

    def process(self, batch: tuple[np.ndarray, np.ndarray]) -> Iterator[tuple[bytes, int]]:
        words, counts = batch
        self._counts.update(dict(zip(words.tolist(), counts.tolist(), strict=True)))
        if len(self._counts) > _WORDS_AT_ONCE:
            yield from self._counts.items()
            self._counts = Counter()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        for pair in self._counts.items():
            yield GlobalWindows.windowed_value(pair)


def _write_vocabulary(counts: Iterable[tuple[bytes, int]], num_merges: int, folder: str) -> str:
    def tell(done: int) -> None:
        if done % 100 == 0 or done == num_merges:
            progress.report("Transform", done=done, total=num_merges, unit="merges")

    merges = train_merges(dict(sorted(counts)), num_merges, on_merge=tell)
    path = os.path.join(folder, TABLE_NAME)
    tf.io.gfile.makedirs(folder)
    with tf.io.gfile.GFile(path, "w") as file:
        file.write(Vocabulary.from_merges(merges).table_text())
    return path
