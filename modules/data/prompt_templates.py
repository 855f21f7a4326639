"""Named templates that turn an instruction or a conversation into prompts and completions.

A template is fixed text around a row's own text. Nothing in a row is ever interpreted.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal, NamedTuple


class Message(NamedTuple):
    """One turn of a conversation.

    Attributes:
        role: `system`, `user`, `tool` (what a tool returned) or `assistant`.
        content: The text.
        weight: Of a reply of the assistant: 1 if it counts in the loss, 0 if it is only context; None if not given.
    """

    role: str
    content: str
    weight: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class PromptTemplate:
    """The fixed text before and after each part of a prompt.

    Attributes:
        user: The text before an instruction or a user's message.
        input: The text before the input that belongs to an instruction.
        tool: The text before what a tool returned.
        reply: The text before the completion; the model continues from here.
        after: The text after each part of a prompt: a blank line, or only a line break in `plain`.
    """

    user: str
    input: str
    tool: str
    reply: str
    after: str

    def prompt(self, instruction: str, input: str = "", system: str = "") -> str:
        """Returns all the text before the completion; a system's message comes first, as in `turns`.

        For `"Name the capital."` and `"France"`, `headings` gives:

        ```
        ### Instruction:
        Name the capital.

        ### Input:
        France

        ### Response:

        ```
        """
        parts = [*([system] if system else []), self.user + instruction, *([self.input + input] if input else [])]
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
                before = {"user": self.user, "tool": self.tool}.get(message.role, "")
                pending.append(f"{before}{message.content}{self.after}")
        return prompts, completions


TemplateName = Literal["plain", "headings", "chat"]
TEMPLATES: dict[TemplateName, PromptTemplate] = {
    "plain": PromptTemplate(user="", input="", tool="", reply="", after="\n"),
    "headings": PromptTemplate(
        user="### Instruction:\n", input="### Input:\n", tool="### Tool:\n", reply="### Response:\n", after="\n\n"
    ),
    "chat": PromptTemplate(user="User:\n", input="", tool="Tool:\n", reply="Assistant:\n", after="\n\n"),
}
