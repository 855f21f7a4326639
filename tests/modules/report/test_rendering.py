import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt

from modules.evaluation.gates import Check
from modules.report import gathering, rendering
from modules.report.contents import Report
from modules.report.sources import source_figures
from tests.toys.report import CONFIGURATION, HOSTILE, PASSED, REFUSED, evaluation_slice, quality, write_artifacts

VOID = {"meta", "br", "wbr", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """Elements, attributes and visible text of a page; every element must be closed exactly once."""

    def __init__(self, page: str):
        super().__init__()
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "title", "desc"} & set(self._open):
            self.text += data


def gathered(folder: Path, configuration: dict[str, Any] = CONFIGURATION, **settings: Any) -> Report:
    artifacts = write_artifacts(folder, **settings)
    return gathering.gather(artifacts, pipeline="poems", run="run 7", configuration=configuration)


@pytest.fixture
def hostile(tmp_path: Path) -> Report:
    """Returns a report with a script in every place that can contain foreign text."""
    return gathered(
        tmp_path,
        {**CONFIGURATION, "data": {**CONFIGURATION["data"], "source": f"{HOSTILE}.txt"}},
        documents=[f"{HOSTILE} in a document"],
        source=f"{HOSTILE} in a file name",
        slices=[evaluation_slice("", 120.0, 130.0), evaluation_slice(HOSTILE, 110.0, 100.0)],
        checks=[
            PASSED,
            Check(metric=HOSTILE, measured=1.0, limit=2.0, bound="at most", of=HOSTILE, limit_from=HOSTILE),
        ],
        training={"samples": [{"prompt": f"{HOSTILE} in a prompt", "before": HOSTILE, "after": f"``` {HOSTILE}"}]},
    )  # fmt: skip


def test_a_script_stays_text_in_the_page(hostile: Report) -> None:
    page = Page(rendering.render_html(hostile))
    assert "script" not in page.elements
    for place in ("in a document", "in a prompt", "in a file name"):
        assert f"{HOSTILE} {place}" in page.text
    assert f"source: {HOSTILE}.txt" in page.text  # the configuration
    assert f"source={HOSTILE}" in page.text  # the slice
    assert not any(name.startswith("on") for name, _ in page.attributes)


def test_a_script_stays_text_in_the_model_card(hostile: Report) -> None:
    card = rendering.render_markdown(hostile).split("\n---\n", 1)[1]
    page = Page(MarkdownIt("commonmark").enable("table").render(card))
    assert "script" not in page.elements
    for place in ("in a document", "in a prompt", "in a file name"):
        assert f"{HOSTILE} {place}" in page.text
    assert f"``` {HOSTILE}" in page.text
    assert f"source={HOSTILE}" in page.text
    assert page.elements.count("h2") == len(re.findall("^## ", card, re.MULTILINE)) == 8


def test_the_page_needs_nothing_from_outside(hostile: Report) -> None:
    html = rendering.render_html(hostile)
    page = Page(html)
    links = {value for name, value in page.attributes if name in ("src", "href", "xlink:href", "action", "data")}
    assert all(link.startswith("#") for link in links)
    assert not {"link", "iframe", "object", "embed", "img", "base"} & set(page.elements)
    assert "@import" not in html
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", html))
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {link.removeprefix("#") for link in links} <= set(ids)
    # Even if a script were in the page, the browser would run no script and load nothing.
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in page.attributes


def test_page_and_card_contain_the_same_facts(tmp_path: Path) -> None:
    report = gathered(tmp_path, slices=[evaluation_slice("", 120.0, 150.0), evaluation_slice("scipy", 110.0, 100.0)])
    page = " ".join(Page(rendering.render_html(report)).text.split())
    card = MarkdownIt("commonmark").enable("table").render(rendering.render_markdown(report).split("\n---\n")[1])
    card_text = " ".join(Page(card).text.split())
    for fact in (
        "he one gate passed.", "114 to 126", "−20.0%", "source=scipy", "+10.0%", "31.2%",  # perplexities
        "evaluation.max_perplexity", "60.5 of 64", "410", "2.9 MB",  # gate and files
        "1,334,016", "4,096", "Training loss from 8.25 at step 10",  # model and training
        "17,500", "exact duplicate", "email address: 2", "Roses are red.", "1f1f", "e1e1",  # data
        "qzx qzx", "are red.",  # generations
        "TensorFlow", "sha256", "transformed_examples", "ModelEvaluation", "max_perplexity: 150.0",  # provenance
    ):  # fmt: skip
        assert fact in page, fact
        assert fact in card_text, fact


def test_page_and_card_show_the_sources_and_the_use_of_each(tmp_path: Path) -> None:
    report = gathered(tmp_path)
    assert "| odes | 150 | 16,000 | 66.7% | 0.75 | 4,000 |" in rendering.render_markdown(report)
    page = rendering.render_html(report)
    assert '<th scope="row">limericks</th><td class="value">30</td><td class="value">1,500</td>' in page
    sources = source_figures({"documents_train_of_odes": 5}, {"tokens_train_of_odes": 9}, {})
    unweighted = dataclasses.replace(report, data=dataclasses.replace(report.data, sources=sources))
    assert "| odes | 5 | 9 | 100.0% |\n" in rendering.render_markdown(unweighted)
    assert "Times read" not in rendering.render_html(unweighted)


def test_the_verdict_comes_first(tmp_path: Path) -> None:
    report = gathered(tmp_path, checks=[REFUSED], blessed=False)
    text = " ".join(Page(rendering.render_html(report)).text.split())
    assert text.startswith("poems · run run 7 Refused Perplexity 152 is above 150 (evaluation.max_perplexity).")
    assert "**Refused: perplexity 152 is above 150 (evaluation.max\\_perplexity).**" in (
        rendering.render_markdown(report)
    )


def test_missing_values_are_described_in_words(tmp_path: Path) -> None:
    nothing = dict.fromkeys(("perplexity", "bits_per_byte", "token_accuracy"))
    bare = {**evaluation_slice("", None), "candidate": {**quality(None), **nothing}}
    report = gathered(
        tmp_path,
        slices=[bare],
        checks=[],
        blessed=False,
        documents=[],
        training={"loss": [], "validation": [], "samples": [{"prompt": "p", "before": None, "after": "a"}]},
    )
    for text in (Page(rendering.render_html(report)).text, rendering.render_markdown(report)):
        assert not re.search(r"\b(None|nan|inf)\b", text)
        assert "not measured" in text
        assert "othing was checked." in text
        assert "Before training" not in text
        assert "Samples of the train split" not in text


def test_folders_of_the_machine_are_not_shown(tmp_path: Path) -> None:
    report = gathered(tmp_path)
    for text in (rendering.render_html(report), rendering.render_markdown(report)):
        assert "/home/someone" not in text
        assert str(tmp_path) not in text


def test_front_matter_contains_known_facts(tmp_path: Path) -> None:
    _, front_matter, _ = rendering.render_markdown(gathered(tmp_path)).split("---\n", 2)
    assert yaml.safe_load(front_matter) == {
        "language": ["en"],
        "library_name": "keras-hub",
        "pipeline_tag": "text-generation",
        "tags": ["gpt2", "text-generation", "tensorflow", "tflite", "tfx"],
        "metrics": ["perplexity"],
    }


def test_front_matter_names_no_language_that_was_not_checked(tmp_path: Path) -> None:
    configuration = {**CONFIGURATION, "data": {"source": "poems/*.txt", "cleaning": {"languages": None}}}
    _, front_matter, _ = rendering.render_markdown(gathered(tmp_path, configuration)).split("---\n", 2)
    assert "language" not in yaml.safe_load(front_matter)


def test_every_template_is_part_of_the_cache_key() -> None:
    folder = rendering.TEMPLATES[0].parent
    assert sorted(rendering.TEMPLATES) == sorted(path for path in folder.iterdir() if path.is_file())
