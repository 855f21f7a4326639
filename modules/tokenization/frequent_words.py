"""Frequent words of several tokens, packed for a vocabulary's table. Does not import TensorFlow.

The table of `modules.tokenization.vocabulary_files` has one integer per word. So the ids of a word's tokens are packed
into one integer, each plus 1, the first token in the lowest bits. The smaller the vocabulary, the more tokens fit.
"""

from collections.abc import Mapping, Sequence

# With more words, the table would take more than a megabyte, and a rare word is merged in little time.
MAX_WORDS = 32_768
# The table is part of every release, and a rare word may be a name or a password that no release should list. Rare
# words also do not matter for the speed.
MIN_COUNT = 16
# The bits of an int64 that are used; its sign marks a packed word.
PACKED_BITS = 62


def bits_per_token(vocabulary_size: int) -> int:
    """Returns the bits of one token in a packed word: enough for 1 to `vocabulary_size`."""
    return vocabulary_size.bit_length()


def pack(words: Mapping[bytes, Sequence[int]], vocabulary_size: int) -> dict[str, int]:
    """Packs words for the table.

    ```
    {b"ab": [5, 6], b"c": [7], b"a\\n": [5, 8]}, 300     {"ab": 6 | 7 << 9}
    ```

    Args:
        words: The token ids of each word, the most frequent words first; all words are valid UTF-8.
        vocabulary_size: The number of tokens of the vocabulary.

    Returns:
        The packed ids by word, for at most `MAX_WORDS` words. Words of one token are left out, words of too many
        tokens, and words that would break a row of the table.
    """
    bits = bits_per_token(vocabulary_size)
    packed: dict[str, int] = {}
    for word, token_ids in words.items():
        if 1 < len(token_ids) <= PACKED_BITS // bits and not set(word) & set(b"\t\n\r"):
            packed[word.decode("utf-8")] = sum(token_id + 1 << bits * place for place, token_id in enumerate(token_ids))
        if len(packed) == MAX_WORDS:
            break
    return packed
