"""Training runs that are killed or stopped, each in its own process."""

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

# The fork server imports TensorFlow once, so that each new process starts at once.
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
        assert process.is_alive(), "the training run ended before the test could stop it"
        time.sleep(0.002)


def finish(folder: Path, settings: TrainingSettings) -> dict[str, np.ndarray]:
    process = start(folder, settings)
    process.join()
    assert process.exitcode == 0
    with np.load(folder / "weights.npz") as weights:
        return dict(weights)


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, array in found.items():
        np.testing.assert_array_equal(array, expected[name], strict=True)


# 40 windows in batches of 4: an epoch has 10 steps. Every step is saved, so some kills interrupt the saving.
KILLED = changed(SETTINGS, steps=200, checkpoint_seconds=0, restore_best=True, evaluate_every=7)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    return finish(tmp_path_factory.mktemp("whole"), KILLED)


def test_ten_kills_do_not_change_a_bit_of_the_result(tmp_path: Path, uninterrupted: dict[str, np.ndarray]) -> None:
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
    assert len(steps) <= 200 + 10  # each kill repeats at most the step whose state was not saved yet


def test_sigterm_saves_the_state_and_stops(tmp_path: Path, uninterrupted: dict[str, np.ndarray]) -> None:
    settings = changed(KILLED, checkpoint_seconds=3600)
    process = start(tmp_path, settings)
    wait_for_steps(tmp_path, 15, process)
    process.terminate()
    process.join()
    assert process.exitcode == 1  # an exception ended it, not the signal
    assert len(list((tmp_path / "checkpoints").iterdir())) == 1
    assert_same(finish(tmp_path, settings), uninterrupted)
    assert steps_taken(tmp_path) == list(range(1, 201))  # no step is lost, and no step is repeated


def test_a_finished_training_run_is_not_repeated(tmp_path: Path) -> None:
    settings = changed(SETTINGS, steps=3)
    once = finish(tmp_path, settings)
    assert_same(finish(tmp_path, settings), once)
    assert steps_taken(tmp_path) == [1, 2, 3]


def test_the_same_seed_gives_the_same_weights_in_another_process(tmp_path: Path) -> None:
    settings = changed(SETTINGS, steps=5, batch_size=4, micro_batches=2, label_smoothing=0.1)
    once, again = (finish(tmp_path / name, settings) for name in ("once", "again"))
    assert_same(once, again)
    other_seed = finish(tmp_path / "other", changed(settings, seed=1))
    assert any(not np.array_equal(once[name], other_seed[name]) for name in once)
