"""GPT-2's byte-level vocabulary (bytes, merges by rank, <|endoftext|>) and its files, without TensorFlow.

Three kinds of files hold the same vocabulary:

- `vocabulary.tsv`, the table that `modules.tokenization.byte_pair_tokenizer` reads (see `Vocabulary.table_text`);
- GPT-2's own `vocabulary.json` and `merges.txt`;
- `tokenizer.json`, which the `tokenizers` and `transformers` libraries load.

A text can never inject a special token: a literal "<|endoftext|>" in a text is encoded as the ordinary
characters it is, in every runtime. So `tokenizer.json` holds it as a word of the vocabulary that no merge
makes, and not as an "added token", which that library would look for in texts.
"""

import base64
import contextlib
import functools
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Self

from modules.common.errors import InputError

END_OF_TEXT = "<|endoftext|>"
TABLE_NAME = "vocabulary.tsv"
# Keys of the table below zero: -1 to -256 are the single bytes 0 to 255.
END_OF_TEXT_KEY = -257
_MERGES_HEADER = "#version: 0.2"


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


class _BrokenMerge(InputError):
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
                    raise _BrokenMerge(
                        rank,
                        "A merge joins bytes and results of earlier merges only. "
                        f"Received: token {part}, which is neither. Sort the merges as trained.",
                    )
            joined = made[left_id] + made[right_id]
            if joined in seen:
                raise _BrokenMerge(
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

    @classmethod
    def from_gpt2_files(cls, vocabulary_json: str | Path, merges_txt: str | Path) -> Self:
        """Reads GPT-2's two files (also known as encoder.json or vocab.json, and vocab.bpe).

        Raises:
            InputError: A file breaks a rule; the message names the file, the line and the cure.
        """
        ids = _read_ids(vocabulary_json)
        lines = _read_text(merges_txt).rstrip("\n").split("\n")
        first = 1 if lines[0].startswith("#version") else 0
        merges = []
        for number, line in enumerate(lines[first:], start=first + 1):
            parts = line.rstrip("\r").split(" ")
            place = f"{merges_txt}, line {number}"
            if len(parts) != 2 or not all(parts):
                raise InputError(f"{place}: a merge is two tokens and one space. Received: {line!r}.")
            for token in (*parts, "".join(parts)):
                if token not in ids:
                    raise InputError(
                        f"{place}: every token must be in {vocabulary_json}. "
                        f"Received: {token!r}, which is not. Take both files from the same vocabulary."
                    )
            merges.append(Merge(ids[parts[0]], ids[parts[1]], ids["".join(parts)]))
        if len(ids) != 256 + len(merges) + 1:
            raise InputError(
                f"{vocabulary_json}: must hold 256 bytes, one token for each of {len(merges)} merges of "
                f"{merges_txt}, and {END_OF_TEXT}. Received: {len(ids)} tokens. "
                "Take both files from the same vocabulary."
            )
        characters = byte_characters()
        byte_ids = tuple(ids[characters[byte]] for byte in range(256))
        try:
            return cls(byte_ids=byte_ids, merges=tuple(merges), end_of_text_id=ids[END_OF_TEXT])
        except _BrokenMerge as error:
            raise InputError(f"{merges_txt}, line {error.rank + first + 1}: {error}") from None

    @classmethod
    def from_table(cls, path: str | Path) -> Self:
        """Reads what `write_table` wrote.

        Raises:
            InputError: The file is not such a table; the message names the line.
        """
        rows: dict[int, int] = {}
        for number, line in enumerate(_read_text(path).rstrip("\n").split("\n"), start=1):
            try:
                first, second, _word = line.split("\t")
                key, value = int(first), int(second)
            except ValueError:
                raise InputError(
                    f"{path}, line {number}: a row is two integers and a word with tabs between. "
                    f"Received: {line!r}. Write the table again."
                ) from None
            rows[key] = value
        merges = []
        ranked = sorted((value >> 32, key, value) for key, value in rows.items() if key >= 0)
        for expected, (rank, key, value) in enumerate(ranked):
            if rank != expected:
                raise InputError(f"{path}: the merge of rank {expected} is missing. Write the table again.")
            merges.append(Merge(key >> 32, key & 0xFFFFFFFF, value & 0xFFFFFFFF))
        special = [-(byte + 1) for byte in range(256)] + [END_OF_TEXT_KEY]
        missing = [key for key in special if key not in rows]
        if missing:
            raise InputError(f"{path}: the row with key {missing[0]} is missing. Write the table again.")
        byte_ids = tuple(rows[key] for key in special[:-1])
        try:
            return cls(byte_ids=byte_ids, merges=tuple(merges), end_of_text_id=rows[END_OF_TEXT_KEY])
        except _BrokenMerge as error:
            raise InputError(f"{path}, merge of rank {error.rank}: {error}") from None

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

    def table_text(self) -> str:
        """The table `vocabulary.tsv`: rows of two int64 and a word with tabs between.

        ```
        left_id << 32 | right_id    rank << 32 | merged_id    word    a row for each merge, by rank
        -(byte + 1)                 id of the byte            word    256 rows
        -257                        id of <|endoftext|>       word
        ```

        The word is what the row's token stands for, if that is a text on its own which encodes to this very
        token: most words of a text are found so, without merging. Every other row has a text there that no
        splitting leaves in one piece, `no word <key>`: tokens that end inside a character, that hold a line end
        or a tab (they would break the table), or that other merges tear apart.
        """
        rows = [(left << 32 | right, rank << 32 | merged) for rank, (left, right, merged) in enumerate(self.merges)]
        rows += [(-(byte + 1), token_id) for byte, token_id in enumerate(self.byte_ids)]
        words = self._whole_words()
        lines = [f"{key}\t{value}\t{words.get(value & 0xFFFFFFFF, f'no word {key}')}\n" for key, value in rows]
        return "".join(lines) + f"{END_OF_TEXT_KEY}\t{self.end_of_text_id}\tno word {END_OF_TEXT_KEY}\n"

    def _whole_words(self) -> dict[int, str]:
        """The tokens, by id, that stand for a text which encodes to them and fits into a row of the table."""
        words = {}
        for token_id, token in enumerate(self.token_bytes()):
            with contextlib.suppress(UnicodeDecodeError):
                text = token.decode("utf-8")
                if not set(text) & set("\t\n\r") and self.encode_word(token) == [token_id]:
                    words[token_id] = text
        return words

    def write_table(self, path: str | Path) -> None:
        """Writes `table_text` to a file."""
        Path(path).write_text(self.table_text(), encoding="utf-8")

    def write_token_bytes(self, path: str | Path) -> None:
        """Writes the file that `bpe_graph.Detokenizer` reads: line n is token n in web-safe base64."""
        lines = [base64.urlsafe_b64encode(token).rstrip(b"=") + b"\n" for token in self.token_bytes()]
        Path(path).write_bytes(b"".join(lines))

    def write_folder(self, folder: str | Path) -> None:
        """Writes GPT-2's `vocabulary.json` and `merges.txt`, and `tokenizers`' own `tokenizer.json`."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        characters = byte_characters()
        names = ["".join(characters[byte] for byte in token) for token in self.token_bytes()]
        ids = {name: token_id for token_id, name in enumerate(names)}
        merges = [f"{names[left]} {names[right]}" for left, right, _ in self.merges]
        (folder / "vocabulary.json").write_text(json.dumps(ids), encoding="utf-8")
        (folder / "merges.txt").write_text("\n".join([_MERGES_HEADER, *merges]) + "\n", encoding="utf-8")
        tokenizer = json.dumps(_tokenizer_json(ids, merges), ensure_ascii=False)
        (folder / "tokenizer.json").write_text(tokenizer, encoding="utf-8")


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


def find_table(transform_graph_dir: str | Path) -> str:
    """The path of `vocabulary.tsv` among the assets of a transform graph.

    Raises:
        InputError: The folder (a local one) holds no such asset.
    """
    path = os.path.join(str(transform_graph_dir), "transform_fn", "assets", TABLE_NAME)
    if "://" not in path and not os.path.exists(path):
        raise InputError(
            f"A transform graph holds transform_fn/assets/{TABLE_NAME}. Received: {transform_graph_dir}, "
            "which does not. Name the folder that Transform wrote as `transform_graph`."
        )
    return path


def _read_text(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: must be UTF-8. Received: {error}. Save the file as UTF-8.") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}). Correct the path.") from None


def _read_ids(path: str | Path) -> dict[str, int]:
    """Reads a JSON object of token -> id, ids 0 to n - 1, with all bytes and <|endoftext|>."""
    try:
        ids = json.loads(_read_text(path))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {error.lineno}: {error.msg}. Fetch this JSON file again.") from None
    if not isinstance(ids, dict) or not all(type(token_id) is int for token_id in ids.values()):
        raise InputError(f"{path}: must be a JSON object of token: id. Name GPT-2's encoder.json.")
    if sorted(ids.values()) != list(range(len(ids))):
        repeated = len(ids) - len(set(ids.values()))
        raise InputError(
            f"{path}: the ids must be 0 to {len(ids) - 1}, each once. Received: {repeated} repeated, "
            f"the largest {max(ids.values())}. Fetch the file again."
        )
    for token in (*byte_characters().values(), END_OF_TEXT):
        if token not in ids:
            raise InputError(f"{path}: must hold {token!r}. Use a byte-level vocabulary in GPT-2's format.")
    return ids


def _tokenizer_json(ids: Mapping[str, int], merges: list[str]) -> dict[str, Any]:
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": ids,
            "merges": merges,
        },
    }
