"""Files, columns and long documents give documents their split; a text in two splits is left out of one and counted."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from modules.cleaning import corpus_cleaning, small_corpora
from modules.cleaning.buckets import BucketCounts, split_of
from modules.cleaning.cleaning_job import CleaningJob, Steps
from modules.cleaning.filters import CleaningSettings
from modules.common.errors import InputError
from modules.data import corpus
from modules.data.documents import ReadCounts
from modules.data.source import Corpus, DataSource
from pipeline.config import load_config
from tests.toys.words import numbered

WEIGHTS = {"train": 2, "eval": 1, "test": 1}


def words(first: int, count: int) -> str:
    """Returns different words, so that texts of different ranges share nothing."""
    return numbered(first, first + count - 1)


def clean(
    folder: Path, *sources: DataSource, weights: dict[str, int] = WEIGHTS, buckets: int = 3, **settings: Any
) -> tuple[dict[str, list[tuple[str, str]]], ReadCounts, BucketCounts]:
    """Runs a whole job in this process; returns each split's (text, source) pairs, and the counts."""
    directory = folder / f"buckets {len(list(folder.iterdir()))}"
    folders = {split: str(directory / split) for split in weights}
    for path in folders.values():
        os.makedirs(path)
    job = CleaningJob(
        directory=str(directory), pieces=tuple(corpus.plan(Corpus(sources=sources), "")), buckets=buckets,
        weights=weights, settings=CleaningSettings.model_validate(settings), folders=folders,
    )  # fmt: skip
    steps, reading, kept = Steps(job), ReadCounts(), BucketCounts.zero(weights)
    for number in range(len(job.pieces)):
        reading.add(ReadCounts(**steps.run("read", number, lambda: None)))
    corpus_cleaning.collect_held_out(job.directory, [piece.name for piece in job.pieces])
    for step in ("study", "write"):
        for number in range(buckets):
            kept.add(BucketCounts(**steps.run(step, number, lambda: None)))
        if step == "study":
            corpus_cleaning.decide(job.directory, buckets, job.settings, weights, splits_are_given=job.splits_are_given)
    return {split: read(path) for split, path in folders.items()}, reading, kept


def read(folder: str) -> list[tuple[str, str]]:
    paths = sorted(str(path) for path in Path(folder).iterdir())
    records = tf.data.TFRecordDataset(paths, "GZIP").as_numpy_iterator()
    features = [tf.train.Example.FromString(record).features.feature for record in records]
    return sorted(
        tuple(feature[name].bytes_list.value[0].decode() for name in ("text", "source")) for feature in features
    )


def rows(path: Path, *texts: str, **columns: str) -> str:
    path.write_text("".join(json.dumps({"text": text, **columns}) + "\n" for text in texts))
    return str(path)


def texts(pairs: list[tuple[str, str]]) -> list[str]:
    return [text for text, _ in pairs]


LONG = words(0, 100)
CHANGED = LONG.replace("word99", "changed")  # a near duplicate
QUOTED = words(200, 60)  # a train text quotes all of it
QUOTING = f"{words(300, 300)} {QUOTED} {words(600, 300)}"


@pytest.fixture
def sources(tmp_path: Path) -> list[DataSource]:
    """Returns files of each split that share texts: equal, nearly equal, and one that quotes another."""
    return [
        DataSource(files=rows(tmp_path / "train.jsonl", "both", "only train", LONG, QUOTING), split="train"),
        DataSource(files=rows(tmp_path / "eval.jsonl", "both", "only eval", CHANGED, QUOTED), split="eval"),
        DataSource(files=rows(tmp_path / "test.jsonl", "only test", "only eval"), split="test"),
    ]


def test_every_document_is_in_the_split_of_its_file(tmp_path: Path) -> None:
    sources = [
        DataSource(files=rows(tmp_path / f"{split}.jsonl", *(f"{split} {number}" for number in range(9))), split=split)
        for split in WEIGHTS
    ]
    splits, _, kept = clean(tmp_path, *sources)
    for split in WEIGHTS:
        assert splits[split] == [(f"{split} {number}", f"{split}.jsonl") for number in range(9)]
    assert kept.dropped == {}


def test_what_is_in_two_splits_is_left_out_of_eval_and_test(tmp_path: Path, sources: list[DataSource]) -> None:
    splits, _, kept = clean(tmp_path, *sources)
    assert texts(splits["train"]) == sorted(["both", "only train", LONG, QUOTING])
    assert texts(splits["eval"]) == ["only eval"]
    assert texts(splits["test"]) == ["only test"]  # among eval and test, eval comes first
    assert kept.dropped == {"in_two_splits": 2, "near_duplicate_in_two_splits": 1, "leaked": 1}


def test_what_is_in_two_splits_is_left_out_of_train(tmp_path: Path, sources: list[DataSource]) -> None:
    splits, _, kept = clean(tmp_path, *sources, drop_leaked_from="train")
    assert texts(splits["train"]) == ["only train"]
    assert texts(splits["eval"]) == sorted(["both", "only eval", CHANGED, QUOTED])
    assert texts(splits["test"]) == ["only test"]
    assert kept.dropped == {"in_two_splits": 2, "near_duplicate_in_two_splits": 1, "contains_held_out": 1}


def test_the_result_does_not_depend_on_the_order_of_sources_and_buckets(
    tmp_path: Path, sources: list[DataSource]
) -> None:
    for settings in ({}, {"drop_leaked_from": "train"}):
        first = clean(tmp_path, *sources, **settings)
        second = clean(tmp_path, *reversed(sources), buckets=1, **settings)
        assert (first[0], first[2].dropped) == (second[0], second[2].dropped)


def test_a_held_out_text_that_several_train_texts_quote_together_is_left_out_of_eval(tmp_path: Path) -> None:
    parts = [f"{words(1000 * number, 50)} {words(200 + 30 * number, 30)}" for number in range(1, 4)]
    sources = [
        DataSource(files=rows(tmp_path / "train.jsonl", *parts), split="train"),
        DataSource(files=rows(tmp_path / "eval.jsonl", words(230, 90), "another"), split="eval"),
    ]
    splits, _, kept = clean(tmp_path, *sources, weights={"train": 1, "eval": 1}, drop_leaked_from="train")
    assert (texts(splits["train"]), texts(splits["eval"])) == (sorted(parts), ["another"])
    assert kept.dropped == {"leaked": 1}


def test_by_hash_the_setting_chooses_the_split_too(tmp_path: Path) -> None:
    source = DataSource(files=rows(tmp_path / "a.jsonl", *(words(1000 * number, 40) for number in range(8)), QUOTING))
    quotes = DataSource(files=rows(tmp_path / "b.jsonl", QUOTED))
    weights = next(
        weights for share in range(1, 40)
        for weights in [{"train": 40, "eval": share}]
        if QUOTED in texts(clean(tmp_path, quotes, weights=weights)[0]["eval"])
        and QUOTING in texts(clean(tmp_path, source, weights=weights)[0]["train"])
    )  # fmt: skip
    held_out, _, kept = clean(tmp_path, source, quotes, weights=weights)
    assert QUOTED not in texts(held_out["eval"])
    assert kept.dropped == {"leaked": 1}
    train, _, kept = clean(tmp_path, source, quotes, weights=weights, drop_leaked_from="train")
    assert QUOTED in texts(train["eval"])
    assert QUOTING not in texts(train["train"])
    assert kept.dropped == {"contains_held_out": 1}


def test_the_parts_of_a_long_document_stay_in_the_split_of_the_whole(tmp_path: Path) -> None:
    books = ["\n\n".join(words(1000 * book + 20 * part, 15) for part in range(20)) for book in range(12)]
    path = rows(tmp_path / "books.jsonl", *books)
    whole, _, _ = clean(tmp_path, DataSource(files=path))
    parts, reading, kept = clean(tmp_path, DataSource(files=path, split_long_documents=300))
    for split, pairs in parts.items():
        joined = "".join(texts(pairs))
        assert len(joined) == sum(map(len, texts(whole[split])))
        assert all(any(text in book for book in texts(whole[split])) for text in texts(pairs))
    assert reading.changed["long_documents_cut"] == 12
    assert reading.changed["parts_of_long_documents"] == sum(kept.documents.values()) > 120


def test_an_equal_part_of_two_books_is_left_out_of_eval(tmp_path: Path) -> None:
    shared = words(0, 40)
    books = [f"{words(1000 * number, 40)}\n\n{shared}" for number in range(1, 10)]
    splits, _, kept = clean(
        tmp_path, DataSource(files=rows(tmp_path / "books.jsonl", *books), split_long_documents=len(shared))
    )
    assert texts(splits["train"]).count(shared) == 1
    assert kept.dropped["in_two_splits"] + kept.dropped["exact_duplicate"] == 8


def test_the_shares_of_the_error_work_when_they_are_followed(tmp_path: Path) -> None:
    source = DataSource(files=rows(tmp_path / "a.jsonl", *(f"text {number}" for number in range(12))))
    weights = load_config().data.split_weights
    _, _, kept = clean(tmp_path, source, weights=weights)
    (directory,) = tmp_path.glob("buckets*")
    with pytest.raises(InputError, match=r"these shares need about 104 documents") as caught:
        small_corpora.check_splits(
            kept,
            weights,
            splits_are_given=False,
            keys=lambda: corpus_cleaning.kept_split_keys(str(directory), 3),
        )
    (cure,) = re.findall(r"`--set '(.*?)'`", str(caught.value))
    followed, _, _ = clean(tmp_path, source, weights=load_config(overrides=[cure]).data.split_weights)
    assert all(followed[split] for split in ("train", "eval", "test"))


def test_named_sources_are_counted_and_their_documents_have_their_name(tmp_path: Path) -> None:
    sources = [
        DataSource(files=rows(tmp_path / "a.jsonl", *(f"a {number}" for number in range(5))), name="a", split="train"),
        DataSource(files=rows(tmp_path / "b.jsonl", "b", "a 0"), name="b", split="train"),
        DataSource(files=rows(tmp_path / "c.jsonl", "c"), name="c", split="eval"),
    ]
    splits, _, kept = clean(tmp_path, *sources, weights={"train": 1, "eval": 1})
    assert splits["eval"] == [("c", "c")]
    assert kept.train_by_source == {"a": 5, "b": 1, "c": 0}  # duplicates are dropped across sources
    assert kept.dropped == {"exact_duplicate": 1}


def test_the_keys_of_the_kept_documents_decide_their_splits(tmp_path: Path) -> None:
    source = DataSource(files=rows(tmp_path / "a.jsonl", *(f"text {number}" for number in range(9))))
    splits, _, _ = clean(tmp_path, source)
    (directory,) = tmp_path.glob("buckets*")
    keys = corpus_cleaning.kept_split_keys(str(directory), 3)
    found = [split_of(key.to_bytes(8, "big"), WEIGHTS) for key in keys]
    assert {split: found.count(split) for split in WEIGHTS} == {split: len(pairs) for split, pairs in splits.items()}
