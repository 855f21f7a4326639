"""Examples are read back as they were written, and a sample depends only on their content."""

import dataclasses
import json

import pytest

from modules.common.errors import InputError
from modules.data.examples import (
    SAMPLE_WORDS,
    ExampleCounts,
    length_bucket,
    read_examples,
    sample_examples,
    word_sample,
)
from tests.toys.examples import write_documents


def test_texts_and_turns_are_read_back(tmp_path):
    first = write_documents(tmp_path / "first.gz", {"text": ["Größe\n漢字"]})
    second = write_documents(tmp_path / "second.gz", {"prompt": ["Hi", "Bye"], "completion": ["Hello!", "See you."]})
    assert list(read_examples([first, second])) == [
        {"text": ["Größe\n漢字"], "source": ["book.txt"]},
        {"prompt": ["Hi", "Bye"], "completion": ["Hello!", "See you."], "source": ["book.txt"]},
    ]
    pairs = write_documents(tmp_path / "pairs.gz", {"prompt": ["Hi"], "chosen": ["Hello!"], "rejected": ["What?"]})
    assert list(read_examples([pairs])) == [{"prompt": ["Hi"], "completion": ["Hello!"], "source": ["book.txt"]}]
    assert list(read_examples([])) == []


def sampled(files: list[str], count: int, end: str = "") -> list[str]:
    """Returns a sample of the texts that end with `end`."""
    return sample_examples(files, count, lambda row: row["text"][0] if row["text"][0].endswith(end) else None)


def test_a_sample_does_not_depend_on_the_files(tmp_path):
    texts = [{"text": [f"document {number}"]} for number in range(1000)]
    whole = write_documents(tmp_path / "whole.gz", *texts)
    halves = [write_documents(tmp_path / "b.gz", *texts[500:]), write_documents(tmp_path / "a.gz", *texts[:500])]
    chosen = sampled([whole], 100)
    assert sampled(halves, 100) == chosen
    assert sampled([whole], 10) == chosen[:10]
    # About 20 texts come from each fifth of the file.
    fifths = [int(text.split()[1]) // 200 for text in chosen]
    assert all(8 <= fifths.count(fifth) <= 32 for fifth in range(5))


def test_skipped_examples_are_replaced_by_further_examples(tmp_path):
    path = write_documents(tmp_path / "file.gz", *({"text": [f"document {number}"]} for number in range(40)))
    assert sorted(sampled([path], 4, end="7")) == [
        "document 17", "document 27", "document 37", "document 7",
    ]  # fmt: skip
    assert len(sampled([path], 100)) == 40
    assert sampled([path], 0) == []
    assert sampled([], 5) == []


def test_length_buckets_run_from_one_power_of_two_to_the_next():
    lengths = [1, 2, 3, 4, 255, 256, 511, 512]
    assert [length_bucket(length) for length in lengths] == [
        "1-1", "2-3", "2-3", "4-7", "128-255", "256-511", "256-511", "512-1023",
    ]  # fmt: skip


def test_a_text_is_split_into_words_numbers_and_runs_of_punctuation():
    assert word_sample("It was 1984, again...  \n我们 don't") == [
        "It", "was", "1984", ",", "again", "...", "我们", "don", "'", "t",
    ]  # fmt: skip
    assert word_sample("_x __") == ["_", "x", "__"]
    assert word_sample("a " * 1000) == ["a"] * SAMPLE_WORDS


def test_every_text_that_is_not_blank_has_a_word():
    for character in map(chr, [*range(0x20, 0xD800), *range(0xE000, 0x11000)]):
        assert character.isspace() or word_sample(character), hex(ord(character))


def test_written_counts_are_read_back(tmp_path):
    counts = ExampleCounts(
        documents={"train": 2},
        bytes={"train": 9},
        dropped={"empty": 1},
        changed={"control_characters_removed": 3},
        secrets={"email_address": 1},
        secret_places=["Grüße.txt, line 1: email_address"],
    )
    counts.write(tmp_path)
    assert json.loads((tmp_path / "counts.json").read_text(encoding="utf-8")) == dataclasses.asdict(counts)
    assert ExampleCounts.read(tmp_path) == counts


def test_a_damaged_file_is_named(tmp_path):
    whole = write_documents(tmp_path / "whole.gz", *({"text": [f"document {number}"]} for number in range(40)))
    damaged = write_documents(tmp_path / "damaged.gz", *({"text": [f"text {number}"]} for number in range(40)))
    content = bytearray((tmp_path / "damaged.gz").read_bytes())
    for place in (12, len(content) // 2, len(content) - 6):
        flipped = content.copy()
        flipped[place] ^= 0xFF
        (tmp_path / "damaged.gz").write_bytes(flipped)
        with pytest.raises(InputError, match=r"damaged.gz: must be a whole gzip file of tf.Examples.*--from-node"):
            list(read_examples([whole, damaged]))
    with pytest.raises(InputError, match=r"none.gz: must be a whole gzip file"):
        list(read_examples([whole, str(tmp_path / "none.gz")]))
