"""Prompts that are longer than the room which the context leaves for them: what the model gets, and what it does not.

A prompt of plain text loses its beginning: the model continues its end. In a prompt of instructions, the template stays
whole, because a model that does not find it has not learned what to do; the words between its marks lose their middle,
the longest first, so that a short instruction next to a long text is kept. Does not import TensorFlow.
"""

import itertools
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from modules.data.prompt_templates import PromptTemplate

# White space and words are left out in pieces of at most this many characters.
_PIECES = re.compile(r"\s{1,16}|\S{1,16}")
# No more pieces per token are tried: a text of any length is cut in bounded time.
_PIECES_PER_TOKEN = 16


class FittedPrompt(NamedTuple):
    """A prompt as the model gets it.

    Attributes:
        text: The text for the model; a prompt of plain text is whole, because the model itself takes its end.
        tokens: Tokens of the whole prompt, with its template and without the <|endoftext|> before it.
        kept: Tokens of it that the model gets.
    """

    text: str
    tokens: int
    kept: int

    @property
    def left_out(self) -> int:
        """Number of tokens that the model does not get."""
        return self.tokens - self.kept


def fit_prompt(
    prompt: str, *, template: PromptTemplate | None, room: int, count_tokens: Callable[[str], int]
) -> FittedPrompt:
    """Cuts a prompt that is too long.

    Every mark of the template stays: its text before an instruction, an input, a tool's result and a reply, with the
    blank line before it. The words before, between and after the marks lose their middle, the longest stretches first:
    each keeps at most the same number of words. Words of the user that look like a mark stay too. For example:

    ```
    "Be brief.\\n\\nUser:\\none two three four five six\\n\\nAssistant:\\n"    the prompt
    "Be brief.\\n\\nUser:\\none two  five six\\n\\nAssistant:\\n"             what the model gets, with room for 8 words
    ```

    If all marks together exceed the room, as those of a pasted conversation may, only the first and the last stay.

    Args:
        prompt: The prompt, in its template.
        template: The template, whose marks stay; None for plain text. If even the first and the last mark do not fit,
            the prompt is cut like plain text: the model gets its end.
        room: Tokens that the model keeps of a prompt with the <|endoftext|> before it, see `sampling.prompt_room`.
        count_tokens: Returns the number of tokens of a text.
    """
    tokens = count_tokens(prompt)
    if template is None or tokens + 1 <= room:
        return FittedPrompt(prompt, tokens, min(tokens, room))
    parts = _split(prompt, template)
    for stretches, marks in ((parts[::2], parts[1::2]), _outer(parts)):
        text = _longest(stretches, marks, room, count_tokens)
        if text is not None:
            return FittedPrompt(text, tokens, count_tokens(text))
    return FittedPrompt(prompt, tokens, min(tokens, room))


def template_tokens(template: PromptTemplate, count_tokens: Callable[[str], int]) -> int:
    """Returns the number of tokens that a template needs with a word of one token and the <|endoftext|> before it."""
    return count_tokens(template.prompt("a")) + 1


def _split(prompt: str, template: PromptTemplate) -> list[str]:
    """Splits a prompt into stretches of words and the marks between them: words, mark, words, …, mark, words."""
    after = re.escape(template.after)
    heads = [re.escape(head) for head in (template.user, template.input, template.tool, template.reply) if head]
    marks = [f"(?:{after})?{head}" for head in heads] + [rf"{after}\Z"]
    return re.split(f"({'|'.join(marks)})", prompt)


def _outer(parts: Sequence[str]) -> tuple[list[str], list[str]]:
    """Returns the stretches and the marks if only the first and the last mark count as marks."""
    if len(parts) < 5:
        return [*parts[::2]], [*parts[1::2]]
    return [parts[0], "".join(parts[2:-2]), parts[-1]], [parts[1], parts[-2]]


def _longest(
    stretches: Sequence[str], marks: Sequence[str], room: int, count_tokens: Callable[[str], int]
) -> str | None:
    """Returns the prompt with as many words as fit, or characters if no words do; None if the marks do not fit."""

    def fits(text: str) -> bool:
        return count_tokens(text) + 1 <= room

    if not fits("".join(marks)):
        return None
    most = _PIECES_PER_TOKEN * room
    for pieces in ([_PIECES.findall(stretch) for stretch in stretches], stretches):
        enough, too_many = 0, min(max(map(len, pieces)), most) + 1
        while too_many - enough > 1:
            limit = (enough + too_many) // 2
            if sum(min(len(stretch), limit) for stretch in pieces) <= most and fits(_joined(pieces, marks, limit)):
                enough = limit
            else:
                too_many = limit
        if enough:
            return _joined(pieces, marks, enough)
    return "".join(marks)


def _joined(stretches: Sequence[Sequence[str]], marks: Sequence[str], limit: int) -> str:
    """Returns a prompt whose stretches keep at most `limit` pieces each, half of them from either end."""

    def shortened(pieces: Sequence[str]) -> str:
        if len(pieces) <= limit:
            return "".join(pieces)
        return "".join(pieces[: limit - limit // 2]) + "".join(pieces[len(pieces) - limit // 2 :])

    pairs = itertools.zip_longest(map(shortened, stretches), marks, fillvalue="")
    return "".join(itertools.chain.from_iterable(pairs))
