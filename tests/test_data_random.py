"""vitc.data.random: draws depend on their key and on nothing else, against the same draws alone."""

import threading

import numpy as np
import pytest

from vitc.data import random
from vitc.tape import clock


@pytest.fixture(autouse=True)
def seed_kept():
    before = clock.seed
    yield
    clock.seed = before
    clock.restart(clock.seed)


def drawn(seed: int, epoch: int, sample: int, repeat: int = 0, calls: int = 1) -> list[float]:
    with random.item(seed, epoch, sample, repeat):
        return [random.generator().random() for _ in range(calls)]


def test_every_part_of_the_key_counts() -> None:
    keys = [(1, 2, 3, 0), (0, 2, 3, 0), (1, 3, 3, 0), (1, 2, 4, 0), (1, 2, 3, 1)]
    values = [value for key in keys for value in drawn(*key, calls=3)]
    assert len(set(values)) == 15
    assert drawn(1, 2, 3, calls=3) == values[:3]


def test_an_operation_does_not_move_those_after_it() -> None:
    with random.item(0, 0, 0):
        random.generator().random(1000)
        after = random.generator().random()
    assert after == drawn(0, 0, 0, calls=2)[1]


def test_draws_are_uniform_over_samples_and_epochs() -> None:
    values = np.array([drawn(7, epoch, sample) for epoch in range(20) for sample in range(100)])
    counts = np.histogram(values, 10, (0, 1))[0]
    assert np.sum((counts - 200) ** 2 / 200) < 27.9  # chi square, 9 degrees of freedom, 0.1 %


def test_any_seed_and_index_will_do() -> None:
    assert drawn(-1, 0, -1) != drawn(2**64 - 1, 0, 0)
    assert drawn(2**70, 0, 5) == drawn(0, 0, 5)


def test_items_nest_and_belong_to_their_thread() -> None:
    seen = []
    with random.item(0, 0, 1):
        thread = threading.Thread(target=lambda: seen.extend(drawn(0, 0, 2)))
        thread.start()
        thread.join()
        assert drawn(0, 0, 3) == drawn(0, 0, 3)
        assert random.generator().random() == drawn(0, 0, 1)[0]
    assert seen == drawn(0, 0, 2)


def test_elsewhere_the_seed_of_the_clock_and_a_count_take_the_place() -> None:
    def three() -> list[float]:
        return [random.generator().random() for _ in range(3)]

    clock.seed = 5
    first, second = three(), three()
    assert len({*first, *second}) == 6
    clock.seed = 6
    assert not {*three()} & {*first, *second}
    clock.seed = 5
    assert three() == first
    clock.restart(clock.seed)
    assert three() == first


def test_orders_are_permutations_keyed_by_seed_and_epoch() -> None:
    orders = [random.order(seed, epoch, 1000) for seed in (0, 1) for epoch in (0, 1)]
    assert all(np.array_equal(np.sort(order), np.arange(1000)) for order in orders)
    assert len({order.tobytes() for order in orders}) == 4
    assert np.array_equal(random.order(0, 1, 1000), orders[1])


def test_every_place_of_an_order_is_as_likely() -> None:
    places = np.zeros((4, 4))
    for epoch in range(2000):
        places[np.arange(4), random.order(0, epoch, 4)] += 1
    assert np.sum((places - 500) ** 2 / 500) < 27.9  # 9 degrees of freedom, 0.1 %


def test_in_a_step_draws_belong_to_it_and_its_rows_and_not_to_what_was_before() -> None:
    def two(step: int, row: int = 0) -> list[float]:
        clock.begin(step, row)
        return [random.generator().random() for _ in range(2)]

    clock.restart(5)
    third = two(3)
    values = [*third, *two(4), *two(3, row=8)]
    assert len(set(values)) == 6
    clock.restart(5)
    assert two(3) == third


def test_a_batch_shares_nothing_with_its_first_item() -> None:
    def first(place) -> float:
        with place(1, 2, 3, 1):
            assert random.epoch() == 2
            return random.generator().random()

    assert first(random.batch) == first(random.batch) != first(random.item)
    assert random.epoch() is None


def test_every_generator_is_a_new_one_with_the_stream_of_its_place() -> None:
    def fresh(sample: int) -> np.random.Generator:
        counter = np.array([0, 1, sample, 0], np.uint64)
        key = np.array([9, 1], np.uint64)
        return np.random.Generator(np.random.Philox(key=key, counter=counter))

    def again(sample: int) -> np.random.Generator:
        with random.item(9, 0, sample):
            return random.generator()

    held = [again(sample) for sample in range(6)]
    assert len({id(generator) for generator in held}) == 6
    inner = again(6).bit_generator
    values = [generator.random(3) for generator in held]
    assert np.array_equal(values, [fresh(sample).random(3) for sample in range(6)])
    assert np.array_equal(inner.random_raw(3), fresh(6).bit_generator.random_raw(3))
    again(7).random(3, np.float32)  # leaves half a number behind
    assert np.array_equal(again(8).random(3, np.float32), fresh(8).random(3, np.float32))


def test_between_draws_what_numpy_draws() -> None:
    ours, theirs = np.random.default_rng(3), np.random.default_rng(3)
    for low, high in ((0.0, 1.0), (-0.3, 0.7), (5, 1000), (2.0, 2.0), (-1e-9, 1e9)) * 100:
        assert random.between(low, high, ours) == theirs.uniform(low, high)
