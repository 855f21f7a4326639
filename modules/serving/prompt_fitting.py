"""Prompts that are longer than the room which the context leaves for them: what the model gets, and what it does not.

A prompt of plain text loses its beginning: the model continues its end. In a prompt of instructions, the template stays
whole, because a model that does not find it has not learned what to do; the words between its head and its end lose
their middle, so that an instruction before or after a long text is kept. Does not import TensorFlow.
"""

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

    For example, with room for six words:

    ```
    "User:\\none two three four five six\\n\\nAssistant:\\n"     "User:\\none two five six\\n\\nAssistant:\\n"
    ```

    Args:
        prompt: The prompt, in its template.
        template: The template, whose head and end stay whole; None for plain text. If even the empty template does not
            fit, the prompt is cut like plain text: the model gets its end.
        room: Tokens that the model keeps of a prompt with the <|endoftext|> before it, see `sampling.prompt_room`.
        count_tokens: Returns the number of tokens of a text.
    """
    tokens = count_tokens(prompt)
    if template is None or tokens + 1 <= room:
        return FittedPrompt(prompt, tokens, min(tokens, room))
    head, words, end = _split(prompt, template)

    def fits(middle: str) -> bool:
        return count_tokens(head + middle + end) + 1 <= room

    if not fits(""):
        return FittedPrompt(prompt, tokens, min(tokens, room))
    middle = _longest(_PIECES.findall(words), fits, room) or _longest(list(words[: 4 * room]), fits, room)
    text = head + middle + end
    return FittedPrompt(text, tokens, count_tokens(text))


def _longest(pieces: Sequence[str], fits: Callable[[str], bool], room: int) -> str:
    """Returns as many pieces as fit, half of them from the beginning and half from the end."""

    def shortened(count: int) -> str:
        return "".join(pieces[: count - count // 2]) + "".join(pieces[len(pieces) - count // 2 :])

    enough, too_many = 0, min(len(pieces), _PIECES_PER_TOKEN * room) + 1
    while too_many - enough > 1:
        count = (enough + too_many) // 2
        if fits(shortened(count)):
            enough = count
        else:
            too_many = count
    return shortened(enough)


def template_tokens(template: PromptTemplate, count_tokens: Callable[[str], int]) -> int:
    """Returns the number of tokens that a template needs with a word of one token and the <|endoftext|> before it."""
    return count_tokens(template.prompt("a")) + 1


def _split(prompt: str, template: PromptTemplate) -> tuple[str, str, str]:
    """Splits a prompt into the head of its template, the words, and the end of the template."""
    head = template.user if prompt.startswith(template.user) else ""
    end = template.after + template.reply
    if not prompt.endswith(end) or len(head) + len(end) > len(prompt):
        end = ""
    return head, prompt[len(head) : len(prompt) - len(end)], end
