"""One release is one folder that appears whole or not at all."""

import datetime
import json
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modules.common.files import file_facts, flush_to_disk
from modules.tokenization.vocabulary import Vocabulary
from modules.tokenization.vocabulary_files import write_tokenizer_folder

MANIFEST = "manifest.json"


def publish(
    push_directory: Path,
    *,
    saved_model_dir: Path,
    tflite_files: Mapping[str, Path],
    vocabulary: Vocabulary,
    documents: Mapping[str, Path],
    facts: Mapping[str, Any],
) -> Path:
    """Assembles a release aside, then renames it into place.

    Args:
        push_directory: Parent of the release; created if need be.
        saved_model_dir: The SavedModel, which becomes the release's own top level.
        tflite_files: File name under `tflite/` to the file.
        vocabulary: Written as `tokenizer/vocabulary.json`, `merges.txt` and `tokenizer.json`.
        documents: File name at the top level to the file: what a reader wants to know.
        facts: What the manifest tells besides the files.

    Returns:
        The release, `<push_directory>/<version>`; the version is the UTC time as `YYYYMMDDhhmmss`, which TF Serving
        reads as a number.

    Raises:
        OSError: If a file cannot be read or written; nothing is left behind then.
    """
    push_directory.mkdir(parents=True, exist_ok=True)
    aside = push_directory / f".incoming-{uuid.uuid4().hex}"
    try:
        shutil.copytree(saved_model_dir, aside)
        (aside / "tflite").mkdir()
        for name, path in tflite_files.items():
            shutil.copyfile(path, aside / "tflite" / name)
        write_tokenizer_folder(vocabulary, aside / "tokenizer")
        for name, path in documents.items():
            shutil.copyfile(path, aside / name)
        created = datetime.datetime.now(datetime.UTC)
        release = _free_version(push_directory, created)
        manifest = {
            "version": release.name,
            "created": created.isoformat(timespec="seconds"),
            **facts,
            "files": describe_files(aside),
        }
        (aside / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        # Else a power cut after the rename could leave a release with empty files.
        for path in [*Path(aside).rglob("*"), aside]:
            flush_to_disk(path)
        aside.rename(release)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return release


def describe_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Maps every file's path below the folder to its `sha256` and `size_bytes`."""
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): file_facts(path) for path in files}


def directory_id(push_directory: Path) -> str:
    """Names the life of a push directory; it is kept in the directory, and so ends with it."""
    path = push_directory / ".id"
    if not path.is_file():
        push_directory.mkdir(parents=True, exist_ok=True)
        path.write_text(uuid.uuid4().hex, encoding="utf-8")
    return path.read_text(encoding="utf-8")


def latest_release(push_directory: Path) -> Path | None:
    """The newest release in a push directory, or None."""
    if not push_directory.is_dir():
        return None
    releases = [path for path in push_directory.iterdir() if path.name.isdigit() and (path / MANIFEST).is_file()]
    return max(releases, key=lambda path: int(path.name), default=None)


def _free_version(push_directory: Path, created: datetime.datetime) -> Path:
    while (push_directory / created.strftime("%Y%m%d%H%M%S")).exists():
        created += datetime.timedelta(seconds=1)
    return push_directory / created.strftime("%Y%m%d%H%M%S")
