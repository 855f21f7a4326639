"""Vocabularies that need no training are loaded, and a model with another vocabulary is refused early."""

import json
from pathlib import Path

import pytest

from modules.common.errors import InputError
from modules.tokenization import tokenizer_files
from modules.tokenization.byte_pair_tokenizer import BytePairTokenizer
from modules.tokenization.vocabulary import Vocabulary
from modules.tokenization.vocabulary_files import write_table, write_tokenizer_folder
from tests.toys.huggingface_folder import write_folder
from tests.toys.release import saved_release, tiny_vocabulary


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    write_tokenizer_folder(tiny_vocabulary(), tmp_path)
    return {"vocabulary": str(tmp_path / "vocabulary.json"), "merges": str(tmp_path / "merges.txt")}


def preset(folder: Path, tokens: int) -> str:
    folder.mkdir()
    names = ("num_layers", "num_heads", "hidden_dim", "intermediate_dim", "max_sequence_length")
    (folder / "config.json").write_text(json.dumps({"config": {"vocabulary_size": tokens, **dict.fromkeys(names, 64)}}))
    return str(folder)


def test_the_bytes_are_a_vocabulary_without_merges(tmp_path: Path) -> None:
    vocabulary = tokenizer_files.load_vocabulary({"kind": "byte"})
    assert (vocabulary.size, vocabulary.end_of_text_id) == (257, 256)
    write_table(vocabulary, tmp_path / "vocabulary.tsv")
    token_ids = BytePairTokenizer(str(tmp_path / "vocabulary.tsv")).tokenize(["aé!"]).to_list()[0]
    assert [vocabulary.token_bytes()[token_id] for token_id in token_ids] == [b"a", b"\xc3", b"\xa9", b"!"]


def test_gpt2_files_are_loaded(files: dict[str, str]) -> None:
    assert tokenizer_files.load_vocabulary(files) == tiny_vocabulary() != Vocabulary.from_merges([])


def test_a_model_of_the_same_size_fits(files: dict[str, str], tmp_path: Path) -> None:
    tokenizer_files.check_fits(files, None)
    tokenizer_files.check_fits(files, preset(tmp_path / "preset", 259))
    tokenizer_files.check_fits(files, saved_release().preset)  # written by keras-hub
    tokenizer_files.check_fits({"preset": "gpt2_base_en"}, "gpt2_medium_en")


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (
            300,
            r"must have the vocabulary of the model\. "
            r"Received: 259 tokens, and 300 in the preset .*`tokenizer: \{preset: ",
        ),
        (None, r"must hold a config.json of a keras-hub GPT-2 backbone, or .* Received: KeyError"),
    ],
)
def test_a_model_of_another_size_does_not_fit(files: dict[str, str], tmp_path: Path, tokens: int, message: str) -> None:
    folder = preset(tmp_path / "preset", tokens or 0)
    if tokens is None:
        (tmp_path / "preset" / "config.json").write_text("{}")
    with pytest.raises(InputError, match=message):
        tokenizer_files.check_fits(files, folder)


def test_a_preset_of_gpt2_needs_the_vocabulary_of_gpt2(files: dict[str, str]) -> None:
    with pytest.raises(InputError, match="Received: 259 tokens, and 50,257 in the preset gpt2_base_en"):
        tokenizer_files.check_fits(files, "gpt2_base_en")


def test_broken_files_are_found_before_a_run(files: dict[str, str]) -> None:
    Path(files["merges"]).write_text("#version: 0.2\nt h\nth\n")
    with pytest.raises(InputError, match=r"merges.txt, line 3: a merge must be two tokens with one space between"):
        tokenizer_files.check_fits(files, None)


@pytest.fixture
def huggingface(tmp_path: Path) -> Path:
    """A model of 259 tokens with its tokenizer in the files of `transformers` before version 5 and from 5 on."""
    folder = write_folder(tmp_path / "model", vocab_size=259)
    write_tokenizer_folder(tiny_vocabulary(), folder)
    (folder / "vocabulary.json").rename(folder / "vocab.json")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["merges"] = [["t", "h"], ["th", "e"]]
    tokenizer["added_tokens"] = [{"id": 258, "content": "<|endoftext|>", "special": True}]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return folder


@pytest.mark.parametrize("missing", ["tokenizer.json", "vocab.json"])
def test_a_hugging_face_folder_brings_its_tokenizer(huggingface: Path, missing: str) -> None:
    (huggingface / missing).unlink()
    tokenizer = {"preset": str(huggingface)}
    assert tokenizer_files.load_vocabulary(tokenizer) == tiny_vocabulary()
    tokenizer_files.check_fits(tokenizer, str(huggingface))
    with pytest.raises(InputError, match="Received: 259 tokens, and 50,257 in the preset gpt2_base_en"):
        tokenizer_files.check_fits(tokenizer, "gpt2_base_en")


def test_a_preset_brings_its_vocabulary_or_none(huggingface: Path, tmp_path: Path) -> None:
    assert tokenizer_files.preset_vocabulary(str(huggingface)) == tiny_vocabulary()
    # A model of this project has its vocabulary next to the preset, among the assets of the SavedModel.
    assert tokenizer_files.preset_vocabulary(saved_release().preset) == tiny_vocabulary()
    assert tokenizer_files.preset_vocabulary(preset(tmp_path / "weights", 259)) is None


def test_a_hugging_face_model_is_checked_before_anything_runs(huggingface: Path) -> None:
    write_folder(huggingface, vocab_size=259, activation_function="relu", tensors={})
    with pytest.raises(InputError, match="only the plain GPT-2 can be trained here"):
        tokenizer_files.check_fits({"preset": str(huggingface)}, str(huggingface))


def test_a_tokenizer_json_of_another_kind_is_refused(huggingface: Path) -> None:
    (huggingface / "vocab.json").unlink()
    path = huggingface / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    tokenizer["pre_tokenizer"]["add_prefix_space"] = True
    tokenizer["added_tokens"] = [{"content": "<|user|>"}]
    path.write_text(json.dumps(tokenizer))
    with pytest.raises(InputError, match=r"byte-level BPE, .* Received: a space before the text, special tokens"):
        tokenizer_files.load_vocabulary({"preset": str(huggingface)})
    path.unlink()
    with pytest.raises(InputError, match=r"must hold vocab.json and merges.txt, or tokenizer.json"):
        tokenizer_files.load_vocabulary({"preset": str(huggingface)})


def test_a_vocabulary_that_the_texts_cannot_fill_gets_a_warning():
    [warning] = tokenizer_files.vocabulary_warnings({"vocabulary_size": 30_000}, 434)
    assert "asks for 30,000 tokens, and the train split has pairs that occur twice for only 434" in warning
    assert warning.endswith("`--set tokenizer.vocabulary_size=434`.")
    assert tokenizer_files.vocabulary_warnings({"vocabulary_size": 434}, 434) == []
    assert tokenizer_files.vocabulary_warnings({"kind": "byte"}, 257) == []
