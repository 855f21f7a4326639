"""Publication of a release: one folder that appears complete or not at all."""

import contextlib
import datetime
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from etils import epath

from modules.common.errors import InputError
from modules.common.files import copy_folder, differing_files, flush_to_disk, is_local
from modules.release.manifest import MANIFEST, Manifest, describe_files, latest_release
from modules.release.verification import check_files
from modules.tokenization.vocabulary_files import TABLE_NAME, read_table, write_tokenizer_folder

_INCOMING = ".incoming-"
_VERSION_FORMAT = "%Y%m%d%H%M%S"
_VERSION = re.compile(r"\d{14}")


def publish(
    push_directory: epath.PathLike,
    *,
    saved_model_dir: epath.PathLike,
    tflite_files: Mapping[str, epath.PathLike],
    documents: Mapping[str, epath.PathLike],
    measured: Mapping[str, str],
    facts: Mapping[str, Any],
) -> epath.Path:
    """Assembles a release in a temporary folder and then moves it into place.

    On a local disk the move is one rename. Cloud Storage cannot rename folders, so the files are copied, and the
    manifest is copied last. A folder without a manifest is not a release.

    If the newest release is already this one, nothing is published: a push may have been killed after the rename.
    What earlier pushes left when they were killed is removed.

    Args:
        push_directory: Parent of the release, a path or a URL such as `gs://bucket/path`; created if it is missing.
        saved_model_dir: The SavedModel. Its files become the top level of the release, and its vocabulary is also
            written as `tokenizer/vocabulary.json`, `merges.txt` and `tokenizer.json`.
        tflite_files: Paths of the TFLite files, by their file names in `tflite/`.
        documents: Paths of files for human readers, by their file names at the top level of the release.
        measured: SHA-256 of the files that were measured, by their paths in the release.
        facts: The attributes of `Manifest`, except version, time and files.

    Returns:
        The folder of the release, `<push_directory>/<version>`. The version is the UTC time as `YYYYMMDDhhmmss`,
        because TF Serving reads it as a number.

    Raises:
        InputError: A file has another content than the one that was measured.
        OSError: A file cannot be read or written. In both cases no files of the release remain.
    """
    directory = epath.Path(push_directory)
    directory.mkdir(parents=True, exist_ok=True)
    _remove_remains(directory)
    with _assembly_folder(directory) as assembly:
        copy_folder(epath.Path(saved_model_dir), assembly)
        (assembly / "tflite").mkdir()
        for name, path in tflite_files.items():
            epath.Path(path).copy(assembly / "tflite" / name)
        files = describe_files(assembly)
        _check_measured(files, measured, {"": saved_model_dir, **{f"tflite/{n}": p for n, p in tflite_files.items()}})
        write_tokenizer_folder(read_table(assembly / "assets" / TABLE_NAME), assembly / "tokenizer")
        for name, path in documents.items():
            epath.Path(path).copy(assembly / name)
        created = datetime.datetime.now(datetime.UTC)
        release = _free_version(directory, created)
        manifest = Manifest(
            version=release.name,
            created=created.isoformat(timespec="seconds"),
            files=describe_files(assembly),
            **{"data": {}, **facts},
        )
        newest = latest_release(directory)
        if newest is not None and _describes(manifest, newest):
            return newest
        manifest.write(assembly)
        if is_local(directory):
            # Without this, a power cut after the rename could leave a release with empty files.
            for path in [*assembly.rglob("*"), assembly]:
                flush_to_disk(path)
            assembly.rename(release)
        else:
            _upload(assembly, release)
    return release


def _describes(manifest: Manifest, release: epath.Path) -> bool:
    with contextlib.suppress(InputError):  # the release is damaged
        published = Manifest.read(release)
        check_files(release, published)
        return manifest.describes_the_same_as(published)
    return False


def _check_measured(
    files: Mapping[str, Mapping[str, Any]], measured: Mapping[str, str], sources: Mapping[str, epath.PathLike]
) -> None:
    """Checks that the files of a release are exactly those that were measured.

    Args:
        files: The files of the release, as in its manifest.
        measured: See `publish`.
        sources: Where a file comes from, by its path in the release; "" is where all others come from.
    """
    for path in differing_files(measured, {path: facts["sha256"] for path, facts in files.items()}):
        source = sources.get(path, sources[""])
        raise InputError(
            f"a release must hold exactly the files that were measured. Received: {path}, which changed after its "
            f"evaluation. Delete the artifact of which {source} is a part, and run again without `--from-node`."
        )


def _remove_remains(push_directory: epath.Path) -> None:
    """Removes what killed pushes left: temporary folders and, in Cloud Storage, incomplete uploads of past days."""
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    for path in push_directory.iterdir():
        if path.name.startswith(_INCOMING):
            path.rmtree()
        # On a disk, a release appears complete by one rename, so other folders are not ours.
        elif is_local(push_directory) or not _is_version_before(path.name, yesterday):
            continue
        elif not (path / MANIFEST).exists():
            path.rmtree()


def _is_version_before(name: str, time: datetime.datetime) -> bool:
    return _VERSION.fullmatch(name) is not None and name < time.strftime(_VERSION_FORMAT)


@contextlib.contextmanager
def _assembly_folder(push_directory: epath.Path) -> Iterator[Path]:
    """Creates a temporary local folder and removes it at the end, unless it was renamed.

    The folder is in the push directory if that is local, because a rename needs the same disk.
    """
    parent = Path(push_directory) if is_local(push_directory) else Path(tempfile.gettempdir())
    assembly = parent / f"{_INCOMING}{uuid.uuid4().hex}"
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
    while (push_directory / created.strftime(_VERSION_FORMAT)).exists():
        created += datetime.timedelta(seconds=1)
    return push_directory / created.strftime(_VERSION_FORMAT)
