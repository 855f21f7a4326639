"""Presets are checked before they are loaded."""

from pathlib import Path

import pytest

from modules.common.errors import InputError
from modules.model import presets
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
    ],
)
def test_files_that_nobody_has_checked_are_not_loaded(preset: str) -> None:
    with pytest.raises(
        InputError, match=f"a handle kaggle://keras/…, or .* Received: {preset}. Download its files and name their"
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


def test_a_context_longer_than_the_model_is_refused_before_it_is_loaded(tmp_path: Path) -> None:
    folder = str(write_folder(tmp_path, vocab_size=259))
    presets.check_positions(folder, 16)
    with pytest.raises(InputError, match=r"`model.context_length` must be at most 16, the positions of .*Received: 17"):
        presets.check_positions(folder, 17)
