"""Named templates that turn an instruction or a conversation into prompts and completions.

A template is fixed text around what the row says; nothing in a row is ever interpreted.
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
    """Text that stands before each part; what follows a part is always a blank line, or nothing in `plain`.

    Attributes:
        user: Before an instruction or a user's message.
        input: Before the input that belongs to an instruction.
        reply: Before the completion; the model continues from here.
        after: After each part of a prompt.
    """

    user: str
    input: str
    reply: str
    after: str

    def prompt(self, instruction: str, input: str = "") -> str:
        """Everything up to where the completion starts.

        `headings` makes of `"Name the capital."` and `"France"`:

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
        """Renders a conversation as prompts and completions of equal number.

        What the user says after the last reply has no completion and is left out.

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
