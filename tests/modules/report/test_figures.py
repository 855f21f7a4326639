import re
import xml.etree.ElementTree as ElementTree

from modules.evaluation.gates import Check
from modules.evaluation.perplexity_gate import PERPLEXITY, REGRESSION
from modules.report.figures import MOST_SLICES, loss_plot, perplexity_limits, perplexity_plot, shown_slices
from modules.training.record import TrainingRecord
from tests.toys.report import HOSTILE, PASSED, evaluation, evaluation_slice, training_record

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def markers(svg: str, colour: str) -> int:
    """Counts the markers of a colour, including the legend's."""
    return sum(
        f"var(--{colour})" in element.get("style", "") for element in ElementTree.fromstring(svg).iter(f"{SVG}use")
    )


def test_every_slice_has_a_row_with_the_baseline_and_the_limit() -> None:
    measured = evaluation(evaluation_slice("", 120.0, 130.0), evaluation_slice("scipy", 100.0, 110.0))
    svg = perplexity_plot(measured, [PASSED])
    shown = texts(svg)
    assert [label for label in shown if label in ("all documents", "source=scipy")] == ["all documents", "source=scipy"]
    assert shown[-3:] == ["this model", "latest blessed", "limit"]
    # Two rows and the legend; only the row of all documents has a limit.
    assert (markers(svg, "candidate"), markers(svg, "baseline"), markers(svg, "limit")) == (3, 3, 2)


def test_perplexities_of_another_tokenizer_are_not_drawn() -> None:
    svg = perplexity_plot(evaluation(evaluation_slice("", 120.0, 130.0), same_tokenizer=False), [])
    assert (markers(svg, "candidate"), markers(svg, "baseline")) == (2, 0)


def test_a_slice_without_a_perplexity_has_a_row_without_a_point() -> None:
    svg = perplexity_plot(evaluation(evaluation_slice("", None), evaluation_slice("scipy", None)), [])
    assert "source=scipy" in texts(svg)
    assert markers(svg, "candidate") == 0
    assert "Overall perplexity: not measured." in svg


def test_the_strictest_limit_of_each_slice_is_drawn() -> None:
    def at_most(limit: float, metric: str = PERPLEXITY, of: str = "") -> Check:
        return Check(metric=metric, measured=1.0, limit=limit, bound="at most", of=of, limit_from="x")

    slices = evaluation(evaluation_slice("", 120.0, 100.0), evaluation_slice("scipy", 80.0, 200.0)).slices
    assert perplexity_limits(
        slices,
        [
            at_most(150.0),
            at_most(0.25, REGRESSION),  # 25% above 100
            at_most(90.0, of="source=scipy"),
            at_most(0.5, REGRESSION, of="source=scipy"),  # 50% above 200
            at_most(0.1, "share of continuations"),
        ],
    ) == {"": 125.0, "source=scipy": 90.0}


def test_only_the_largest_of_many_slices_are_drawn() -> None:
    slices = [{**evaluation_slice(f"s{number}", 10.0), "documents": number} for number in range(60)]
    shown = shown_slices(evaluation(evaluation_slice("", 10.0), *slices))
    assert [result.name for result in shown[:2]] == ["", "source=s20"]
    assert (len(shown), shown[-1].name) == (MOST_SLICES + 1, "source=s59")


def test_names_of_slices_are_drawn_as_plain_text() -> None:
    names = [HOSTILE, "$\\alpha$", "\x1b\uffff", "a" * 500]
    svg = perplexity_plot(evaluation(evaluation_slice("", 10.0), *[evaluation_slice(name, 10.0) for name in names]), [])
    assert "<script" not in svg
    assert [text for text in texts(svg) if text.startswith("source=")] == [
        "source=<script>alert(1)</…", "source=$\\alpha$", "source=\\x1b\\uffff", f"source={'a' * 18}…",
    ]  # fmt: skip


def test_the_loss_plot_has_a_description_in_words() -> None:
    svg = loss_plot(training_record())
    root = ElementTree.fromstring(svg)
    assert root.get("role") == "img"
    assert root.findtext(f"{SVG}title") == "Loss by training step"
    assert root.findtext(f"{SVG}desc") == (
        "Training loss from 8.25 at step 10 to 4.84 at step 300; validation loss 4.9 at step 300."
    )
    assert texts(svg)[-2:] == ["training", "validation"]
    assert "loss, nats per token" in texts(svg)
    assert "loss" in texts(loss_plot(training_record(loss_unit=None)))


def test_without_a_logged_step_there_is_no_plot() -> None:
    assert loss_plot(TrainingRecord(parameters=1)) == ""


def test_figures_use_the_colours_of_the_page_and_ids_of_their_own() -> None:
    figures = [loss_plot(training_record()), perplexity_plot(evaluation(evaluation_slice("", 9.0)), [])]
    assert not re.search(
        r"#[0-9a-fA-F]{3,6}\b|font-family|<style", "".join(re.sub(r"#\w+-m\w+", "", svg) for svg in figures)
    )
    ids = [re.findall(r' id="([^"]+)"', svg) for svg in figures]
    assert len({*ids[0], *ids[1]}) == len(ids[0]) + len(ids[1])
    for svg, own in zip(figures, ids, strict=True):
        assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg)) <= set(own)
