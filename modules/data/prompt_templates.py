"""Named templates that turn an instruction or a conversation into prompts and completions.

A template is fixed text around a row's own text. Nothing in a row is ever interpreted.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal, NamedTuple


class Message(NamedTuple):
    """One turn of a conversation; `role` is `system`, `user` or `assistant`."""

    role: str
    content: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class PromptTemplate:
    """The fixed text before and after each part of a prompt.

    Attributes:
        user: The text before an instruction or a user's message.
        input: The text before the input that belongs to an instruction.
        reply: The text before the completion; the model continues from here.
        after: The text after each part of a prompt: a blank line, or only a line break in `plain`.
    """

    user: str
    input: str
    reply: str
    after: str

    def prompt(self, instruction: str, input: str = "") -> str:
        """Returns all the text before the completion.

        For `"Name the capital."` and `"France"`, `headings` gives:

        ```
        ### Instruction:
        Name the capital.

        ### Input:
        France

        ### Response:

        ```
        """
        parts = [self.user + instruction, self.input + input] if input else [self.user + instruction]
        return "".join(part + self.after for part in parts) + self.reply

    def turns(self, messages: Sequence[Message]) -> tuple[list[str], list[str]]:
        """Returns a conversation's prompts and completions, two lists of the same length.

        Messages after the last reply have no completion and are left out.

        `[user "Hi", assistant "Hello!", user "Bye", assistant "See you."]` in `chat` gives
        `["User:\\nHi\\n\\nAssistant:\\n", "User:\\nBye\\n\\nAssistant:\\n"]` and `["Hello!", "See you."]`.
        """
        prompts: list[str] = []
        completions: list[str] = []
        pending: list[str] = []
        for message in messages:
            if message.role == "assistant":
                prompts.append("".join(pending) + self.reply)
                completions.append(message.content)
                pending = []
            else:
                before = self.user if message.role == "user" else ""
                pending.append(f"{before}{message.content}{self.after}")
        return prompts, completions


TemplateName = Literal["plain", "headings", "chat"]
TEMPLATES: dict[TemplateName, PromptTemplate] = {
    "plain": PromptTemplate(user="", input="", reply="", after="\n"),
    "headings": PromptTemplate(user="### Instruction:\n", input="### Input:\n", reply="### Response:\n", after="\n\n"),
    "chat": PromptTemplate(user="User:\n", input="", reply="Assistant:\n", after="\n\n"),
}
