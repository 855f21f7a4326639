"""Presets are checked before they are loaded."""

import json
from pathlib import Path

import pytest

from modules.common.errors import InputError
from modules.model import presets
from modules.tokenization.tokenizer_files import load_vocabulary
from tests.toys.huggingface_folder import write_folder
from tests.toys.release import tiny_backbone


def test_names_handles_and_folders_are_presets(tmp_path: Path) -> None:
    for preset in ("gpt2_base_en", "kaggle://keras/gpt2/keras/gpt2_base_en", str(tmp_path)):
        presets.check_name(preset, "model.preset")
    with pytest.raises(InputError, match=r"`model.preset` names no folder. Received: ./gpt2\."):
        presets.check_name("./gpt2", "model.preset")


@pytest.mark.parametrize(
    "preset",
    [
        "hf://openai-community/gpt2",
        "modelscope://a/gpt2",
        "gs://bucket/gpt2",
        "kaggle://anyone/gpt2/keras/gpt2_base_en",
        "kaggle://keras-anyone/gpt2/keras/gpt2_base_en",
        "kaggle://keras/../anyone/gpt2/keras/gpt2_base_en",
        "kaggle://keras/gpt2/keras/..",
        "kaggle://keras/gpt2",
    ],
)
def test_files_that_nobody_has_checked_are_not_loaded(preset: str) -> None:
    with pytest.raises(
        InputError,
        match=f"or kaggle://keras/MODEL/keras/VARIATION. Received: {preset}. Download its files",
    ):
        presets.check_name(preset, "model.preset")


def test_a_fingerprint_depends_on_the_files_of_a_folder_and_on_the_name_of_anything_else(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    before = presets.preset_fingerprint(str(tmp_path), "model.preset")
    (tmp_path / "config.json").write_text("{ }")
    assert presets.preset_fingerprint(str(tmp_path), "model.preset") != before
    names = ["gpt2_base_en", "gpt2_medium_en"]
    assert len({presets.preset_fingerprint(name, "model.preset") for name in names}) == 2
    with pytest.raises(InputError, match=r"`model.preset` names no folder. Received: ./gpt2\."):
        presets.preset_fingerprint("./gpt2", "model.preset")


def test_the_sizes_of_every_kind_of_preset(tmp_path: Path) -> None:
    assert presets.read_sizes("gpt2_base_en") == (50257, 1024)
    assert presets.read_sizes("kaggle://keras/gpt2/keras/gpt2_base_en") is None
    assert presets.read_sizes(str(write_folder(tmp_path / "huggingface", vocab_size=259))) == (259, 16)
    tiny_backbone().save_to_preset(tmp_path / "keras_hub")
    assert presets.read_sizes(str(tmp_path / "keras_hub")) == (259, 48)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_layers": 10**9}, r"`num_layers`: Input should be less than or equal to 1000, but it is 1000000000"),
        ({"hidden_dim": 10**9}, r"`hidden_dim`: Input should be less than or equal to 100000"),
        ({"hidden_dim": "8"}, r"`hidden_dim`: Input should be a valid integer, but it is '8'"),
        ({"vocabulary_size": True}, r"`vocabulary_size`: Input should be a valid integer, but it is True"),
    ],
)
def test_sizes_that_nobody_can_build_are_refused(tmp_path: Path, change: dict, message: str) -> None:
    tiny_backbone().save_to_preset(tmp_path)
    path = tmp_path / "config.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "config": {**content["config"], **change}}))
    with pytest.raises(InputError, match=message):
        presets.read_sizes(str(tmp_path))


def test_deep_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"config\.json: JSON may have at most 100 arrays and objects inside each"):
        presets.read_sizes(str(tmp_path))


def test_a_context_longer_than_the_model_is_refused_before_it_is_loaded(tmp_path: Path) -> None:
    folder = str(write_folder(tmp_path, vocab_size=259))
    presets.check_positions(folder, 16)
    with pytest.raises(InputError, match=r"`model.context_length` must be at most 16, the positions of .*Received: 17"):
        presets.check_positions(folder, 17)


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("config.json", {"registered_name": "builtins.eval"}),
        ("config.json", {"module": "builtins", "class_name": "eval", "registered_name": None}),
        ("config.json", {"class_name": "Lambda", "module": "keras.layers"}),
        ("config.json", {"config": {"dtype": {"module": "builtins", "class_name": "eval", "config": "1 / 0"}}}),
        ("config.json", {"config": {"name": {"class_name": "__lambda__", "config": {}}}}),
        ("tokenizer.json", {"module": "builtins", "class_name": "eval", "config": {"source": "1 / 0"}}),
        ("tokenizer.json", {"module": "os", "class_name": "GPT2Tokenizer", "registered_name": "GPT2Tokenizer"}),
    ],
)
def test_a_preset_that_names_other_classes_is_refused_and_nothing_is_executed(
    tmp_path: Path, file: str, change: dict[str, object]
) -> None:
    tiny_backbone().save_to_preset(tmp_path)
    presets.check_classes(str(tmp_path))
    path = tmp_path / file
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(content | change))
    message = f"{file}: must name only classes of keras-hub's GPT-2: .*Nothing of it was executed"
    for check in (presets.check_classes, presets.read_sizes):
        with pytest.raises(InputError, match=message):
            check(str(tmp_path))
    with pytest.raises(InputError, match=message):
        load_vocabulary({"preset": str(tmp_path)})
