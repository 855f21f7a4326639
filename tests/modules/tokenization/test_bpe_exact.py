"""The graph tokenizer with GPT-2's own vocabulary: equal to `tokenizers` and to `tiktoken` on every string."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from modules.common.files import file_facts
from modules.tokenization.byte_pair_tokenizer import BytePairTokenizer, Detokenizer
from modules.tokenization.vocabulary import Vocabulary
from modules.tokenization.vocabulary_files import write_table, write_token_bytes
from tests.toys.tokenizer_reference import (
    SHARED_DATA,
    corpus,
    gpt2_files,
    gpt2_vocabulary,
    reference_tokenizer,
    shared_texts,
    tiktoken_encoding,
)
from tests.toys.tokenizer_texts import HARD_TEXTS, random_texts

BATCH_SIZE = 4096

CountMismatches = Callable[[list[str]], int]


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return gpt2_vocabulary()


def test_the_installed_files_are_those_that_openai_published() -> None:
    # `tiktoken` checks its downloads by the same hashes.
    assert [file_facts(path)["sha256"] for path in gpt2_files()] == [
        "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
        "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
    ]
    assert len(gpt2_vocabulary().merges) == 50_000


@pytest.fixture(scope="module")
def count_mismatches(vocabulary: Vocabulary, tmp_path_factory: pytest.TempPathFactory) -> CountMismatches:
    """Counts the texts that a library encodes otherwise than the graph, or that decode to something else."""
    folder: Path = tmp_path_factory.mktemp("gpt2")
    write_table(vocabulary, folder / "vocabulary.tsv")
    write_token_bytes(vocabulary, folder / "token_bytes.txt")
    encode = tf.function(
        BytePairTokenizer(str(folder / "vocabulary.tsv")).tokenize,
        input_signature=[tf.TensorSpec([None], tf.string)],
    )
    detokenizer = Detokenizer(str(folder / "token_bytes.txt"))
    reference, encoding = reference_tokenizer(vocabulary), tiktoken_encoding(vocabulary)

    def count(texts: list[str]) -> int:
        mismatches = 0
        for start in range(0, len(texts), BATCH_SIZE):
            batch = texts[start : start + BATCH_SIZE]
            token_ids = encode(tf.constant([text.encode() for text in batch], tf.string))
            found = zip(
                token_ids.to_list(),
                [encoded.ids for encoded in reference.encode_batch(batch)],
                encoding.encode_ordinary_batch(batch, num_threads=2),
                detokenizer.detokenize(token_ids).numpy().tolist(),
                batch,
                strict=True,
            )
            mismatches += sum(
                not (ours == theirs == tiktokens and decoded == text.encode())
                for ours, theirs, tiktokens, decoded, text in found
            )
        return mismatches

    return count


def test_hello_world(vocabulary: Vocabulary, tmp_path: Path) -> None:
    write_table(vocabulary, tmp_path / "vocabulary.tsv")
    tokenizer = BytePairTokenizer(str(tmp_path / "vocabulary.tsv"))
    assert tokenizer.tokenize(["Hello world", "", "I'm\n\nhere"]).to_list() == [
        [15496, 995],
        [],
        [40, 1101, 198, 198, 1456],
    ]
    assert (int(tokenizer.size()), int(tokenizer.end_of_text_id())) == (50257, 50256)


def test_hard_and_naughty_strings(count_mismatches: CountMismatches) -> None:
    file = SHARED_DATA / "naughty_strings" / "blns.json"
    naughty = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    assert count_mismatches(HARD_TEXTS + naughty) == 0


def test_corpora_in_lines_in_paragraphs_and_whole(count_mismatches: CountMismatches) -> None:
    for text in ("\n\n".join(corpus()), *shared_texts().values()):
        lines, paragraphs = text.splitlines(keepends=True), re.split(r"\n *\n", text)
        assert min(len(lines), len(paragraphs)) > 500
        assert count_mismatches([*lines, *text.splitlines(), *paragraphs, text]) == 0


def test_100_000_random_texts(count_mismatches: CountMismatches) -> None:
    texts = random_texts(100_000)
    assert len(set(texts)) > 95_000
    assert count_mismatches(texts) == 0


# Alphabets that make neighbours meet which decide where a word ends.
_TEXTS = st.text() | st.text(" \n\t\xa0\u3000\x85'smrelvtd1!aé中\u200d\x00") | st.text("a'ls ") | st.text("the in\n")


@settings(max_examples=60)
@given(st.lists(_TEXTS, max_size=30))
def test_any_text(count_mismatches: CountMismatches, texts: list[str]) -> None:
    assert count_mismatches(texts) == 0


@settings(max_examples=60)
@given(st.lists(st.binary(max_size=60), max_size=30))
def test_any_bytes_are_read_as_python_reads_them(
    vocabulary: Vocabulary, count_mismatches: CountMismatches, texts: list[bytes]
) -> None:
    # test_byte_pair_tokenizer.py tests that the graph makes the same replacement itself.
    assert count_mismatches([text.decode("utf-8", errors="replace") for text in texts]) == 0
