"""A corpus that is too small for its splits gets shares that work when they are followed."""

import hashlib
import math
import random
import re

import pytest

from modules.cleaning.buckets import BucketCounts, split_of
from modules.cleaning.small_corpora import check_splits, needed_documents, sufficient_shares
from modules.common.errors import InputError
from pipeline.config import load_config

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


def test_an_empty_split_is_an_error():
    message = (
        r"but eval and test got none of the 3 different documents .*\(dropped: 2 leaked\)\. .*`document_separator`"
    )
    with pytest.raises(InputError, match=message):
        check({"train": 3, "eval": 0, "test": 0}, digests(3), dropped={"leaked": 2, "empty": 0})
    check({"train": 3, "eval": 1, "test": 1}, [])


def check(documents: dict[str, int], found: list[bytes], *, given: bool = False, dropped: dict[str, int] | None = None):
    counts = BucketCounts(documents=documents, bytes={}, dropped=dropped or {})
    check_splits(counts, WEIGHTS, splits_are_given=given, keys=lambda: set(keys(found)))


def test_fewer_documents_than_splits_have_no_shares():
    assert sufficient_shares(keys(digests(2)), SPLITS) is None
    with pytest.raises(InputError, match=r"104 documents\. Or add text") as caught:
        check({"train": 2}, digests(2))
    assert "data.splits={" not in str(caught.value)


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ({"train": 2, "eval": 1}, r"test got none of the 3 .* Set `data\.splits\.test` to null, which leaves"),
        ({"train": 2, "test": 1}, r"eval got none .* Name files, or values of the column, with documents for eval\."),
    ],
)
def test_a_given_split_without_documents_is_an_error(documents, message):
    with pytest.raises(InputError, match=message):
        check(documents, [], given=True)


def test_the_number_of_documents_makes_empty_splits_unlikely():
    assert needed_documents(WEIGHTS) == pytest.approx(104, abs=1)
    assert needed_documents({"train": 1, "eval": 1}) == 8
    random.seed(0)
    draws = [{random.choices(SPLITS, WEIGHTS.values())[0] for _ in range(104)} for _ in range(2000)]
    assert sum(len(drawn) == 3 for drawn in draws) / 2000 == pytest.approx(0.99, abs=0.01)
    assert math.isfinite(needed_documents({"train": 10**6, "eval": 1}))


def test_the_message_names_the_number_and_shares_that_work():
    found = digests(12)
    with pytest.raises(InputError, match=r"eval got none of the 12 .* \(shares: train 90, eval 5, test 5\)") as caught:
        check({"train": 11, "test": 1}, found)
    assert "these shares need about 104 documents" in str(caught.value)
    shares = dict(re.findall(r"(\w+): (\d+)", re.search(r"data\.splits=\{(.*?)\}", str(caught.value))[1]))
    assert {split_of(digest, {split: int(share) for split, share in shares.items()}) for digest in found} == set(SPLITS)


def test_without_a_test_split_the_cure_leaves_it_out():
    counts = BucketCounts(documents={"train": 9}, bytes={}, dropped={})
    with pytest.raises(InputError) as caught:
        check_splits(counts, {"train": 90, "eval": 10}, splits_are_given=False, keys=lambda: set(keys(digests(9))))
    cure = re.search(r"--set '(data\.splits=.*?)'", str(caught.value))
    assert cure is not None
    splits = load_config(overrides=[cure[1]]).data.splits
    assert splits.weights.keys() == {"train", "eval"}
