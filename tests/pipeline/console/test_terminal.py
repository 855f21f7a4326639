"""Strings reach the terminal without control codes, through every way that leads to the console."""

import ast
import io
import re

import pytest
import rich.text
from rich.console import Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table

from pipeline.config import load_config
from pipeline.console.run_view import Watch, picture
from pipeline.console.summary import print_data, print_summary
from pipeline.console.terminal import Console, Text
from pipeline.metadata.reader import Artifact, Execution, Run
from tests.toys.checkout import ROOT

HOSTILE = "\x1b]0;title\x07\x1b[31mred\r\u202eb"
SHOWN = "\\x1b]0;title\\x07\\x1b[31mred\\x0d\\u202eb"


def printed(*renderables: RenderableType, width: int = 120, **settings: object) -> str:
    file = io.StringIO()
    Console(file=file, width=width, **settings).print(*renderables)
    return file.getvalue()


def table(cell: RenderableType, title: str = "", column: str = "") -> Table:
    built = Table(column, title=title)
    built.add_row(cell)
    return built


@pytest.mark.parametrize(
    "renderable",
    [
        escape(HOSTILE),
        Text(HOSTILE),
        Text("").append(HOSTILE, "bold"),
        Text.assemble("a ", (HOSTILE, "red"), Text(HOSTILE)),
        table(Text(HOSTILE)),
        table(escape(HOSTILE)),
        table("-" * 60, title=escape(HOSTILE)),
        table("", column=escape(HOSTILE)),
        Group(Text(HOSTILE), Padding(Text(HOSTILE), 2)),
        Panel(Text(HOSTILE), title=escape(HOSTILE)),
    ],
    ids=[
        "a string", "a text", "appended", "assembled", "a cell", "a cell of a string", "a title", "a column's name",
        "in a group", "a panel",
    ],
)  # fmt: skip
def test_hidden_characters_become_visible(renderable: RenderableType) -> None:
    shown = printed(renderable)
    assert SHOWN in shown
    assert not set(HOSTILE) & set(shown) & set("\x1b\x07\r\u202e")


def test_richs_own_text_has_no_hidden_characters() -> None:
    # Rich drops some control codes, e.g. \x07 and \r, and would pass on the others.
    assert printed(rich.text.Text(HOSTILE)) == "\\x1b]0;title\\x1b[31mred\\u202eb\n"


def test_styles_still_reach_a_terminal() -> None:
    shown = printed(Text(HOSTILE, "bold"), force_terminal=True, color_system="standard")
    assert shown == f"\x1b[1m{SHOWN}\x1b[0m\n"


def test_a_cell_is_as_wide_as_its_visible_text() -> None:
    lines = printed(table(Text("\x1b[1m")), width=20).splitlines()
    assert len({len(line) for line in lines}) == 1


def test_the_live_view_has_no_hidden_characters(tmp_path) -> None:
    file = io.StringIO()
    console = Console(file=file, width=120, force_terminal=True, color_system=None)
    watch = Watch(tmp_path / "events.jsonl")
    watch.phase = HOSTILE
    with Live(console=console, get_renderable=lambda: picture(watch), auto_refresh=False) as live:
        live.refresh()
        watch.nodes = {"Trainer": {"state": "running", "start": 0.0, "progress": {
            "done": 1, "total": 2, "unit": "steps", "facts": {"phase": HOSTILE, "markup": "[red]"},
        }}}  # fmt: skip
        live.refresh()
    shown = file.getvalue()
    # The live view moves the cursor by control codes from Rich.
    assert f"{SHOWN} …" in shown
    assert f"phase {SHOWN} · markup [red]" in shown
    codes = set(re.findall(r"\x1b[^A-Za-z]*[A-Za-z]", shown))
    assert codes <= {"\x1b[?25l", "\x1b[?25h", "\x1b[2K", "\x1b[1A"}
    assert not set(shown) & set("\x07\u202e")


def test_the_summary_has_no_hidden_characters(tmp_path) -> None:
    verdict = Artifact(id=1, type="Report", uri=str(tmp_path), properties={"verdict": HOSTILE})
    blessing = Artifact(id=2, type="DataBlessing", uri="", properties={"drift": HOSTILE})
    executions = [
        Execution(
            id=number, node=node, type="x", state="complete", started=None, seconds=1.0, inputs={}, outputs=outputs
        )
        for number, (node, outputs) in enumerate(
            {"Report": {"report": [verdict]}, "AnomalyGate": {"blessing": [blessing]}, HOSTILE: {}}.items()
        )
    ]
    file = io.StringIO()
    run = Run(id="1", pipeline="p", executions=executions, record=None)
    print_summary(run, load_config(), Console(file=file, width=120))
    assert file.getvalue().count(SHOWN) == 3
    assert not set(file.getvalue()) & set("\x1b\x07\r\u202e")


def test_the_summary_adds_up_numbers_of_several_nodes_under_one_name() -> None:
    cut = [
        Artifact(id=number, type="ModelRun", uri="", properties={"changed_prompts_of_samples_cut": number})
        for number in (2, 3)
    ]
    execution = Execution(
        id=1, node="n", type="x", state="complete", started=None, seconds=1.0, inputs={}, outputs={"runs": cut}
    )
    file = io.StringIO()
    print_data(Run(id="1", pipeline="p", executions=[execution], record=None), Console(file=file, width=120))
    assert [line.split() for line in file.getvalue().splitlines() if "samples" in line] == [
        ["prompts", "of", "samples", "cut", "5"]
    ]


def test_the_pipeline_has_no_other_way_to_the_terminal() -> None:
    """All files import `Console` and `Text` from `terminal`, and none of them prints in another way."""
    wrong = []
    for path in (ROOT / "pipeline").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and path.name != "terminal.py":
                names = {alias.name for alias in node.names}
                if (node.module or "").startswith("rich") and names & {"Console", "Text", "print", "get_console"}:
                    wrong.append(f"{path.name} imports {names} from {node.module}")
            elif isinstance(node, ast.Import) and path.name != "terminal.py":
                wrong += [f"{path.name} imports {alias.name}" for alias in node.names if alias.name[:4] == "rich"]
            elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "typer.echo", "sys.stdout.write"):
                wrong.append(f"{path.name} prints")
    assert wrong == []
