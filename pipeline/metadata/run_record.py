"""Record of the configuration and code of a run, stored in ML Metadata as properties of the run's context."""

import dataclasses
import hashlib
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pipeline.code_fingerprint import LOCK, ROOT
from pipeline.config import PipelineConfig

# Names of the custom properties.
CONFIGURATION, CODE, COMMIT = "configuration", "code", "commit"

# Recipes are no code: the configuration already contains their settings.
_CODE = (
    "modules/**/*.py",
    "modules/report/templates/*",
    "components/**/*.py",
    "pipeline/**/*.py",
    "schemas/*.pbtxt",
    LOCK,
)
_HASH_DIGITS = 12


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunRecord:
    """Configuration and code at the start of a run.

    Attributes:
        configuration: All settings, including defaults, as JSON values.
        code: First digits of the SHA-256 of each code file and of the lock, by path in the checkout.
        commit: Git's commit, with `-dirty` if a tracked file was changed; None outside of a repository.
    """

    configuration: Mapping[str, Any]
    code: Mapping[str, str]
    commit: str | None

    @classmethod
    def of(cls, config: PipelineConfig, root: Path = ROOT) -> Self:
        """Returns the record of a run that starts now with this configuration."""
        return cls(configuration=config.model_dump(mode="json"), code=code_hashes(root), commit=git_commit(root))

    @classmethod
    def from_properties(cls, properties: Mapping[str, Any]) -> Self | None:
        """Reads a record from the properties of `to_properties`; None if the run has no record."""
        if CONFIGURATION not in properties or CODE not in properties:
            return None
        return cls(
            configuration=json.loads(properties[CONFIGURATION]),
            code=json.loads(properties[CODE]),
            commit=properties.get(COMMIT),
        )

    def to_properties(self) -> dict[str, str]:
        """Returns the record as named strings."""
        properties = {CONFIGURATION: json.dumps(self.configuration), CODE: json.dumps(self.code)}
        return properties if self.commit is None else {**properties, COMMIT: self.commit}


def code_hashes(root: Path) -> dict[str, str]:
    """Returns the first digits of the SHA-256 of each code file, by its path relative to `root`, sorted."""
    files = sorted(path for pattern in _CODE for path in root.glob(pattern))
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()[:_HASH_DIGITS]
        for path in files
    }


def git_commit(root: Path) -> str | None:
    """Returns git's commit of a checkout, `0123456789ab` or `0123456789ab-dirty`; None if there is none."""
    # Otherwise git would describe a repository in a parent folder, of which this copy is no part.
    if not (root / ".git").exists():
        return None
    command = ["git", "describe", "--always", "--dirty", f"--abbrev={_HASH_DIGITS}", "--exclude=*"]
    try:
        described = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):  # no git here, no commit yet, a checkout of another user
        return None
    return described.stdout.strip()
