import numpy as np
import pytest
import tensorflow as tf

from modules.model import sampling_in_graph
from modules.model.sampling import SamplingSettings, prompt_room, sample, uniform


def test_numbers_equal_those_of_splitmix64() -> None:
    # The first two outputs of the published generator from state 0.
    assert uniform(0, 0) == (0xE220A8397B1DCDAF >> 11) / 2**53
    assert uniform(0, 1) == (0x6E789E6AA1B965F4 >> 11) / 2**53


def test_tensorflow_draws_the_same_numbers() -> None:
    cases = [(0, 0), (1, 5), (2**31 - 1, 1023), (-7, 3)]
    assert [float(sampling_in_graph.uniform(tf.constant(seed), number)) for seed, number in cases] == [
        uniform(seed, number) for seed, number in cases
    ]


def test_numbers_are_spread_evenly() -> None:
    counts = np.histogram([uniform(seed, n) for seed in range(40) for n in range(50)], bins=10, range=(0, 1))[0]
    assert counts.min() > 150
    assert counts.max() < 250


# The probabilities are 0.1, 0.2, 0.7, so they are cumulated in the order 2, 1, 0.
LOGITS = np.log(np.array([0.1, 0.2, 0.7], np.float32))


@pytest.mark.parametrize(
    ("random", "temperature", "top_k", "expected"),
    [
        (0.0, 1.0, 0, 2),
        (0.69, 1.0, 0, 2),
        (0.71, 1.0, 0, 1),
        (0.89, 1.0, 0, 1),
        (0.91, 1.0, 0, 0),
        (0.999, 1.0, 2, 1),  # from the two most likely tokens
        (0.999, 1.0, 1, 2),  # from the most likely token
        (0.999, 0.0, 0, 2),  # greedy
        (0.8, 0.5, 0, 2),  # a lower temperature: 0.01, 0.04, 0.49 of 0.54, so token 2 is drawn up to 0.907
        (0.999, 1.0, 50, 0),  # `top_k` above the vocabulary's size means all tokens
    ],
)
def test_the_first_token_whose_cumulative_probability_exceeds_the_number_is_drawn(
    random: float, temperature: float, top_k: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sample(LOGITS, temperature=temperature, top_k=top_k, random=random) == expected
    monkeypatch.setattr(sampling_in_graph, "uniform", lambda seed, number: tf.constant(random, tf.float64))
    assert int(sampling_in_graph.sample(tf.constant(LOGITS), temperature, top_k, 0, 0)) == expected


def test_new_tokens_get_room_up_to_half_of_the_context() -> None:
    assert [prompt_room(128, new) for new in (0, 1, 64, 1000, -5)] == [128, 127, 64, 64, 128]


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": -0.1}, {"temperature": float("nan")}, {"top_k": -1}, {"max_new_tokens": -1}, {"seed": 2**31}],
)
def test_settings_outside_their_range_are_refused(wrong: dict) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=rf"`{name}` must be .* Received: "):
        SamplingSettings(**wrong)
