"""The memory of the machine, with the limits of containers."""

from pathlib import Path

from modules.common.machine_memory import MachineMemory, read_memory

MEMINFO = "MemTotal:  1000 kB\nMemFree:  100 kB\nMemAvailable:  600 kB\nSwapTotal:  50 kB\nHugePages_Total: 0\n"


def machine(root: Path, *, cgroup: str, limits: dict[str, str]) -> MachineMemory | None:
    """Reads a machine of 1,000 KiB with these files of limits."""
    files = {"proc/meminfo": MEMINFO, "proc/self/cgroup": cgroup}
    files |= {f"sys/fs/cgroup/{name}": limit for name, limit in limits.items()}
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return read_memory(root)


def test_without_limits_it_is_the_memory_of_the_machine(tmp_path: Path) -> None:
    expected = MachineMemory(available=600 * 1024, total=1050 * 1024)
    assert machine(tmp_path, cgroup="0::/\n", limits={"memory.max": "max\n"}) == expected


def test_the_smallest_limit_of_the_cgroups_counts(tmp_path: Path) -> None:
    expected = MachineMemory(available=200 * 1024, total=250 * 1024)
    limits = {"a/b/memory.max": "max\n", "a/memory.max": f"{200 * 1024}\n", "memory.max": f"{300 * 1024}\n"}
    assert machine(tmp_path, cgroup="0::/a/b\n", limits=limits) == expected


def test_the_first_version_of_cgroups_limits_too(tmp_path: Path) -> None:
    # The host's path of a container does not exist inside it.
    limits = {"memory/memory.limit_in_bytes": f"{200 * 1024}\n"}
    expected = MachineMemory(available=200 * 1024, total=250 * 1024)
    assert machine(tmp_path, cgroup="5:cpu:/\n4:memory:/docker/1\n", limits=limits) == expected


def test_this_machine_has_memory() -> None:
    memory = read_memory()
    assert memory is not None
    assert 0 < memory.available <= memory.total
