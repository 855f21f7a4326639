"""Verification of a release: its files are those that its manifest lists."""

from collections.abc import Callable

from etils import epath

from modules.common.errors import InputError
from modules.common.files import differing_files, folder_hashes
from modules.release.manifest import MANIFEST, Manifest


def check_files(
    release: epath.PathLike, manifest: Manifest, belongs: Callable[[str], bool] = lambda path: True
) -> None:
    """Checks that a release holds exactly the files that its manifest lists, with the same content.

    Args:
        release: Folder of the release; a path or a URL such as `gs://bucket/x`.
        manifest: Its manifest.
        belongs: Whether to check the file at this path in the release; by default all files are checked.

    Raises:
        InputError: A file was changed, added or removed.
    """
    listed = {path: facts.get("sha256") for path, facts in manifest.files.items() if belongs(path)}
    found = folder_hashes(release, lambda path: path != MANIFEST and belongs(path))
    for path in differing_files(listed, found):
        problem = "is missing" if path not in found else "has other content" if path in listed else "is not listed"
        cure = "Copy the release again from where it was published, or use another one."
        if path not in listed:
            cure = "Remove this file, if nothing needs it."
        raise InputError(
            f"a release must hold exactly the files that its {MANIFEST} lists. Received: {release}, where {path!r} "
            f"{problem}. {cure}"
        )
