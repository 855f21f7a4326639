from modules.common import formatting


def test_numbers_have_texts_for_readers() -> None:
    assert [formatting.number(value) for value in (None, 151.806, 0.02, 20000.0, -0.5)] == [
        "not measured", "151.8", "0.02", "20,000", "−0.5",
    ]  # fmt: skip
    assert [formatting.change(value) for value in (None, 0.03, -0.809, 0.0004, 0.0)] == [
        "not measured", "+3.0%", "−80.9%", "+0.040%", "+0.0%",
    ]  # fmt: skip
    assert formatting.interval((149.11, 154.62)) == "149.1 to 154.6"
    assert formatting.change_interval((-0.05, 0.01)) == "−5.0% to +1.0%"
    assert (formatting.interval(None), formatting.change_interval(None)) == ("", "")
    assert (formatting.size(1_820_766), formatting.share(0.312)) == ("1.8 MB", "31.2%")
