"""Checks of workspace, data, settings, memory and devices before the first node runs.

Heavy libraries are imported inside the functions, because the command line loads this module.
"""

import glob
import os
from pathlib import Path

from modules.common import failures
from modules.common.errors import InputError
from modules.model.settings import ModelSettings
from modules.training.memory import MemoryEstimate, estimate_memory, read_architecture
from pipeline.code_fingerprint import ROOT
from pipeline.config import PipelineConfig, TokenizerConfig
from pipeline.nodes import NODES
from pipeline.request import RunRequest

# A run of the smallest model writes more than this. Less is refused at once, instead of after minutes.
_MIN_FREE_BYTES = 16 * 2**20
# A run that needs more of the available memory may still fit; the estimate is lower than what was measured.
_TIGHT_SHARE = 0.8
# More tokens than this are not counted for a vocabulary that the run trains: few texts give as many.
_MAX_TRAINED_TOKENS = 2**20
# Files of a machine with a GPU of Nvidia or AMD; the last is that of Windows' subsystem for Linux.
_GPU_FILES = ("/dev/nvidia[0-9]*", "/dev/kfd", "/dev/dxg")


def check_workspace(settings: PipelineConfig) -> None:
    """Checks that a run can write into the workspace and that the workspace is complete. Creates nothing.

    Raises:
        InputError: A path in the workspace is not a folder or cannot be written, its disk is full, or ML Metadata is
            damaged or missing.
    """
    from pipeline.metadata.database import check_database

    pipeline = settings.workspace / settings.name
    for folder in (settings.workspace, pipeline, pipeline / "logs", settings.pipeline_root, settings.push_directory):
        _check_folder(folder)
    if failures.free_bytes(settings.workspace) < _MIN_FREE_BYTES:
        raise failures.disk_sentence(settings.workspace)
    has_artifacts = settings.pipeline_root.is_dir() and any(settings.pipeline_root.iterdir())
    if os.path.lexists(settings.metadata_path):
        check_database(settings.metadata_path, may_be_empty=not has_artifacts)
    elif has_artifacts:
        raise InputError(
            f"{settings.metadata_path} must list the artifacts in {settings.pipeline_root}. Received: artifacts "
            f"without this database; new artifacts would get the same names. Restore the database, or move or delete "
            f"{settings.pipeline_root}."
        )


def _check_folder(folder: Path) -> None:
    """Checks that a path is a folder that can be written, or that it can be created."""
    if os.path.lexists(folder) and not folder.is_dir():
        kind = "a link to nothing" if folder.is_symlink() and not folder.exists() else "a file"
        raise InputError(
            f"{folder} must be a folder, in which a run writes. Received: {kind}. Move it away, or set another "
            "`workspace`."
        )
    existing = failures.nearest_folder(folder)
    if not existing.is_dir():
        raise InputError(
            f"{folder} must be a folder, in which a run writes. Received: a path below the file {existing}. Set "
            "another `workspace`."
        )
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(
            f"{folder} must be a folder in which a run can write. Received: {existing}, which is read-only. Change "
            "its permissions, or set another `workspace`."
        )


def check_data(settings: PipelineConfig) -> None:
    """Reads the data for at most two seconds and checks it.

    Raises:
        InputError: The data cannot be used.
    """
    from modules.data import corpus

    corpus.check_corpus(settings.data.to_corpus(), data_directory=str(settings.workspace / "tfds"))


def check_model(settings: PipelineConfig) -> None:
    """Checks that the settings of the model, its tokenizer and its tasks match.

    Raises:
        InputError: They do not match.
    """
    from modules.evaluation import tasks
    from modules.model.presets import check_positions
    from modules.tokenization import tokenizer_files

    tokenizer, distillation = settings.tokenizer.settings(), settings.training.distillation
    presets = {"model.preset": settings.model.preset}
    if distillation:
        presets["training.distillation.teacher"] = distillation.teacher
    for setting, preset in presets.items():
        tokenizer_files.check_fits(tokenizer, preset, setting)
        if preset is not None:
            check_positions(preset, settings.model.context_length)
    tasks.check_tasks(settings.evaluation.tasks, data_kind=settings.data.kind)
    check_slices(settings)


def check_slices(settings: PipelineConfig) -> None:
    """Checks that the contract has every feature that divides the eval split into slices.

    Raises:
        InputError: The contract lacks such a feature.
    """
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    contract = ROOT / "schemas" / f"{settings.data.kind}.pbtxt"
    schema = text_format.Parse(contract.read_text(encoding="utf-8"), schema_pb2.Schema())
    features = [feature.name for feature in schema.feature]
    for name in settings.evaluation.sliced_by:
        if name not in features:
            raise InputError(
                f"`evaluation.slices` and `slice_limits` must name features of schemas/{contract.name}: "
                f"{', '.join(features)}. Received: {name!r}."
            )


def check_memory(request: RunRequest) -> str | None:
    """Estimates the memory that training needs and compares it with the machine's.

    If a GPU or a TPU trains, only the weights and the batches need the machine's main memory. `check_model` comes
    before this check.

    Returns:
        A warning if little memory would be left, or None.

    Raises:
        InputError: The memory, with swap, is too small.
    """
    from modules.common.formatting import memory
    from modules.common.machine_memory import read_memory

    estimate, machine = _estimate_memory(request.config), read_memory()
    if not _trains(request) or estimate is None or machine is None:
        return None
    devices = request.config.training.devices
    on_cpu = devices == "cpu" or (devices == "auto" and not any(map(glob.glob, _GPU_FILES)))
    needed = estimate.total if on_cpu else estimate.host
    cure = _memory_cure(estimate)
    if needed > machine.total:
        raise InputError(
            f"training must fit into the memory of this machine, {memory(machine.total)} with swap. "
            f"Received: sizes that need about {memory(needed)}. {cure} If a GPU trains, set `training.devices`. If the "
            "last run already trained the model, start after the Trainer: `--from-node "
            f"{NODES[NODES.index('Trainer') + 1]}`."
        )
    if needed > _TIGHT_SHARE * machine.available:
        return f"training needs about {memory(needed)}, and {memory(machine.available)} of memory is available. {cure}"
    return None


def _estimate_memory(settings: PipelineConfig) -> MemoryEstimate | None:
    """Returns the estimate; None if the sizes of the model are not known before it is downloaded."""
    model = read_architecture(settings.model, None if settings.model.preset else _count_tokens(settings.tokenizer))
    if model is None:
        return None
    distillation = settings.training.distillation
    teacher = ModelSettings.model_validate({"preset": distillation.teacher}) if distillation else None
    return estimate_memory(
        model,
        settings.training,
        context_length=settings.model.context_length,
        dropout=settings.model.dropout,
        teacher=read_architecture(teacher, None) if teacher else None,
    )


def _count_tokens(tokenizer: TokenizerConfig) -> int | None:
    from modules.tokenization import tokenizer_files

    if tokenizer.kind == "byte":
        return 257  # with <|endoftext|>
    if tokenizer.vocabulary_size is not None:
        return min(tokenizer.vocabulary_size, _MAX_TRAINED_TOKENS)
    return tokenizer_files.count_tokens(tokenizer.settings())


def _memory_cure(estimate: MemoryEstimate) -> str:
    if estimate.activations + estimate.logits + estimate.batch > estimate.total // 2:
        return (
            "Use a smaller `training.batch_size` or `model.context_length`, more `training.micro_batches`, or "
            "`training.remat: true`."
        )
    return "Use a smaller model, or a machine with more memory."


def _trains(request: RunRequest) -> bool:
    """Returns False if the run ends before the Trainer or starts after it."""
    return request.until == "release" and NODES.index(request.from_node or NODES[0]) <= NODES.index("Trainer")


def check_devices(request: RunRequest) -> None:
    """Checks the devices of the Trainer, which runs in this process, before the slow nodes ahead of it run.

    Raises:
        InputError: The devices are missing, or belong to several machines.
    """
    from modules.training import devices

    settings = request.config.training
    if not _trains(request):
        return
    if settings.devices == "multi_worker":
        raise InputError(
            "`training.devices: multi_worker` needs workers that run only the Trainer, each in a process that has not "
            "used TensorFlow before. A pipeline on this machine uses TensorFlow before the Trainer. Use `mirrored` "
            "(all GPUs of this machine) or another orchestrator."
        )
    try:
        devices.build_strategy(settings)
    except InputError as error:
        # Only the run itself finds out whether the Trainer is cached.
        after = NODES[NODES.index("Trainer") + 1]
        raise InputError(
            f"{error} If the last run already trained the model, start after the Trainer: `--from-node {after}`."
        ) from None
