"""Fixtures for one real run of the pipeline, which all tests of its results share, and the order of the tests."""

from pathlib import Path
from pydoc_data import topics

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from tests.toys.checkout import RECIPE, Checkout, FinishedRun, copy_project

# No time limits: the machine may be busy with other work.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

# Tests run in two processes (pytest-xdist), each file in one of them; these share one `first_run`, so all in the same.
# xdist's own `--dist loadgroup` would do, but pytest 9.2 computes a test's `nodeid` and so ignores the group that
# xdist 3.8 writes behind it; and the process that schedules knows no more of a test than this id.
SHARE_THE_RUN = (
    "tests/pipeline/console/test_comparison.py",
    "tests/pipeline/metadata/test_reader.py",
    "tests/pipeline/test_release.py",
    "tests/pipeline/test_run.py",
    "tests/test_notebooks.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first, so that no process is left with it at the end."""
    strangers = [item.nodeid for item in items if "first_run" in item.fixturenames and not shares_the_run(item.nodeid)]
    assert not strangers, f"files with `first_run` must stand in SHARE_THE_RUN: {strangers}"
    items.sort(key=lambda item: (not shares_the_run(item.nodeid), not item.nodeid.startswith("tests/pipeline/")))


def shares_the_run(nodeid: str) -> bool:
    return nodeid.startswith(SHARE_THE_RUN)


class Scheduling(LoadFileScheduling):
    """By file, with SHARE_THE_RUN as if it were one file."""

    def _split_scope(self, nodeid: str) -> str:
        return "first_run" if shares_the_run(nodeid) else super()._split_scope(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    return Scheduling(config, log)


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    folder = copy_project(tmp_path_factory.mktemp("checkout"), RECIPE)
    names = sorted(topics.topics)
    for number, half in enumerate((names[::2], names[1::2])):
        text = "\n\n".join(topics.topics[name] for name in half)
        (folder / "texts" / f"topics_{number}.txt").write_text(text, encoding="utf-8")
    return Checkout(folder)


@pytest.fixture(scope="session")
def first_run(checkout: Checkout) -> FinishedRun:
    return checkout.run()


@pytest.fixture(scope="session")
def release(first_run: FinishedRun) -> Path:
    assert first_run.run.release is not None, first_run.output
    return first_run.run.release
