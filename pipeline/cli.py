"""The command line, `python -m pipeline` or `tfx-gpt2`: `run | validate | generate | runs | compare | compile`."""

import contextlib
import enum
import io
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core
from rich.markup import escape
from rich.table import Table

from modules.common.errors import InputError
from modules.common.failures import check_path, disk_error, path_error, shortened
from modules.common.formatting import decimals
from modules.common.visible_text import visible
from modules.training.run_warnings import settings_warnings
from pipeline.config import DEFAULT_RECIPE, PipelineConfig, Stage, load_config
from pipeline.console.terminal import Console, Text
from pipeline.nodes import NODES
from pipeline.preflight import check_data, check_memory, check_model, check_workspace
from pipeline.request import RunRequest

if TYPE_CHECKING:
    from modules.serving.continuation import Continuation
    from pipeline.metadata.reader import Run

# Click's UsageError. Typer brings a Click of its own and exports only a subclass, from which the class is reached.
_UsageError: Any = typer.BadParameter.__bases__[0]


@contextlib.contextmanager
def _visible_usage_errors() -> Iterator[None]:
    """Makes hidden characters of the command line visible in Click's error messages, which Typer prints itself."""
    try:
        yield
    except _UsageError as error:
        error.message = visible(error.message)
        raise


class _Commands(typer.core.TyperGroup):
    """Group of the commands; hidden characters in errors about a command line are made visible."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parses the arguments before the command's name."""
        with _visible_usage_errors():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Parses the command's own arguments and calls it."""
        with _visible_usage_errors():
            return super().invoke(ctx)


app = typer.Typer(
    cls=_Commands,
    help="Fine-tunes GPT-2 on your own text and releases the models that pass every gate.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # `main` prints exceptions
)
console = Console()
errors = Console(stderr=True)


def _path(text: str | Path) -> Path:
    """Returns the path that an option names, or the option's default."""
    try:
        return check_path(str(text))
    except ValueError as error:
        raise typer.BadParameter(f"{error}. Received: {shortened(str(text))!r}.") from None


_PATH: Any = {"parser": _path, "metavar": "PATH"}
ConfigOption = Annotated[
    Path,
    typer.Option("--config", help="Recipe to use, a YAML file.", show_default="the recipe of `make run`", **_PATH),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override one setting, e.g. training.steps=500. May be repeated."),
]


class Format(enum.StrEnum):
    """Files of a release that can generate text."""

    SAVED_MODEL = "saved_model"
    TFLITE_INT8 = "tflite-int8"
    TFLITE_FP16 = "tflite-fp16"


class Target(enum.StrEnum):
    """Orchestrators for which the pipeline can be compiled."""

    VERTEX = "vertex"


@app.command()
def run(
    config: ConfigOption = DEFAULT_RECIPE,
    set_: SetOption = None,
    from_node: Annotated[
        str | None,
        typer.Option(help="Start at this node; reuse the results of earlier nodes from the last run.", metavar="NODE"),
    ] = None,
) -> None:
    """Runs the pipeline on this machine, from raw text to a release.

    Exit status: 0 released, 1 any other error, 2 bad configuration or input, 3 refused by a gate.
    """
    from pipeline.console import run_view
    from pipeline.console.summary import print_summary

    settings = load_config(config, set_)
    check_workspace(settings)
    check_data(settings)
    check_model(settings)
    if from_node and from_node not in NODES:
        raise InputError(f"--from-node must be one of {', '.join(NODES)}. Received: {from_node!r}.")
    request = RunRequest(config=settings, run_id=run_view.new_run_id(), from_node=from_node)
    warnings = [*filter(None, [check_memory(request)]), *settings_warnings(settings.training)]
    console.print(f"[bold]{settings.name}[/]  {escape(describe_model(settings))}", highlight=False)
    for warning in warnings:
        console.print(f"[bold yellow]warning[/]  {escape(warning)}", highlight=False, soft_wrap=True)
    finished = run_to_end(request)
    print_summary(finished, settings, console)
    raise typer.Exit(run_view.EXIT_PUSHED if finished.release else run_view.EXIT_REFUSED)


@app.command()
def validate(config: ConfigOption = DEFAULT_RECIPE, set_: SetOption = None) -> None:
    """Reads and cleans the data and checks it against its contract, without training.

    Rows of instructions and preferences are also tokenized, and those that are longer than the context are counted.

    Exit status: 0 the data is valid, 1 any other error, 2 bad configuration or input.
    """
    from pipeline.console import run_view
    from pipeline.console.summary import print_data

    settings = load_config(config, set_)
    check_workspace(settings)
    check_data(settings)
    console.print(f"[bold]{settings.name}[/]  {escape(str(settings.data.described))}", highlight=False)
    # Only tokens show which rows are longer than the context; plain text has no rows.
    until: Stage = "data" if settings.data.kind == "text" else "tokens"
    if until == "tokens":
        check_model(settings)
    finished = run_to_end(RunRequest(config=settings, run_id=run_view.new_run_id(), until=until))
    print_data(finished, console)
    console.print("[bold green]DATA VALID[/]  The data meets its contract.")


def run_to_end(request: RunRequest) -> "Run":
    """Runs the request in a child process and shows its progress; returns the run, or exits if the run failed."""
    from pipeline.console import run_view
    from pipeline.metadata.reader import MetadataReader

    log_path = run_view.log_path(request.config, request.run_id)
    console.print(f"[dim]logs: {escape(str(log_path))}[/]", highlight=False, soft_wrap=True)
    watch = run_view.run_in_child(request, log_path, console)
    if watch.failure:
        where = f" in {watch.current}" if watch.current else ""
        errors.print(f"[bold red]failed{where}[/]: {escape(watch.failure['message'])}", soft_wrap=True)
        errors.print(f"[dim]logs: {escape(str(log_path))}[/]", highlight=False, soft_wrap=True)
        raise typer.Exit(run_view.EXIT_INPUT if watch.failure["input"] else run_view.EXIT_ERROR)
    return MetadataReader(request.config.metadata_path).run(request.run_id)


def describe_model(settings: PipelineConfig) -> str:
    """Returns one line about the model, its initial weights and its data."""
    model = settings.model
    if model.sizes:
        start = f"GPT-2 with {model.sizes.num_layers} layers × {model.sizes.hidden_dim}, randomly initialized"
    else:
        start = f"GPT-2 with the weights of the preset {model.preset}"
    if model.warm_start:
        start += ", or the latest blessed model if there is one"
    return f"{start}, context {model.context_length}, data {settings.data.described}"


@app.command()
def generate(
    prompt: Annotated[str, typer.Option(help="Text to continue; for instruction models, the instruction.")],
    release: Annotated[
        Path | None,
        typer.Option(help="Folder of the release. Default: the newest release in the workspace.", **_PATH),
    ] = None,
    format: Annotated[Format, typer.Option(help="File of the release that generates the text.")] = Format.SAVED_MODEL,
    max_new_tokens: Annotated[
        int, typer.Option(min=1, max=2**31 - 1, help="Maximum number of tokens to generate.")
    ] = 64,
    temperature: Annotated[
        float, typer.Option(min=0, help="Sampling temperature; 0 always takes the most likely token.")
    ] = 0.7,
    top_k: Annotated[int, typer.Option(min=1, max=2**31 - 1, help="Sample from this many most likely tokens.")] = 40,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Seed of the sampling.")] = 0,
    raw: Annotated[
        bool, typer.Option("--raw", help="Use the prompt as it is, without the model's prompt template.")
    ] = False,
    workspace: Annotated[Path, typer.Option(help="Folder in which to look for releases.", **_PATH)] = Path("workspace"),
) -> None:
    """Continues a prompt with a released model."""
    from modules.model.sampling import SamplingSettings
    from modules.release.manifest import find_release, prompt_template
    from modules.serving.continuation import continue_prompt, discard_stderr

    _check_prompt(prompt)
    release = release or find_release(workspace)
    continuation = continue_prompt(
        release,
        format.value,
        prompt,
        SamplingSettings(max_new_tokens=max_new_tokens, temperature=temperature, top_k=top_k, seed=seed),
        raw=raw,
    )
    between = "\n" if not raw and prompt_template(release) else ""
    console.print(f"[bold]{escape(prompt)}[/]{between}{escape(continuation.text)}", highlight=False, soft_wrap=True)
    if continuation.prompt.left_out:
        _warn_of_cut(continuation, max_new_tokens, in_template=between != "")
    discard_stderr()


def _warn_of_cut(continuation: "Continuation", max_new_tokens: int, *, in_template: bool) -> None:
    """Prints one line on standard error about a prompt of which the model did not see every token."""
    found, context_length = continuation.prompt, continuation.context_length
    template = " with its template" if in_template else ""
    which = "from the middle of your words; its template is whole" if in_template else "from its beginning"
    errors.print(
        f"[bold yellow]warning[/]  The prompt has {found.tokens:,} tokens{template}, and "
        f"the model got {found.kept:,} of them: {found.left_out:,} were left out {which}. Its context has "
        f"{context_length:,} tokens, of which {min(max_new_tokens, context_length // 2):,} are kept for new tokens. "
        "Shorten the prompt or lower --max-new-tokens.",
        highlight=False,
        soft_wrap=True,
    )


def _check_prompt(prompt: str) -> None:
    try:
        prompt.encode()
    except UnicodeEncodeError:
        raise InputError(
            f"--prompt must be UTF-8. Received: {prompt!r}. Set the terminal's encoding to UTF-8."
        ) from None


@app.command()
def runs(
    workspace: Annotated[Path, typer.Option(help="Folder that holds metadata.sqlite.", **_PATH)] = Path("workspace"),
    limit: Annotated[int, typer.Option(min=1, help="Number of runs to show, newest first.")] = 20,
) -> None:
    """Lists past runs with their verdicts and perplexities, from ML Metadata."""
    from pipeline.metadata.reader import MetadataReader

    # The table fits 80 columns.
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("run", "pipeline", "verdict", "perplexity", "baseline", "release"):
        table.add_column(
            column, no_wrap=column != "pipeline", justify="right" if column in ("perplexity", "baseline") else "left"
        )
    for found in MetadataReader(workspace / "metadata.sqlite").runs()[:limit]:
        table.add_row(
            Text(found.id),
            Text(found.pipeline),
            found.verdict,
            "" if found.perplexity is None else decimals(found.perplexity),
            "" if found.baseline_perplexity is None else decimals(found.baseline_perplexity),
            Text(found.release.name if found.release else ""),
        )
    console.print(table)


@app.command()
def compare(
    left: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="Id of a run, the first characters of an id, latest, or latest~1 (the one before)."
        ),
    ],
    right: Annotated[str, typer.Argument(metavar="RUN", help="Run to compare it with.")],
    workspace: Annotated[Path, typer.Option(help="Folder that holds metadata.sqlite.", **_PATH)] = Path("workspace"),
) -> None:
    """Compares two runs: differences in data, settings, code, results and time."""
    from pipeline.console.comparison import comparison
    from pipeline.metadata.reader import MetadataReader

    reader = MetadataReader(workspace / "metadata.sqlite")
    console.print(comparison(reader.find_run(left), reader.find_run(right)), highlight=False)


@app.command()
def compile(
    output: Annotated[Path, typer.Option(help="YAML file to write.", **_PATH)],
    image: Annotated[str, typer.Option(help="Container image with this project.")] = "tfx-gpt2:latest",
    pipeline_root: Annotated[
        str, typer.Option(help="Cloud Storage folder of artifacts and releases, gs://…")
    ] = "gs://your-bucket/tfx-gpt2",
    target: Annotated[Target, typer.Option(help="Orchestrator to compile for.")] = Target.VERTEX,
    config: ConfigOption = DEFAULT_RECIPE,
    set_: SetOption = None,
) -> None:
    """Compiles the pipeline for another orchestrator, without running it."""
    from pipeline.runners.vertex import compile_pipeline

    settings = load_config(config, set_)
    check_model(settings)
    if settings.data.on_drift == "stop":
        raise InputError(
            "`data.on_drift` must be `warn` on Vertex, where drift is not checked yet. Received: 'stop'. "
            "Add --set data.on_drift=warn."
        )
    compile_pipeline(settings, output, image=image, pipeline_root=pipeline_root)
    console.print(f"wrote {output} for {target.value}", markup=False, highlight=False, soft_wrap=True)


def main() -> None:
    """Runs the command line. An error is one sentence: exit status 2 if the user can mend it, 1 otherwise."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal may lack characters of a document
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except Exception as error:
        mendable = input_error(error)
        if mendable is not None:
            errors.print(f"[bold red]error[/]: {escape(str(mendable))}", highlight=False, soft_wrap=True)
            raise SystemExit(2) from None
        errors.print(f"[bold red]error[/]: {escape(_unexpected(error))}", highlight=False, soft_wrap=True)
        raise SystemExit(1) from None


def input_error(error: Exception) -> InputError | None:
    """Returns an error that the user can mend as an InputError, and None for any other error."""
    if isinstance(error, InputError):
        return error
    return disk_error(error, Path()) or (path_error(error) if isinstance(error, OSError) else None)


def _unexpected(error: Exception) -> str:
    """Returns a sentence about an error of the program; writes the traceback to a file that the sentence names."""
    reason = f"{type(error).__name__}: {error}".split("\n")[0]
    if isinstance(error, MemoryError):
        reason = "MemoryError: this machine has too little free memory"
    sentence = f"unexpected {reason}. This is an error of the program, not of its input."
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="tfx-gpt2-error-", suffix=".txt", encoding="utf-8", errors="backslashreplace", delete=False
        ) as file:
            traceback.print_exc(file=file)
    except OSError:
        return f"{sentence} Its traceback could not be written to the folder of temporary files."
    return f"{sentence} Its traceback is in {file.name}."
