"""Crash-safe files for the state of a training run: one complete file exists at every moment."""

import contextlib
import dataclasses
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from modules.common.files import flush_to_disk

# Version of the stored values. Change it when their meaning changes: then files of older code are ignored.
FORMAT = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class State:
    """The values from which a training run resumes as if it had not been interrupted.

    Attributes:
        arrays: Weights, optimizer slots and seeds, by name.
        facts: Values that callbacks remember; JSON must be able to hold them.
    """

    arrays: Mapping[str, np.ndarray]
    facts: Mapping[str, Any]


class CheckpointFile:
    """A file that holds one state.

    A new state is written next to the old one, flushed to the disk and then renamed over it. So one of the two states
    is complete at every moment. The file is a NumPy `.npz`; its zip format has a checksum for each array.
    """

    def __init__(self, path: str | Path):
        """Sets the path; the file and its folder do not have to exist."""
        self.path = Path(path)
        self._new = self.path.with_name(self.path.name + ".new")

    def write(self, state: State) -> None:
        """Replaces the stored state.

        Raises:
            OSError: If the disk is full, or cannot be written; the old state is kept.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        facts = json.dumps({"format": FORMAT, "names": sorted(state.arrays), **state.facts}, allow_nan=False)
        try:
            with open(self._new, "wb") as file:
                arrays = {f"array {name}": array for name, array in state.arrays.items()}
                np.savez(file, allow_pickle=False, facts=np.array(facts), **arrays)
                file.flush()
                os.fsync(file.fileno())
            os.replace(self._new, self.path)
        except OSError:
            with contextlib.suppress(OSError):
                self._new.unlink()
            raise
        flush_to_disk(self.path.parent)

    def read(self) -> State | None:
        """Returns the stored state, or None if the file is missing or unreadable; the log states what is unreadable."""
        try:
            with np.load(self.path, allow_pickle=False) as stored:
                facts = json.loads(str(stored["facts"]))
                arrays = {name.removeprefix("array "): stored[name] for name in stored.files if name != "facts"}
        except FileNotFoundError:
            return None
        except (OSError, EOFError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile) as error:
            logging.warning(
                "The checkpoint %s cannot be read (%s): training starts from the beginning.", self.path, error
            )
            return None
        if facts.pop("format", None) != FORMAT:
            logging.warning("The checkpoint %s is of another version: training starts from the beginning.", self.path)
            return None
        if facts.pop("names") != sorted(arrays):  # the zip format has no checksum of its list of files
            logging.warning("The checkpoint %s is damaged: training starts from the beginning.", self.path)
            return None
        return State(arrays=arrays, facts=facts)
