import pytest

from modules.tokenization.packing_efficiency import (
    packed_useful_share,
    split_documents,
    unpacked_useful_share,
    unused_tokens,
)

LENGTHS = {3: 1, 4: 1, 0: 1}


def test_shares_are_those_of_the_windows_in_the_docstrings() -> None:
    # packed: 1 5 6 7  1 8 8 8  8 1         unpacked: 1 5 6 7  1 8 8 8  8 . . .  1 . . .
    assert packed_useful_share(LENGTHS) == 7 / 10
    assert unpacked_useful_share(LENGTHS, sequence_length=4) == 7 / 16


@pytest.mark.parametrize(("length", "slots"), [(1, 10), (3, 15), (5, 15), (8, 24)])
def test_a_document_longer_than_the_window_fills_several_windows(length: int, slots: int) -> None:
    assert unpacked_useful_share(LENGTHS, sequence_length=length) == 7 / slots


def test_the_shares_of_no_documents_are_zero() -> None:
    assert (packed_useful_share({}), unpacked_useful_share({}, sequence_length=4)) == (0.0, 0.0)


def test_tokens_after_the_last_window_and_documents_between_windows_are_counted() -> None:
    # 1 5 6 7  1 8 8 8  8 1
    assert unused_tokens(LENGTHS, window=4) == 2
    assert unused_tokens(LENGTHS, window=5) == 0
    assert split_documents([3, 4, 0], window=4) == 1
    assert split_documents([3, 4, 0], window=10) == 0
    # 1 5 6  7 1 8  8 8 8  1
    assert split_documents([3, 4, 0], window=3) == 2
