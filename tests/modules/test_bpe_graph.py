"""The graph tokenizer against the `tokenizers` library, on hard texts."""

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from modules.bpe_graph import BytePairTokenizer, Detokenizer, split_words
from modules.vocabulary import Vocabulary
from tests.modules.tokenizer_reference import (
    corpus,
    corpus_vocabulary,
    reference_ids,
    reference_tokenizer,
    reference_words,
)

A, B, C = 64, 65, 66
SHARED_DATA = Path(__file__).parents[3] / "shared" / "data"
HARD_TEXTS = [
    "",
    " ",
    "\n",
    "a\n\nb",
    "a \n\n  b",
    "  a",
    "a  ",
    "\t\ta",
    "\r\n\r\nx",
    "a\xa0b",
    "a\xa0\xa0b",
    "\u2003\u2003\u3000x\u3000",
    "\x85a\x85\x85 b",
    "\x1c\x1da",
    "I'm you're we've he'll I'd it's don't 'S 'M x'll'lls",
    " 's  's\n's",
    "12٣Ⅷ½ 3rd 1a2b",
    "!?… --- <|endoftext|> <|endoftext|",
    "🧑‍🚀👩‍👩‍👧‍👦 🏳️‍🌈",
    "中文字符 日本語 한국어",
    "e\u0301 naïve \u0301x",
    "\ufeffBOM",
    "\x00\x01\x7f\x00",
    "\ufffe\uffff\U0010ffff",
    "\U0001f1e9\U0001f1ea\U00013460\U00010d40\U0002ebf0",
    "a" * 1000 + "b" * 999,
    "ab" * 500 + "aaa" * 333,
    " " * 1000 + "x" + "\n" * 777,
]
MALFORMED = [
    (b"a\xffb", "a\ufffdb"),
    (b"\xe2\x82", "\ufffd"),
    (b"\xe2\x28\xa1", "\ufffd(\ufffd"),
    (b"\xc0\xaf", "\ufffd\ufffd"),
    (b"\xed\xa0\x80", "\ufffd\ufffd\ufffd"),
    (b"\xf0\x9f\x98 x", "\ufffd x"),
    (b"\xf4\x90\x80\x80", "\ufffd\ufffd\ufffd\ufffd"),
]

Encode = Callable[[list[bytes]], list[list[int]]]


def make_encode(vocabulary: Vocabulary, folder: Path) -> Encode:
    vocabulary.write_table(folder / "vocabulary.tsv")
    tokenizer = BytePairTokenizer(str(folder / "vocabulary.tsv"))
    graph = tf.function(tokenizer.tokenize, input_signature=[tf.TensorSpec([None], tf.string)])

    def encode(texts: list[bytes]) -> list[list[int]]:
        return graph(tf.constant(texts, tf.string)).to_list()

    return encode


@pytest.fixture(scope="module")
def encode(tmp_path_factory: pytest.TempPathFactory) -> Encode:
    return make_encode(corpus_vocabulary(), tmp_path_factory.mktemp("table"))


@pytest.fixture(scope="module")
def reference():
    return reference_tokenizer(corpus_vocabulary())


def test_split_words_by_eye() -> None:
    texts = ["I'm  here", "a\n\nb 12x", " \n", ""]
    assert split_words(tf.constant(texts)).to_list() == [
        [b"I", b"'m", b" ", b" here"],
        [b"a", b"\n", b"\n", b"b", b" 12", b"x"],
        [b" \n"],
        [],
    ]


def test_tokenize_by_eye(tmp_path: Path) -> None:
    toy = Vocabulary.from_merges([(A, B), (256, C), (A, A), (258, 258)])
    encode = make_encode(toy, tmp_path)
    assert encode([b"abc", b"", b"aab", b"bca"]) == [[257], [], [A, 256], [B, C, A]]
    # Overlapping pairs merge from the left, and what they make merges on.
    assert encode([b"aaa", b"aaaa", b"aaaaa", b"aaaaaaa"]) == [[258, A], [259], [259, A], [259, 258, A]]
    # No merge crosses the border of two words or two texts.
    assert encode([b"a", b"b", b"a b"]) == [[A], [B], [A, 220, B]]
    assert encode([]) == []


def test_end_of_text_and_size(tmp_path: Path) -> None:
    toy = Vocabulary.from_merges([(A, B)])
    toy.write_table(tmp_path / "vocabulary.tsv")
    tokenizer = BytePairTokenizer(str(tmp_path / "vocabulary.tsv"))
    assert int(tokenizer.end_of_text_id()) == 257
    assert int(tokenizer.size()) == 258
    assert 257 not in tokenizer.tokenize(["<|endoftext|>"]).to_list()[0]


def test_hard_texts(encode: Encode, reference) -> None:
    ids = encode([text.encode() for text in HARD_TEXTS])
    for text, row in zip(HARD_TEXTS, ids, strict=True):
        assert row == reference.encode(text).ids, repr(text[:50])


def test_corpus(encode: Encode, reference) -> None:
    texts = corpus()
    assert encode([text.encode() for text in texts]) == [reference.encode(text).ids for text in texts]


@pytest.mark.parametrize(("text", "replaced"), MALFORMED)
def test_malformed_utf8_becomes_replacement_characters(encode: Encode, text: bytes, replaced: str) -> None:
    assert text.decode("utf-8", errors="replace") == replaced
    assert encode([text]) == encode([replaced.encode()])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text() | st.text(" \n\t\xa0'smré1!a中\u200d"), max_size=20))
def test_any_text(encode: Encode, reference, texts: list[str]) -> None:
    assert encode([text.encode() for text in texts]) == [reference.encode(text).ids for text in texts]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=20))
def test_any_bytes(encode: Encode, reference, texts: list[bytes]) -> None:
    assert encode(texts) == [reference_ids(reference, text) for text in texts]


def random_texts(number: int) -> list[str]:
    """Texts of every plane of Unicode and of awkward neighbours."""
    generator = random.Random(7)
    awkward = list("  \n\t\r\x1c\x85\xa0\u2003\u3000'sdtmrevl019ab'S.,<|endoftext|>")
    awkward += list("é٣Ⅷ🧑\u200d\ufe0f한中\u0301\x00")
    texts = []
    for _ in range(number):
        characters = [
            generator.choice(awkward)
            if generator.random() < 0.7
            else chr(generator.choice([generator.randrange(0xD800), generator.randrange(0xE000, 0x110000)]))
            for _ in range(generator.randrange(40))
        ]
        texts.append("".join(characters))
    return texts


def test_random_texts(encode: Encode, reference) -> None:
    texts = random_texts(10_000)
    assert encode([text.encode() for text in texts]) == [reference.encode(text).ids for text in texts]


def test_every_code_point_is_a_letter_number_space_or_other_alike() -> None:
    # The planes that have characters; the others are unassigned or for private use, all alike.
    code_points = [*range(0xD800), *range(0xE000, 0x40000), *range(0xE0000, 0xE1000), 0xF0000, 0x10FFFF]
    # One text tells the class: letters join the a, numbers the 1, the others the !, white space none.
    texts = [f"a{chr(code)}1{chr(code)}!" for code in code_points]
    found = split_words(tf.constant([text.encode() for text in texts]))
    lengths = tf.strings.length(found.values).numpy()
    expected = [reference_words(text) for text in texts]
    different = [
        hex(code)
        for code, start, end, words in zip(
            code_points, found.row_splits[:-1].numpy(), found.row_splits[1:].numpy(), expected, strict=True
        )
        if lengths[start:end].tolist() != [len(word) for word in words]
    ]
    assert different == []


@pytest.mark.parametrize("letters", ["abcdefghijklmnopqrstuvwxyz", "a", "ab", "!#$%&()*+-=_", "中文字"])
def test_one_word_of_100_kb(encode: Encode, reference, letters: str) -> None:
    word = "".join(random.Random(3).choices(letters, k=100_000 // len(letters[0].encode())))
    assert encode([b"before", word.encode(), b"after"])[1] == reference.encode(word).ids


def test_gpt2_vocabulary(tmp_path: Path) -> None:
    folder = SHARED_DATA / "gpt2_vocabulary"
    if not folder.is_dir():
        pytest.skip("GPT-2's own vocabulary is not on this machine")
    vocabulary = Vocabulary.from_gpt2_files(folder / "vocabulary.json", folder / "merges.txt")
    naughty = json.loads((SHARED_DATA / "naughty_strings" / "blns.json").read_text(encoding="utf-8"))
    texts = [*HARD_TEXTS, *naughty, *corpus()[:200], *random_texts(2000)]
    reference = reference_tokenizer(vocabulary)
    encode = make_encode(vocabulary, tmp_path)
    assert encode([b"Hello world"]) == [[15496, 995]]
    assert encode([text.encode() for text in texts]) == [reference.encode(text).ids for text in texts]


def test_works_in_tf_data(tmp_path: Path) -> None:
    Vocabulary.from_merges([(A, B)]).write_table(tmp_path / "vocabulary.tsv")
    tokenizer = BytePairTokenizer(str(tmp_path / "vocabulary.tsv"))
    dataset = tf.data.Dataset.from_tensor_slices(["ab", "b", ""]).batch(2).map(tokenizer.tokenize)
    assert [batch.to_list() for batch in dataset] == [[[256], [B]], [[]]]


class Codec(tf.Module):
    """Both directions in one SavedModel."""

    def __init__(self, folder: Path):
        super().__init__()
        self.tokenizer = BytePairTokenizer(str(folder / "vocabulary.tsv"))
        self.detokenizer = Detokenizer(str(folder / "token_bytes.txt"))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def encode(self, texts: tf.Tensor) -> tf.RaggedTensor:
        return self.tokenizer.tokenize(texts)

    @tf.function(input_signature=[tf.RaggedTensorSpec([None, None], tf.int64)])
    def decode(self, token_ids: tf.RaggedTensor) -> tf.Tensor:
        return self.detokenizer.detokenize(token_ids)


NEW_PROCESS = """
import sys
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
ids = model.encode(tf.constant([" ab\\x00", ""]))
print(ids.to_list(), model.decode(ids).numpy().tolist(), "modules" in sys.modules)
"""


def test_saved_model_moves_and_needs_tensorflow_alone(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    vocabulary = Vocabulary.from_merges([(A, B)])
    vocabulary.write_table(source / "vocabulary.tsv")
    vocabulary.write_token_bytes(source / "token_bytes.txt")
    tf.saved_model.save(Codec(source), str(tmp_path / "saved"))
    shutil.rmtree(source)
    shutil.move(tmp_path / "saved", tmp_path / "moved")
    result = subprocess.run(
        [sys.executable, "-c", NEW_PROCESS, str(tmp_path / "moved")],
        capture_output=True, text=True, timeout=120, cwd=tmp_path, check=True,
    )  # fmt: skip
    assert result.stdout.strip() == "[[220, 256, 188], []] [b' ab\\x00', b''] False"


@pytest.fixture(scope="module")
def detokenizer(tmp_path_factory: pytest.TempPathFactory) -> Detokenizer:
    path = tmp_path_factory.mktemp("detokenizer") / "token_bytes.txt"
    corpus_vocabulary().write_token_bytes(path)
    return Detokenizer(str(path))


def test_detokenize_shapes_by_eye(detokenizer: Detokenizer) -> None:
    end_of_text = corpus_vocabulary().end_of_text_id
    assert detokenizer.detokenize(tf.constant([A, B], tf.int64)).numpy() == b"ab"
    assert detokenizer.detokenize(tf.constant([[A, B], [C, end_of_text]], tf.int64)).numpy().tolist() == [
        b"ab",
        b"c<|endoftext|>",
    ]
    ragged = tf.ragged.constant([[A], [], [B, C]], dtype=tf.int64)
    assert detokenizer.detokenize(ragged).numpy().tolist() == [b"a", b"", b"bc"]
    assert detokenizer.detokenize(tf.constant([], tf.int64)).numpy() == b""


def test_detokenize_every_byte_and_token(detokenizer: Detokenizer) -> None:
    tokens = corpus_vocabulary().token_bytes()
    ids = np.arange(len(tokens))[:, None]
    assert detokenizer.detokenize(tf.constant(ids, tf.int64)).numpy().tolist() == tokens


def test_texts_survive_the_round_trip(encode: Encode, detokenizer: Detokenizer) -> None:
    texts = [text.encode() for text in HARD_TEXTS + random_texts(500)]
    ids = tf.ragged.constant(encode(texts), dtype=tf.int64)
    assert detokenizer.detokenize(ids).numpy().tolist() == texts


@pytest.mark.parametrize("unknown", [-1, 2257])
def test_detokenize_refuses_unknown_ids(detokenizer: Detokenizer, unknown: int) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="Every token id must be in the vocabulary"):
        detokenizer.detokenize(tf.constant([A, unknown], tf.int64))
