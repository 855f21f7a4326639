from pathlib import Path

import pytest

from tests.chaos.kills import KILLS, LOADING, Kill, killed_at, processes, small_checkout
from tests.toys.checkout import Checkout
from tests.toys.processes import wait_until


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder of the system, as the runs see it."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    return small_checkout(tmp_path_factory.mktemp("killed") / "checkout")


# Every signal to all processes, as from a terminal, and SIGKILL to only the command; the long version has all.
@pytest.mark.parametrize(
    "kill", [*KILLS[::2], KILLS[1]], ids=lambda kill: f"{kill.number.name}-{'all' if kill.to_group else 'command'}"
)
def test_every_signal_ends_every_process_of_a_loading_run(checkout: Checkout, temporary: Path, kill: Kill) -> None:
    assert killed_at(checkout, LOADING, 0.5, kill) == LOADING
    assert wait_until(lambda: not processes(checkout), 10)
