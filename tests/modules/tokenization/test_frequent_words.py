"""Frequent words in a vocabulary's table: packed by eye, and unpacked by the graph."""

from pathlib import Path

import pytest
import tensorflow as tf

from modules.tokenization import frequent_words
from modules.tokenization.byte_pair_tokenizer import BytePairTokenizer
from modules.tokenization.frequent_words import pack
from modules.tokenization.vocabulary import Vocabulary
from modules.tokenization.vocabulary_files import read_table, write_table

A, B, C = 64, 65, 66


def test_tokens_of_a_word_are_packed_into_one_integer() -> None:
    words = {b"ab": [5, 6], b"c": [7], b"a\n": [5, 8], "é".encode(): [8, 9, 5]}
    assert pack(words, 300) == {"ab": 6 | 7 << 9, "é": 9 | 10 << 9 | 6 << 18}


def test_words_of_too_many_tokens_are_left_out() -> None:
    # 62 bits hold six tokens of nine bits, and three tokens of sixteen.
    words = {b"a" * number: list(range(number)) for number in range(2, 9)}
    assert [len(word) for word in pack(words, 300)] == [2, 3, 4, 5, 6]
    assert [len(word) for word in pack(words, 50_257)] == [2, 3]


def test_only_the_most_frequent_words_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frequent_words, "MAX_WORDS", 2)
    assert list(pack({b"aa": [1, 1], b"b": [2], b"ba": [2, 1], b"ab": [1, 2]}, 300)) == ["aa", "ba"]


# From 511 to 512 tokens, a packed token needs one bit more.
@pytest.mark.parametrize("size", [257, 259, 511, 512, 513])
def test_packed_words_are_encoded_to_their_tokens(tmp_path: Path, size: int) -> None:
    pairs = [(A, B), *((first, second) for first in range(16) for second in range(16))]
    vocabulary = Vocabulary.from_merges(pairs[: size - 257])
    texts = ["cab", " ccc", "é", "cab\nx é", "\xff\xfe", "ab", "!!!!!!!", '""###', "a" * 40]
    words = {text.encode(): vocabulary.encode_word(text.encode()) for text in texts if "\n" not in text}
    path = tmp_path / "vocabulary.tsv"
    write_table(vocabulary, path, words)
    assert "\tcab\n" in path.read_text()
    with_words = BytePairTokenizer(str(path))
    assert int(with_words.size()) == size
    assert int(with_words.end_of_text_id()) == size - 1
    assert read_table(path) == vocabulary
    write_table(vocabulary, path)
    without_words = BytePairTokenizer(str(path))
    batch = tf.constant(texts)
    assert with_words.tokenize(batch).to_list() == without_words.tokenize(batch).to_list()


def test_the_table_is_asked_first(tmp_path: Path) -> None:
    # A wrong table shows that the word is not merged.
    write_table(Vocabulary.from_merges([(A, B)]), tmp_path / "vocabulary.tsv", {b"abc": [C, B, A]})
    assert BytePairTokenizer(str(tmp_path / "vocabulary.tsv")).tokenize(["abc abcc"]).to_list() == [
        [C, B, A, 220, 256, C, C]
    ]
