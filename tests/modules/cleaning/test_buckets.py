"""Duplicates, splits and order depend only on the texts."""

import hashlib
import random
import tracemalloc
from collections.abc import Iterator

import pytest
import tensorflow as tf

from modules.cleaning import buckets, corpus_cleaning
from modules.cleaning.buckets import BucketCounts
from modules.cleaning.filters import CleaningSettings
from modules.common.errors import InputError
from modules.data.documents import Document

WEIGHTS = {"train": 18, "eval": 1, "test": 1}
NO_COMPARISONS = CleaningSettings(near_duplicates=None, leakage=None)


def run(documents, folder, *, number=3, writers=2, weights=WEIGHTS) -> tuple[dict[str, list], BucketCounts]:
    """Scatters and writes documents; returns each split's (text, source) pairs in file order, and the counts."""
    for writer in range(writers):
        part = documents[writer::writers]
        buckets.scatter(part, str(folder), writer=f"w{writer}", buckets=number)
    total = BucketCounts.zero(weights)
    splits = {split: [] for split in weights}
    for counts, paths in write(str(folder), number, weights):
        total.add(counts)
        for split in counts.documents:
            splits[split] += read_examples(paths[split])
    return splits, total


def write(folder: str, number: int, weights) -> Iterator[tuple[BucketCounts, dict[str, str]]]:
    """Writes the documents of all buckets without comparing them; yields counts, and the path of each split."""
    for bucket in range(number):
        yield corpus_cleaning.study_bucket(folder, bucket, weights=weights, settings=NO_COMPARISONS, held_out=None), {}
    corpus_cleaning.decide(folder, number, NO_COMPARISONS, weights)
    for bucket in range(number):
        paths = {split: f"{folder}/{split}-{bucket}.gz" for split in weights}
        yield corpus_cleaning.write_bucket(folder, bucket, splits=list(weights), shard_path=paths.__getitem__), paths


def read_examples(path) -> list[tuple[str, str]]:
    """Returns the (text, source) pairs in a gzip TFRecord file."""
    pairs = []
    for record in tf.data.TFRecordDataset([path], "GZIP").as_numpy_iterator():
        features = tf.train.Example.FromString(record).features.feature
        pairs.append(tuple(features[name].bytes_list.value[0].decode() for name in ("text", "source")))
    return pairs


def documents_of(texts, source="a.txt") -> list[Document]:
    return [Document.of_text(text, source) for text in texts]


def digest(text: str) -> bytes:
    return hashlib.sha256(documents_of([text])[0].payload()).digest()


TEXTS = [f"Text number {number}" for number in range(200)]


def stored_texts(folder, bucket: int) -> list[str]:
    return [document.content for document in buckets.unique_documents(str(folder), bucket)]


def test_digests_choose_buckets_and_splits():
    first, last = b"\x00" * 32, b"\xff" * 32
    assert [buckets.bucket_of(first, 7), buckets.bucket_of(last, 7)] == [0, 6]
    assert buckets.split_of(first, WEIGHTS) == "train"
    assert buckets.split_of(bytes(31) + b"\x11", WEIGHTS) == "train"  # 17 of 20
    assert buckets.split_of(bytes(31) + b"\x12", WEIGHTS) == "eval"  # 18
    assert buckets.split_of(bytes(31) + b"\x13", WEIGHTS) == "test"  # 19
    assert buckets.split_of(bytes(31) + b"\x14", WEIGHTS) == "train"  # 20 again 0


def test_the_number_of_buckets_grows_with_the_corpus():
    mebibyte = 2**20
    sizes = [0, mebibyte, 16 * mebibyte, 17 * mebibyte, 1024 * mebibyte]
    assert [buckets.number_of_buckets(size) for size in sizes] == [1, 1, 1, 2, 64]


def test_exact_duplicates_are_dropped_and_the_first_source_is_kept(tmp_path):
    documents = documents_of(["a", "b", "a", "a "], source="z.txt") + documents_of(["a", "ü"], source="c.txt")
    splits, counts = run(documents, tmp_path, weights={"train": 1, "eval": 1})
    assert sorted(splits["train"] + splits["eval"]) == [
        ("a", "c.txt"), ("a ", "z.txt"), ("b", "z.txt"), ("ü", "c.txt"),
    ]  # fmt: skip
    assert counts.dropped == {"exact_duplicate": 2}
    assert sum(counts.documents.values()) == 4
    assert sum(counts.bytes.values()) == 6  # ü takes two


def test_the_result_does_not_depend_on_order_buckets_and_writers(tmp_path):
    shuffled = random.Random(1).sample(TEXTS, len(TEXTS))
    single = run(documents_of(TEXTS), tmp_path / "single", number=1, writers=1)
    many = run(documents_of(shuffled), tmp_path / "many", number=5, writers=3)
    assert single == many
    train = [text for text, _ in single[0]["train"]]
    assert train == sorted(train, key=digest)
    assert single[1].documents == {"train": 181, "eval": 8, "test": 11}


def test_new_documents_do_not_move_old_ones_to_other_splits(tmp_path):
    few, _ = run(documents_of(TEXTS[:50]), tmp_path / "few")
    many, _ = run(documents_of(TEXTS), tmp_path / "many")
    for split in WEIGHTS:
        assert set(few[split]) <= set(many[split])


def test_a_repeated_attempt_replaces_the_first_attempt(tmp_path):
    for _ in range(2):
        buckets.scatter(documents_of(["a"]), str(tmp_path), writer="w0", buckets=1)
    assert stored_texts(tmp_path, 0) == ["a"]


def test_a_full_buffer_is_written_without_losing_documents(tmp_path, monkeypatch):
    monkeypatch.setattr(buckets, "FLUSH_BYTES", 100)
    buckets.scatter(documents_of(TEXTS), str(tmp_path), writer="w0", buckets=2)
    assert sorted(stored_texts(tmp_path, 0) + stored_texts(tmp_path, 1)) == sorted(TEXTS)


@pytest.mark.parametrize("weights", [[], {"train": 1}, {"train": 1, "eval": 0}, {"train": 1.5, "eval": 1}])
def test_wrong_weights_are_refused(weights):
    with pytest.raises(InputError, match=r"Received: "):
        buckets.checked_weights(weights)


def test_memory_does_not_grow_with_the_corpus(tmp_path, monkeypatch):
    monkeypatch.setattr(buckets, "FLUSH_BYTES", 2**18)

    def peak_bytes(documents: int) -> int:
        texts = (Document.of_text(f"{number} " * 100, source="a.txt") for number in range(documents))
        folder, number = tmp_path / str(documents), documents // 500
        tracemalloc.start()
        buckets.scatter(texts, str(folder), writer="w0", buckets=number)
        for _ in write(str(folder), number, {"train": 1, "eval": 1}):
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    peak_bytes(500)  # A first run also loads modules, which needs memory once.
    assert peak_bytes(8000) < 1.3 * peak_bytes(2000)
