"""TaskEvaluator: measures memorisation, multiple choice and answers of a model and compares them with limits."""

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
    """Evaluator that writes `checks.json` and `tasks.json` of `modules.evaluation.tasks`.

    The output's custom properties are `memorised_share`, `accuracy_<name>`, `rouge_l` and `bleu`, as far as they were
    requested and could be measured, and `changed_prompts_of_<name>_cut` with the number of prompts that exceeded the
    context.
    """

    SPEC_CLASS = TaskEvaluatorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self, *, examples: channel.BaseChannel, model: channel.BaseChannel, settings: str, task_fingerprint: str
    ):
        """Wires the component.

        Args:
            examples: Output of TextExampleGen.
            model: Output of the Trainer, with the SavedModel in `Format-Serving/`.
            settings: JSON of `tasks.TaskSettings`.
            task_fingerprint: `tasks.fingerprint` of the tasks' files, part of the cache key.
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
