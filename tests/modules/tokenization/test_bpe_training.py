"""The learned merges equal those of the `tokenizers` library's trainer."""

import json
from collections.abc import Iterable, Mapping

import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

from modules.tokenization.bpe_training import train_and_encode, train_merges
from modules.tokenization.frequent_words import MIN_COUNT
from modules.tokenization.vocabulary import END_OF_TEXT, Vocabulary, byte_characters
from tests.toys.tokenizer_reference import corpus, corpus_vocabulary, corpus_word_counts

A, B, C, D = 64, 65, 66, 67


def reference_merges(
    texts: Iterable[str], num_merges: int, min_frequency: int = 2, use_regex: bool = True
) -> list[tuple[int, int]]:
    """Trains with `tokenizers`; the ids are GPT-2's bytes and then 256 + rank, as in `train_merges`."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=use_regex)
    trainer = BpeTrainer(
        vocab_size=256 + num_merges,
        min_frequency=min_frequency,
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    names = [tokenizer.id_to_token(token_id) for token_id in range(256)]
    assert names == list(byte_characters().values())
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return [(tokenizer.token_to_id(left), tokenizer.token_to_id(right)) for left, right in merges]


def repeated(word_counts: Mapping[bytes, int]) -> list[str]:
    return [word.decode() for word, count in word_counts.items() for _ in range(count)]


def test_the_most_frequent_pairs_are_merged_first() -> None:
    # First ab occurs 5 times and bc 3 times. After the merge of ab, (ab, c) occurs 3 times. Then no pair occurs twice.
    assert train_merges({b"abc": 3, b"ab": 2, b"ca": 1}, 10) == [(A, B), (256, C)]


def test_of_equally_frequent_pairs_the_pair_of_smaller_ids_is_merged_first() -> None:
    assert train_merges({b"cd": 2, b"ab": 2, b"bc": 2}, 10) == [(A, B), (B, C), (C, D)]


def test_min_frequency_and_num_merges_limit_the_merges() -> None:
    counts = {b"ab": 3, b"cd": 2, b"xy": 1}
    assert len(train_merges(counts, 10)) == 2
    assert len(train_merges(counts, 10, min_frequency=3)) == 1
    assert len(train_merges(counts, 10, min_frequency=1)) == 3
    assert train_merges(counts, 1) == [(A, B)]
    assert train_merges(counts, 0) == []
    assert train_merges({}, 5) == []


def test_overlapping_pairs_are_counted_once() -> None:
    assert train_merges({b"aaaa": 2, b"aaa": 1}, 10) == [(A, A), (256, 256)]


def test_on_merge_is_called_after_each_merge() -> None:
    reported: list[int] = []
    train_merges({b"abc": 3}, 10, on_merge=reported.append)
    assert reported == [1, 2]


def test_order_of_words_does_not_matter() -> None:
    counts = corpus_word_counts()
    backwards = dict(reversed(counts.items()))
    assert train_merges(backwards, 300) == train_merges(counts, 300)


def test_the_words_are_encoded_as_the_vocabulary_encodes_them() -> None:
    counts = dict(corpus_word_counts())
    merges, words = train_and_encode(counts, 300)
    assert merges == train_merges(counts, 300)
    assert list(words)[:3] == [word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:3]]
    assert set(words) == {word for word, count in counts.items() if count >= MIN_COUNT}  # rare words stay private
    vocabulary = Vocabulary.from_merges(merges)
    assert all(vocabulary.encode_word(word) == ids for word, ids in words.items())


def test_corpus_merges_equal_the_reference() -> None:
    expected = reference_merges(corpus(), 2000)
    ours = [(merge.left_id, merge.right_id) for merge in corpus_vocabulary().merges]
    assert ours == expected


@settings(max_examples=150)
@given(
    st.dictionaries(
        st.text("abc", min_size=1, max_size=12).map(str.encode), st.integers(1, 9), min_size=1, max_size=12
    ),
    st.integers(1, 4),
)
def test_merges_of_words_of_few_letters_equal_the_reference(word_counts: dict[bytes, int], min_frequency: int) -> None:
    # Words of few letters have many equally frequent and many overlapping pairs.
    expected = reference_merges(repeated(word_counts), 40, min_frequency, use_regex=False)
    vocabulary = Vocabulary.from_merges(train_merges(word_counts, 40, min_frequency))
    assert [(merge.left_id, merge.right_id) for merge in vocabulary.merges] == expected


def test_no_token_of_a_vocabulary_repeats_another_or_end_of_text() -> None:
    assert END_OF_TEXT.encode() not in corpus_vocabulary().token_bytes()[:-1]
    assert len(set(corpus_vocabulary().token_bytes())) == corpus_vocabulary().size == 2257
