"""Ids and encoding of a small vocabulary, which can be checked by eye."""

from modules.tokenization.vocabulary import Merge, Vocabulary

# GPT-2's order of bytes starts with '!' (33): so 'a' (97) is 64, 'b' is 65, 'c' is 66.
A, B, C = 64, 65, 66
TOY = Vocabulary.from_merges([(A, B), (256, C), (A, A)])


def test_a_trained_vocabulary_numbers_bytes_then_merges_then_end_of_text() -> None:
    assert TOY.byte_ids[ord("!")] == 0
    assert TOY.byte_ids[ord("a")] == A
    assert TOY.byte_ids[0] == 188
    assert TOY.merges == (Merge(A, B, 256), Merge(256, C, 257), Merge(A, A, 258))
    assert TOY.end_of_text_id == 259
    assert TOY.size == 260
    assert TOY.token_bytes()[A : C + 1] == [b"a", b"b", b"c"]
    assert TOY.token_bytes()[256:] == [b"ab", b"abc", b"aa", b"<|endoftext|>"]


def test_a_word_is_merged_by_rank_and_from_the_left() -> None:
    assert TOY.encode_word(b"abcaaab") == [257, 258, 256]
    assert TOY.encode_word(b"aaa") == [258, A]
    assert TOY.encode_word(b"") == []
