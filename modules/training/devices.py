"""Where a training computes: TensorFlow's strategy for one device, for several, and for several machines."""

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
    """Takes the devices that `settings.devices` asks for.

    What is trained must be built in the strategy's `scope()`. For several workers it must be the first thing that a
    process does with TensorFlow, and it waits for the others.

    Raises:
        InputError: The devices are not there, or `batch_size` cannot be spread evenly over them.
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
            f"`training.batch_size` must be divisible by {parts}: by {strategy.num_replicas_in_sync} devices × "
            f"{settings.micro_batches} `micro_batches`. Received: {settings.batch_size}. Choose a multiple of {parts}."
        )
    return strategy


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes what a training leaves behind; of several workers, one does."""
    resolver = strategy.cluster_resolver
    if not _has_workers(strategy) or resolver.task_type == "chief":
        return True
    return "chief" not in resolver.cluster_spec().jobs and resolver.task_id == 0


def gather_from_workers(strategy: tf.distribute.Strategy, value: int) -> list[int]:
    """What the workers have called this with, the same list for each; all of them must call it, and it waits for them.

    A worker with several devices is in it several times.
    """
    if not _has_workers(strategy):
        return [value]
    return _gather_function(strategy)(tf.constant([value])).numpy().tolist()


def wait_for_workers(strategy: tf.distribute.Strategy) -> None:
    """Returns once all workers have called this."""
    gather_from_workers(strategy, 0)


def feed(strategy: tf.distribute.Strategy, read: Callable[[Share], tf.data.Dataset]) -> tf.data.Dataset:
    """Gives each device its own rows of every batch.

    TensorFlow's automatic sharding would give each worker other batches than one device gets.

    Args:
        strategy: The devices.
        read: Batches of a share, see `stored_rows`.
    """

    def read_share(context: tf.distribute.InputContext) -> tf.data.Dataset:
        devices_here = context.num_replicas_in_sync // context.num_input_pipelines
        first = context.input_pipeline_id * devices_here
        return read(Share(parts=context.num_replicas_in_sync, mine=range(first, first + devices_here)))

    return strategy.distribute_datasets_from_function(read_share)


def averageable(logs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Makes scalars of a replica what Keras can average.

    Of several workers Keras 3.15 averages over the first axis of what a step returns, which scalars lack.
    """
    if not _has_workers(tf.distribute.get_strategy()):
        return logs
    return {name: value[None] for name, value in logs.items()}


@functools.cache
def _gather_function(strategy: tf.distribute.Strategy) -> Callable[[tf.Tensor], tf.Tensor]:
    """Traced once: it is called after every step."""
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
            f"`training.devices: multi_worker` must start in a process that has not used TensorFlow yet ({error}). Run "
            "the Trainer in a process of its own."
        ) from error


def _tpu() -> tf.distribute.Strategy:
    try:
        # The host itself has the TPU, as every TPU VM: the rows are read by Python code, which runs nowhere else.
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu="local")
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        raise InputError(
            f"`training.devices: tpu` needs a TPU VM with libtpu.so and the `tensorflow-tpu` wheel "
            f"({str(error).splitlines()[0][:120]}). Train there, or take `devices: auto`."
        ) from error
    return tf.distribute.TPUStrategy(resolver)


class _Task(pydantic.BaseModel):
    type: Literal["chief", "worker"]
    index: NonNegativeInt


class _Cluster(pydantic.BaseModel):
    """Parameter servers and evaluators have no place in a synchronous training."""

    model_config = pydantic.ConfigDict(extra="forbid")
    chief: Annotated[list[Annotated[str, Field(pattern=r":\d+$")]], Field(max_length=1)] = []
    worker: list[Annotated[str, Field(pattern=r":\d+$")]] = []


class _ClusterConfig(pydantic.BaseModel):
    """What TF_CONFIG must hold; clouds put more into it."""

    cluster: _Cluster
    task: _Task

    @pydantic.model_validator(mode="after")
    def _task_in_cluster(self) -> Self:
        addresses = getattr(self.cluster, self.task.type)
        if self.task.index >= len(addresses):
            raise ValueError(f"`task` is {self.task.type} {self.task.index} and `cluster` has {len(addresses)} of them")
        return self


def check_cluster(config: str | None) -> None:
    """Refuses a TF_CONFIG by which TensorFlow would wait for ever, or fail without words.

    Args:
        config: The variable's value; None where it is not set.

    Raises:
        InputError: It is not set, or not what the documentation of `tf.distribute` says.
    """
    cure = f"Give each worker one such as {_CLUSTER_EXAMPLE}, or take `devices: auto`."
    if not config:
        raise InputError(
            f"`training.devices: multi_worker` needs the variable {CLUSTER_VARIABLE}. Received: none. {cure}"
        )
    try:
        _ClusterConfig.model_validate_json(config)
    except pydantic.ValidationError as error:
        problems = (": ".join(filter(None, [".".join(map(str, e["loc"])), e["msg"]])) for e in error.errors())
        raise InputError(
            f"{CLUSTER_VARIABLE} must name the workers and which of them this one is ({'; '.join(problems)}). "
            f"Received: {config[:200]}. {cure}"
        ) from None
