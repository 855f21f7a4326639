import re
from pathlib import Path

import numpy as np
import pytest
from tfx.types import standard_artifacts

from components.artifact_types import LengthCheck
from components.length_gate import executor
from modules.common.errors import InputError
from modules.common.json_files import read_json
from modules.tokenization import context_limit


def run(folder: Path, *, too_long: str = "", context_length: int = 8) -> LengthCheck:
    """Runs the gate for 20 rows of train, of which 4 are too long, and for 4 of eval, of which one is."""
    examples, output = standard_artifacts.Examples(), LengthCheck()
    examples.uri, output.uri = str(folder / "examples"), str(folder / f"{too_long}{context_length}")
    (folder / "examples").mkdir(exist_ok=True)
    for split, lengths in (("train", [3] * 16 + [9, 10, 11, 30]), ("eval", [3, 3, 3, 12])):
        rows = np.array([[2, 0, length] for length in lengths])
        np.save(folder / "examples" / context_limit.lengths_file(split), rows)
    executor.Executor().Do(
        {"transformed_examples": [examples]},
        {"length_check": [output]},
        {"context_length": context_length, "largest_context": 1024, "too_long": too_long},
    )
    return output


def properties(check: LengthCheck) -> dict[str, int]:
    custom = check.mlmd_artifact.custom_properties
    return {name: value.int_value for name, value in custom.items() if value.HasField("int_value")}


def test_rows_that_are_too_long_stop_the_run_and_every_cure_in_the_message_works(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"5 of 24 rows \(20\.8%\) are longer than the context") as refused:
        run(tmp_path)
    cures = dict(re.findall(r"--set ([a-z_.]+)=(\w+?)[\s.,]", str(refused.value)))
    values = re.findall(r"--set data\.too_long=(\w+)", str(refused.value))
    assert values == ["drop", "truncate"]
    for value in values:
        assert properties(run(tmp_path, too_long=value))["longest_row"] == 32
    larger = run(tmp_path, context_length=int(cures["model.context_length"]))
    assert properties(larger) == {"dropped_longer_than_the_context": 0, "longest_row": 32}


def test_dropped_and_cut_rows_are_counted_for_people(tmp_path: Path) -> None:
    dropped = run(tmp_path, too_long="drop")
    assert properties(dropped) == {"dropped_longer_than_the_context": 5, "longest_row": 32}
    assert read_json(dropped.uri, "lengths.json") == properties(dropped)
    cut = properties(run(tmp_path, too_long="truncate"))
    assert cut["changed_answers_cut_at_the_context"] == 5
    assert cut["dropped_prompt_fills_the_context"] == 0
    # Without the setting, one row of 24 is left out, and counted.
    assert properties(run(tmp_path, context_length=13))["dropped_longer_than_the_context"] == 1
