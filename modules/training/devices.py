"""TensorFlow's distribution strategies: training on one device, on several devices, or on several machines."""

import functools
import os
from collections.abc import Callable
from typing import Annotated, Literal, Self

import pydantic
import tensorflow as tf
from pydantic import Field, NonNegativeInt

from modules.common.errors import InputError
from modules.training.settings import Devices, TrainingSettings
from modules.training.stored_rows import Share

CLUSTER_VARIABLE = "TF_CONFIG"
_CLUSTER_EXAMPLE = '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'


def build_strategy(settings: TrainingSettings) -> tf.distribute.Strategy:
    """Builds the strategy for the devices that `settings.devices` names.

    The model must be built in the strategy's `scope()`. With `multi_worker`, this function must run before the process
    uses TensorFlow, and it waits for the other workers.

    Raises:
        InputError: If the devices are missing, or `batch_size` cannot be divided evenly between them.
    """
    builders: dict[Devices, Callable[[], tf.distribute.Strategy]] = {
        "auto": tf.distribute.get_strategy,  # TensorFlow itself prefers a GPU
        "cpu": lambda: tf.distribute.OneDeviceStrategy("CPU:0"),
        "gpu": _one_gpu,
        "mirrored": _mirrored,
        "multi_worker": _multi_worker,
        "tpu": _tpu,
    }
    strategy = builders[settings.devices]()
    parts = strategy.num_replicas_in_sync * settings.micro_batches
    if settings.batch_size % parts:
        raise InputError(
            f"`training.batch_size` must be divisible by {parts} ({strategy.num_replicas_in_sync} devices × "
            f"{settings.micro_batches} `micro_batches`). Received: {settings.batch_size}. Choose a multiple of {parts}."
        )
    return strategy


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Returns whether this process writes the results of a training run; only one of several workers does."""
    resolver = strategy.cluster_resolver
    if not _has_workers(strategy) or resolver.task_type == "chief":
        return True
    return "chief" not in resolver.cluster_spec().jobs and resolver.task_id == 0


def gather_from_workers(strategy: tf.distribute.Strategy, value: int) -> list[int]:
    """Returns the values that all workers passed; the list is the same on every worker.

    Every worker must call this function; it waits for all of them. The value of a worker with several devices appears
    several times.
    """
    if not _has_workers(strategy):
        return [value]
    return _gather_function(strategy)(tf.constant([value])).numpy().tolist()


def wait_for_workers(strategy: tf.distribute.Strategy) -> None:
    """Waits until all workers have called this function."""
    gather_from_workers(strategy, 0)


def feed(strategy: tf.distribute.Strategy, read: Callable[[Share], tf.data.Dataset]) -> tf.data.Dataset:
    """Gives each device its own rows of every batch.

    TensorFlow's automatic sharding would change which rows are in a batch. Here the batches are the same as on one
    device.

    Args:
        strategy: The devices.
        read: Returns the batches of a share, see `stored_rows.Share`.
    """

    def read_share(context: tf.distribute.InputContext) -> tf.data.Dataset:
        devices_here = context.num_replicas_in_sync // context.num_input_pipelines
        first = context.input_pipeline_id * devices_here
        return read(Share(parts=context.num_replicas_in_sync, mine=range(first, first + devices_here)))

    return strategy.distribute_datasets_from_function(read_share)


def make_averageable(logs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Adds a first axis to the scalars of a replica, so that Keras can average them.

    With several workers, Keras 3.15 averages the results of a step over their first axis, but scalars have no axis.
    """
    if not _has_workers(tf.distribute.get_strategy()):
        return logs
    return {name: value[None] for name, value in logs.items()}


@functools.cache
def _gather_function(strategy: tf.distribute.Strategy) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns a function that gathers values from all workers; it is traced only once because every step calls it."""
    return tf.function(
        lambda values: strategy.gather(strategy.run(tf.identity, args=(values,)), axis=0), autograph=False
    )


def _has_workers(strategy: tf.distribute.Strategy) -> bool:
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return False
    return sum(map(len, strategy.cluster_resolver.cluster_spec().as_dict().values())) > 1


def _one_gpu() -> tf.distribute.Strategy:
    if not tf.config.list_physical_devices("GPU"):
        raise InputError(
            "`training.devices: gpu` needs a GPU that TensorFlow can use. Received: none. Install NVIDIA's driver and "
            "`tensorflow[and-cuda]` (`nvidia-smi` must list the GPU), or take `devices: auto`."
        )
    return tf.distribute.get_strategy()


def _mirrored() -> tf.distribute.Strategy:
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if len(devices) < 2:
        raise InputError(
            "`training.devices: mirrored` needs at least two GPUs of this machine. "
            f"Received: {', '.join(device.name for device in devices)}. Take `devices: auto`."
        )
    return tf.distribute.MirroredStrategy([device.name for device in devices])


def _multi_worker() -> tf.distribute.Strategy:
    check_cluster(os.environ.get(CLUSTER_VARIABLE))
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except RuntimeError as error:
        raise InputError(
            "`training.devices: multi_worker` must start in a process that has not used TensorFlow yet. Received: one "
            f"that has used it ({error}). Run the Trainer in its own process."
        ) from error


def _tpu() -> tf.distribute.Strategy:
    try:
        # The TPU must belong to this machine, as on a TPU VM: Python code reads the rows, and it runs only here.
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu="local")
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        raise InputError(
            "`training.devices: tpu` needs a TPU VM with libtpu.so and the `tensorflow-tpu` wheel. Received: "
            f"{str(error).splitlines()[0][:120]}. Train on such a machine, or take `devices: auto`."
        ) from error
    return tf.distribute.TPUStrategy(resolver)


class _Task(pydantic.BaseModel):
    type: Literal["chief", "worker"]
    index: NonNegativeInt


class _Cluster(pydantic.BaseModel):
    """The addresses of all workers. Synchronous training has no parameter servers and no evaluators."""

    model_config = pydantic.ConfigDict(extra="forbid")
    chief: Annotated[list[Annotated[str, Field(pattern=r":\d+$")]], Field(max_length=1)] = []
    worker: list[Annotated[str, Field(pattern=r":\d+$")]] = []


class _ClusterConfig(pydantic.BaseModel):
    """The required fields of TF_CONFIG; cloud services add more fields."""

    cluster: _Cluster
    task: _Task

    @pydantic.model_validator(mode="after")
    def _task_in_cluster(self) -> Self:
        addresses = getattr(self.cluster, self.task.type)
        if self.task.index >= len(addresses):
            raise ValueError(
                f"`task` is {self.task.type} {self.task.index}, but `cluster` has only {len(addresses)} of this type "
                "(the first has index 0)"
            )
        return self


def check_cluster(config: str | None) -> None:
    """Refuses a TF_CONFIG with which TensorFlow would wait forever, or fail without a message.

    Args:
        config: Value of the environment variable; None if it is not set.

    Raises:
        InputError: If the variable is not set, or differs from the form in the documentation of `tf.distribute`.
    """
    cure = f"Set it for each worker, e.g. to {_CLUSTER_EXAMPLE}, or take `devices: auto`."
    if not config:
        raise InputError(
            f"`training.devices: multi_worker` needs the environment variable {CLUSTER_VARIABLE}. Received: none. "
            f"{cure}"
        )
    try:
        _ClusterConfig.model_validate_json(config)
    except pydantic.ValidationError as error:
        problems = (": ".join(filter(None, [".".join(map(str, e["loc"])), e["msg"]])) for e in error.errors())
        raise InputError(
            f"{CLUSTER_VARIABLE} must list all workers in `cluster` and this worker in `task` ({'; '.join(problems)}). "
            f"Received: {config[:200]}. {cure}"
        ) from None
