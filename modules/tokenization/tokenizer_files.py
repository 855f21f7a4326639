"""Loaders of vocabularies that need no training: GPT-2's two files, keras-hub's or Hugging Face's, or only bytes."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modules.common.errors import InputError
from modules.common.files import hash_settings
from modules.model import huggingface, presets
from modules.tokenization.vocabulary import Vocabulary
from modules.tokenization.vocabulary_files import TABLE_NAME, read_gpt2_files, read_table, read_tokenizer_json


def load_vocabulary(tokenizer: Mapping[str, Any]) -> Vocabulary:
    """Loads the vocabulary that the configuration's `tokenizer` names.

    Args:
        tokenizer: `{"vocabulary": path, "merges": path}`, `{"preset": name or folder}`, or `{"kind": "byte"}` for the
            256 bytes and <|endoftext|>.

    Raises:
        InputError: The files or the preset cannot be read.
    """
    if tokenizer.get("kind") == "byte":
        return Vocabulary.from_merges([])
    if "preset" not in tokenizer:
        return read_gpt2_files(tokenizer["vocabulary"], tokenizer["merges"])
    preset = tokenizer["preset"]
    if huggingface.is_folder(preset):
        return _load_huggingface(Path(preset))
    presets.check_classes(preset)
    import keras_hub

    try:
        gpt2_tokenizer = keras_hub.tokenizers.GPT2Tokenizer.from_preset(preset)
    except (ValueError, OSError) as error:
        raise InputError(
            f"cannot load the tokenizer of the preset {preset!r}: {error}. Name a keras-hub GPT-2 preset, e.g. "
            "gpt2_base_en (downloaded once; needs the network), or a folder with its files; or name GPT-2's own files "
            "by `vocabulary` and `merges`."
        ) from error
    with tempfile.TemporaryDirectory() as folder:
        gpt2_tokenizer.save_assets(folder)
        return read_gpt2_files(Path(folder, "vocabulary.json"), Path(folder, "merges.txt"))


def preset_vocabulary(preset: str) -> Vocabulary | None:
    """Returns the vocabulary of a model's preset; None if the preset's folder holds only the model.

    Args:
        preset: A value of `model.preset`. A model that this project trained has the folder `preset/` in its Model
            artifact; its vocabulary is in the SavedModel next to that folder.

    Raises:
        InputError: The tokenizer's files cannot be read.
    """
    folder = Path(preset)
    table = folder.parent / "Format-Serving" / "assets" / TABLE_NAME
    if not folder.is_dir():
        return load_vocabulary({"preset": preset})
    if table.is_file():
        return read_table(table)
    brings_files = ("assets/tokenizer", "tokenizer.json", "vocab.json")
    return load_vocabulary({"preset": preset}) if any((folder / name).exists() for name in brings_files) else None


def fingerprint(tokenizer: Mapping[str, Any]) -> str:
    """Returns SHA-256 over the tokenizer's settings and files; for a downloaded preset, only over the settings.

    Raises:
        InputError: A file is missing.
    """
    _check_files(tokenizer)
    return hash_settings(tokenizer)


def check_fits(tokenizer: Mapping[str, Any], model_preset: str | None, setting: str = "model.preset") -> None:
    """Makes sure, without loading TensorFlow, that a pretrained model has exactly the tokenizer's tokens.

    Args:
        tokenizer: The configuration's `tokenizer`, as `load_vocabulary` takes it.
        model_preset: Name or folder of the model's preset; None if the model is built to fit the tokenizer.
        setting: The setting that names the preset, for messages.

    Raises:
        InputError: The sizes differ, a vocabulary's files are wrong, or a preset or a file is missing.
    """
    tokens = count_tokens(tokenizer)
    if model_preset is not None:
        presets.check_name(model_preset, setting)
    if model_preset is None or tokens is None:
        return
    sizes = presets.read_sizes(model_preset)
    if sizes is not None and tokens != sizes.vocabulary_size:
        raise InputError(
            "the tokenizer must have the vocabulary of the model. "
            f"Received: {tokens:,} tokens, and {sizes.vocabulary_size:,} in the preset {model_preset}. "
            f"Use the preset's own: `tokenizer: {{preset: {model_preset}}}`."
        )


def count_tokens(tokenizer: Mapping[str, Any]) -> int | None:
    """Returns the size of a vocabulary without loading TensorFlow.

    Args:
        tokenizer: The configuration's `tokenizer`, as `load_vocabulary` takes it, or with a `vocabulary_size`.

    Returns:
        The number of tokens; None if the vocabulary is not yet trained or downloaded, or is only bytes.

    Raises:
        InputError: A vocabulary's files are wrong, or a preset or a file is missing.
    """
    _check_files(tokenizer)
    if "vocabulary" in tokenizer:
        return read_gpt2_files(tokenizer["vocabulary"], tokenizer["merges"]).size
    if "preset" not in tokenizer:
        return None  # The vocabulary is trained or only bytes: the configuration refuses both with a preset.
    presets.check_name(tokenizer["preset"], "tokenizer.preset")
    if huggingface.is_folder(tokenizer["preset"]):
        return _load_huggingface(Path(tokenizer["preset"])).size
    presets.check_classes(tokenizer["preset"])
    files = Path(tokenizer["preset"], "assets", "tokenizer")
    if files.is_dir():
        return read_gpt2_files(files / "vocabulary.json", files / "merges.txt").size
    return None if "/" in tokenizer["preset"] else presets.GPT2_SIZES.vocabulary_size


def vocabulary_warnings(tokenizer: Mapping[str, Any], tokens: int) -> list[str]:
    """Returns a warning if the texts could not fill a vocabulary that was trained on them.

    Args:
        tokenizer: The configuration's `tokenizer`, as in `count_tokens`.
        tokens: Size of the vocabulary.
    """
    asked = tokenizer.get("vocabulary_size", tokens)
    if asked <= tokens:
        return []
    return [
        f"`tokenizer.vocabulary_size` asks for {asked:,} tokens, and the train split has pairs that occur twice for "
        f"only {tokens:,}: the vocabulary has that size. Use more text, or `--set tokenizer.vocabulary_size={tokens}`."
    ]


def _check_files(tokenizer: Mapping[str, Any]) -> None:
    for key in ("merges", "vocabulary"):
        if key in tokenizer and not Path(tokenizer[key]).is_file():
            raise InputError(f"`tokenizer.{key}` names no file. Received: {tokenizer[key]}. Correct the path.")


def _load_huggingface(folder: Path) -> Vocabulary:
    """Loads vocab.json and merges.txt, which older versions of `transformers` wrote, or else tokenizer.json."""
    vocabulary, merges, tokenizer = (folder / name for name in ("vocab.json", "merges.txt", "tokenizer.json"))
    if vocabulary.is_file() and merges.is_file():
        return read_gpt2_files(vocabulary, merges)
    if not tokenizer.is_file():
        raise InputError(
            f"{folder}: must hold vocab.json and merges.txt, or tokenizer.json, to be a `tokenizer.preset`. Add these "
            "files, or name GPT-2's own files by `tokenizer.vocabulary` and `tokenizer.merges`."
        )
    return read_tokenizer_json(tokenizer)
