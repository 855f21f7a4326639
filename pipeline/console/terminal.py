"""Console and text through which everything reaches the terminal; they make hidden characters visible.

Documents, file names and settings may hold control codes: the terminal shows these codes and does not execute them.
All of `pipeline/` imports `Console` and `Text` from this module, not from Rich; a test checks this.
"""

from collections.abc import Iterable
from typing import Any, cast

import rich.console
import rich.text
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment

from modules.common.visible_text import visible


class Text(rich.text.Text):
    """Rich's text with hidden characters made visible; Rich itself drops some of them and passes others on."""

    def __init__(self, text: str = "", *arguments: Any, **settings: Any):
        """Makes the string's hidden characters visible; the other arguments are those of Rich."""
        super().__init__(visible(text), *arguments, **settings)

    def append(self, text: "rich.text.Text | str", style: Any = None) -> "rich.text.Text":
        """Appends a text, or a string with its hidden characters made visible."""
        return super().append(visible(text) if isinstance(text, str) else text, style)

    @classmethod
    def assemble(cls, *parts: Any, **settings: Any) -> "Text":
        """Joins strings, `(string, style)` pairs and texts."""
        return cast(Text, super().assemble(*parts, **settings))  # Rich builds an instance of this class


class Console(rich.console.Console):
    """Rich's console with hidden characters of all strings made visible; Rich's own style codes pass."""

    def __init__(self, **settings: Any):
        """Writes to standard output, unless `stderr` or `file` is set.

        Emoji codes are off: Rich would turn `:key:` in a model's text into a picture.
        """
        super().__init__(emoji=False, **settings)

    def render_str(self, text: str, **settings: Any) -> rich.text.Text:
        """Turns a string with markup into a text."""
        return super().render_str(visible(text), **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Renders any object; Rich calls this at every level of nesting, so no string gets past it."""
        for segment in super().render(renderable, options):
            # Control segments come from Rich and move the cursor of a live view.
            yield segment if segment.control else Segment(visible(segment.text), segment.style)
