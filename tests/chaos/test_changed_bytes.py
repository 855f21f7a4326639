"""A byte that changes in any file of any artifact of a real run is noticed before anything is made from that file."""

import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from ml_metadata import metadata_store
from tfx.orchestration import metadata

from components.integrity import check_outputs
from modules.common.errors import InputError
from tests.chaos.changed_bytes import written_files
from tests.chaos.faults import flipped_byte
from tests.toys.checkout import ALL, Checkout, FinishedRun


@pytest.fixture
def store(checkout: Checkout) -> Iterator[metadata_store.MetadataStore]:
    path = checkout.folder / "workspace" / "metadata.sqlite"
    with metadata.Metadata(metadata.sqlite_metadata_connection_config(str(path))) as handle:
        yield handle.store


def test_a_flipped_byte_in_any_file_of_a_run_is_noticed(
    first_run: FinishedRun, store: metadata_store.MetadataStore
) -> None:
    numbers = random.Random(14)
    nodes = set()
    for execution_id, node, path in written_files(first_run):
        nodes.add(node)
        check_outputs(store, execution_id)
        with flipped_byte(path, numbers.randrange(path.stat().st_size)), pytest.raises(InputError) as noticed:
            check_outputs(store, execution_id)
        assert f"Received: {path}, whose content is another" in str(noticed.value)
    # The only files of the other nodes are empty marks, such as BLESSED.
    assert nodes >= ALL - {"AnomalyGate", "TokenGate", "Pusher"}


def test_a_changed_release_is_noticed_by_the_next_run(
    first_run: FinishedRun, release: Path, store: metadata_store.MetadataStore
) -> None:
    pusher = next(execution for execution in first_run.run.executions if execution.node == "Pusher")
    check_outputs(store, pusher.id)
    with flipped_byte(release / "saved_model.pb", 100), pytest.raises(InputError) as noticed:
        check_outputs(store, pusher.id)
    assert "where 'saved_model.pb' has other content" in str(noticed.value)
    assert f"delete the folder {pusher.outputs['pushed_model'][0].uri} and run again" in str(noticed.value)


def test_changed_weights_are_not_pushed(first_run: FinishedRun, checkout: Checkout) -> None:
    releases = checkout.folder / "workspace/topics/releases"
    before = {path.name for path in releases.glob("[0-9]*")}
    model = Path(first_run.run.output("Trainer", "model").uri)
    weights = next(model.glob("Format-Serving/variables/variables.data*"))
    (releases / ".id").unlink()
    with flipped_byte(weights, -1000):
        stopped = checkout.run()
    assert stopped.status == 2, stopped.output
    assert "failed in Trainer" in stopped.output
    assert f"must be as Trainer wrote them. Received: {weights}, whose content is another" in stopped.output
    assert stopped.run.verdict == "failed"
    assert {path.name for path in releases.glob("[0-9]*")} == before


def test_the_cure_runs_the_node_again(first_run: FinishedRun, checkout: Checkout) -> None:
    complete = checkout.run()
    page = Path(complete.run.output("Report", "report").uri, "report.html")
    page.write_text("<p>Everything is fine.")
    stopped = checkout.run()
    assert stopped.status == 2, stopped.output
    folder = re.search(
        r"Delete the folder (\S+) and run again without `--from-node`: then Report and the nodes after it",
        stopped.output,
    )
    assert folder is not None, stopped.output
    shutil.rmtree(folder[1])
    cured = checkout.run()
    assert cured.status == 0, cured.output
    assert cured.executed == {"Report", "Pusher"}
