"""What a report says in sentences and short tables; a part that there is not is left out."""

import math
import statistics

from modules.common import formatting
from modules.common.formatting import count, number
from modules.evaluation.results import Evaluation, SliceResult
from modules.report.contents import Data, Model, Report
from modules.report.escaping import visible
from modules.training.record import TrainingRecord


def comparison(report: Report) -> list[str]:
    """What the perplexity may be compared with, a sentence each."""
    evaluation = report.evaluation
    notes = []
    overlapping = evaluation.stride != evaluation.window
    if report.training.perplexity_before is not None and not overlapping:
        before, after = number(report.training.perplexity_before), number(evaluation.overall.candidate.perplexity)
        notes.append(
            f"Before the training it was {before} on the same documents, of {report.model.start}; now it is {after}."
        )
    if evaluation.overall.baseline is None:
        notes.append("There is no blessed model yet to compare with.")
    return [*notes, *evaluation.notes]


def comparable(evaluation: Evaluation) -> bool:
    """Whether perplexities compare with the baseline's: those of different tokenizers do not."""
    return evaluation.overall.baseline is not None and evaluation.same_tokenizer is not False


def change(evaluation: Evaluation) -> tuple[str, str]:
    """How the model differs from the latest blessed one: `("−4.0%", "−6.0% to −2.0% against the latest blessed")`."""
    change = evaluation.overall.change
    if evaluation.overall.baseline is None or change is None:
        return "first", "nothing blessed yet to compare with"
    in_what = "against the latest blessed" if comparable(evaluation) else "from bits per byte, as the tokenizer changed"
    ends = formatting.change_interval(change.perplexity_interval)
    return formatting.change(change.perplexity), f"{ends} {in_what}".strip()


def training(report: Report) -> str:
    """`1,334,016 parameters from a random start, 3,200 steps at 7,800 tokens a second. Training loss from 8.3 …`."""
    steps = f", {report.training.loss[-1].step:,} steps" if report.training.loss else ""
    speeds = [point.tokens_per_second for point in report.training.loss if point.tokens_per_second is not None]
    speed = f" at {number(statistics.median(speeds))} tokens a second" if speeds else ""
    parameters = f"{count(report.model.parameters)} parameters from {report.model.start}"
    return f"{parameters}{steps}{speed}. {loss(report.training)}".strip()


def loss(training: TrainingRecord) -> str:
    """`Training loss from 8.3 at step 10 to 4.84 at step 3,200; validation loss 4.9 at step 3,200.`"""
    logged = [(point.loss, point.step) for point in training.loss if point.loss is not None]
    validation = [(point.loss, point.step) for point in training.validation if point.loss is not None]
    if not logged:
        return ""
    held_out = f"; validation loss {_at_step(validation[-1])}" if validation else ""
    return f"Training loss from {_at_step(logged[0])} to {_at_step(logged[-1])}{held_out}."


def perplexity(evaluation: Evaluation) -> str:
    """`Perplexity in all: 151.8. Of 4 slices source=python (120) is lowest and source=scipy (170) highest.`"""

    def value(one: SliceResult) -> float:
        return one.candidate.perplexity

    words = f"Perplexity in all: {number(evaluation.overall.candidate.perplexity)}."
    measured = [one for one in evaluation.slices[1:] if math.isfinite(one.candidate.perplexity)]
    if len(measured) < 2:
        return words
    lowest, highest = min(measured, key=value), max(measured, key=value)
    return (
        f"{words} Of {len(measured)} slices {visible(lowest.name)} ({number(value(lowest))}) is lowest and "
        f"{visible(highest.name)} ({number(value(highest))}) highest."
    )


def files(report: Report) -> str:
    """On what the TFLite files were measured, which may be less than the whole eval split."""
    measured = [file.measured for file in report.files if file.measured]
    if not measured:
        return "The TFLite files were not measured."
    one = measured[0]
    return (
        f"The TFLite files are measured on {count(one.documents)} documents of the eval split ({count(one.tokens)} "
        f"tokens), where the SavedModel has a perplexity of {number(one.float_perplexity)}; the rise is against that. "
        "Greedy agreement: mean number of tokens until a file's greedy text leaves the SavedModel's. Tokens a second: "
        "decoding with the KV cache on the machine of the run."
    )


def model_facts(model: Model) -> dict[str, str]:
    """The sizes, by name."""
    return {
        "start": model.start,
        "parameters": count(model.parameters),
        "layers": count(model.num_layers),
        "heads": count(model.num_heads),
        "hidden dimension": count(model.hidden_dim),
        "vocabulary": count(model.vocabulary_size),
        "context, tokens": count(model.context_length),
    }


def secrets(data: Data) -> str:
    """How many passages look like secrets, by kind; empty where there are none."""
    found = [f"{kind.replace('_', ' ')}: {count(passages)}" for kind, passages in data.secrets.items() if passages]
    return f"Passages that look like secrets or addresses, by kind: {', '.join(found)}." if found else ""


def fingerprints(report: Report) -> dict[str, str]:
    """Hashes of the data, by what they are of."""
    evaluation = report.evaluation
    named = {
        "input text": report.data.input_fingerprint,
        "eval split": evaluation.eval_fingerprint,
        "eval split of the latest blessed": evaluation.baseline_eval_fingerprint,
        **{file.name: file.sha256 for file in report.files},
    }
    return {name: value for name, value in named.items() if value}


def _at_step(point: tuple[float, int]) -> str:
    return f"{number(point[0])} at step {point[1]:,}"
