"""A corpus that every Python installation has, and the libraries `tokenizers` and `tiktoken` as references."""

import functools
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


@functools.cache
def gpt2_vocabulary() -> Vocabulary | None:
    """Returns GPT-2's own vocabulary, or None if the shared data does not exist."""
    folder = SHARED_DATA / "gpt2_vocabulary"
    if not folder.is_dir():
        return None
    return read_gpt2_files(folder / "vocabulary.json", folder / "merges.txt")


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
