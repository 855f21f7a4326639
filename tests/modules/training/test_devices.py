"""Training runs on several devices and with several workers must learn the same as on one device."""

import dataclasses
import json
import multiprocessing
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from modules.common import progress
from modules.common.errors import InputError
from modules.objectives.dpo import REFERENCE
from modules.objectives.objective import Batch, LanguageModelling, Model, Sums
from modules.training import devices, loop, packing
from modules.training.dpo_reference import with_reference
from modules.training.settings import TrainingSettings
from modules.training.stored_rows import StoredRows, TrainingData, store_rows
from tests.toys.preferences import counting_preferences
from tests.toys.training import SETTINGS, StepLog, changed, counting_windows, tiny_model

# The fork server imports TensorFlow but does not use it, so that each process can still choose devices and cluster.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.modules.training.test_devices"])
TRAINING = changed(SETTINGS, steps=12, batch_size=8, micro_batches=2, evaluate_every=3)
# Several devices compute the same float32 sums in another order. An ulp of a weight near 1 is 1e-7, a step changes a
# weight by up to 1e-2, and Adam divides by small numbers. Differences measured after 12 steps: 8e-7 and 1.2e-6.
TOLERANCE = 1e-5
PATIENCE_S = 600  # after this time a test is taken to hang, also on a busy machine


def unequal_rows(count: int) -> StoredRows:
    """Makes windows in which 1, 3, 5, 7 or 8 targets count, so that the parts of a batch have different weights."""

    def mask(number: tf.Tensor, window: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        last = number % 5 * 2 + 1
        return {**window, "loss_mask": tf.cast(tf.range(9, dtype=tf.int64) <= last, tf.int32)}

    return store_rows(counting_windows(count).enumerate().map(mask))


def train_on_devices(folder: Path, settings: TrainingSettings, logical_devices: int, cluster: dict | None) -> None:
    """Trains; writes weights and losses into `<number of the worker>.npz`."""
    use_logical_devices(logical_devices)
    worker = 0
    if cluster is not None:
        os.environ["TF_CONFIG"] = json.dumps(cluster)
        worker = cluster["task"]["index"]
    strategy = devices.build_strategy(settings)
    # The last batch of the 9 validation rows has one row, so that one of two devices has nothing to do.
    data = TrainingData(train=unequal_rows(40), validation=unequal_rows(9), to_batch=packing.to_batch, tokens_per_row=8)
    with strategy.scope():
        model = tiny_model()
    checkpoint = loop.checkpoint_file(f"{folder}/checkpoints", model, data, settings, facts={})
    with open(folder / f"steps{worker}", "a") as steps:
        curve = loop.fit(
            model, LanguageModelling(), data, settings, checkpoint=checkpoint, callbacks=[StepLog(steps.fileno())],
            log_dir=f"{folder}/logs{worker}",
        )  # fmt: skip
    losses = [point.loss for point in (*curve.points, *curve.validation)]
    np.savez(folder / f"{worker}.npz", *model.get_weights(), losses=losses)


def score_pairs(folder: Path, settings: TrainingSettings, logical_devices: int, _: None) -> None:
    """Writes into `0.npz` the scores of pairs by the starting model, and the numbers of pairs that it reported."""
    use_logical_devices(logical_devices)
    scored: list[int] = []
    progress.report = lambda node, *, done, **facts: scored.append(done)
    with devices.build_strategy(settings).scope():
        model = tiny_model()
    data = with_reference(counting_preferences(train=8, validation=3), model, settings)
    references = {name: rows.columns[REFERENCE] for name, rows in vars(data).items() if name in ("train", "validation")}
    np.savez(folder / "0.npz", scored=scored, **references)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossesOfReplicas(LanguageModelling):
    """An objective that records the loss of each part of a batch."""

    seen: list[float]

    def __call__(self, model: Model, batch: Batch) -> Sums:
        sums = super().__call__(model, batch)
        tf.numpy_function(lambda loss: self.seen.append(float(loss)), [sums.loss], [])
        return sums


def drop_out(folder: Path, settings: TrainingSettings, logical_devices: int, _: None) -> None:
    """Trains on equal rows; writes the losses and the dropout states of each replica into `0.npz`."""
    use_logical_devices(logical_devices)
    strategy = devices.build_strategy(settings)
    rows = store_rows(counting_windows(1).repeat(40))
    data = TrainingData(train=rows, validation=rows, to_batch=packing.to_batch, tokens_per_row=8)
    with strategy.scope():
        model = tiny_model(dropout=0.5)
    objective = LossesOfReplicas(seen=[])
    loop.fit(model, objective, data, settings)
    weights = {id(weight) for weight in model.weights}
    states = [
        [copy.numpy() for copy in strategy.experimental_local_results(variable.value)]
        for variable in model.variables
        if id(variable) not in weights
    ]
    np.savez(folder / "0.npz", losses=objective.seen[: 2 * 3], states=states)


def use_logical_devices(count: int) -> None:
    """Splits the CPU into logical devices."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)


@contextmanager
def running(
    folder: Path,
    settings: TrainingSettings,
    *,
    logical_devices: int = 1,
    workers: int = 0,
    work: Callable[..., None] = train_on_devices,
) -> Iterator[list[BaseProcess]]:
    """Starts processes that train or do other work, and ends all of them with the block."""
    folder.mkdir(exist_ok=True)
    addresses = [f"127.0.0.1:{port}" for port in free_ports(workers)]
    clusters = [
        {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}} for index in range(workers)
    ]
    processes = [
        FORKS.Process(target=work, args=(folder, settings, logical_devices, cluster)) for cluster in clusters or [None]
    ]
    for process in processes:
        process.start()
    try:
        yield processes
        for process in processes:
            process.join(PATIENCE_S)
    finally:
        for process in processes:
            process.kill()
            process.join()


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = []
    for server in sockets:
        with closing(server):
            ports.append(server.getsockname()[1])
    return ports


def trained(folder: Path, worker: int = 0) -> dict[str, np.ndarray]:
    with np.load(folder / f"{worker}.npz") as arrays:
        return dict(arrays)


def assert_equal(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], tolerance: float = 0.0) -> None:
    assert found.keys() == expected.keys()
    for name, array in found.items():
        np.testing.assert_allclose(array, expected[name], rtol=0, atol=tolerance)


@pytest.fixture(scope="module")
def one_device(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    folder = tmp_path_factory.mktemp("one_device")
    with running(folder, TRAINING):
        pass
    return trained(folder)


@pytest.mark.parametrize(("name", "logical_devices", "tolerance"), [("cpu", 1, 0.0), ("mirrored", 2, TOLERANCE)])
def test_the_devices_of_a_machine_learn_the_same_as_one_device(
    name: str, logical_devices: int, tolerance: float, tmp_path: Path, one_device: dict[str, np.ndarray]
) -> None:
    with running(tmp_path, changed(TRAINING, devices=name), logical_devices=logical_devices) as (process,):
        pass
    assert process.exitcode == 0
    assert_equal(trained(tmp_path), one_device, tolerance)


def test_the_reference_scores_as_many_pairs_at_once_as_a_device_trains_on(tmp_path: Path) -> None:
    whole, parts = (
        changed(SETTINGS, dpo={}, batch_size=8),
        changed(SETTINGS, dpo={}, batch_size=8, devices="mirrored", micro_batches=2),
    )
    with running(tmp_path / "whole", whole, work=score_pairs):
        pass
    with running(tmp_path / "parts", parts, logical_devices=2, work=score_pairs):
        pass
    on_one_device, on_two_devices = trained(tmp_path / "whole"), trained(tmp_path / "parts")
    # Of 8 train pairs and 3 eval pairs, one device scores 8 at once; two score 8 / (2 devices × 2 micro-batches).
    assert on_one_device.pop("scored").tolist() == [8, 3]
    assert on_two_devices.pop("scored").tolist() == [2, 4, 6, 8, 2, 3]
    assert_equal(on_one_device, on_two_devices, TOLERANCE)


def test_each_device_draws_its_own_dropout_masks(tmp_path: Path) -> None:
    settings = changed(SETTINGS, steps=3, batch_size=2, devices="mirrored", evaluate_every=3)
    with running(tmp_path, settings, logical_devices=2, work=drop_out):
        pass
    found = trained(tmp_path)
    first_losses, second_losses = found["losses"].reshape(3, 2).T
    assert (first_losses != second_losses).all()  # the rows are equal, so equal masks would give equal losses
    # A checkpoint holds one state for both devices: a seed, and the count of masks, one for each of the three steps.
    first_states, second_states = found["states"].transpose(1, 0, 2)
    np.testing.assert_array_equal(first_states, second_states)
    assert first_states[:, 1].tolist() == [3, 3, 3, 3]


def test_two_workers_stop_together_resume_and_learn_the_same_as_one_device(
    tmp_path: Path, one_device: dict[str, np.ndarray]
) -> None:
    settings = changed(TRAINING, devices="multi_worker", checkpoint_seconds=3600)
    deadline = time.monotonic() + PATIENCE_S
    with running(tmp_path, settings, workers=2) as (chief, worker):
        steps = tmp_path / "steps1"
        while not steps.exists() or len(steps.read_text().split()) < 4:
            assert worker.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.002)
        worker.terminate()
    assert (chief.exitcode, worker.exitcode) == (1, 1)  # an exception ended them, not the signal
    with running(tmp_path, settings, workers=2) as (chief, worker):
        pass
    assert (chief.exitcode, worker.exitcode) == (0, 0)
    for index in (0, 1):
        assert (tmp_path / f"steps{index}").read_text().split() == [str(step) for step in range(1, 13)]
    assert_equal(trained(tmp_path, 0), trained(tmp_path, 1))
    assert_equal(trained(tmp_path, 0), one_device, TOLERANCE)
    assert len(list((tmp_path / "checkpoints").iterdir())) == 1
    assert (tmp_path / "logs0").exists()
    assert not (tmp_path / "logs1").exists()


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="there is a GPU")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gpu", "`training.devices: gpu` needs a GPU that TensorFlow can use. Received: none"),
        ("mirrored", "needs at least two GPUs of this machine. Received: /device:CPU:0. Take `devices: auto`"),
        ("tpu", "`training.devices: tpu` needs a TPU VM with libtpu.so"),
    ],
)
def test_the_message_names_the_device_that_is_missing(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        devices.build_strategy(changed(SETTINGS, devices=name))


def test_a_missing_cluster_variable_is_refused_with_an_example(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(
        InputError, match=r"needs the environment variable TF_CONFIG. Received: none. Set it for each worker, e.g. to"
    ):
        devices.build_strategy(changed(SETTINGS, devices="multi_worker"))


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ("{", "Invalid JSON"),
        ('{"cluster": {"worker": ["a:1"]}}', "task: Field required"),
        ('{"cluster": {"worker": ["a"]}, "task": {"type": "worker", "index": 0}}', r"cluster.worker.0: String should"),
        (
            '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
            "worker 1, but `cluster` has only 1 of this type",
        ),
        (
            '{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "worker", "index": 0}}',
            "cluster.ps: Extra",
        ),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "ps", "index": 0}}', "task.type: Input should be 'chief'"),
    ],
)
def test_the_message_names_the_fault_of_a_cluster(config: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        devices.check_cluster(config)


def test_fields_that_clouds_add_to_a_cluster_are_accepted() -> None:
    devices.check_cluster(
        '{"cluster": {"chief": ["a:1"], "worker": ["b:1"]}, "task": {"type": "chief", "index": 0, "trial": ""}, '
        '"environment": "cloud"}'
    )


def test_a_batch_that_cannot_be_divided_between_the_devices_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_mirrored", lambda: tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
    settings = changed(SETTINGS, devices="mirrored", batch_size=6, micro_batches=2)
    with pytest.raises(InputError, match=r"divisible by 4 \(2 devices × 2 `micro_batches`\). Received: 6. Choose"):
        devices.build_strategy(settings)
