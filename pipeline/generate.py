"""Finds a release and opens one of its files for generation."""

from pathlib import Path

from modules.errors import InputError
from modules.generation import LiteRTGenerator, SavedModelGenerator, TextGenerator
from modules.release import MANIFEST, latest_release

TFLITE_FILES = {"tflite-int8": "tflite/model_int8.tflite", "tflite-fp16": "tflite/model_fp16.tflite"}


def find_release(workspace: Path) -> Path:
    """The newest release of all pipelines of a workspace.

    Raises:
        InputError: If there is none.
    """
    found = [latest_release(folder) for folder in workspace.glob("*/releases")]
    releases = [release for release in found if release is not None]
    if not releases:
        raise InputError(
            f"no release in {workspace}; run `make run` first, or name one: --release DIR, or another --workspace."
        )
    return max(releases, key=lambda release: int(release.name))


def open_generator(release: Path, format: str) -> TextGenerator:
    """Opens a release's `saved_model`, `tflite-int8` or `tflite-fp16`.

    Raises:
        InputError: If the folder is not a release or has no such file.
    """
    if not (release / MANIFEST).is_file():
        raise InputError(f"--release must be a folder with a {MANIFEST}. Received: {release}.")
    if format == "saved_model":
        return SavedModelGenerator(str(release))
    return LiteRTGenerator(str(release / TFLITE_FILES[format]), str(release / "tokenizer" / "tokenizer.json"))
