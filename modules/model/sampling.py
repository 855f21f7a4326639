"""Settings and random numbers of generation, defined so that every runtime can draw the same tokens.

The generator of the random numbers is SplitMix64 ("Fast splittable pseudorandom number generators", OOPSLA 2014). It
uses only whole-number arithmetic, so its numbers are equal to the last bit in TensorFlow, NumPy and JavaScript.
"""

import dataclasses
import math

import numpy as np

from modules.common.errors import InputError

_GAMMA = 0x9E3779B97F4A7C15
_MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_ALL_BITS = (1 << 64) - 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """Settings for the choice of new tokens; the defaults mean greedy search.

    Attributes:
        max_new_tokens: Largest number of tokens to add.
        temperature: 0 always takes the most likely token; higher values give more varied text.
        top_k: Number of most likely tokens to draw from; 0 means all tokens.
        seed: Seed of the random numbers, from -2³¹ to 2³¹ - 1. The same seed draws the same numbers in every runtime.

    Raises:
        InputError: A setting is outside its range.
    """

    max_new_tokens: int = 64
    temperature: float = 0.0
    top_k: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise InputError(
                f"`temperature` must be a finite number, 0 or more. Received: {self.temperature}. "
                "Use 0 for greedy search."
            )
        for name, minimum in (("max_new_tokens", 0), ("top_k", 0), ("seed", -(2**31))):
            value = getattr(self, name)
            # The SavedModel's signature takes int32.
            if not minimum <= value < 2**31:
                raise InputError(f"`{name}` must be from {minimum} to {2**31 - 1}. Received: {value}.")


def uniform(seed: int, number: int) -> float:
    """Returns the random number in `[0, 1)` for one new token.

    Args:
        seed: Seed of the text.
        number: Number of the token: 0 for the first new token, then 1, 2, …
    """
    z = (seed * 1_000_003 + number + 1) * _GAMMA & _ALL_BITS
    z = (z ^ (z >> 30)) * _MULTIPLIERS[0] & _ALL_BITS
    z = (z ^ (z >> 27)) * _MULTIPLIERS[1] & _ALL_BITS
    return ((z ^ (z >> 31)) >> 11) / (1 << 53)


def sample(logits: np.ndarray, *, temperature: float, top_k: int, random: float) -> int:
    """Returns the id of the next token.

    Args:
        logits: float32 `[vocabulary_size]`.
        temperature: Divisor of the logits; 0 takes the most likely token.
        top_k: Number of most likely tokens to draw from; 0 means all. Among equal logits, the lower id comes first.
        random: Number in `[0, 1)`. The next token is the first token whose cumulative probability exceeds it.
    """
    if temperature <= 0:
        return int(np.argmax(logits))
    order = np.argsort(-logits, kind="stable")[: top_k or None]
    scaled = logits[order].astype(np.float64) / temperature
    cumulative = np.cumsum(np.exp(scaled - scaled[0]))
    return int(order[min(np.searchsorted(cumulative, random * cumulative[-1], side="right"), len(order) - 1)])


def prompt_room(context_length: int, max_new_tokens: int) -> int:
    """Returns the number of tokens to keep of a prompt, including its leading end-of-text. The last tokens are kept.

    The new tokens get room first, but at most half of the context: in a context of 128, both 64 and 1000 new tokens
    leave 64 tokens for the prompt. Generation ends at end-of-text, at `max_new_tokens`, or when prompt and continuation
    fill the context.
    """
    return context_length - min(max(max_new_tokens, 0), context_length // 2)
