"""Summary of a finished run in tables: data, perplexity, gates, release, time, verdict."""

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePath

from etils import epath
from rich.console import Group, RenderableType
from rich.table import Table

from components.mlmd_properties import WARNINGS
from modules.common.formatting import count, decimals, duration, size
from modules.common.json_files import reading
from modules.data.examples import COUNTS_FILE, ExampleCounts
from modules.data.source import SPLITS
from modules.evaluation import gates
from modules.evaluation.results import Evaluation
from modules.evaluation.task_figures import read_task_figures
from modules.export.tflite_files import TFLITE_FILES
from modules.release.manifest import MANIFEST, Manifest
from modules.report.sources import source_figures
from modules.tokenization.packing_efficiency import LENGTHS_FILE, unpacked_useful_share
from pipeline.config import PipelineConfig
from pipeline.console.terminal import Console, Text
from pipeline.metadata.reader import Artifact, Run
from pipeline.nodes import RESOLVERS

DROPPED, CHANGED = "dropped_", "changed_"
# The nodes whose checks decide, each with its output that holds `checks.json`.
EVALUATIONS = (
    ("TaskEvaluator", "task_evaluation"),
    ("Evaluator", "evaluation"),
    ("TFLiteEvaluator", "tflite_evaluation"),
)


def print_summary(run: Run, config: PipelineConfig, console: Console) -> None:
    """Prints the results and the verdict of a run."""
    print_data(run, console)
    console.print(
        Group(*_packing(run, config), *_perplexity(run), *_tasks(run), *_gates(run), *_release(run), _times(run))
    )
    console.print(_verdict(run), soft_wrap=True)


def print_data(run: Run, console: Console) -> None:
    """Prints the sizes of the splits, the dropped documents by reason, and the warnings about the data."""
    console.print(
        Group(_splits(run), *_sources(run), *_counted(run, DROPPED, "documents"), *_counted(run, CHANGED, "times"))
    )
    for warning in _warnings(run):
        console.print(warning, soft_wrap=True)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", header_style="dim")
    return table


def _splits(run: Run) -> RenderableType:
    table = _table("Data", "split", "documents", "bytes", "tokens")
    for split in SPLITS:
        documents = run.measured("TextExampleGen", "examples", f"documents_{split}")
        size_bytes = run.measured("TextExampleGen", "examples", f"bytes_{split}")
        tokens = run.measured("Transform", "transformed_examples", f"tokens_{split}")
        table.add_row(split, count(documents, "-"), count(size_bytes, "-"), count(tokens, "-"))
    return table


def _sources(run: Run) -> list[RenderableType]:
    """Returns a table of the named sources; nothing if the run has one source without a name."""
    outputs = (
        run.output("TextExampleGen", "examples"),
        run.output("Transform", "transformed_examples"),
        run.output("Trainer", "model_run"),
    )
    figures = source_figures(*(output.properties if output else {} for output in outputs))
    table = _table("Sources", "source", "train documents", "train tokens", "share", "times read", "tokens not read")
    for source in figures:
        table.add_row(
            source.name,
            count(source.documents),
            count(source.tokens, "-"),
            "-" if source.share is None else f"{source.share:.1%}",
            decimals(source.times_read),
            count(source.unread_tokens, "-"),
        )
    return [table] if figures else []


def _packing(run: Run, config: PipelineConfig) -> list[RenderableType]:
    """Returns a line with the share of the training windows that is text; nothing for preferences: not packed."""
    examples = run.output("Transform", "transformed_examples")
    if examples is None or "packed_useful_share" not in examples.properties:
        return []
    with reading(examples.uri, LENGTHS_FILE) as lengths:
        padded = unpacked_useful_share(
            {int(length): number for length, number in lengths.items()}, sequence_length=config.model.context_length
        )
    packed = examples.properties["packed_useful_share"]
    line = f"Packed windows are {packed:.1%} text; with one document per window: {padded:.1%}."
    if "loss_tokens_train" in examples.properties:
        before = ", before the rows that are too long are left out or cut" if _are_too_long(run) else ""
        line += (
            f" The loss is computed on {examples.properties['loss_tokens_train']:,} tokens of the train split{before}."
        )
    unused = run.measured("Trainer", "model_run", "unused_tokens")
    if unused:
        line += f" The last {unused:,} tokens of the train split fill no window and are left out."
    return [Text(line)]


def _are_too_long(run: Run) -> bool:
    """Returns whether rows were left out or cut because they are longer than the context."""
    found = run.output("LengthGate", "length_check")
    return found is not None and any(
        number for name, number in found.properties.items() if name.startswith((DROPPED, CHANGED))
    )


def _counted(run: Run, prefix: str, unit: str) -> list[RenderableType]:
    """Returns a table of what was dropped or changed, by reason, summed over nodes; nothing if every number is 0."""
    table = _table(prefix.removesuffix("_").capitalize(), "reason", unit)
    numbers: Counter[str] = Counter()
    for artifact in _written(run):
        for name, number in artifact.properties.items():
            if name.startswith(prefix) and number:
                numbers[name.removeprefix(prefix).replace("_", " ")] += number
    for reason, number in numbers.items():
        table.add_row(reason, count(number))
    return [table] if table.row_count else []


def _written(run: Run) -> Iterator[Artifact]:
    """Yields the outputs of the run's nodes, without those that a resolver found in earlier runs."""
    for execution in run.executions:
        if execution.node not in RESOLVERS:
            yield from itertools.chain(*execution.outputs.values())


def _warnings(run: Run) -> list[Text]:
    warnings = []
    examples = run.output("TextExampleGen", "examples")
    if examples and examples.properties.get("secrets_found"):
        first = ExampleCounts.read(examples.uri).secret_places[0]
        path = epath.Path(examples.uri, COUNTS_FILE)
        warnings.append(
            f"{examples.properties['secrets_found']:,} passages look like secrets or addresses, the first in {first}; "
            f"more in {relative(path)}. To drop such documents: --set data.cleaning.secrets=drop"
        )
    for gate in ("AnomalyGate", "TokenGate"):
        warnings += (run.measured(gate, "blessing", "drift") or "").split("\n")
    for artifact in _written(run):
        warnings += artifact.properties.get(WARNINGS, "").split("\n")
    # `splitlines` would also split at control codes within a line, and hide them.
    warnings = list(filter(None, warnings))
    return [Text.assemble(("warning", "bold yellow"), f"  {warning}") for warning in warnings]


def _perplexity(run: Run) -> list[RenderableType]:
    """Returns a table with the metrics of this run's model and of the latest blessed model."""
    evaluated = run.output("Evaluator", "evaluation")
    if evaluated is None:
        return []
    evaluation = Evaluation.read(evaluated.uri)
    overall = evaluation.overall
    table = _table("Perplexity", "model", "perplexity", "95% interval", "bits per byte", "token accuracy")
    for name, figures in (("this run", overall.candidate), ("latest blessed", overall.baseline)):
        if figures is None:
            table.add_row(name, "none yet")
            continue
        ends = figures.perplexity_interval
        table.add_row(
            name,
            decimals(figures.perplexity),
            f"{decimals(ends[0])} to {decimals(ends[1])}" if ends else "",
            f"{figures.bits_per_byte:.3f}",
            f"{figures.token_accuracy:.1%}",
        )
    return [table, *(Text(note) for note in evaluation.notes)]


def _tasks(run: Run) -> list[RenderableType]:
    """Returns the results of the tasks, one line each."""
    evaluated = run.output("TaskEvaluator", "task_evaluation")
    if evaluated is None:
        return []
    return [Text(f"{task.name}: {task.value}; {task.note}.") for task in read_task_figures(evaluated.uri)]


def _gates(run: Run) -> list[RenderableType]:
    """Returns a table of all gates: the measured value, the limit, and whether it passed."""
    table = _table("Gates", "gate", "measured", "", "limit", "")
    for node, output in EVALUATIONS:
        evaluated = run.output(node, output)
        for check in gates.read_checks(evaluated.uri) if evaluated else []:
            of = f" of {check.of}" if check.of else ""
            mark = Text("✔", style="green") if check.passed else Text("✘", style="bold red")
            gate = Text(f"{check.metric}{of}")
            table.add_row(gate, check.measured_text, check.bound, check.limit_text, mark)
    return [table] if table.row_count else []


def _release(run: Run) -> list[RenderableType]:
    if run.release is None or not (run.release / MANIFEST).is_file():
        return []
    manifest = Manifest.read(run.release)
    table = _table("Release", "part", "size", "perplexity", "tokens/s")
    measured = {f"tflite/{file.name}": manifest.tflite[file.precision] for file in TFLITE_FILES}
    parts: dict[str, int] = {}
    for name, file in manifest.files.items():
        folder, slash, _ = name.partition("/")
        part = name if folder == "tflite" else "tokenizer/" if folder == "tokenizer" else "SavedModel"
        if not slash and name.endswith((".html", ".md")):
            part = "report, model card"
        parts[part] = parts.get(part, 0) + file["size_bytes"]
    for part, size_bytes in sorted(parts.items()):
        row = measured.get(part)
        figures = (decimals(row["perplexity"]), decimals(row["decode_tokens_per_second"], 0)) if row else ()
        table.add_row(part, size(size_bytes), *figures)
    return [table]


def _times(run: Run) -> RenderableType:
    table = _table("Time", "node", "duration")
    for execution in run.executions:
        table.add_row(execution.node, "cached" if execution.state == "cached" else duration(execution.seconds))
    table.add_row("total", duration(run.seconds))
    return table


def _verdict(run: Run) -> RenderableType:
    report = run.output("Report", "report")
    lines: list[Text] = []
    if report:
        lines = [
            Text(report.properties["verdict"]),
            Text(f"report: {relative(epath.Path(report.uri, 'report.html'))}"),
        ]
    if run.release:
        return Group(*lines, Text.assemble(("PUSHED", "bold green"), f"  {relative(run.release)}"))
    return Group(*lines, Text.assemble(("NOT PUSHED", "bold red"), "  A gate refused the model."))


def relative(path: PurePath) -> PurePath:
    """Returns the path relative to the working directory, if it is inside."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
