"""What the tokenizer's tests share: a corpus that every Python has, `tokenizers` and `tiktoken` as the judges."""

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
    """Python's help texts, 0.7 MB, one document a topic."""
    return list(topics.values())


def reference_words(text: str) -> list[bytes]:
    """Splits a text as `tokenizers` does."""
    words = ByteLevel(add_prefix_space=False).pre_tokenize_str(text)
    return [bytes(_BYTES[character] for character in word) for word, _ in words]


@functools.cache
def corpus_word_counts() -> Mapping[bytes, int]:
    """How often each word occurs in the corpus."""
    return Counter(word for text in corpus() for word in reference_words(text))


@functools.cache
def corpus_vocabulary() -> Vocabulary:
    """A vocabulary of 2,000 merges learned from the corpus."""
    return Vocabulary.from_merges(train_merges(corpus_word_counts(), 2000))


def reference_tokenizer(vocabulary: Vocabulary) -> tokenizers.Tokenizer:
    """Loads the vocabulary's own tokenizer.json."""
    with tempfile.TemporaryDirectory() as folder:
        write_tokenizer_folder(vocabulary, folder)
        return tokenizers.Tokenizer.from_file(f"{folder}/tokenizer.json")


@functools.cache
def gpt2_vocabulary() -> Vocabulary | None:
    """GPT-2's own vocabulary; None where the shared data is not there."""
    folder = SHARED_DATA / "gpt2_vocabulary"
    if not folder.is_dir():
        return None
    return read_gpt2_files(folder / "vocabulary.json", folder / "merges.txt")


def tiktoken_encoding(vocabulary: Vocabulary) -> tiktoken.Encoding:
    """The vocabulary in `tiktoken`, for which a token's id must be its rank (as in GPT-2), without special tokens."""
    ranks = {token: token_id for token_id, token in enumerate(vocabulary.token_bytes())}
    return tiktoken.Encoding(
        "this_vocabulary",
        pat_str=tiktoken_ext.openai_public.r50k_pat_str,
        mergeable_ranks={token: rank for token, rank in ranks.items() if rank != vocabulary.end_of_text_id},
        special_tokens={},
    )


def reference_ids(tokenizer: Any, text: bytes) -> list[int]:
    """Encodes what Python makes of possibly malformed UTF-8."""
    return tokenizer.encode(text.decode("utf-8", errors="replace")).ids
