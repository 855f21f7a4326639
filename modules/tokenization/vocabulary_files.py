"""Readers and writers of a vocabulary's files, on a local disk or in Cloud Storage.

Three kinds of files hold the same vocabulary:

- `vocabulary.tsv`, the table that `modules.tokenization.byte_pair_tokenizer` reads (see `table_text`);
- GPT-2's own `vocabulary.json` and `merges.txt`;
- `tokenizer.json`, which the `tokenizers` and `transformers` libraries load.

In `tokenizer.json`, <|endoftext|> is an ordinary word of the vocabulary, which no merge makes. It is not an "added
token": the two libraries search texts for added tokens, so a text could inject it.

Paths may be URLs such as `gs://bucket/path`. TensorFlow is imported only for such URLs.
"""

import base64
import contextlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from etils import epath

from modules.common.errors import InputError
from modules.common.files import is_local
from modules.common.json_files import parse_file
from modules.tokenization.frequent_words import pack
from modules.tokenization.vocabulary import END_OF_TEXT, BrokenMergeError, Merge, Vocabulary, byte_characters

PathLike: TypeAlias = str | os.PathLike[str]

TABLE_NAME = "vocabulary.tsv"
# Negative keys of the table: -1 to -256 are the single bytes 0 to 255, and -257 is <|endoftext|>. If there are rows of
# frequent words, -258 is their number, and the keys below are those rows.
END_OF_TEXT_KEY = -257
NUM_WORDS_KEY = -258
_MERGES_HEADER = "#version: 0.2"


def read_gpt2_files(vocabulary_json: PathLike, merges_txt: PathLike) -> Vocabulary:
    """Reads GPT-2's two files, which are also known as encoder.json or vocab.json, and vocab.bpe.

    Raises:
        InputError: A file breaks a rule; the message names the file, the line and the cure.
    """
    ids = _checked_ids(_read_json(vocabulary_json), vocabulary_json)
    lines = _read_text(merges_txt).rstrip("\n").split("\n")
    first = 1 if lines[0].startswith("#version") else 0
    return _from_names(
        ids,
        [line.rstrip("\r").split(" ") for line in lines[first:]],
        ids_place=str(vocabulary_json),
        merges_place=str(merges_txt),
        merge_place=lambda rank: f"{merges_txt}, line {rank + first + 1}",
    )


def read_tokenizer_json(path: PathLike) -> Vocabulary:
    """Reads a `tokenizer.json` of Hugging Face that is GPT-2's byte-level BPE.

    Raises:
        InputError: The file is missing, or it is another kind of tokenizer.
    """
    try:
        model = _plain_bpe(_read_json(path))
        return _from_names(
            _checked_ids(model["vocab"], path),
            [pair.split(" ") if isinstance(pair, str) else list(pair) for pair in model["merges"]],
            ids_place="model.vocab",
            merges_place="model.merges",
            merge_place=lambda rank: f"model.merges, number {rank + 1}",
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: must be GPT-2's byte-level BPE, with {END_OF_TEXT} as its only special token. "
            f"Received: {error}. Use the tokenizer of a plain GPT-2."
        ) from None


def _from_names(
    ids: Mapping[str, int],
    merges: Sequence[Sequence[str]],
    *,
    ids_place: str,
    merges_place: str,
    merge_place: Callable[[int], str],
) -> Vocabulary:
    """Makes a vocabulary from the ids of token names and from merges of names.

    Args:
        ids: Ids from `_checked_ids`.
        merges: Pairs of names, by rank; not checked yet.
        ids_place, merges_place: The files of ids and merges, for messages.
        merge_place: Returns the file and line of a rank's merge, for messages.

    Raises:
        InputError: A merge is not a pair, a token is not in `ids`, or the vocabulary breaks a rule.
    """
    numbered = []
    for rank, parts in enumerate(merges):
        if len(parts) != 2 or not all(parts):
            raise InputError(
                f"{merge_place(rank)}: a merge must be two tokens with one space between. "
                f"Received: {' '.join(parts)!r}."
            )
        for token in (*parts, "".join(parts)):
            if token not in ids:
                raise InputError(
                    f"{merge_place(rank)}: every token must be in {ids_place}. "
                    f"Received: {token!r}, which is not. Take both files from the same vocabulary."
                )
        numbered.append(Merge(ids[parts[0]], ids[parts[1]], ids["".join(parts)]))
    if len(ids) != 256 + len(numbered) + 1:
        raise InputError(
            f"{ids_place}: must hold 256 bytes, one token for each of {len(numbered)} merges of "
            f"{merges_place}, and {END_OF_TEXT}. Received: {len(ids)} tokens. Take both files from the same vocabulary."
        )
    characters = byte_characters()
    byte_ids = tuple(ids[characters[byte]] for byte in range(256))
    try:
        return Vocabulary(byte_ids=byte_ids, merges=tuple(numbered), end_of_text_id=ids[END_OF_TEXT])
    except BrokenMergeError as error:
        raise InputError(f"{merge_place(error.rank)}: {error}") from None


def _checked_ids(ids: Any, path: PathLike) -> dict[str, int]:
    """Returns the ids by token of a JSON file, after checks.

    Raises:
        InputError: The ids are not 0 to n - 1, each once, or a byte or <|endoftext|> is missing.
    """
    if not isinstance(ids, dict) or not all(type(token_id) is int for token_id in ids.values()):
        raise InputError(
            f"{path}: must be a JSON object that maps each token to its id, like GPT-2's encoder.json. Received: "
            f"{type(ids).__name__}. Set `tokenizer.vocabulary` to such a file."
        )
    if sorted(ids.values()) != list(range(len(ids))):
        repeated = len(ids) - len(set(ids.values()))
        raise InputError(
            f"{path}: the ids must be 0 to {len(ids) - 1}, each once. Received: {repeated} repeated, "
            f"the largest {max(ids.values())}. Download the file again."
        )
    for token in (*byte_characters().values(), END_OF_TEXT):
        if token not in ids:
            raise InputError(f"{path}: must hold {token!r}. Use a byte-level vocabulary in GPT-2's format.")
    return ids


def _plain_bpe(tokenizer: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the model of a tokenizer.json.

    Raises:
        ValueError: The text is changed before the model gets it, or it is split in another way than GPT-2's.
    """
    splitter = tokenizer["pre_tokenizer"]
    plain = {
        "a normalizer": not tokenizer.get("normalizer"),
        "another model than BPE": tokenizer["model"].get("type", "BPE") == "BPE",
        "another splitting into words": splitter["type"] == "ByteLevel" and splitter.get("use_regex", True),
        "a space before the text": not splitter.get("add_prefix_space"),
        "special tokens": {token["content"] for token in tokenizer.get("added_tokens", [])} <= {END_OF_TEXT},
    }
    found = [name for name, is_plain in plain.items() if not is_plain]
    if found:
        raise ValueError(", ".join(found))
    return tokenizer["model"]


def read_table(path: PathLike) -> Vocabulary:
    """Reads a table that `write_table` wrote.

    Raises:
        InputError: The file is not such a table; the message names the wrong line or the missing row.
    """
    rows: dict[int, int] = {}
    for number, line in enumerate(_read_text(path).rstrip("\n").split("\n"), start=1):
        try:
            first, second, _word = line.split("\t")
            key, value = int(first), int(second)
        except ValueError:
            raise InputError(
                f"{path}, line {number}: a row must be two integers and a word with tabs between. "
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
        return Vocabulary(byte_ids=byte_ids, merges=tuple(merges), end_of_text_id=rows[END_OF_TEXT_KEY])
    except BrokenMergeError as error:
        raise InputError(f"{path}, merge of rank {error.rank}: {error}") from None


def find_table(transform_graph_dir: PathLike) -> str:
    """Returns the path of `vocabulary.tsv` among the assets of a transform graph.

    Raises:
        InputError: The folder (a local one) holds no such asset.
    """
    path = os.path.join(transform_graph_dir, "transform_fn", "assets", TABLE_NAME)
    if is_local(path) and not os.path.exists(path):
        raise InputError(
            f"A transform graph must hold transform_fn/assets/{TABLE_NAME}. Received: {transform_graph_dir}, "
            "which does not. Name the folder that Transform wrote as `transform_graph`."
        )
    return path


def table_text(vocabulary: Vocabulary, frequent_words: Mapping[bytes, Sequence[int]] | None = None) -> str:
    """Returns the text of `vocabulary.tsv`: rows of two int64 and a word with tabs between.

    ```
    left_id << 32 | right_id    rank << 32 | merged_id    word    one row per merge, by rank
    -(byte + 1)                 id of the byte            word    256 rows
    -257                        id of <|endoftext|>       word
    -258                        number of frequent words  word
    -259, -260, …               -(packed token ids)       word    one row per frequent word of several tokens
    ```

    The word is the text of the row's token, if this text is encoded to exactly this token. The tokenizer finds most
    words of a text in the table and need not merge them. All other rows have the word `no word <key>`, which never
    occurs as one word of a text. They are the tokens that end inside a character, that contain a tab or a line end
    (which would break the table), or whose text is encoded to other tokens.

    Args:
        vocabulary: The vocabulary.
        frequent_words: The token ids of words, the most frequent words first, as the vocabulary encodes them; see
            `frequent_words.pack`. They only make the tokenizer faster. By default, the table has no such rows.
    """
    merges = vocabulary.merges
    rows = [(left << 32 | right, rank << 32 | merged) for rank, (left, right, merged) in enumerate(merges)]
    rows += [(-(byte + 1), token_id) for byte, token_id in enumerate(vocabulary.byte_ids)]
    words = _whole_words(vocabulary)
    lines = [f"{key}\t{value}\t{words.get(value & 0xFFFFFFFF, f'no word {key}')}\n" for key, value in rows]
    lines.append(f"{END_OF_TEXT_KEY}\t{vocabulary.end_of_text_id}\tno word {END_OF_TEXT_KEY}\n")
    packed = pack(frequent_words or {}, vocabulary.size)
    if packed:
        lines.append(f"{NUM_WORDS_KEY}\t{len(packed)}\tno word {NUM_WORDS_KEY}\n")
    first = NUM_WORDS_KEY - 1
    lines += [f"{first - number}\t{-ids}\t{word}\n" for number, (word, ids) in enumerate(packed.items())]
    return "".join(lines)


def _whole_words(vocabulary: Vocabulary) -> dict[int, str]:
    """Returns by token id the texts that are encoded to exactly this token and that fit into a row of the table."""
    words = {}
    for token_id, token in enumerate(vocabulary.token_bytes()):
        with contextlib.suppress(UnicodeDecodeError):
            text = token.decode("utf-8")
            if not set(text) & set("\t\n\r") and vocabulary.encode_word(token) == [token_id]:
                words[token_id] = text
    return words


def write_table(
    vocabulary: Vocabulary, path: PathLike, frequent_words: Mapping[bytes, Sequence[int]] | None = None
) -> None:
    """Writes `table_text` to a file."""
    epath.Path(path).write_text(table_text(vocabulary, frequent_words), encoding="utf-8")


def write_token_bytes(vocabulary: Vocabulary, path: PathLike) -> None:
    """Writes the file that `byte_pair_tokenizer.Detokenizer` reads: line n is token n in web-safe base64."""
    lines = [base64.urlsafe_b64encode(token).rstrip(b"=") + b"\n" for token in vocabulary.token_bytes()]
    epath.Path(path).write_bytes(b"".join(lines))


def write_tokenizer_folder(vocabulary: Vocabulary, folder: PathLike) -> None:
    """Writes GPT-2's `vocabulary.json` and `merges.txt`, and the `tokenizer.json` of the library `tokenizers`."""
    written = epath.Path(folder)
    written.mkdir(parents=True, exist_ok=True)
    characters = byte_characters()
    names = ["".join(characters[byte] for byte in token) for token in vocabulary.token_bytes()]
    ids = {name: token_id for token_id, name in enumerate(names)}
    merges = [f"{names[left]} {names[right]}" for left, right, _ in vocabulary.merges]
    (written / "vocabulary.json").write_text(json.dumps(ids), encoding="utf-8")
    (written / "merges.txt").write_text("\n".join([_MERGES_HEADER, *merges]) + "\n", encoding="utf-8")
    tokenizer = json.dumps(_tokenizer_json(ids, merges), ensure_ascii=False)
    (written / "tokenizer.json").write_text(tokenizer, encoding="utf-8")


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


def _read_json(path: PathLike) -> Any:
    try:
        return parse_file(path)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {error.lineno}: {error.msg}. Download this JSON file again.") from None
    except UnicodeDecodeError as error:
        raise _not_utf8(path, error) from None
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{path}: must be a small JSON file. Received: {error}. Download it again.") from None
    except OSError as error:
        raise _unreadable(path, error) from None


def _read_text(path: PathLike) -> str:
    try:
        return epath.Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise _not_utf8(path, error) from None
    except OSError as error:
        raise _unreadable(path, error) from None


def _not_utf8(path: PathLike, error: UnicodeDecodeError) -> InputError:
    return InputError(f"{path}: must be UTF-8. Received: {error}. Save the file as UTF-8.")


def _unreadable(path: PathLike, error: OSError) -> InputError:
    reason = error.strerror or str(error) or type(error).__name__
    return InputError(f"{path}: cannot be read ({reason}). Correct the path.")
