"""GPT-2's byte-level vocabulary: ids of the bytes, merges by rank, and <|endoftext|>. Does not import TensorFlow.

A text cannot inject a special token: every runtime encodes a literal "<|endoftext|>" in a text as its ordinary
characters. `modules.tokenization.vocabulary_files` reads and writes the files of a vocabulary.
"""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, Self

from modules.common.errors import InputError

END_OF_TEXT = "<|endoftext|>"


class Merge(NamedTuple):
    """A rule that replaces two neighbouring tokens by one token."""

    left_id: int
    right_id: int
    merged_id: int


@functools.cache
def byte_characters() -> dict[int, str]:
    """Returns the visible character of each byte in GPT-2's files, in GPT-2's order; byte 33, '!', comes first.

    Bytes that are visible in Latin-1 (33-126, 161-172, 174-255) are represented by their own character, the other 68
    bytes by the code points from 256 on.
    From https://github.com/openai/gpt-2/blob/master/src/encoder.py, `bytes_to_unicode`.
    """
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {byte: chr(byte) for byte in visible} | {byte: chr(256 + n) for n, byte in enumerate(hidden)}


class BrokenMergeError(InputError):
    """A merge that breaks a rule of vocabularies; `rank` is its rank."""

    def __init__(self, rank: int, problem: str):
        super().__init__(problem)
        self.rank = rank


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """A byte-level BPE vocabulary, with which every runtime of this project encodes a text to the same ids.

    The TensorFlow graph merges all occurrences of a pair at once; the library `tokenizers` merges them one by one, from
    the left. Two rules make the results equal: a merge joins only bytes and results of earlier merges, and no two
    merges make the same string.

    Example:
        >>> a, b = Vocabulary.from_merges([]).encode_word(b"ab")
        >>> vocabulary = Vocabulary.from_merges([(a, b)])
        >>> vocabulary.encode_word(b"abba"), [a, b]
        ([256, 65, 64], [64, 65])
        >>> vocabulary.token_bytes()[256:]
        [b'ab', b'<|endoftext|>']

    Attributes:
        byte_ids: The token id of each of the 256 bytes.
        merges: Merges in the order in which they are applied; the index is the rank.
        end_of_text_id: The id of <|endoftext|>.

    Raises:
        InputError: The merges break a rule, or the ids are not 0 to `size` - 1, each once.
    """

    byte_ids: tuple[int, ...]
    merges: tuple[Merge, ...]
    end_of_text_id: int

    def __post_init__(self) -> None:
        if len(self.byte_ids) != 256:
            raise InputError(
                f"A vocabulary must have an id for each of the 256 bytes. Received: {len(self.byte_ids)} ids."
            )
        used = [*self.byte_ids, *(merge.merged_id for merge in self.merges), self.end_of_text_id]
        self.token_bytes()
        if sorted(used) != list(range(self.size)):
            raise InputError(
                f"The ids must be 0 to {self.size - 1}, each once. Received: {len(set(used))} different ids "
                f"from {min(used)} to {max(used)}. Take the files from the vocabulary's publisher again."
            )

    @property
    def size(self) -> int:
        """The number of tokens: bytes, merges and <|endoftext|>."""
        return 256 + len(self.merges) + 1

    def token_bytes(self) -> list[bytes]:
        """Returns the bytes of each token, by id; <|endoftext|> has the bytes of its name.

        Raises:
            BrokenMergeError: A merge joins a token that does not exist yet, or makes a string for the second time.
        """
        made = {token_id: bytes([byte]) for byte, token_id in enumerate(self.byte_ids)}
        seen = set(made.values())
        for rank, (left_id, right_id, merged_id) in enumerate(self.merges):
            for part in (left_id, right_id):
                if part not in made:
                    raise BrokenMergeError(
                        rank,
                        "A merge must join bytes and results of earlier merges only. "
                        f"Received: token {part}, which is neither. Sort the merges in the order of training.",
                    )
            joined = made[left_id] + made[right_id]
            if joined in seen:
                raise BrokenMergeError(
                    rank,
                    "Every merge must make a new string. "
                    f"Received: {joined!r}, which an earlier merge makes too. Remove one of the two merges.",
                )
            seen.add(joined)
            made[merged_id] = joined
        made[self.end_of_text_id] = END_OF_TEXT.encode()
        return [made.get(token_id, b"") for token_id in range(self.size)]

    @classmethod
    def from_merges(cls, merges: Iterable[tuple[int, int]]) -> Self:
        """Makes a trained vocabulary: bytes in GPT-2's order ('!' is 0), merges from 256 on, then <|endoftext|>.

        Args:
            merges: Pairs (left_id, right_id) by rank; the merge of rank r makes the token 256 + r.

        Raises:
            InputError: A merge joins the result of a later merge, or makes a string for the second time.
        """
        ids = {byte: token_id for token_id, byte in enumerate(byte_characters())}
        numbered = tuple(Merge(left, right, 256 + rank) for rank, (left, right) in enumerate(merges))
        return cls(
            byte_ids=tuple(ids[byte] for byte in range(256)),
            merges=numbered,
            end_of_text_id=256 + len(numbered),
        )

    def encode_word(self, word: bytes) -> list[int]:
        """Returns the token ids of a word; takes quadratic time, so it suits short words only."""
        tokens = [self.byte_ids[byte] for byte in word]
        while len(tokens) > 1:
            ranks = [self._ranks[pair] for pair in pairwise(tokens) if pair in self._ranks]
            if not ranks:
                break
            left_id, right_id, merged_id = self.merges[min(ranks)]
            tokens = _replace_pair(tokens, (left_id, right_id), merged_id)
        return tokens

    @functools.cached_property
    def _ranks(self) -> dict[tuple[int, int], int]:
        return {(merge.left_id, merge.right_id): rank for rank, merge in enumerate(self.merges)}


def _replace_pair(tokens: Sequence[int], pair: tuple[int, int], new_id: int) -> list[int]:
    """Replaces a pair by a token from the left: `[7, 7, 7]` becomes `[9, 7]` if 9 replaces (7, 7)."""
    left, right = pair
    result = []
    position, last = 0, len(tokens) - 1
    while position <= last:
        if position < last and tokens[position] == left and tokens[position + 1] == right:
            result.append(new_id)
            position += 2
        else:
            result.append(tokens[position])
            position += 1
    return result
