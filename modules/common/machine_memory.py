"""Memory of this machine, or of the container in which the process runs."""

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path


@dataclasses.dataclass(frozen=True, kw_only=True)
class MachineMemory:
    """Memory that this process can use, in bytes.

    Attributes:
        available: Main memory that is free or that other programs' caches give back.
        total: Main memory, of which other programs use a part, and swap.
    """

    available: int
    total: int


def read_memory(root: Path = Path("/")) -> MachineMemory | None:
    """Returns the memory of the machine and of the process's cgroups; None where neither is known.

    Containers limit memory by cgroups: `memory.max` in version 2, `memory.limit_in_bytes` in version 1. The smallest
    limit of the process's own cgroup and those above it counts, as main memory.

    Args:
        root: Folder of `proc` and `sys`.
    """
    # /proc/meminfo counts in units of 1,024 bytes.
    kib = {name: int(value.split()[0]) for name, value in _pairs(root / "proc/meminfo")}
    physical = kib["MemTotal"] * 1024 if "MemTotal" in kib else _physical_bytes()
    if physical is None:
        return None
    limited = min([physical, *_limits(root)])
    available = kib["MemAvailable"] * 1024 if "MemAvailable" in kib else physical
    return MachineMemory(available=min(available, limited), total=limited + kib.get("SwapTotal", 0) * 1024)


def _pairs(path: Path) -> list[tuple[str, str]]:
    """Returns `name: number` of each line of a file; nothing if the file cannot be read."""
    lines = _read(path).splitlines()
    pairs = [(name, value) for name, separator, value in (line.partition(":") for line in lines) if separator]
    return [(name, value) for name, value in pairs if value.split() and value.split()[0].isdecimal()]


def _physical_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):  # a system without these names
        return None


def _limits(root: Path) -> Iterator[int]:
    """Yields the memory limits of the process's cgroup and of the cgroups above it."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        number, controllers, own = line.split(":", 2)
        if number == "0":
            folder, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            folder, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        # In a container, the host's path may not exist below the folder, which is then the container's own cgroup.
        cgroup = Path(own.lstrip("/"))
        for part in (cgroup, *cgroup.parents):
            limit = _read(folder / part / name).strip()
            if limit.isdecimal():  # without a limit it is `max`
                yield int(limit)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
