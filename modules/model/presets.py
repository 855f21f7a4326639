"""What is known of a model's preset before it is loaded: whether it may be, and its sizes; without TensorFlow."""

import json
from pathlib import Path
from typing import NamedTuple

from modules.common.errors import InputError
from modules.model import huggingface

# Kaggle's folders of keras-hub's makers; those of others hold what others put there.
_HANDLE = "kaggle://keras/"


class PresetSizes(NamedTuple):
    """What a preset brings that the rest of a configuration must fit."""

    vocabulary_size: int
    positions: int


# All of keras-hub's GPT-2 presets have the vocabulary and the positions that OpenAI published.
GPT2_SIZES = PresetSizes(vocabulary_size=50257, positions=1024)


def check_name(preset: str, setting: str) -> None:
    """Makes sure that a preset is a plain name or a handle `kaggle://keras/…`, keras-hub's, or a folder that is there.

    Other handles, `hf://…` and `kaggle://anyone/…` among them, lead to files that nobody has held against the plain
    GPT-2 (see `huggingface_gpt2`), and that can change without a run's noticing.

    Args:
        preset: Name, handle or folder.
        setting: That names it.

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


def read_sizes(preset: str) -> PresetSizes | None:
    """The sizes of a preset; None for a handle, whose files are not here yet.

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
    """Makes sure that a preset's model can look at so many tokens.

    Raises:
        InputError: It has fewer positions, or is none that `read_sizes` can read.
    """
    sizes = read_sizes(preset)
    if sizes is not None and context_length > sizes.positions:
        raise InputError(
            f"`model.context_length` must be at most {sizes.positions}, the positions of {preset}. "
            f"Received: {context_length}."
        )
