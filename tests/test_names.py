"""vitc.names: the order by hand."""

from vitc.names import natural


def test_numbers_in_names_count_as_numbers() -> None:
    ordered = ["", "7", "10", "a", "A2b", "a10b", "a10c", "b1.9", "b1.10"]
    backwards = ordered[::-1]
    assert sorted(backwards, key=natural) == ordered
