import pytest

from modules.tokenization.packing_efficiency import packed_useful_share, unpacked_useful_share

LENGTHS = {3: 1, 4: 1, 0: 1}


def test_shares_by_eye() -> None:
    # packed: 1 5 6 7  1 8 8 8  8 1         unpacked: 1 5 6 7  1 8 8 8  8 . . .  1 . . .
    assert packed_useful_share(LENGTHS) == 7 / 10
    assert unpacked_useful_share(LENGTHS, sequence_length=4) == 7 / 16


@pytest.mark.parametrize(("length", "slots"), [(1, 10), (3, 15), (5, 15), (8, 24)])
def test_a_document_longer_than_the_window_has_several(length: int, slots: int) -> None:
    assert unpacked_useful_share(LENGTHS, sequence_length=length) == 7 / slots


def test_nothing_fills_nothing() -> None:
    assert (packed_useful_share({}), unpacked_useful_share({}, sequence_length=4)) == (0.0, 0.0)
