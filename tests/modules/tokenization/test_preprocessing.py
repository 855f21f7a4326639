"""The preprocessing function inside Transform, on a few documents."""

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
import tensorflow_transform as tft
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_transform.tf_metadata import schema_utils

from modules.common.errors import InputError
from modules.tokenization.bpe_training import train_merges
from modules.tokenization.preprocessing import one_value_per_row, preprocessing_fn, values_per_row
from modules.tokenization.vocabulary import Vocabulary
from modules.tokenization.vocabulary_files import find_table, read_table, write_tokenizer_folder
from tests.toys.tokenizer_reference import (
    corpus,
    corpus_vocabulary,
    reference_ids,
    reference_tokenizer,
    reference_words,
)
from tests.toys.transform import transform_rows

ROOT = Path(__file__).parents[3]
TEXTS = [
    b"",
    b"a\n\nb  I'm",
    b"malformed \xff\xe2\x82 end",
    "naïve 🧑‍🚀 中文 <|endoftext|>".encode(),
    *(text.encode() for text in corpus()[:60]),
]
SPECS = {
    "dense": tf.io.FixedLenFeature([1], tf.string),
    "scalar": tf.io.FixedLenFeature([], tf.string),
    "sparse": tf.io.VarLenFeature(tf.string),
    "ragged": tf.io.RaggedFeature(tf.string),
}


CONVERSATIONS = [
    ([b"the name"], [b"is Bond"]),
    ([b"a", "naïve 🧑‍🚀".encode(), b""], [b"", b"the  the \xff", b"<|endoftext|>"]),
]


def transform(
    folder: Path, tokenizer: dict[str, Any], kind: str = "dense", texts: list[bytes] = TEXTS
) -> dict[bytes, list[int]]:
    """Analyzes and transforms texts; returns the token ids by source."""
    rows = [
        {"text": text if kind == "scalar" else [text], "source": name if kind == "scalar" else [name]}
        for name, text in ((b"document %d" % number, text) for number, text in enumerate(texts))
    ]
    spec = {"text": SPECS[kind], "source": SPECS[kind]}
    transformed = transform_rows(folder, rows, spec, {"data_kind": "text", "tokenizer": tokenizer})
    for row in transformed:
        size_bytes = len(texts[int(row["source"][0].split()[-1])])
        assert row["num_tokens"] == [len(row["token_ids"])]
        assert row["tokens_per_byte"] == pytest.approx([len(row["token_ids"]) / max(size_bytes, 1)])
    return {row["source"][0]: row["token_ids"] for row in transformed}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[bytes, list[int]]]:
    folder = tmp_path_factory.mktemp("transform") / "graph"
    return folder, transform(folder, {"vocabulary_size": 700})


def test_the_vocabulary_is_learned_from_the_texts(trained: tuple[Path, dict[bytes, list[int]]]) -> None:
    words = [word for text in TEXTS for word in reference_words(text.decode(errors="replace"))]
    expected = Vocabulary.from_merges(train_merges(Counter(words), 700 - 257))
    assert read_table(find_table(trained[0])) == expected


def test_token_ids_equal_the_reference(trained: tuple[Path, dict[bytes, list[int]]]) -> None:
    folder, rows = trained
    vocabulary = read_table(find_table(folder))
    reference = reference_tokenizer(vocabulary)
    assert vocabulary.size == 700
    assert len(rows) == len(TEXTS)
    for number, text in enumerate(TEXTS):
        assert rows[b"document %d" % number] == reference_ids(reference, text)


def test_schema_holds_the_range_of_the_token_ids(trained: tuple[Path, dict[bytes, list[int]]]) -> None:
    schema = tft.TFTransformOutput(str(trained[0])).transformed_metadata.schema
    domain = next(f.int_domain for f in schema.feature if f.name.startswith("token_ids"))
    assert (domain.min, domain.max) == (0, 699)


def test_order_of_documents_does_not_matter(tmp_path: Path, trained: tuple[Path, dict[bytes, list[int]]]) -> None:
    transform(tmp_path / "graph", {"vocabulary_size": 700}, texts=TEXTS[::-1])
    table, backwards = Path(find_table(trained[0])), Path(find_table(tmp_path / "graph"))
    assert backwards.read_bytes() == table.read_bytes()


def gpt2_files(vocabulary: Vocabulary, folder: Path) -> dict[str, str]:
    write_tokenizer_folder(vocabulary, folder)
    return {"vocabulary": str(folder / "vocabulary.json"), "merges": str(folder / "merges.txt")}


@pytest.mark.parametrize("kind", ["dense", "scalar", "sparse", "ragged"])
def test_an_existing_vocabulary_works_with_every_kind_of_column(tmp_path: Path, kind: str) -> None:
    texts = TEXTS[:10]
    rows = transform(tmp_path / "graph", gpt2_files(corpus_vocabulary(), tmp_path), kind, texts)
    reference = reference_tokenizer(corpus_vocabulary())
    assert rows == {b"document %d" % n: reference_ids(reference, text) for n, text in enumerate(texts)}
    assert read_table(find_table(tmp_path / "graph")) == corpus_vocabulary()


def expected_conversations(vocabulary: Vocabulary) -> dict[bytes, list[tuple[int, int]]]:
    """Returns, by source, each token of the reference tokenizer with its mask."""
    reference = reference_tokenizer(vocabulary)
    expected = {}
    for number, (prompts, completions) in enumerate(CONVERSATIONS):
        tokens = []
        for prompt, completion in zip(prompts, completions, strict=True):
            tokens += [(token_id, 0) for token_id in reference_ids(reference, prompt)]
            tokens += [(token_id, 1) for token_id in reference_ids(reference, completion)]
            tokens.append((vocabulary.end_of_text_id, 1))
        expected[b"conversation %d" % number] = tokens[:-1]
    return expected


def transform_conversations(
    folder: Path,
    tokenizer: dict[str, Any],
    kind: str,
    conversations: list[tuple[list[bytes], list[bytes]]],
    weights: dict[int, list[bytes]] | None = None,
) -> dict[bytes, list[tuple[int, int]]]:
    rows = [
        {"prompt": prompts, "completion": completions, "source": [b"conversation %d" % number]}
        for number, (prompts, completions) in enumerate(conversations)
    ]
    spec = {"prompt": SPECS[kind], "completion": SPECS[kind], "source": SPECS["dense"]}
    if weights is not None:
        spec["weight"] = SPECS[kind]
        rows = [{**row, "weight": weights.get(number, [])} for number, row in enumerate(rows)]
    transformed = transform_rows(folder, rows, spec, {"data_kind": "instruction", "tokenizer": tokenizer})
    return {row["source"][0]: list(zip(row["token_ids"], row["loss_mask"], strict=True)) for row in transformed}


@pytest.mark.parametrize("kind", ["sparse", "ragged"])
def test_conversations_train_a_vocabulary_and_get_a_mask(tmp_path: Path, kind: str) -> None:
    rows = transform_conversations(tmp_path / "graph", {"vocabulary_size": 261}, kind, CONVERSATIONS)
    vocabulary = read_table(find_table(tmp_path / "graph"))
    texts = [text for conversation in CONVERSATIONS for column in conversation for text in column]
    words = [word for text in texts for word in reference_words(text.decode(errors="replace"))]
    assert vocabulary == Vocabulary.from_merges(train_merges(Counter(words), 4))
    assert rows == expected_conversations(vocabulary)
    assert [mask for _, mask in rows[b"conversation 0"]][:3] == [0, 0, 0]


@pytest.mark.parametrize("kind", ["dense", "sparse", "ragged"])
def test_an_existing_vocabulary_works_with_conversations(tmp_path: Path, kind: str) -> None:
    conversations = CONVERSATIONS[:1] if kind == "dense" else CONVERSATIONS
    tokenizer = gpt2_files(corpus_vocabulary(), tmp_path)
    rows = transform_conversations(tmp_path / "graph", tokenizer, kind, conversations)
    expected = expected_conversations(corpus_vocabulary())
    assert rows == {source: expected[source] for source in rows}
    assert len(rows) == len(conversations)


def test_a_weight_changes_the_mask_and_no_token(tmp_path: Path) -> None:
    conversations = [([b"ab", b"c"], [b"is", b"d"]), ([b"ab", b"c"], [b"is", b"d"])]
    tokenizer = gpt2_files(corpus_vocabulary(), tmp_path)
    rows = transform_conversations(tmp_path / "graph", tokenizer, "sparse", conversations, {0: [b"0", b"1"]})
    weighted, whole = rows[b"conversation 0"], rows[b"conversation 1"]
    assert [token for token, _ in weighted] == [token for token, _ in whole]
    end = [token for token, _ in whole].index(corpus_vocabulary().end_of_text_id)
    assert [mask for _, mask in weighted] == [mask if at > end else 0 for at, (_, mask) in enumerate(whole)]
    assert sum(mask for _, mask in weighted) > 0


def test_preferences_train_one_vocabulary_and_get_two_masks(tmp_path: Path) -> None:
    schema = text_format.Parse((ROOT / "schemas" / "preference.pbtxt").read_text(), schema_pb2.Schema())
    contract = schema_utils.schema_as_feature_spec(schema).feature_spec
    spec = {name: contract[name] for name in ("prompt", "chosen", "rejected", "weight", "source")}
    row = {
        "weight": [],
        "prompt": [b"the name"],
        "chosen": [b"is Bond"],
        "rejected": [b"is the the"],
        "source": [b"file"],
    }
    config = {"data_kind": "preference", "tokenizer": {"vocabulary_size": 261}}
    (transformed,) = transform_rows(tmp_path / "graph", [row], spec, config)
    vocabulary = read_table(find_table(tmp_path / "graph"))
    words = [word for column in ("prompt", "chosen", "rejected") for word in reference_words(row[column][0].decode())]
    assert vocabulary == Vocabulary.from_merges(train_merges(Counter(words), 4))
    reference = reference_tokenizer(vocabulary)
    prompt, chosen, rejected = (reference_ids(reference, row[name][0]) for name in ("prompt", "chosen", "rejected"))
    assert transformed["token_ids"] == prompt + chosen
    assert transformed["loss_mask"] == [0] * len(prompt) + [1] * len(chosen)
    assert transformed["rejected_token_ids"] == prompt + rejected
    assert transformed["rejected_loss_mask"] == [0] * len(prompt) + [1] * len(rejected)
    assert transformed["num_tokens"] == [len(prompt + chosen)]
    assert transformed["tokens_per_byte"] == pytest.approx([len(prompt + chosen) / len(b"the nameis Bond")])


def test_the_schema_of_instructions_has_the_tested_kinds_of_columns() -> None:
    schema = text_format.Parse((ROOT / "schemas" / "instruction.pbtxt").read_text(), schema_pb2.Schema())
    spec = schema_utils.schema_as_feature_spec(schema).feature_spec
    assert {name: spec[name] for name in ("prompt", "completion", "weight", "source")} == {
        "prompt": SPECS["sparse"], "completion": SPECS["sparse"], "weight": SPECS["sparse"],
        "source": SPECS["dense"],
    }  # fmt: skip


def test_a_conversation_with_nothing_to_learn_stops_transform(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="needs a `completion` that is not empty"):
        transform_conversations(tmp_path / "graph", gpt2_files(corpus_vocabulary(), tmp_path), "ragged",
                                [*CONVERSATIONS, ([b"a"], [b""])])  # fmt: skip


def test_columns_of_every_kind_become_ragged() -> None:
    ragged = tf.ragged.constant([["a", "b"], [], ["c"]], row_splits_dtype=tf.int32)
    for column in (ragged, ragged.to_sparse()):
        assert values_per_row(column).to_list() == [[b"a", b"b"], [], [b"c"]]
        assert values_per_row(column).row_splits.dtype == tf.int64
    assert values_per_row(tf.constant([["a", "b"], ["c", "d"]])).to_list() == [[b"a", b"b"], [b"c", b"d"]]
    assert values_per_row(tf.constant(["a", "b"])).to_list() == [[b"a"], [b"b"]]


NEW_PROCESS = """
import sys
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
inputs = {"text": tf.constant([["ab\\xff"], [""]]), "source": tf.constant([["x"], ["y"]])}
outputs = model.transform_fn(inputs)
print(outputs["token_ids"].to_list(), outputs["source"].numpy().tolist())
print([name for name in sys.modules if name == "modules" or name.startswith("tensorflow_transform")])
"""


@pytest.mark.parametrize("existing", [False, True])
def test_a_moved_graph_needs_only_tensorflow(tmp_path: Path, existing: bool) -> None:
    made = tmp_path / "made"
    made.mkdir()
    vocabulary = Vocabulary.from_merges([(64, 65)])
    tokenizer = gpt2_files(vocabulary, made) if existing else {"vocabulary_size": 258}
    transform(made / "graph", tokenizer, texts=[b"ab ab"])
    shutil.move(made / "graph" / "transform_fn", tmp_path / "moved")
    shutil.rmtree(made)
    result = subprocess.run(
        [sys.executable, "-c", NEW_PROCESS, str(tmp_path / "moved")],
        capture_output=True, text=True, timeout=120, cwd=tmp_path, check=True,
    )  # fmt: skip
    # "\\xff" in a Python string is the letter y with diaeresis, which has two bytes in UTF-8.
    assert result.stdout.splitlines() == ["[[256, 127, 123], []] [b'x', b'y']", "[]"]


@pytest.mark.parametrize(
    ("tokenizer", "message"),
    [
        ({"vocabulary_size": 256}, "must be 257 .* or more. Received: 256"),
        ({"vocabulary": "/nowhere/vocabulary.json", "merges": "/nowhere/merges.txt"}, "/nowhere/vocabulary.json"),
        ({"preset": "/nowhere/preset"}, "cannot load the tokenizer of the preset '/nowhere/preset'"),
    ],
)
def test_a_bad_tokenizer_configuration_is_refused(tokenizer: dict[str, Any], message: str) -> None:
    inputs = {"text": tf.constant([["a"]]), "source": tf.constant([["b"]])}
    with pytest.raises(InputError, match=message):
        preprocessing_fn(inputs, {"data_kind": "text", "tokenizer": tokenizer})


def test_a_missing_value_becomes_an_empty_text_and_two_values_are_refused() -> None:
    assert one_value_per_row(tf.ragged.constant([["a"], [], ["b"]])).numpy().tolist() == [b"a", b"", b"b"]
    with pytest.raises(tf.errors.InvalidArgumentError):
        one_value_per_row(tf.ragged.constant([["a", "b"]]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="must have one value per row"):
        one_value_per_row(tf.constant([["a", "b"]]))
