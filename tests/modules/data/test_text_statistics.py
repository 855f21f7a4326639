from modules.data.text_statistics import SAMPLE_WORDS, length_bucket, word_sample


def test_length_buckets_run_from_one_power_of_two_to_the_next():
    lengths = [1, 2, 3, 4, 255, 256, 511, 512]
    assert [length_bucket(length) for length in lengths] == [
        "1-1", "2-3", "2-3", "4-7", "128-255", "256-511", "256-511", "512-1023",
    ]  # fmt: skip


def test_words_numbers_and_runs_of_marks():
    assert word_sample("It was 1984, again...  \n我们 don't") == [
        "It", "was", "1984", ",", "again", "...", "我们", "don", "'", "t",
    ]  # fmt: skip
    assert word_sample("_x __") == ["_", "x", "__"]
    assert word_sample("a " * 1000) == ["a"] * SAMPLE_WORDS


def test_every_text_that_is_not_blank_has_a_word():
    for character in map(chr, [*range(0x20, 0xD800), *range(0xE000, 0x11000)]):
        assert character.isspace() or word_sample(character), hex(ord(character))
