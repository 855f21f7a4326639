"""Checks of a model's preset before it is loaded: its name, sizes and fingerprint; without TensorFlow."""

import json
from pathlib import Path
from typing import NamedTuple

from modules.common.errors import InputError
from modules.common.files import hash_settings
from modules.model import huggingface

# The Kaggle folders of keras-hub's makers; anyone can put anything into the others.
_HANDLE = "kaggle://keras/"


class PresetSizes(NamedTuple):
    """Sizes of a preset that the rest of a configuration must fit."""

    vocabulary_size: int
    positions: int


# All of keras-hub's GPT-2 presets have the vocabulary and the positions that OpenAI published.
GPT2_SIZES = PresetSizes(vocabulary_size=50257, positions=1024)


def check_name(preset: str, setting: str) -> None:
    """Makes sure that a preset is a plain name or a handle `kaggle://keras/…`, keras-hub's, or a folder that is there.

    Other handles, `hf://…` and `kaggle://anyone/…` among them, lead to files that nobody has held against the plain
    GPT-2 (see `huggingface.check_folder`), and that can change without a run's noticing.

    Args:
        preset: Name, handle or folder.
        setting: The setting that names it, for messages.

    Raises:
        InputError: It is none of them.
    """
    if "://" in preset and not preset.startswith(_HANDLE):
        raise InputError(
            f"`{setting}` must be the name of a keras-hub preset, a handle {_HANDLE}…, or a folder. "
            f"Received: {preset}. Download its files and name their folder, which is checked before it is opened."
        )
    if "/" in preset and "://" not in preset and not Path(preset).is_dir():
        raise InputError(f"`{setting}` names no folder. Received: {preset}.")


def preset_fingerprint(preset: str, setting: str) -> str:
    """Returns SHA-256 over a preset's name and, where it is a folder, its files.

    Args:
        preset: Name, handle or folder.
        setting: The setting that names it, for messages.

    Raises:
        InputError: `check_name` refuses it.
    """
    check_name(preset, setting)
    return hash_settings({"preset": preset})


def read_sizes(preset: str) -> PresetSizes | None:
    """Returns the sizes of a preset; None for a handle, whose files are not here yet.

    Raises:
        InputError: A folder holds no GPT-2, or a variant of it.
    """
    folder = Path(preset)
    if not folder.is_dir():
        return None if "/" in preset else GPT2_SIZES
    if huggingface.is_folder(folder):
        config = huggingface.check_folder(folder)
        return PresetSizes(vocabulary_size=config.vocab_size, positions=config.n_positions)
    try:
        sizes = json.loads((folder / huggingface.CONFIG_FILE).read_text(encoding="utf-8"))["config"]
        return PresetSizes(vocabulary_size=int(sizes["vocabulary_size"]), positions=int(sizes["max_sequence_length"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"the preset {preset} must hold a config.json of a keras-hub GPT-2 backbone, or of a Hugging Face GPT-2. "
            f"Received: {error!r}."
        ) from None


def check_positions(preset: str, context_length: int) -> None:
    """Makes sure that a preset's model has a position for each token of the context.

    Raises:
        InputError: It has fewer positions, or `read_sizes` cannot read it.
    """
    sizes = read_sizes(preset)
    if sizes is not None and context_length > sizes.positions:
        raise InputError(
            f"`model.context_length` must be at most {sizes.positions}, the positions of {preset}. "
            f"Received: {context_length}."
        )
