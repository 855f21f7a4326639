import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from modules.training.checkpoint_file import CheckpointFile, State
from tests.toys.training import SETTINGS, changed, counting_data, train


def state(value: float) -> State:
    arrays = {"model/0 a/b": np.full(1000, value), "model/1 seed": np.array([7, 8], np.int32)}
    return State(arrays=arrays, facts={"n": value})


def assert_holds(file: CheckpointFile, value: float) -> None:
    found = file.read()
    assert found is not None
    assert found.facts == {"n": value}
    np.testing.assert_array_equal(found.arrays["model/0 a/b"], np.full(1000, value), strict=True)
    np.testing.assert_array_equal(found.arrays["model/1 seed"], np.array([7, 8], np.int32), strict=True)


@contextmanager
def disk_of(size_bytes: int) -> Iterator[None]:
    """Limits the size of files; the kernel refuses to write more, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_reading_returns_the_state_that_was_written_last(tmp_path: Path) -> None:
    file = CheckpointFile(tmp_path / "folder" / "state.npz")
    assert file.read() is None
    for value in (1.0, 2.0):
        file.write(state(value))
        assert_holds(file, value)


@pytest.mark.parametrize("size_bytes", [0, 100, 5000, 8500])
def test_a_full_disk_keeps_the_previous_checkpoint(tmp_path: Path, size_bytes: int) -> None:
    file = CheckpointFile(tmp_path / "state.npz")
    file.write(state(1.0))
    with disk_of(size_bytes), pytest.raises(OSError, match="File too large"):
        file.write(state(2.0))
    assert_holds(file, 1.0)
    assert [path.name for path in tmp_path.iterdir()] == ["state.npz"]
    file.write(state(3.0))
    assert_holds(file, 3.0)


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-10], lambda data: b"", lambda data: data.replace(b"\x40", b"\x41")]
)
def test_a_damaged_checkpoint_is_ignored(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    file = CheckpointFile(tmp_path / "state.npz")
    file.write(state(2.0))
    file.path.write_bytes(damage(file.path.read_bytes()))
    assert file.read() is None


def test_a_training_run_continues_when_the_disk_is_full(tmp_path: Path) -> None:
    settings = changed(SETTINGS, steps=5, checkpoint_seconds=0)
    expected, _ = train(settings)
    file = CheckpointFile(tmp_path / "state.npz")
    data = counting_data()
    with disk_of(5000):
        model, _ = train(settings, data=data, checkpoint=file)
    assert file.read() is None
    for weight, expected_weight in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected_weight)


def with_other_shapes(found: State) -> State:
    return State(arrays={name: array[..., None] for name, array in found.arrays.items()}, facts=found.facts)


def with_other_points(found: State) -> State:
    points = [{**point, "seconds": 1.0} for point in found.facts["curve"]["points"]]
    return State(arrays=found.arrays, facts={**found.facts, "curve": {**found.facts["curve"], "points": points}})


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (with_other_shapes, "its variables differ from those of the model"),
        (with_other_points, "the points of its loss curve have other fields"),
    ],
)
def test_a_checkpoint_of_other_code_is_ignored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, change: Callable[[State], State], problem: str
) -> None:
    file, data, settings = CheckpointFile(tmp_path / "state.npz"), counting_data(), changed(SETTINGS, steps=2)
    model, _ = train(settings, data=data, checkpoint=file)
    found = file.read()
    assert found is not None
    file.write(change(found))
    again, curve = train(settings, data=data, checkpoint=file)
    assert f"does not fit ({problem}): training starts from the beginning" in caplog.text
    assert [point.step for point in curve.points] == [1, 2]
    for weight, repeated_weight in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, repeated_weight)


def test_a_changed_byte_is_noticed_or_changes_no_value(tmp_path: Path) -> None:
    file = CheckpointFile(tmp_path / "state.npz")
    file.write(State(arrays={"a": np.arange(3.0), "b": np.array(7)}, facts={"step": 5}))
    content = file.path.read_bytes()
    for place in range(len(content)):
        file.path.write_bytes(content[:place] + bytes([content[place] ^ 0x01]) + content[place + 1 :])
        state = file.read()
        if state is not None:
            assert state.facts == {"step": 5}, place
            assert {name: array.tolist() for name, array in state.arrays.items()} == {"a": [0, 1, 2], "b": 7}, place
