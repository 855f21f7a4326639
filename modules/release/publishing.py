"""Publication of a release: one folder that appears complete or not at all."""

import contextlib
import datetime
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from etils import epath

from modules.common.files import copy_folder, flush_to_disk, is_local
from modules.release.manifest import MANIFEST, Manifest, describe_files
from modules.tokenization.vocabulary import Vocabulary
from modules.tokenization.vocabulary_files import write_tokenizer_folder


def publish(
    push_directory: epath.PathLike,
    *,
    saved_model_dir: epath.PathLike,
    tflite_files: Mapping[str, epath.PathLike],
    vocabulary: Vocabulary,
    documents: Mapping[str, epath.PathLike],
    facts: Mapping[str, Any],
) -> epath.Path:
    """Assembles a release in a temporary folder and then moves it into place.

    On a local disk this is one rename. Cloud Storage cannot rename folders: the files are copied there, the manifest
    last. Without a manifest, a folder is not a release.

    Args:
        push_directory: Parent of the release, a path or a URL such as `gs://bucket/path`; created if it is missing.
        saved_model_dir: The SavedModel, which becomes the release's own top level.
        tflite_files: File name under `tflite/` to the file.
        vocabulary: Written as `tokenizer/vocabulary.json`, `merges.txt` and `tokenizer.json`.
        documents: File name at the top level to the file, for human readers.
        facts: The attributes of `Manifest` besides version, time and files.

    Returns:
        The release, `<push_directory>/<version>`; the version is the UTC time as `YYYYMMDDhhmmss`, which TF Serving
        reads as a number.

    Raises:
        OSError: A file cannot be read or written. Nothing is left behind.
    """
    directory = epath.Path(push_directory)
    directory.mkdir(parents=True, exist_ok=True)
    with _folder_aside(directory) as aside:
        copy_folder(epath.Path(saved_model_dir), aside)
        (aside / "tflite").mkdir()
        for name, path in tflite_files.items():
            epath.Path(path).copy(aside / "tflite" / name)
        write_tokenizer_folder(vocabulary, aside / "tokenizer")
        for name, path in documents.items():
            epath.Path(path).copy(aside / name)
        created = datetime.datetime.now(datetime.UTC)
        release = _free_version(directory, created)
        Manifest(
            version=release.name,
            created=created.isoformat(timespec="seconds"),
            files=describe_files(aside),
            **{"data": {}, **facts},
        ).write(aside)
        if is_local(directory):
            # Otherwise a power cut after the rename could leave a release with empty files.
            for path in [*aside.rglob("*"), aside]:
                flush_to_disk(path)
            aside.rename(release)
        else:
            _upload(aside, release)
    return release


@contextlib.contextmanager
def _folder_aside(push_directory: epath.Path) -> Iterator[Path]:
    """Creates a local folder, on the disk of a local push directory. Removes it at the end, unless it was renamed."""
    parent = Path(push_directory) if is_local(push_directory) else Path(tempfile.gettempdir())
    aside = parent / f".incoming-{uuid.uuid4().hex}"
    aside.mkdir()
    try:
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _upload(aside: Path, release: epath.Path) -> None:
    """Copies a release into Cloud Storage, its manifest last."""
    manifest = aside.with_name(f"{aside.name}.json")
    (aside / MANIFEST).rename(manifest)
    try:
        copy_folder(epath.Path(aside), release)
        epath.Path(manifest).copy(release / MANIFEST)
    except BaseException:
        release.rmtree(missing_ok=True)
        raise
    finally:
        manifest.unlink()


def _free_version(push_directory: epath.Path, created: datetime.datetime) -> epath.Path:
    while (push_directory / created.strftime("%Y%m%d%H%M%S")).exists():
        created += datetime.timedelta(seconds=1)
    return push_directory / created.strftime("%Y%m%d%H%M%S")
