"""The one way from the pipeline to the terminal: a console and a text that make hidden characters visible.

Whatever a document, a file's name or a setting holds, the terminal shows it and does not obey it. All of `pipeline/`
takes `Console` and `Text` from here, not from Rich; a test makes sure of it.
"""

from collections.abc import Iterable
from typing import Any, cast

import rich.console
import rich.text
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment

from modules.common.visible_text import visible


class Text(rich.text.Text):
    """Rich's text, of any string: Rich's own drops some control characters unseen and passes on others."""

    def __init__(self, text: str = "", *arguments: Any, **settings: Any):
        """Takes the string with its hidden characters written out; all else as Rich's."""
        super().__init__(visible(text), *arguments, **settings)

    def append(self, text: "rich.text.Text | str", style: Any = None) -> "rich.text.Text":
        """Appends a string, with its hidden characters written out, or a text."""
        return super().append(visible(text) if isinstance(text, str) else text, style)

    @classmethod
    def assemble(cls, *parts: Any, **settings: Any) -> "Text":
        """Puts strings, `(string, style)` and texts together."""
        return cast(Text, super().assemble(*parts, **settings))  # which makes one of this class


class Console(rich.console.Console):
    """Rich's console, through which no hidden character of a string gets; Rich's own codes for styles do."""

    def __init__(self, **settings: Any):
        """Opens standard output, unless `stderr` or `file` are set.

        There are no emoji codes: Rich would turn `:key:` in a model's text into a picture.
        """
        super().__init__(emoji=False, **settings)

    def render_str(self, text: str, **settings: Any) -> rich.text.Text:
        """Turns a string, with its markup, into a text."""
        return super().render_str(visible(text), **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Renders anything, at every level of nesting: what came by neither of the two ways above ends here."""
        for segment in super().render(renderable, options):
            # Control segments are Rich's: they move the cursor of a live view.
            yield segment if segment.control else Segment(visible(segment.text), segment.style)
