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

    On a local disk the move is one rename. Cloud Storage cannot rename folders, so the files are copied, and the
    manifest is copied last. A folder without a manifest is not a release.

    Args:
        push_directory: Parent of the release, a path or a URL such as `gs://bucket/path`; created if it is missing.
        saved_model_dir: The SavedModel. Its files become the top level of the release.
        tflite_files: Paths of the TFLite files, by their file names in `tflite/`.
        vocabulary: The vocabulary; written as `tokenizer/vocabulary.json`, `merges.txt` and `tokenizer.json`.
        documents: Paths of files for human readers, by their file names at the top level of the release.
        facts: The attributes of `Manifest`, except version, time and files.

    Returns:
        The folder of the release, `<push_directory>/<version>`. The version is the UTC time as `YYYYMMDDhhmmss`,
        because TF Serving reads it as a number.

    Raises:
        OSError: A file cannot be read or written. In this case no files of the release remain.
    """
    directory = epath.Path(push_directory)
    directory.mkdir(parents=True, exist_ok=True)
    with _assembly_folder(directory) as assembly:
        copy_folder(epath.Path(saved_model_dir), assembly)
        (assembly / "tflite").mkdir()
        for name, path in tflite_files.items():
            epath.Path(path).copy(assembly / "tflite" / name)
        write_tokenizer_folder(vocabulary, assembly / "tokenizer")
        for name, path in documents.items():
            epath.Path(path).copy(assembly / name)
        created = datetime.datetime.now(datetime.UTC)
        release = _free_version(directory, created)
        Manifest(
            version=release.name,
            created=created.isoformat(timespec="seconds"),
            files=describe_files(assembly),
            **{"data": {}, **facts},
        ).write(assembly)
        if is_local(directory):
            # Without this, a power cut after the rename could leave a release with empty files.
            for path in [*assembly.rglob("*"), assembly]:
                flush_to_disk(path)
            assembly.rename(release)
        else:
            _upload(assembly, release)
    return release


@contextlib.contextmanager
def _assembly_folder(push_directory: epath.Path) -> Iterator[Path]:
    """Creates a temporary local folder and removes it at the end, unless it was renamed.

    The folder is in the push directory if that is local, because a rename needs the same disk.
    """
    parent = Path(push_directory) if is_local(push_directory) else Path(tempfile.gettempdir())
    assembly = parent / f".incoming-{uuid.uuid4().hex}"
    assembly.mkdir()
    try:
        yield assembly
    finally:
        shutil.rmtree(assembly, ignore_errors=True)


def _upload(assembly: Path, release: epath.Path) -> None:
    """Copies a release to Cloud Storage, with its manifest last."""
    manifest = assembly.with_name(f"{assembly.name}.json")
    (assembly / MANIFEST).rename(manifest)
    try:
        copy_folder(epath.Path(assembly), release)
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
