"""Words of any length are cut into pieces and joined again, also a word of a megabyte."""

import base64
import random
import string
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from modules.tokenization import bpe_merging
from modules.tokenization.bpe_training import train_merges
from modules.tokenization.byte_pair_tokenizer import BytePairTokenizer
from modules.tokenization.vocabulary import Vocabulary
from modules.tokenization.vocabulary_files import write_table
from tests.toys.tokenizer_reference import gpt2_vocabulary, reference_tokenizer

Encode = Callable[[list[str]], list[list[int]]]

MEGABYTE = 1_000_000


def make_encode(vocabulary: Vocabulary, folder: Path) -> Encode:
    write_table(vocabulary, folder / "vocabulary.tsv")
    tokenizer = BytePairTokenizer(str(folder / "vocabulary.tsv"))
    graph = tf.function(tokenizer.tokenize, input_signature=[tf.TensorSpec([None], tf.string)])
    graph(tf.constant(["trace"]))

    def encode(texts: list[str]) -> list[list[int]]:
        return graph(tf.constant([text.encode() for text in texts], tf.string)).to_list()

    return encode


def test_row_ids_repeat_each_row_by_its_length() -> None:
    assert bpe_merging._row_ids(tf.constant([3, 1, 2])).numpy().tolist() == [0, 0, 0, 1, 2, 2]


def test_words_are_cut_into_overlapping_pieces_and_pieces_are_united(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bpe_merging, "_PIECE_BYTES", 8)
    monkeypatch.setattr(bpe_merging, "_OVERLAP_BYTES", 4)
    pieces = bpe_merging._cut(tf.constant([8, 9, 1, 16]))
    assert pieces.starts.numpy().tolist() == [0, 8, 12, 17, 18, 22, 26]
    assert pieces.limits.numpy().tolist() == [8, 16, 17, 18, 26, 30, 34]
    assert pieces.words.numpy().tolist() == [0, 1, 1, 2, 3, 3, 3]
    united = bpe_merging._unite(pieces, tf.constant([False, True, False, False, True, False, False]))
    assert united.starts.numpy().tolist() == [0, 8, 17, 18, 26]
    assert united.limits.numpy().tolist() == [8, 17, 18, 30, 34]
    assert united.words.numpy().tolist() == [0, 1, 2, 3, 3]


# The merges of this vocabulary overlap in every way. The pieces are so short that many neighbours disagree.
TANGLED = Vocabulary.from_merges(
    train_merges({"".join(letters).encode(): 1 + n % 7 for n, letters in enumerate(product("ab", repeat=9))}, 60)
)


@pytest.fixture(scope="module")
def encode_in_short_pieces(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Encode]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bpe_merging, "_PIECE_BYTES", 8)
        patch.setattr(bpe_merging, "_OVERLAP_BYTES", 4)
        yield make_encode(TANGLED, tmp_path_factory.mktemp("tangled"))


_PERIODIC = st.builds(
    lambda before, period, times, after: before + period * times + after,
    st.text("ab", max_size=12), st.text("ab", min_size=1, max_size=7), st.integers(1, 40), st.text("ab", max_size=12),
)  # fmt: skip


@settings(max_examples=150)
@given(st.lists(_PERIODIC | st.text("ab", max_size=100), max_size=8))
def test_short_pieces_give_the_same_tokens(encode_in_short_pieces: Encode, texts: list[str]) -> None:
    reference = reference_tokenizer(TANGLED)
    assert encode_in_short_pieces(texts) == [reference.encode(text).ids for text in texts]


def long_words() -> dict[str, str]:
    generator = random.Random(5)
    letters = "".join(generator.choices(string.ascii_lowercase, k=MEGABYTE))
    return {
        "random letters": letters,
        "one letter": "a" * MEGABYTE,
        "a period": "xyz" * (MEGABYTE // 3),
        "base64": base64.b64encode(generator.randbytes(MEGABYTE * 3 // 4)).decode(),
        "chinese": "".join(chr(generator.randrange(0x4E00, 0x9FA5)) for _ in range(MEGABYTE // 3)),
        "periods among letters": letters[: MEGABYTE // 4]
        + "abcab" * 50_000
        + letters[: MEGABYTE // 4]
        + "the" * 80_000,
        "white space": " \n" * (MEGABYTE // 2),
    }


@pytest.fixture(scope="module")
def encode_and_reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[Encode, Encode]:
    vocabulary = gpt2_vocabulary()
    reference = reference_tokenizer(vocabulary)
    return (
        make_encode(vocabulary, tmp_path_factory.mktemp("long")),
        lambda texts: [reference.encode(text).ids for text in texts],
    )


@pytest.mark.parametrize("name", long_words())
def test_a_word_of_a_megabyte_equals_the_reference_and_takes_seconds(
    encode_and_reference: tuple[Encode, Encode], name: str
) -> None:
    encode, reference = encode_and_reference
    # Many short words are in the same batch. They must not take longer because of the long word.
    texts = ["before", long_words()[name], *(f"word{number}" for number in range(1000))]
    start = time.monotonic()
    token_ids = encode(texts)
    # It takes 1 to 5 s on 2 free cores. Without pieces it would take half an hour.
    assert time.monotonic() - start < 60
    assert token_ids == reference(texts)
