"""Rendering of a report as one self-contained HTML page, and as the Markdown of a model card.

Both templates escape every value that is not marked as markup, so a `<script>` in a document stays text.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import yaml

from modules.common import formatting
from modules.common.formatting import NOT_MEASURED
from modules.report import escaping, sentences
from modules.report.contents import Report
from modules.report.figures import MOST_SLICES, loss_plot, perplexity_plot, shown_slices

_FOLDER = Path(__file__).parent / "templates"
_PAGE, _CARD, _STYLE = "report.html.jinja", "model_card.md.jinja", "report.css"
# The files that the result depends on besides code, see `pipeline.code_fingerprint`.
TEMPLATES = tuple(_FOLDER / name for name in (_PAGE, _CARD, _STYLE))
_FORMATS = {
    name: getattr(formatting, name)
    for name in ("number", "count", "interval", "share", "change", "change_interval", "size")
}


def render_html(report: Report) -> str:
    """Returns one page that needs no network, runs no script, and fits a phone, light and dark."""
    template = _environment(autoescape=True, finalize=_shown_in_html).get_template(_PAGE)
    page = template.render(
        **_contents(report),
        figures={
            "loss": loss_plot(report.training),
            "perplexity": perplexity_plot(report.evaluation, report.checks),
        },
        style=(_FOLDER / _STYLE).read_text(encoding="utf-8"),
    )
    return page + "\n"


def render_markdown(report: Report) -> str:
    """Returns a model card: Hugging Face's front matter, as far as known, then the content of the page as tables."""
    environment = _environment(autoescape=False, finalize=_shown_in_markdown)
    environment.filters["code_block"] = escaping.code_block
    front_matter = escaping.MarkdownText(_as_yaml(_front_matter(report)))
    return environment.get_template(_CARD).render(**_contents(report), front_matter=front_matter) + "\n"


def _contents(report: Report) -> dict[str, Any]:
    """Returns the values that both templates use; plots and front matter are added by the callers."""
    return {
        "report": report,
        "slices": shown_slices(report.evaluation),
        "most_slices": MOST_SLICES,
        "notes": sentences.comparison(report),
        "change": sentences.change(report.evaluation),
        "training_words": sentences.training(report),
        "files_words": sentences.files(report),
        "secrets": sentences.secrets(report.data),
        "model_facts": sentences.model_facts(report.model),
        "fingerprints": sentences.fingerprints(report),
        "configuration": _as_yaml(report.configuration),
    }


def _environment(**settings: Any) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        **settings,
    )
    environment.filters.update(_FORMATS)
    return environment


def _shown_in_html(value: Any) -> Any:
    if value is None:
        return NOT_MEASURED
    is_markup = hasattr(value, "__html__")  # from `|safe` or from a macro
    return escaping.visible(value) if isinstance(value, str) and not is_markup else value


def _shown_in_markdown(value: Any) -> str:
    if isinstance(value, escaping.MarkdownText):
        return value
    return escaping.markdown(NOT_MEASURED if value is None else str(value))


def _front_matter(report: Report) -> dict[str, Any]:
    """Returns the metadata of a model card. Licence and author are left out, because they are not known here."""
    languages = report.configuration["data"]["cleaning"]["languages"]
    return {
        **({"language": languages} if languages else {}),
        "library_name": "keras-hub",
        "pipeline_tag": "text-generation",
        "tags": ["gpt2", "text-generation", "tensorflow", "tflite", "tfx"],
        "metrics": ["perplexity"],
    }


def _as_yaml(settings: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(settings), allow_unicode=True, sort_keys=False, width=100).strip()
