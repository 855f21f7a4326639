"""TaskEvaluator: what a model does, beside its perplexity, held against its limits."""

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

from components.task_evaluator import executor


class TaskEvaluatorSpec(component_spec.ComponentSpec):
    """Interface of TaskEvaluator."""

    PARAMETERS = {
        "settings": component_spec.ExecutionParameter(type=str),
        "task_fingerprint": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
    }
    OUTPUTS = {"task_evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation)}


class TaskEvaluator(base_component.BaseComponent):
    """Writes `checks.json` and `tasks.json` of `modules.evaluation.tasks` into its output.

    The output's custom properties tell `memorised_share`, `accuracy_<name>`, `rouge_l` and `bleu`, those that were
    asked for and could be measured.
    """

    SPEC_CLASS = TaskEvaluatorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self, *, examples: channel.BaseChannel, model: channel.BaseChannel, settings: str, task_fingerprint: str
    ):
        """Wires the component.

        Args:
            examples: TextExampleGen's, before Transform.
            model: The Trainer's model, with the SavedModel in `Format-Serving/`.
            settings: A `task_evaluation.TaskSettings` as JSON.
            task_fingerprint: `task_evaluation.fingerprint` of the tasks' files, part of the cache key.
        """
        super().__init__(
            TaskEvaluatorSpec(
                examples=examples,
                model=model,
                settings=settings,
                task_fingerprint=task_fingerprint,
                task_evaluation=channel.Channel(type=standard_artifacts.ModelEvaluation),
            )
        )
