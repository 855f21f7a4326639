"""GPT-2's byte-level vocabulary: the ids of bytes, merges by rank and <|endoftext|>, without TensorFlow.

A text can never inject a special token: a literal "<|endoftext|>" in a text is encoded as the ordinary characters that
it consists of, in every runtime. The files of a vocabulary are in `modules.tokenization.vocabulary_files`.
"""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, Self

from modules.common.errors import InputError

END_OF_TEXT = "<|endoftext|>"


class Merge(NamedTuple):
    """Two neighbouring tokens become one."""

    left_id: int
    right_id: int
    merged_id: int


@functools.cache
def byte_characters() -> dict[int, str]:
    """The visible character that stands for each byte in GPT-2's files, byte 33 '!' first.

    The bytes that Latin-1 shows (33-126, 161-172, 174-255) stand for themselves; the other 68 take the code
    points from 256 on. From https://github.com/openai/gpt-2/blob/master/src/encoder.py, `bytes_to_unicode`.
    """
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {byte: chr(byte) for byte in visible} | {byte: chr(256 + n) for n, byte in enumerate(hidden)}


class BrokenMergeError(InputError):
    def __init__(self, rank: int, problem: str):
        super().__init__(problem)
        self.rank = rank


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """A byte-level BPE vocabulary that every runtime of this project encodes alike.

    Two rules make merging all occurrences of a pair at once (as the graph does) equal to merging them one by
    one, leftmost first (as `tokenizers` does): a merge joins only bytes and results of earlier merges, and no
    two merges make the same string.

    Attributes:
        byte_ids: The token id of each byte, 256 of them.
        merges: By rank, the most urgent first.
        end_of_text_id: The id of <|endoftext|>.

    Raises:
        InputError: A rule is broken.
    """

    byte_ids: tuple[int, ...]
    merges: tuple[Merge, ...]
    end_of_text_id: int

    def __post_init__(self) -> None:
        if len(self.byte_ids) != 256:
            raise InputError(f"A vocabulary has an id for each of 256 bytes. Received: {len(self.byte_ids)}.")
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
        """The bytes of each token, by id. <|endoftext|> has its name's bytes."""
        made = {token_id: bytes([byte]) for byte, token_id in enumerate(self.byte_ids)}
        seen = set(made.values())
        for rank, (left_id, right_id, merged_id) in enumerate(self.merges):
            for part in (left_id, right_id):
                if part not in made:
                    raise BrokenMergeError(
                        rank,
                        "A merge joins bytes and results of earlier merges only. "
                        f"Received: token {part}, which is neither. Sort the merges as trained.",
                    )
            joined = made[left_id] + made[right_id]
            if joined in seen:
                raise BrokenMergeError(
                    rank,
                    "Every merge makes a new string. "
                    f"Received: {joined!r}, which an earlier merge makes too. Remove one of them.",
                )
            seen.add(joined)
            made[merged_id] = joined
        made[self.end_of_text_id] = END_OF_TEXT.encode()
        return [made.get(token_id, b"") for token_id in range(self.size)]

    @classmethod
    def from_merges(cls, merges: Iterable[tuple[int, int]]) -> Self:
        """A trained vocabulary: bytes in GPT-2's order ('!' is 0), merges from 256 on, <|endoftext|> last.

        Args:
            merges: Pairs (left_id, right_id) by rank; rank r makes the id 256 + r.

        Raises:
            InputError: A merge joins a later one, or makes a string for the second time.
        """
        ids = {byte: token_id for token_id, byte in enumerate(byte_characters())}
        numbered = tuple(Merge(left, right, 256 + rank) for rank, (left, right) in enumerate(merges))
        return cls(
            byte_ids=tuple(ids[byte] for byte in range(256)),
            merges=numbered,
            end_of_text_id=256 + len(numbered),
        )

    def encode_word(self, word: bytes) -> list[int]:
        """The token ids of a word; quadratic, for the short ones."""
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
    """Replaces a pair by a token, leftmost first: `[7, 7, 7]` and (7, 7) become `[9, 7]`."""
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
