"""Settings and random numbers of generation, defined so that every runtime can draw the same tokens.

Uniform number `n` of a seed is SplitMix64's ("Fast splittable pseudorandom number
generators", OOPSLA 2014): whole-number arithmetic, so it is equal to the last bit in TensorFlow, NumPy and JavaScript.
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
    """Settings of how new tokens are chosen; the defaults are greedy search.

    Attributes:
        max_new_tokens: Largest number of tokens to add.
        temperature: 0 takes the likeliest token each time; higher is more varied.
        top_k: Draws among the likeliest `top_k` tokens; 0 means all.
        seed: The same seed gives the same text, in every runtime; from -2³¹ to 2³¹ - 1.

    Raises:
        InputError: A setting is outside its range.
    """

    max_new_tokens: int = 64
    temperature: float = 0.0
    top_k: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise InputError(f"`temperature` must be a finite number from 0 up. Received: {self.temperature}.")
        for name, least in (("max_new_tokens", 0), ("top_k", 0), ("seed", -(2**31))):
            value = getattr(self, name)
            # The SavedModel's signature takes int32.
            if not least <= value < 2**31:
                raise InputError(f"`{name}` must be from {least} to {2**31 - 1}. Received: {value}.")


def uniform(seed: int, number: int) -> float:
    """Draws a number in `[0, 1)` for a new token.

    Args:
        seed: The request's seed.
        number: 0 for the first token drawn, then 1, 2, ...
    """
    z = (seed * 1_000_003 + number + 1) * _GAMMA & _ALL_BITS
    z = (z ^ (z >> 30)) * _MULTIPLIERS[0] & _ALL_BITS
    z = (z ^ (z >> 27)) * _MULTIPLIERS[1] & _ALL_BITS
    return ((z ^ (z >> 31)) >> 11) / (1 << 53)


def sample(logits: np.ndarray, *, temperature: float, top_k: int, random: float) -> int:
    """Chooses the next token.

    Args:
        logits: float32 `[vocabulary_size]`.
        temperature: Divides the logits; 0 takes the likeliest token.
        top_k: Draws among the likeliest `top_k` only; 0 means all. Of equal logits the lower id comes first.
        random: A number in `[0, 1)`: the chosen token is the first whose cumulated probability exceeds it.
    """
    if temperature <= 0:
        return int(np.argmax(logits))
    order = np.argsort(-logits, kind="stable")[: top_k or None]
    scaled = logits[order].astype(np.float64) / temperature
    cumulated = np.cumsum(np.exp(scaled - scaled[0]))
    return int(order[min(np.searchsorted(cumulated, random * cumulated[-1], side="right"), len(order) - 1)])


def prompt_room(context_length: int, max_new_tokens: int) -> int:
    """Returns how many tokens of a prompt, with its leading end-of-text, are kept. The last tokens are kept.

    The new tokens get room first, up to half the context: in a context of 128, both 64 and 1000 new tokens leave 64
    tokens for the prompt. Generation ends at end-of-text, at `max_new_tokens`, or when prompt and continuation fill the
    context.
    """
    return context_length - min(max(max_new_tokens, 0), context_length // 2)
