"""Vocabularies that need no training: GPT-2's two files, a keras-hub preset's, or bytes alone."""

import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modules.errors import InputError
from modules.vocabulary import Vocabulary

# All of keras-hub's GPT-2 presets have the vocabulary that OpenAI published.
_GPT2_SIZE = 50257


def load_vocabulary(tokenizer: Mapping[str, Any]) -> Vocabulary:
    """Loads what the configuration's `tokenizer` names.

    Args:
        tokenizer: `{"vocabulary": path, "merges": path}`, `{"preset": name or folder}`, or `{"kind": "byte"}`: the
            256 bytes and <|endoftext|>.

    Raises:
        InputError: If the files or the preset cannot be read.
    """
    if tokenizer.get("kind") == "byte":
        return Vocabulary.from_merges([])
    if "preset" not in tokenizer:
        return Vocabulary.from_gpt2_files(tokenizer["vocabulary"], tokenizer["merges"])
    import keras_hub

    preset = tokenizer["preset"]
    try:
        gpt2_tokenizer = keras_hub.tokenizers.GPT2Tokenizer.from_preset(preset)
    except (ValueError, OSError) as error:
        raise InputError(
            f"cannot load the tokenizer of the preset {preset!r}: {error}. Name a keras-hub GPT-2 preset, e.g. "
            "gpt2_base_en (downloaded once; needs the network), or a folder with its files; or give GPT-2's own "
            "`vocabulary` and `merges`."
        ) from error
    with tempfile.TemporaryDirectory() as folder:
        gpt2_tokenizer.save_assets(folder)
        return Vocabulary.from_gpt2_files(Path(folder, "vocabulary.json"), Path(folder, "merges.txt"))


def fingerprint(tokenizer: Mapping[str, Any]) -> str:
    """SHA-256 over the files that the tokenizer comes from; a downloaded preset's name says it all.

    Raises:
        InputError: If a file is missing.
    """
    digest = hashlib.sha256()
    for key, value in sorted(tokenizer.items()):
        path = Path(str(value))
        digest.update(f"{key}={value};".encode())
        if path.is_dir():
            for file in sorted(path.rglob("*")):
                digest.update(file.read_bytes() if file.is_file() else b"")
        elif path.is_file():
            digest.update(path.read_bytes())
        elif key in ("vocabulary", "merges"):
            raise InputError(f"`tokenizer.{key}` names no file. Received: {value}.")
    return digest.hexdigest()


def check_preset(preset: str, setting: str) -> None:
    """Makes sure that a preset spelled as a folder is one; plain names and `kaggle://…`, `hf://…` are keras-hub's.

    Raises:
        InputError: There is no such folder.
    """
    if "/" in preset and "://" not in preset and not Path(preset).is_dir():
        raise InputError(f"`{setting}` names no folder. Received: {preset}.")


def check_fits(tokenizer: Mapping[str, Any], model_preset: str | None) -> None:
    """Makes sure, without loading TensorFlow, that a model that is there knows the tokenizer's tokens.

    Args:
        tokenizer: What the configuration's `tokenizer` names.
        model_preset: Name or folder of a keras-hub preset; None: the model is built to fit.

    Raises:
        InputError: The sizes differ, or a vocabulary's files are wrong.
    """
    tokens = _tokenizer_size(tokenizer)
    if model_preset is None or tokens is None:
        return
    expected = _preset_size(model_preset)
    if expected is not None and tokens != expected:
        raise InputError(
            f"the tokenizer must have the model's vocabulary. Received: {tokens:,} tokens, and {expected:,} in the "
            f"preset {model_preset}. Use the preset's own: `tokenizer: {{preset: {model_preset}}}`."
        )


def _tokenizer_size(tokenizer: Mapping[str, Any]) -> int | None:
    if "vocabulary" in tokenizer:
        return Vocabulary.from_gpt2_files(tokenizer["vocabulary"], tokenizer["merges"]).size
    if "preset" not in tokenizer:
        return None  # trained or bytes: the configuration refuses these with a preset
    check_preset(tokenizer["preset"], "tokenizer.preset")
    files = Path(tokenizer["preset"], "assets", "tokenizer")
    if files.is_dir():
        return Vocabulary.from_gpt2_files(files / "vocabulary.json", files / "merges.txt").size
    return None if "/" in tokenizer["preset"] else _GPT2_SIZE


def _preset_size(preset: str) -> int | None:
    folder = Path(preset)
    if not folder.is_dir():
        return None if "/" in preset else _GPT2_SIZE
    try:
        return int(json.loads((folder / "config.json").read_text(encoding="utf-8"))["config"]["vocabulary_size"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"the preset {preset} must hold a config.json of a keras-hub GPT-2 backbone. Received: {error!r}."
        ) from None
