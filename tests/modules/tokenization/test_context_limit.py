import numpy as np
import pytest

from modules.common.errors import InputError
from modules.tokenization import context_limit
from modules.tokenization.context_limit import Ragged, RowLengths, TooLong, check, count, fit, measure


def ragged(*rows: list[int]) -> Ragged:
    return Ragged(np.concatenate([np.array(row, np.int64) for row in rows]), np.cumsum([0, *map(len, rows)]))


def lengths(*whole: int, prompt: int = 2) -> RowLengths:
    rows = np.array(whole, np.int64)
    return RowLengths(prompt=np.full_like(rows, prompt), whole=rows[:, None], common=np.zeros_like(rows))


def test_rows_are_measured_from_their_tokens() -> None:
    rows = measure(ragged([5, 6, 7, 8], [], [5, 6]), ragged([0, 0, 1, 1], [], [0, 0]))
    assert rows.prompt.tolist() == [2, 0, 2]  # the last row has no token that counts
    assert rows.whole.tolist() == [[4], [0], [2]]
    assert rows.longest.tolist() == [6, 2, 4]


def test_pairs_are_measured_with_the_beginning_that_both_answers_share() -> None:
    chosen, mask = ragged([5, 6, 7, 8], [5, 7]), ragged([0, 1, 1, 1], [0, 1])
    rows = measure(chosen, mask, ragged([5, 6, 9], [5, 7, 8]))
    assert rows.prompt.tolist() == [1, 1]
    assert rows.whole.tolist() == [[4, 3], [2, 3]]
    assert rows.common.tolist() == [2, 2]
    assert rows.longest.tolist() == [6, 5]
    again = RowLengths.from_array(rows.to_array())
    assert (again.whole.tolist(), again.common.tolist()) == (rows.whole.tolist(), [2, 2])


def test_a_row_fits_with_the_end_of_text_before_and_after_it() -> None:
    rows = lengths(6, 7, 8, 20)  # 8, 9, 10, 22 tokens with both ends
    dropped = fit(rows, context_length=8, truncate=False)
    assert dropped.kept.tolist() == [True, True, False, False]
    assert count(rows, context_length=8, truncate=False) == {"dropped_longer_than_the_context": 2}


def test_cut_rows_keep_their_prompt_and_do_not_end() -> None:
    rows = lengths(7, 8, 20)
    cut = fit(rows, context_length=8, truncate=True)
    assert cut.kept.tolist() == [True, True, True]
    assert cut.lengths.tolist() == [[7], [8], [8]]
    assert cut.ended.tolist() == [[True], [False], [False]]
    assert count(rows, context_length=8, truncate=True) == {
        "dropped_prompt_fills_the_context": 0,
        "dropped_answers_equal_within_the_context": 0,
        "changed_answers_cut_at_the_context": 2,
    }


def test_a_prompt_that_fills_the_context_cannot_be_cut() -> None:
    full, room = lengths(20, prompt=8), lengths(20, prompt=7)
    assert fit(full, context_length=8, truncate=True).kept.tolist() == [False]
    assert fit(room, context_length=8, truncate=True).kept.tolist() == [True]
    assert count(full, context_length=8, truncate=True)["dropped_prompt_fills_the_context"] == 1


def test_a_pair_whose_answers_are_equal_up_to_the_cut_has_nothing_to_learn() -> None:
    rows = RowLengths(
        prompt=np.array([2, 2, 2]), whole=np.array([[20, 20], [20, 20], [20, 3]]), common=np.array([8, 7, 3])
    )
    made = fit(rows, context_length=8, truncate=True)
    assert made.kept.tolist() == [False, True, True]
    assert made.lengths[1:].tolist() == [[8, 8], [8, 3]]  # only the longer answer of the last pair is cut
    assert made.ended[1:].tolist() == [[False, False], [False, True]]
    assert count(rows, context_length=8, truncate=True) == {
        "dropped_prompt_fills_the_context": 0,
        "dropped_answers_equal_within_the_context": 1,
        "changed_answers_cut_at_the_context": 2,
    }


@pytest.mark.parametrize(
    ("long_rows", "setting", "stops"),
    [(0, "error", False), (1, "error", True), (9, None, False), (10, None, True), (90, "drop", False),
     (90, "truncate", False)],
)  # fmt: skip
def test_a_run_stops_by_the_setting_and_without_one_from_a_tenth_of_the_rows_on(
    long_rows: int, setting: TooLong | None, stops: bool
) -> None:
    train, evaluated = lengths(*[20] * long_rows, *[3] * (90 - long_rows)), lengths(*[3] * 10)

    def checked() -> None:
        context_limit.check(
            {"train": train, "eval": evaluated}, context_length=8, too_long=setting, largest_context=1024
        )

    if not stops:
        checked()
        return
    with pytest.raises(InputError, match=rf"{long_rows} of 100 rows \({long_rows}\.0%\) are longer than the context"):
        checked()


def test_the_context_that_the_error_names_holds_every_row() -> None:
    rows = {"train": lengths(*range(3, 50))}
    with pytest.raises(InputError, match=r"Received: a longest row of 51 tokens. Use --set model.context_length=50,"):
        check(rows, context_length=8, too_long="error", largest_context=1024)
    check(rows, context_length=50, too_long="error", largest_context=1024)
    with pytest.raises(InputError):
        check(rows, context_length=49, too_long="error", largest_context=1024)


def test_the_error_names_no_context_that_the_model_cannot_have() -> None:
    with pytest.raises(InputError, match=r"tokens. Leave the long rows out with --set data.too_long=drop, or"):
        check({"train": lengths(5000)}, context_length=8, too_long=None, largest_context=1024)
    mostly = {"train": lengths(*[100] * 95, *[5000] * 5)}
    with pytest.raises(InputError, match=r"model.context_length=1024, the largest, with which 5 rows are left out"):
        check(mostly, context_length=8, too_long=None, largest_context=1024)
    check(mostly, context_length=1024, too_long=None, largest_context=1024)
    with pytest.raises(InputError, match=r"tokens. Leave the long rows out"):
        check(mostly, context_length=8, too_long="error", largest_context=1024)
