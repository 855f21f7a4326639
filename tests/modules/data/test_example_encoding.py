"""The encoder writes the bytes that TensorFlow would write, and TensorFlow reads its files."""

import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from modules.data.example_encoding import encoded_example, record_frame, write_frames

# Lengths around the limits of one, two and three bytes for a length.
LENGTHS = (1, 126, 127, 128, 129, 16_383, 16_384, 2**21)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
NAMES = st.sampled_from(["text", "prompt", "completion", "chosen", "source", "ü"])


def encoded_by_tensorflow(features) -> bytes:
    example = tf.train.Example()
    for name, value in features.items():
        if isinstance(value, int):
            example.features.feature[name].int64_list.value.append(value)
        else:
            example.features.feature[name].bytes_list.value.extend(text.encode() for text in value)
            example.features.feature[name].bytes_list.SetInParent()
    return example.SerializeToString(deterministic=True)


@given(st.dictionaries(NAMES, st.lists(TEXTS, max_size=5)), st.integers(0, 2**40))
def test_examples_have_the_bytes_of_tensorflow(features, number):
    features = features | {"characters": number}
    assert encoded_example(features) == encoded_by_tensorflow(features)


def test_lengths_of_several_bytes_are_encoded():
    for length in LENGTHS:
        for features in (
            {"text": ["a" * length, "b"]},
            {"text": ["漢" * length]},
            {"n": length},
            {"t": ["a"] * length},
        ):
            assert encoded_example(features) == encoded_by_tensorflow(features)


def test_tensorflow_reads_the_records_of_a_file(tmp_path):
    path = str(tmp_path / "data.gz")
    records = [b"", b"a", b"\x00" * 70_000, "Größe".encode()]
    write_frames(path, [record_frame(records[0]) + record_frame(records[1]), *map(record_frame, records[2:])])
    assert list(tf.data.TFRecordDataset([path], "GZIP").as_numpy_iterator()) == records
    with tf.io.TFRecordWriter(str(tmp_path / "plain")) as writer:
        for record in records:
            writer.write(record)
    assert (tmp_path / "plain").read_bytes() == b"".join(map(record_frame, records))
