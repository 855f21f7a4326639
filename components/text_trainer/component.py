"""TextTrainer: TFX's Trainer, with the record of the training run as properties of its ModelRun."""

from tfx.components import Trainer
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec

from components.text_trainer import executor


class TextTrainer(Trainer):
    """Stock Trainer with an executor that also records what the training run did."""

    EXECUTOR_SPEC = ExecutorClassSpec(executor.Executor)
