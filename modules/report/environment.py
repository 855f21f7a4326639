"""The software and the machine of a run."""

import importlib.metadata
import os
import platform
from pathlib import Path

from modules.common.files import file_facts

LOCK = Path(__file__).parents[2] / "uv.lock"
PACKAGES = {
    "TFX": "tfx",
    "TensorFlow": "tensorflow",
    "Keras": "keras",
    "keras-hub": "keras-hub",
    "LiteRT": "ai-edge-litert",
}


def describe_environment(lock: Path = LOCK) -> dict[str, str]:
    """Returns versions, the number of processors and the SHA-256 of the lock, by name.

    `{"Python": "3.11.7", "TFX": "1.21.0", …, "Processors": "2", "uv.lock": "sha256 5f1d…"}`
    """
    return {
        "Python": platform.python_version(),
        **{name: _version(distribution) for name, distribution in PACKAGES.items()},
        "System": f"{platform.system()} on {platform.machine()}",
        "Processors": str(os.cpu_count() or "unknown"),
        lock.name: f"sha256 {file_facts(lock)['sha256']}" if lock.is_file() else "not found next to the code",
    }


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
