"""Files that hold a training's state, written so that no moment of a crash leaves none."""

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

# Changes when what is stored changes its meaning: what older code wrote is then not gone on from.
FORMAT = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class State:
    """What a training needs to go on as if nothing had happened.

    Attributes:
        arrays: Weights, optimizer slots, seeds; by name.
        facts: What callbacks remember; values that JSON can hold.
    """

    arrays: Mapping[str, np.ndarray]
    facts: Mapping[str, Any]


class CheckpointFile:
    """One state at one path.

    A new state is written beside the old one, flushed to the disk and then renamed over it: whatever happens, one of
    the two is there, whole. The file is a NumPy `.npz`; its zip format has a checksum for each array.
    """

    def __init__(self, path: str | Path):
        """The path need not exist, nor its folder."""
        self.path = Path(path)
        self._new = self.path.with_name(self.path.name + ".new")

    def write(self, state: State) -> None:
        """Replaces what is there.

        Raises:
            OSError: The disk is full, or cannot be written; what was there stays.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        facts = json.dumps({"format": FORMAT, **state.facts}, allow_nan=False)
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
        """What is there, or None if there is nothing that can be read; the log then says why."""
        try:
            with np.load(self.path, allow_pickle=False) as stored:
                facts = json.loads(str(stored["facts"]))
                arrays = {name.removeprefix("array "): stored[name] for name in stored.files if name != "facts"}
        except FileNotFoundError:
            return None
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
            logging.warning("The checkpoint %s cannot be read (%s): training begins anew.", self.path, error)
            return None
        if facts.pop("format", None) != FORMAT:
            logging.warning("The checkpoint %s is of another version: training begins anew.", self.path)
            return None
        return State(arrays=arrays, facts=facts)
