"""What a report says in sentences and short tables; a part that there is not is left out."""

from modules import report_text
from modules.report import Data, Evaluation, Model, Report, Slice, Training
from modules.report_text import count, number, visible


def comparison(report: Report) -> list[str]:
    """What the perplexity may be compared with, a sentence each."""
    evaluation = report.evaluation
    notes = []
    if report.training.perplexity_before is not None:
        before, after = number(report.training.perplexity_before), number(evaluation.overall.candidate.perplexity)
        notes.append(f"Before the training the preset's was {before} on the same documents; now it is {after}.")
    if evaluation.overall.baseline is None:
        notes.append("There is no blessed model yet to compare with.")
        return notes
    if evaluation.same_tokenizer is False:
        notes.append(
            "The latest blessed model has another tokenizer: perplexities of the two do not compare, bits per byte do."
        )
    if evaluation.baseline_eval_fingerprint not in (None, evaluation.eval_fingerprint):
        notes.append("The eval data is not what the latest blessed model was held against when it was blessed.")
    return notes


def change(evaluation: Evaluation) -> tuple[str, str]:
    """How the model differs from the latest blessed one, and in what: `("−4.0%", "−6.0% to −2.0% in perplexity")`."""
    overall = evaluation.overall
    if overall.baseline is None:
        return "first", "nothing blessed yet to compare with"
    if not evaluation.comparable:
        now, before = overall.candidate.bits_per_byte, overall.baseline.bits_per_byte
        relative = None if now is None or not before else now / before - 1
        return report_text.change(relative), "in bits per byte, as the tokenizer changed"
    if overall.change is None:
        return report_text.NOT_MEASURED, "against the latest blessed"
    ends = report_text.change_interval(overall.change.perplexity_interval)
    return report_text.change(overall.change.perplexity), f"{ends} against the latest blessed".strip()


def training(report: Report) -> str:
    """`1,334,016 parameters from a random start, 3,200 steps. Training loss from 8.3 at step 10 to 4.84 …`."""
    start = f"from the preset {report.model.preset}" if report.model.preset else "from a random start"
    steps = f", {report.training.loss[-1].step:,} steps" if report.training.loss else ""
    return f"{count(report.model.parameters)} parameters {start}{steps}. {loss(report.training)}".strip()


def loss(training: Training) -> str:
    """`Training loss from 8.3 at step 10 to 4.84 at step 3,200; validation loss 4.9 at step 3,200.`"""
    logged = [(point.loss, point.step) for point in training.loss if point.loss is not None]
    validation = [(point.loss, point.step) for point in training.validation if point.loss is not None]
    if not logged:
        return ""
    held_out = f"; validation loss {_at_step(validation[-1])}" if validation else ""
    return f"Training loss from {_at_step(logged[0])} to {_at_step(logged[-1])}{held_out}."


def perplexity(evaluation: Evaluation) -> str:
    """`Perplexity in all: 151.8. Of 4 slices source=python (120) is lowest and source=scipy (170) highest.`"""

    def value(one: Slice) -> float:
        return one.candidate.perplexity or 0.0

    words = f"Perplexity in all: {number(evaluation.overall.candidate.perplexity)}."
    measured = [one for one in evaluation.slices[1:] if one.candidate.perplexity is not None]
    if len(measured) < 2:
        return words
    lowest, highest = min(measured, key=value), max(measured, key=value)
    return (
        f"{words} Of {len(measured)} slices {visible(lowest.name)} ({number(value(lowest))}) is lowest and "
        f"{visible(highest.name)} ({number(value(highest))}) highest."
    )


def model_facts(model: Model) -> dict[str, str]:
    """The sizes, by name."""
    return {
        "start": f"the preset {model.preset}" if model.preset else "random",
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
