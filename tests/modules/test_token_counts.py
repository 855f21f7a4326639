from pathlib import Path

import pytest
import tensorflow as tf

from modules.token_counts import TokenCounts, count_tokens

TOKEN_IDS = [[5, 6, 7], [8, 8, 8, 8], []]
LOSS_MASK = [[0, 1, 1], [0, 0, 0, 1], []]


def write(path: Path, **columns: list[list[int]]) -> str:
    """A file as Transform writes it: ragged features under their values' name, and none where a row is empty."""
    with tf.io.TFRecordWriter(str(path), tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
        for row in zip(*columns.values(), strict=True):
            features = {"source": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"file"]))}
            for name, values in zip(columns, row, strict=True):
                if values:
                    feature = tf.train.Feature(int64_list=tf.train.Int64List(value=values))
                    features[f"{name}$ragged_values"] = feature
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    return str(path)


def test_every_token_of_a_text_counts(tmp_path: Path) -> None:
    # packed: 1 5 6 7  1 8 8 8  8 1         unpacked: 1 5 6 7  1 8 8 8  8 . . .  1 . . .
    counts = count_tokens([write(tmp_path / "a.gz", token_ids=TOKEN_IDS)], sequence_length=4)
    assert counts == TokenCounts(documents=3, tokens=7, loss_tokens=10, unpacked_slots=16)
    assert (counts.packed_useful_share, counts.unpacked_useful_share) == (7 / 10, 7 / 16)


def test_of_a_masked_split_only_the_completions_and_the_ends_count(tmp_path: Path) -> None:
    files = [write(tmp_path / "a.gz", token_ids=TOKEN_IDS, loss_mask=LOSS_MASK)]
    assert count_tokens(files, sequence_length=4).loss_tokens == 3 + 3


@pytest.mark.parametrize(("length", "slots"), [(1, 10), (3, 15), (5, 15), (8, 24)])
def test_a_document_longer_than_the_window_has_several(tmp_path: Path, length: int, slots: int) -> None:
    files = [write(tmp_path / "a.gz", token_ids=TOKEN_IDS)]
    assert count_tokens(files, sequence_length=length).unpacked_slots == slots


def test_files_add_up_and_empty_documents_and_splits_are_counted(tmp_path: Path) -> None:
    files = [write(tmp_path / "a.gz", token_ids=TOKEN_IDS), write(tmp_path / "b.gz", token_ids=[[], []])]
    assert count_tokens(files, sequence_length=4) == TokenCounts(
        documents=5, tokens=7, loss_tokens=12, unpacked_slots=24
    )
    nothing = count_tokens([], sequence_length=4)
    assert nothing == TokenCounts(documents=0, tokens=0, loss_tokens=0, unpacked_slots=0)
    assert (nothing.packed_useful_share, nothing.unpacked_useful_share) == (0.0, 0.0)
