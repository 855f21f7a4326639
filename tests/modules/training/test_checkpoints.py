"""Trainings that are killed, ended, and robbed of their disk: in processes of their own, for real."""

import multiprocessing
import random
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest

from modules.training.settings import TrainingSettings
from tests.toys.training import SETTINGS, changed, train_in_folder

# The server has imported TensorFlow when it forks: a process starts in no time.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.toys.training"])


def start(folder: Path, settings: TrainingSettings) -> BaseProcess:
    folder.mkdir(exist_ok=True)
    process = FORKS.Process(target=train_in_folder, args=(str(folder), settings))
    process.start()
    return process


def steps_taken(folder: Path) -> list[int]:
    path = folder / "steps"
    return [int(line) for line in path.read_text().splitlines()] if path.exists() else []


def wait_for_steps(folder: Path, count: int, process: BaseProcess) -> None:
    while len(steps_taken(folder)) < count:
        assert process.is_alive(), "the training ended before it was to be killed"
        time.sleep(0.002)


def finish(folder: Path, settings: TrainingSettings) -> dict[str, np.ndarray]:
    process = start(folder, settings)
    process.join()
    assert process.exitcode == 0
    with np.load(folder / "weights.npz") as weights:
        return dict(weights)


def assert_same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], strict=True)


# 40 windows in batches of 4: an epoch has 10 steps. Every step is saved, so kills hit the writing too.
KILLED = changed(SETTINGS, steps=200, checkpoint_seconds=0, restore_best=True, evaluate_every=7)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    return finish(tmp_path_factory.mktemp("whole"), KILLED)


def test_ten_kills_change_no_bit(tmp_path: Path, uninterrupted: dict[str, np.ndarray]) -> None:
    moments = random.Random(0)
    for _ in range(10):
        taken = len(steps_taken(tmp_path))
        process = start(tmp_path, KILLED)
        wait_for_steps(tmp_path, taken + moments.randint(1, 12), process)
        time.sleep(moments.uniform(0, 0.03))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    assert_same(finish(tmp_path, KILLED), uninterrupted)
    steps = steps_taken(tmp_path)
    assert sorted(set(steps)) == list(range(1, 201))
    assert len(steps) <= 200 + 10  # a kill costs at most the step whose state was being written


def test_sigterm_saves_and_ends(tmp_path: Path, uninterrupted: dict[str, np.ndarray]) -> None:
    settings = changed(KILLED, checkpoint_seconds=3600)
    process = start(tmp_path, settings)
    wait_for_steps(tmp_path, 15, process)
    process.terminate()
    process.join()
    assert process.exitcode == 1  # by an exception, not by the signal
    assert len(list((tmp_path / "checkpoints").iterdir())) == 1
    assert_same(finish(tmp_path, settings), uninterrupted)
    assert steps_taken(tmp_path) == list(range(1, 201))  # none lost, none twice


def test_a_training_that_was_done_is_not_done_again(tmp_path: Path) -> None:
    settings = changed(SETTINGS, steps=3)
    once = finish(tmp_path, settings)
    assert_same(finish(tmp_path, settings), once)
    assert steps_taken(tmp_path) == [1, 2, 3]


def test_same_seed_same_weights_in_another_process(tmp_path: Path) -> None:
    settings = changed(SETTINGS, steps=5, batch_size=4, micro_batches=2, label_smoothing=0.1)
    once, again = (finish(tmp_path / name, settings) for name in ("once", "again"))
    assert_same(once, again)
    other = finish(tmp_path / "other", changed(settings, seed=1))
    assert any(not np.array_equal(once[name], other[name]) for name in once)
