"""Checks of devices before the first node; `test_cli` tests the checks of data and settings."""

from pathlib import Path

import pytest

from modules.common.errors import InputError
from pipeline.config import load_config
from pipeline.preflight import check_devices
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
