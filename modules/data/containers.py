"""Folders and archives in the place of a file: Hugging Face's data sets are read, others are refused with the cure."""

import collections
import itertools
import os
import shlex
import tarfile
import zipfile
from collections.abc import Iterable
from typing import Any

from modules.common.errors import InputError
from modules.common.json_files import parse_file
from modules.data.data_files import COMPRESSED, FILE_KINDS

_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst")
# Names that are looked at for a proposal of a glob.
_NAMES = 1_000
# Files that `datasets.Dataset.save_to_disk` and `datasets.DatasetDict.save_to_disk` write.
_STATE, _SPLITS = "state.json", "dataset_dict.json"


def dataset_files(folder: str) -> list[str] | None:
    """Returns the Arrow files of a folder that Hugging Face's `save_to_disk` wrote, of all its splits.

    Other files, such as the caches of `map`, are not part of the data set. None: it is no such folder.

    Raises:
        InputError: The folder's description is damaged, names no files, or selects only some rows of its files.
    """
    if os.path.isfile(os.path.join(folder, _SPLITS)):
        splits = _described(folder, _SPLITS).get("splits")
        if not isinstance(splits, list) or not splits or not all(map(_is_name, splits)):
            raise _damaged(folder, _SPLITS, "`splits` that names folders")
        found = [(split, dataset_files(os.path.join(folder, split))) for split in splits]
        missing = [split for split, files in found if files is None]
        if missing:
            raise _damaged(folder, _SPLITS, f"the split {missing[0]!r} that it names")
        return [path for _, files in found for path in files or ()]
    if not os.path.isfile(os.path.join(folder, _STATE)):
        return None
    state = _described(folder, _STATE)
    if state.get("_indices_files") or state.get("_indices_data_files"):
        raise InputError(
            f"{folder}: a data set on disk must hold its own rows. Received: a selection of rows of its files. Write "
            "it again in Python with `dataset.flatten_indices().save_to_disk(folder)`."
        )
    files = state.get("_data_files")
    described = [file for file in files if isinstance(file, dict)] if isinstance(files, list) else []
    names = [str(file.get("filename", "")) for file in described]
    if not names or not all(map(_is_name, names)):
        raise _damaged(folder, _STATE, "`_data_files` that names files")
    return [os.path.join(folder, name) for name in names]


def folder_error(folder: str, pattern: str) -> InputError:
    """Returns the error for a folder that is no data set, with a glob of the files that are in it."""
    inside = itertools.chain.from_iterable(files for _, _, files in os.walk(folder))
    ending = _ending(itertools.islice(inside, _NAMES))
    above = any(_ending([name]) == ending for name in itertools.islice(os.listdir(folder), _NAMES))
    glob = os.path.join(pattern.rstrip("/"), f"*{ending or '.txt'}" if above or not ending else f"**/*{ending}")
    return InputError(f"A source names files, not a folder. Received: {pattern}. Write for example {glob}.")


def check_no_archive(path: str) -> None:
    """Checks that a file is not an archive of files, which would have to be unpacked as a whole.

    Raises:
        InputError: It is one; the message has the command that unpacks it and the source to name then.
    """
    ending = next((ending for ending in _ARCHIVES if path.lower().endswith(ending)), None)
    if ending is None:
        return
    folder = path[: -len(ending)] + "-unpacked"
    quoted, target = shlex.quote(path), shlex.quote(folder)
    unpack = f"unzip -q {quoted} -d {target}" if ending == ".zip" else f"mkdir {target} && tar -xf {quoted} -C {target}"
    inside = _ending(_archived_names(path, ending)) or ".jsonl"
    source = shlex.quote(f"data.source={folder}/**/*{inside}")
    raise InputError(
        f"A data file must not be an archive of files. Received: {path}. Unpack it with `{unpack}`, and name the files "
        f"in it with `--set {source}`."
    )


def _archived_names(path: str, ending: str) -> list[str]:
    """Returns the first names in an archive; nothing if it cannot be read here."""
    try:
        if ending == ".zip":
            with zipfile.ZipFile(path) as archive:
                return archive.namelist()[:_NAMES]
        with tarfile.open(path) as tar:
            return [member.name for member in itertools.islice(tar, 20)]
    except (OSError, tarfile.TarError, zipfile.BadZipFile, NotImplementedError, EOFError, ValueError):
        return []


def _ending(names: Iterable[str]) -> str | None:
    """Returns the most frequent ending of data files, e.g. `.jsonl.gz`."""
    endings = [kind + more for kind in FILE_KINDS for more in ("", *COMPRESSED)]
    found = [max((end for end in endings if name.lower().endswith(end)), key=len, default="") for name in names]
    most = collections.Counter(filter(None, found)).most_common(1)
    return most[0][0] if most else None


def _described(folder: str, name: str) -> dict[str, Any]:
    path = os.path.join(folder, name)
    try:
        content = parse_file(path)
    except (OSError, ValueError) as error:
        raise _damaged(folder, name, f"JSON ({str(error).splitlines()[0]})") from error
    if not isinstance(content, dict):
        raise _damaged(folder, name, "a JSON object")
    return content


def _is_name(value: object) -> bool:
    return isinstance(value, str) and value not in ("", ".", "..") and os.path.basename(value) == value


def _damaged(folder: str, name: str, rule: str) -> InputError:
    return InputError(
        f"{os.path.join(folder, name)} must have the content that Hugging Face's `save_to_disk` wrote. Received: a "
        f"file without {rule}. Write the data set again, or name its files: {folder}/data-*.arrow."
    )
