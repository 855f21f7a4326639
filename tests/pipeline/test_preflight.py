"""Checks of devices and memory before the first node; `test_cli` tests the checks of data and settings."""

import contextlib
import itertools
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from modules.common.errors import InputError
from modules.common.machine_memory import MachineMemory
from pipeline.config import load_config
from pipeline.preflight import check_devices, check_memory
from pipeline.request import RunRequest
from tests.toys.checkout import RECIPE


def test_missing_devices_are_reported_before_any_node_runs(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE)

    def check(devices: str, **changes: str) -> None:
        config = load_config(tmp_path / "recipe.yaml", [f"training.devices={devices}"])
        check_devices(RunRequest(config=config, run_id="1", **changes))

    with pytest.raises(
        InputError, match=r"needs at least two GPUs of this machine. Received: .* Take `devices: auto`"
    ) as refused:
        check("mirrored")
    assert "start after the Trainer: `--from-node LatestBlessedModel`." in str(refused.value)
    with pytest.raises(InputError, match="needs workers that run only the Trainer"):
        check("multi_worker")
    check("auto")
    # A run that trains nothing needs no devices.
    check("mirrored", until="data")
    check("mirrored", from_node="LatestBlessedModel")


MIB = 2**20


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str | None]:
    """Returns `check_memory` for the toy recipe with changes, on a machine of some MiB without swap or GPU."""
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    monkeypatch.setattr("pipeline.preflight._GPU_FILES", ())

    def checked(*changes: str, mib: int, **request: str) -> str | None:
        machine = MachineMemory(available=mib * MIB, total=mib * MIB)
        monkeypatch.setattr("modules.common.machine_memory.read_memory", lambda: machine)
        config = load_config(tmp_path / "recipe.yaml", list(changes))
        return check_memory(RunRequest(config=config, run_id="1", **request))

    return checked


LARGE = ("training.batch_size=1024", "model.context_length=1024")


def test_sizes_that_do_not_fit_are_refused_with_the_cure(check: Callable[..., str | None]) -> None:
    with pytest.raises(InputError, match=r"memory of this machine, 1.0 GB with swap. Received: sizes that need about"):
        check(*LARGE, mib=1000)
    with pytest.raises(InputError, match=r"Use a smaller `training.batch_size` or `model.context_length`, more"):
        check(*LARGE, mib=1000)
    with pytest.raises(InputError, match=r"more than 1,000,000,000 GB. Use a smaller model, or a machine with more"):
        check("model.hidden_dim=1000000000", "model.num_heads=1", mib=1000)
    # A run that trains nothing needs no memory for it.
    assert check(*LARGE, mib=1000, until="data") is None
    assert check(*LARGE, mib=1000, from_node="LatestBlessedModel") is None


def test_a_tight_fit_is_a_warning(check: Callable[..., str | None]) -> None:
    mib = next(mib for mib in itertools.count(1) if passes(check, mib))
    warning = check(mib=mib)
    assert warning is not None
    assert warning.startswith("training needs about 0.")
    assert " GB of memory is available. Use a smaller " in warning
    assert check(mib=2 * mib) is None


def passes(check: Callable[..., str | None], mib: int) -> bool:
    try:
        check(mib=mib)
    except InputError:
        return False
    return True


def test_a_gpu_has_its_own_memory(check: Callable[..., str | None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.preflight._GPU_FILES", ("/dev/null",))
    assert check(*LARGE, mib=1000) is None
    with pytest.raises(InputError, match=r"training must fit into the memory"):
        check(*LARGE, "training.devices=cpu", mib=1000)
    # The batches are made in main memory.
    with pytest.raises(InputError, match=r"training must fit into the memory"):
        check("training.batch_size=1000000000000", mib=1000)


@pytest.mark.parametrize(
    "change", ["training.batch_size", "model.num_layers", "tokenizer.vocabulary_size", "model.hidden_dim"]
)
def test_numbers_of_any_length_take_no_time(check: Callable[..., str | None], change: str) -> None:
    start = time.process_time()
    with contextlib.suppress(InputError):
        check(f"{change}={10**4000}", mib=1000)
    assert time.process_time() - start < 5
