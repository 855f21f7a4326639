"""A corpus that is too small for its splits gets shares that work when they are followed."""

import hashlib
import math
import random
import re

import pytest

from modules.cleaning.buckets import split_of
from modules.cleaning.small_corpora import empty_split, needed_documents, sufficient_shares

SPLITS = ("train", "eval", "test")
WEIGHTS = {"train": 90, "eval": 5, "test": 5}


def digests(count: int, seed: int = 0) -> list[bytes]:
    return [hashlib.sha256(f"{seed} {number}".encode()).digest() for number in range(count)]


def keys(found: list[bytes]) -> list[int]:
    return [int.from_bytes(digest[-8:], "big") for digest in found]


@pytest.mark.parametrize("splits", [SPLITS, ("train", "eval")])
@pytest.mark.parametrize("count", [3, 4, 10, 40])
def test_the_shares_give_every_split_a_document(splits, count):
    for seed in range(20):
        found = digests(count, seed)
        shares = sufficient_shares(keys(found), splits)
        assert list(shares) == list(splits)
        assert {split_of(digest, shares) for digest in found} == set(splits)
    assert shares["train"] / sum(shares.values()) > 0.5 or count < 10


def test_fewer_documents_than_splits_have_no_shares():
    assert sufficient_shares(keys(digests(2)), SPLITS) is None
    error = str(empty_split(["eval"], WEIGHTS, keys(digests(2)), documents=2, dropped="none"))
    assert "data.splits={" not in error
    assert "Or add text, or split .txt files into more documents with `document_separator`" in error


def test_the_number_of_documents_makes_empty_splits_unlikely():
    assert needed_documents(WEIGHTS) == pytest.approx(104, abs=1)
    assert needed_documents({"train": 1, "eval": 1}) == 8
    random.seed(0)
    draws = [{random.choices(SPLITS, WEIGHTS.values())[0] for _ in range(104)} for _ in range(2000)]
    assert sum(len(drawn) == 3 for drawn in draws) / 2000 == pytest.approx(0.99, abs=0.01)
    assert math.isfinite(needed_documents({"train": 10**6, "eval": 1}))


def test_the_message_names_the_number_and_shares_that_work():
    found = digests(12)
    error = str(empty_split(["eval"], WEIGHTS, keys(found), documents=12, dropped="2 leaked"))
    assert "eval got none of the 12 different documents (shares: train 90, eval 5, test 5)" in error
    assert "(dropped: 2 leaked)" in error
    assert "these shares need about 104 documents" in error
    shares = dict(re.findall(r"(\w+): (\d+)", re.search(r"data\.splits=\{(.*?)\}", error)[1]))
    assert {split_of(digest, {split: int(share) for split, share in shares.items()}) for digest in found} == set(SPLITS)
