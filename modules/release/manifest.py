"""The manifest of a release, `manifest.json`. It describes the release and marks its folder as complete."""

import dataclasses
import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import pydantic
from etils import epath

from modules.common.errors import InputError
from modules.common.files import file_facts
from modules.data.prompt_templates import TEMPLATES, PromptTemplate

MANIFEST = "manifest.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """The description of one release, the content of `manifest.json`.

    Attributes:
        version: Name of the release's folder, the UTC time as `YYYYMMDDhhmmss`.
        created: The same time in ISO 8601.
        pipeline: Name of the pipeline.
        run: Id of its run in ML Metadata.
        metrics: Figures that the Evaluator measured, by name.
        gate: Settings of the gates.
        data: Facts about the text, such as its fingerprint and the template of its prompts.
        mlmd: `artifact_ids`, which maps names to ids in ML Metadata: the artifacts that the release was made from.
        tflite: Figures of every TFLite file by precision, including files that were not released.
        files: `sha256` and `size_bytes` of every file except the manifest. The keys are paths relative to the release,
            with `/`.
    """

    version: str = ""
    created: str = ""
    pipeline: str = ""
    run: str = ""
    metrics: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    gate: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    data: Mapping[str, Any]
    mlmd: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    tflite: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    files: Mapping[str, Mapping[str, Any]]

    def write(self, folder: epath.PathLike) -> None:
        """Writes the manifest into the folder of a release."""
        epath.Path(folder, MANIFEST).write_text(_as_json(self), encoding="utf-8")

    def describes_the_same_as(self, published: "Manifest") -> bool:
        """Returns whether two manifests differ only in version, time and run."""
        without_names = (
            dataclasses.replace(manifest, version="", created="", run="") for manifest in (self, published)
        )
        return len({_as_json(manifest) for manifest in without_names}) == 1

    @classmethod
    def read(cls, folder: epath.PathLike) -> Self:
        """Reads the manifest of a release. Unknown keys, which other versions may write, are ignored.

        Raises:
            InputError: The folder is not a release.
        """
        try:
            return pydantic.TypeAdapter(cls).validate_json(epath.Path(folder, MANIFEST).read_bytes())
        except (OSError, ValueError):
            raise InputError(
                f"a release must be a folder with a {MANIFEST}. Received: {folder}, where this file is missing or does "
                "not describe a release. Use a folder such as workspace/<name>/releases/<version>."
            ) from None


def _as_json(manifest: Manifest) -> str:
    # Sorted, because the order of TFX's inputs differs between runs.
    return json.dumps(dataclasses.asdict(manifest), indent=2, sort_keys=True) + "\n"


def describe_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Returns `sha256` and `size_bytes` of every file in a local folder, by path relative to the folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): file_facts(path) for path in files}


def directory_id(push_directory: epath.PathLike) -> str:
    """Returns the id of a push directory; creates and stores the id if the directory has none.

    A directory that was deleted and created again has a new id.
    """
    path = epath.Path(push_directory, ".id")
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(uuid.uuid4().hex, encoding="utf-8")
    return path.read_text(encoding="utf-8")


def latest_release(push_directory: epath.PathLike) -> epath.Path | None:
    """Returns the newest release in a push directory, or None."""
    directory = epath.Path(push_directory)
    if not directory.is_dir():
        return None
    releases = [path for path in directory.iterdir() if path.name.isdigit() and (path / MANIFEST).is_file()]
    return max(releases, key=lambda path: int(path.name), default=None)


def find_release(workspace: Path) -> epath.Path:
    """Returns the newest release of all pipelines in a workspace.

    Raises:
        InputError: The workspace holds no release.
    """
    found = [latest_release(folder) for folder in workspace.glob("*/releases")]
    releases = [release for release in found if release is not None]
    if not releases:
        raise InputError(
            f"a workspace must hold a release. Received: {workspace}, which holds no release. Run `make run` first, or "
            "use --release or another --workspace."
        )
    return max(releases, key=lambda release: int(release.name))


def prompt_template(release: epath.PathLike) -> PromptTemplate | None:
    """Returns the template that a release's model was trained with; None for a model of plain text.

    Raises:
        InputError: The folder is not a release, or this version does not have its template.
    """
    name = Manifest.read(release).data.get("prompt_template")
    if name is not None and (not isinstance(name, str) or name not in TEMPLATES):
        raise InputError(
            f"{epath.Path(release, MANIFEST)}: `prompt_template` must be one of {', '.join(TEMPLATES)}. "
            f"Received: {name!r}. Use a newer version of this project, or --raw to use the prompt without a template."
        )
    return TEMPLATES[name] if name else None
