"""The graph tokenizer equals the `tokenizers` library on hard texts (with GPT-2's vocabulary: test_bpe_exact.py)."""

import itertools
import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from modules.tokenization.bpe_training import train_and_encode
from modules.tokenization.byte_pair_tokenizer import BytePairTokenizer, Detokenizer, split_words
from modules.tokenization.vocabulary import Vocabulary
from modules.tokenization.vocabulary_files import read_table, write_table, write_token_bytes
from tests.toys.tokenizer_reference import (
    corpus,
    corpus_vocabulary,
    corpus_word_counts,
    gpt2_vocabulary,
    reference_ids,
    reference_tokenizer,
    reference_words,
)
from tests.toys.tokenizer_texts import HARD_TEXTS, random_texts

A, B, C = 64, 65, 66


def test_two_vocabularies_at_the_same_path_are_two_tables(tmp_path: Path) -> None:
    path = str(tmp_path / "vocabulary.tsv")
    tokenizers = []
    for merges in ([(A, B)], [(B, C)]):
        write_table(Vocabulary.from_merges(merges), path)
        tokenizers.append(BytePairTokenizer(path))
    assert [tokenizer.tokenize(["abc"]).to_list() for tokenizer in tokenizers] == [[[256, C]], [[A, 256]]]


MALFORMED = [
    (b"a\xffb", "a\ufffdb"),
    (b"\xe2\x82", "\ufffd"),
    (b"\xe2\x28\xa1", "\ufffd(\ufffd"),
    (b"\xc0\xaf", "\ufffd\ufffd"),
    (b"\xed\xa0\x80", "\ufffd\ufffd\ufffd"),
    (b"\xf0\x9f\x98 x", "\ufffd x"),
    (b"\xf4\x90\x80\x80", "\ufffd\ufffd\ufffd\ufffd"),
]

Encode = Callable[[list[bytes]], list[list[int]]]


def make_encode(
    vocabulary: Vocabulary, folder: Path, frequent_words: Mapping[bytes, Sequence[int]] | None = None
) -> Encode:
    write_table(vocabulary, folder / "vocabulary.tsv", frequent_words)
    tokenizer = BytePairTokenizer(str(folder / "vocabulary.tsv"))
    graph = tf.function(tokenizer.tokenize, input_signature=[tf.TensorSpec([None], tf.string)])

    def encode(texts: list[bytes]) -> list[list[int]]:
        return graph(tf.constant(texts, tf.string)).to_list()

    return encode


@pytest.fixture(scope="module")
def encode(tmp_path_factory: pytest.TempPathFactory) -> Encode:
    # The table has the tokens of every other word of the corpus; the rest are merged.
    _, words = train_and_encode(corpus_word_counts(), 2000)
    every_other = dict(itertools.islice(words.items(), 0, None, 2))
    return make_encode(corpus_vocabulary(), tmp_path_factory.mktemp("table"), every_other)


@pytest.fixture(scope="module")
def reference():
    return reference_tokenizer(corpus_vocabulary())


def test_texts_are_split_by_the_pattern_of_gpt2() -> None:
    texts = ["I'm  here", "a\n\nb 12x", " \n", ""]
    assert split_words(tf.constant(texts)).to_list() == [
        [b"I", b"'m", b" ", b" here"],
        [b"a", b"\n", b"\n", b"b", b" 12", b"x"],
        [b" \n"],
        [],
    ]


def test_words_are_merged_from_the_left_and_by_rank(tmp_path: Path) -> None:
    toy = Vocabulary.from_merges([(A, B), (256, C), (A, A), (258, 258)])
    encode = make_encode(toy, tmp_path)
    assert encode([b"abc", b"", b"aab", b"bca"]) == [[257], [], [A, 256], [B, C, A]]
    # Overlapping pairs merge from the left, and the new tokens merge again.
    assert encode([b"aaa", b"aaaa", b"aaaaa", b"aaaaaaa"]) == [[258, A], [259], [259, A], [259, 258, A]]
    # No merge crosses the border of two words or two texts.
    assert encode([b"a", b"b", b"a b"]) == [[A], [B], [A, 220, B]]
    assert encode([]) == []


def test_end_of_text_has_the_last_id_and_no_text_contains_it(tmp_path: Path) -> None:
    toy = Vocabulary.from_merges([(A, B)])
    write_table(toy, tmp_path / "vocabulary.tsv")
    tokenizer = BytePairTokenizer(str(tmp_path / "vocabulary.tsv"))
    assert int(tokenizer.end_of_text_id()) == 257
    assert int(tokenizer.size()) == 258
    assert 257 not in tokenizer.tokenize(["<|endoftext|>"]).to_list()[0]


def test_hard_texts_equal_the_reference(encode: Encode, reference) -> None:
    ids = encode([text.encode() for text in HARD_TEXTS])
    for text, row in zip(HARD_TEXTS, ids, strict=True):
        assert row == reference.encode(text).ids, repr(text[:50])


def test_corpus_equals_the_reference(encode: Encode, reference) -> None:
    texts = corpus()
    assert encode([text.encode() for text in texts]) == [reference.encode(text).ids for text in texts]


@pytest.mark.parametrize(("text", "replaced"), MALFORMED)
def test_malformed_utf8_becomes_replacement_characters(encode: Encode, text: bytes, replaced: str) -> None:
    assert text.decode("utf-8", errors="replace") == replaced
    assert encode([text]) == encode([replaced.encode()])


@settings(max_examples=40)
@given(st.lists(st.text() | st.text(" \n\t\xa0'smré1!a中\u200d"), max_size=20))
def test_any_text_equals_the_reference(encode: Encode, reference, texts: list[str]) -> None:
    assert encode([text.encode() for text in texts]) == [reference.encode(text).ids for text in texts]


@settings(max_examples=40)
@given(st.lists(st.binary(max_size=40), max_size=20))
def test_any_bytes_equal_the_reference(encode: Encode, reference, texts: list[bytes]) -> None:
    assert encode(texts) == [reference_ids(reference, text) for text in texts]


def test_random_texts_equal_the_reference(encode: Encode, reference) -> None:
    texts = random_texts(10_000)
    assert encode([text.encode() for text in texts]) == [reference.encode(text).ids for text in texts]


def test_every_code_point_has_the_same_class_as_in_the_reference() -> None:
    # The planes that have characters. The code points of the other planes are unassigned or for private use.
    code_points = [*range(0xD800), *range(0xE000, 0x40000), *range(0xE0000, 0xE1000), 0xF0000, 0x10FFFF]
    # The text shows the class: a letter joins the a, a number the 1, white space nothing, and all others the !.
    texts = [f"a{chr(code)}1{chr(code)}!" for code in code_points]
    found = split_words(tf.constant([text.encode() for text in texts]))
    lengths = tf.strings.length(found.values).numpy()
    expected = [reference_words(text) for text in texts]
    different = [
        hex(code)
        for code, start, end, words in zip(
            code_points, found.row_splits[:-1].numpy(), found.row_splits[1:].numpy(), expected, strict=True
        )
        if lengths[start:end].tolist() != [len(word) for word in words]
    ]
    assert different == []


def test_tokenizer_works_in_tf_data(tmp_path: Path) -> None:
    write_table(Vocabulary.from_merges([(A, B)]), tmp_path / "vocabulary.tsv")
    tokenizer = BytePairTokenizer(str(tmp_path / "vocabulary.tsv"))
    dataset = tf.data.Dataset.from_tensor_slices(["ab", "b", ""]).batch(2).map(tokenizer.tokenize)
    assert [batch.to_list() for batch in dataset] == [[[256], [B]], [[]]]


class Codec(tf.Module):
    """Both directions in one SavedModel."""

    def __init__(self, folder: Path):
        super().__init__()
        self.tokenizer = BytePairTokenizer(str(folder / "vocabulary.tsv"))
        self.detokenizer = Detokenizer(str(folder / "token_bytes.txt"))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def encode(self, texts: tf.Tensor) -> tf.RaggedTensor:
        return self.tokenizer.tokenize(texts)

    @tf.function(input_signature=[tf.RaggedTensorSpec([None, None], tf.int64)])
    def decode(self, token_ids: tf.RaggedTensor) -> tf.Tensor:
        return self.detokenizer.detokenize(token_ids)


NEW_PROCESS = """
import json, sys
sys.modules.update(dict.fromkeys(("modules", "keras_hub", "tensorflow_text", "tensorflow_transform")))
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
texts = [bytes.fromhex(text) for text in json.load(sys.stdin)]
ids = model.encode(tf.constant(texts, tf.string))
print(json.dumps([ids.to_list(), [text.hex() for text in model.decode(ids).numpy().tolist()]]))
"""


def test_moved_saved_model_equals_tokenizer_json_and_needs_only_tensorflow(tmp_path: Path) -> None:
    vocabulary = gpt2_vocabulary()
    source = tmp_path / "source"
    source.mkdir()
    write_table(vocabulary, source / "vocabulary.tsv")
    write_token_bytes(vocabulary, source / "token_bytes.txt")
    tf.saved_model.save(Codec(source), str(tmp_path / "saved"))
    shutil.rmtree(source)
    moved = tmp_path / "elsewhere" / "moved"
    shutil.move(tmp_path / "saved", moved)
    assert sorted(path.name for path in (moved / "assets").iterdir()) == ["token_bytes.txt", "vocabulary.tsv"]
    # tokenizer.json is made from the folder's own table: the graph and the other libraries use the same file.
    reference = reference_tokenizer(read_table(moved / "assets" / "vocabulary.tsv"))
    texts = [*HARD_TEXTS, *random_texts(500), "letters" * 5000]
    empty = tmp_path / "empty"
    empty.mkdir()
    result = subprocess.run(
        [sys.executable, "-I", "-c", NEW_PROCESS, str(moved)],
        input=json.dumps([text.encode().hex() for text in texts]),
        capture_output=True, text=True, timeout=120, cwd=empty, check=True,
    )  # fmt: skip
    ids, decoded = json.loads(result.stdout)
    assert ids == [reference.encode(text).ids for text in texts]
    assert [bytes.fromhex(text).decode() for text in decoded] == texts


@pytest.fixture(scope="module")
def detokenizer(tmp_path_factory: pytest.TempPathFactory) -> Detokenizer:
    path = tmp_path_factory.mktemp("detokenizer") / "token_bytes.txt"
    write_token_bytes(corpus_vocabulary(), path)
    return Detokenizer(str(path))


def test_detokenizer_takes_dense_ragged_and_single_rows(detokenizer: Detokenizer) -> None:
    end_of_text = corpus_vocabulary().end_of_text_id
    assert detokenizer.detokenize(tf.constant([A, B], tf.int64)).numpy() == b"ab"
    assert detokenizer.detokenize(tf.constant([[A, B], [C, end_of_text]], tf.int64)).numpy().tolist() == [
        b"ab",
        b"c<|endoftext|>",
    ]
    ragged = tf.ragged.constant([[A], [], [B, C]], dtype=tf.int64)
    assert detokenizer.detokenize(ragged).numpy().tolist() == [b"a", b"", b"bc"]
    assert detokenizer.detokenize(tf.constant([], tf.int64)).numpy() == b""


def test_every_token_is_decoded_to_its_bytes(detokenizer: Detokenizer) -> None:
    tokens = corpus_vocabulary().token_bytes()
    ids = np.arange(len(tokens))[:, None]
    assert detokenizer.detokenize(tf.constant(ids, tf.int64)).numpy().tolist() == tokens


def test_decoding_an_encoded_text_gives_the_text(encode: Encode, detokenizer: Detokenizer) -> None:
    texts = [text.encode() for text in HARD_TEXTS + random_texts(500)]
    ids = tf.ragged.constant(encode(texts), dtype=tf.int64)
    assert detokenizer.detokenize(ids).numpy().tolist() == texts


def peak_memory_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_a_long_text_among_short_ones_takes_its_own_memory_only(detokenizer: Detokenizer) -> None:
    # As a table of rows, these 401,000 ids would be 3.2 GB, which TensorFlow's allocator would never give back.
    lengths = [0, *[1] * 1000, 400_000, 0]
    ids = tf.RaggedTensor.from_row_lengths(tf.fill([401_000], tf.constant(A, tf.int64)), lengths)
    before = peak_memory_bytes()
    texts = detokenizer.detokenize(ids).numpy().tolist()
    assert peak_memory_bytes() - before < 500e6
    assert texts == [b"a" * length for length in lengths]
    empty = tf.RaggedTensor.from_row_lengths(tf.zeros([0], tf.int64), tf.zeros([0], tf.int64))
    assert detokenizer.detokenize(empty).shape == [0]


@pytest.mark.parametrize("unknown", [-1, 2257])
def test_detokenizer_refuses_unknown_ids(detokenizer: Detokenizer, unknown: int) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="Every token id must be in the vocabulary"):
        detokenizer.detokenize(tf.constant([A, unknown], tf.int64))
