"""vitc.data.loader and collate: order, epochs, resuming and threads against a loop over the
dataset, batches against torch's default_collate."""

import gc
import threading
import time
from collections import namedtuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import default_collate as torch_collate

from vitc.data import ArrayDataset, DataLoader, Subset, default_collate
from vitc.data import transforms as T
from vitc.tape import clock


@pytest.fixture
def photos() -> ArrayDataset:
    images = np.random.default_rng(0).integers(0, 256, (23, 20, 24, 3), dtype=np.uint8)
    chain = T.Compose([T.RandomResizedCrop(16), T.RandomHorizontalFlip(), T.ToTensor()])
    return ArrayDataset(images, np.arange(23), chain)


class Numbers:
    """Items that are their own index, slower the smaller it is; remembers which were loaded."""

    def __init__(self, length: int, delay: float = 0.0) -> None:
        self.length, self.delay, self.loaded = length, delay, []

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> int:
        time.sleep(self.delay / (index + 1))
        self.loaded.append(index)
        return index


def bits(batches) -> list[bytes]:
    return [x.tobytes() + y.tobytes() for x, y in batches]


def threads() -> int:
    return sum(thread.name.startswith("vitc.data") for thread in threading.enumerate())


# ------------------------------------------------------------------------------- batches


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_arrays_for_the_core(photos, workers: int) -> None:
    loader = DataLoader(photos, 8, num_workers=workers)
    batches = list(loader)
    assert len(loader) == len(batches) == 3
    x, y = batches[0]
    assert (x.shape, x.dtype, x.flags.c_contiguous) == ((8, 3, 16, 16), np.float32, True)
    assert (y.shape, y.dtype) == ((8,), np.int64)
    assert np.concatenate([y for _, y in batches]).tolist() == list(range(23))
    assert len(batches[-1][1]) == 7


def test_a_smaller_last_batch_can_be_left_out(photos) -> None:
    for size, count in ((8, 2), (23, 1), (24, 0)):
        loader = DataLoader(photos, size, drop_last=True)
        assert len(loader) == len(list(loader)) == count


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_bits_do_not_depend_on_the_workers(photos, workers: int) -> None:
    alone = DataLoader(photos, 4, shuffle=True, seed=3)
    team = DataLoader(photos, 4, shuffle=True, seed=3, num_workers=workers, prefetch_factor=1)
    for _ in range(2):
        assert bits(alone) == bits(team)


def test_batches_come_in_order_whoever_is_first() -> None:
    loader = DataLoader(Numbers(12, delay=0.02), 2, num_workers=4)
    assert np.concatenate(list(loader)).tolist() == list(range(12))


# ------------------------------------------------------------------------------- epochs


def test_every_epoch_has_its_own_order_and_augmentation(photos) -> None:
    loader = DataLoader(photos, 23, shuffle=True, seed=0)
    (x0, y0), (x1, y1) = [next(iter([*loader])) for _ in range(2)]
    assert sorted(y0) == sorted(y1) == list(range(23))
    assert y0.tolist() != y1.tolist() and y0.tolist() != list(range(23))
    assert not np.array_equal(x0[np.argsort(y0)], x1[np.argsort(y1)])
    loader.set_epoch(0)
    assert bits(loader) == bits([(x0, y0)])
    assert loader.epoch == 1


def test_only_a_pass_to_the_end_moves_the_epoch() -> None:
    loader = DataLoader(Numbers(6), 2, shuffle=True)
    first = next(iter(loader))
    assert loader.epoch == 0 and next(iter(loader)).tolist() == first.tolist()
    list(loader)
    assert loader.epoch == 1
    for _ in loader:
        loader.set_epoch(7)
    assert loader.epoch == 7


def test_the_seed_is_that_of_the_run_unless_given(photos) -> None:
    before = clock.seed
    try:
        clock.seed = 11
        loader = DataLoader(photos, 23, shuffle=True)
        clock.seed = 12
        assert bits(loader) == bits(DataLoader(photos, 23, shuffle=True, seed=12))
        assert bits(DataLoader(photos, 23, seed=12)) != bits(DataLoader(photos, 23, seed=13))
    finally:
        clock.seed = before


@pytest.mark.parametrize("workers", [0, 2])
def test_resuming_within_an_epoch_is_exact_and_loads_nothing_before(workers: int, photos) -> None:
    loader = DataLoader(photos, 4, shuffle=True, seed=1, num_workers=workers)
    loader.set_epoch(5)
    whole = bits(loader)
    for start in (0, 2, 5, 6):
        loader.set_epoch(5)
        assert bits(loader.batches(start)) == whole[start:]
        assert loader.epoch == 6
    numbers = Numbers(10)
    list(DataLoader(numbers, 2, num_workers=workers).batches(3))
    assert sorted(numbers.loaded) == [6, 7, 8, 9]
    with pytest.raises(ValueError, match="start is 7, expected 0 to 6"):
        loader.batches(7)


# ------------------------------------------------------------------------------- samplers


class Sampler:
    def __init__(self, indices: list[int]) -> None:
        self.indices, self.epoch = indices, None

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self):
        return iter(self.indices)

    def __len__(self) -> int:
        return len(self.indices)


def test_a_sampler_gives_the_order_and_hears_of_the_epoch() -> None:
    sampler = Sampler([4, 1, 1, 3, 2])
    loader = DataLoader(Numbers(6), 2, sampler=sampler)
    loader.set_epoch(3)
    assert [batch.tolist() for batch in loader] == [[4, 1], [1, 3], [2]]
    assert len(loader) == 3 and sampler.epoch == 3
    assert np.concatenate(list(DataLoader(Numbers(3), 2, sampler=[2, 0]))).tolist() == [2, 0]


def test_a_sample_that_comes_twice_is_augmented_twice(photos) -> None:
    loader = DataLoader(photos, 3, sampler=[5, 5, 5])
    ((x, _),) = loader
    assert len({image.tobytes() for image in x}) == 3
    ((once, _),) = DataLoader(photos, 1, sampler=[5])
    assert np.array_equal(once[0], x[0])
    ((third, _),) = DataLoader(photos, 1, sampler=[5, 5, 5]).batches(2)
    assert np.array_equal(third[0], x[2])


# ------------------------------------------------------------------------------- faults and ends


class Faulty(Numbers):
    samples = tuple((f"photos/{i}.png", 0) for i in range(20))

    def __getitem__(self, index: int) -> int:
        if index == 13:
            raise OSError("cannot be read")
        return super().__getitem__(index)


@pytest.mark.parametrize("workers", [0, 3])
def test_an_error_comes_out_at_its_batch_with_the_sample(workers: int) -> None:
    batches = iter(DataLoader(Faulty(20), 4, num_workers=workers))
    assert [next(batches).tolist() for _ in range(3)][-1] == [8, 9, 10, 11]
    with pytest.raises(OSError, match="cannot be read") as caught:
        next(batches)
    assert caught.value.__notes__ == ["(sample 13, photos/13.png)"]
    assert threads() == 0
    part = DataLoader(Subset(Faulty(20), [1, 13]), 2, num_workers=workers)
    with pytest.raises(OSError) as caught:
        list(part)
    assert caught.value.__notes__ == ["(sample 1, photos/13.png)"]


def test_a_batch_that_cannot_be_made_is_named() -> None:
    arrays = [np.zeros((1, 2, 2)), np.zeros((1, 2, 3))]
    with pytest.raises(ValueError, match=r"\(1, 2, 2\), \(1, 2, 3\) cannot be made") as caught:
        list(DataLoader(arrays, 2))
    assert caught.value.__notes__ == ["(a batch of the samples [0, 1])"]


def test_threads_end_with_the_loop() -> None:
    loader = DataLoader(Numbers(100, delay=0.01), 2, num_workers=3)
    for _ in loader:
        assert threads() > 0
        break
    gc.collect()
    assert threads() == 0
    assert list(loader)[-1].tolist() == [98, 99]
    assert threads() == 0


def test_an_interrupt_ends_the_threads_within_their_batches() -> None:
    class Slowing(Numbers):
        def __getitem__(self, index: int) -> int:
            time.sleep(0.005 if index >= 50 else 0)
            return super().__getitem__(index)

    numbers = Slowing(1000)
    with pytest.raises(KeyboardInterrupt):
        for _ in DataLoader(numbers, 50, num_workers=2):
            raise KeyboardInterrupt
    gc.collect()
    assert threads() == 0
    assert len(numbers.loaded) < 120


def test_not_more_is_loaded_ahead_than_asked_for() -> None:
    numbers = Numbers(100)
    batches = iter(DataLoader(numbers, 1, num_workers=2, prefetch_factor=3))
    next(batches)
    time.sleep(0.05)
    assert len(numbers.loaded) <= 7
    batches.close()


def test_two_loops_over_one_loader_do_not_meet(photos) -> None:
    loader = DataLoader(photos, 5, shuffle=True, num_workers=2)
    pairs = list(zip(loader, loader, strict=True))
    assert bits(a for a, _ in pairs) == bits(b for _, b in pairs)


# ------------------------------------------------------------------------------- collate

Pair = namedtuple("Pair", "a b")


@pytest.mark.parametrize(
    "items",
    [
        [1, 2],
        [0.5, 2.0],
        [True, False],
        [np.float32(1), np.float32(2)],
        [np.array(3), np.array(4)],
        [np.zeros((2, 3), np.float32), np.ones((2, 3), np.float32)],
        [(np.zeros(2), 1), (np.ones(2), 2)],
        [{"x": 1, "y": [1.0, 2]}, {"x": 3, "y": [4.0, 5]}],
        [Pair(1, "a"), Pair(2, "b")],
        ["a", "b"],
    ],
    ids=str,
)
def test_batches_are_those_of_torch(items: list) -> None:
    def compare(ours, theirs) -> None:
        if isinstance(theirs, torch.Tensor):
            assert isinstance(ours, np.ndarray) and ours.dtype == theirs.numpy().dtype
            assert np.array_equal(ours, theirs.numpy())
        elif isinstance(theirs, dict):
            assert list(ours) == list(theirs)
            for key in theirs:
                compare(ours[key], theirs[key])
        elif isinstance(theirs, str):
            assert ours == theirs
        else:
            for a, b in zip(ours, theirs, strict=True):
                compare(a, b)

    compare(default_collate(items), torch_collate(items))


def test_tuples_and_lists_keep_their_type() -> None:
    assert type(default_collate([(1, 2), (3, 4)])) is tuple
    assert type(default_collate([[1, 2], [3, 4]])) is list
    assert default_collate([Pair(1, "a"), Pair(2, "b")]).b == ["a", "b"]


def test_tensors_of_torch_become_arrays() -> None:
    batch = default_collate([torch.zeros(2, 3), torch.ones(2, 3)])
    assert isinstance(batch, np.ndarray) and batch.shape == (2, 2, 3)


def test_what_cannot_be_a_batch_is_named() -> None:
    with pytest.raises(TypeError, match="type Image .*; the dataset needs .* ends in ToTensor"):
        default_collate([Image.new("L", (2, 2))])
    with pytest.raises(TypeError, match="type NoneType cannot"):
        default_collate([None])
    with pytest.raises(TypeError, match="types int, str cannot"):
        default_collate([1, "a"])
    with pytest.raises(ValueError, match=r"items of \[1, 2\] parts"):
        default_collate([(1,), (1, 2)])


def test_a_collate_function_of_ones_own() -> None:
    assert list(DataLoader(Numbers(3), 2, collate_fn=sum)) == [1, 2]


# ------------------------------------------------------------------------------- arguments


def test_arguments_of_torch_are_accepted_or_named() -> None:
    DataLoader(Numbers(3), pin_memory=True, persistent_workers=True, prefetch_factor=None)
    with pytest.raises(TypeError, match="no argument 'num_worker'; did you mean 'num_workers'"):
        DataLoader(Numbers(3), num_worker=2)
    with pytest.raises(TypeError, match="no argument 'worker_init_fn'"):
        DataLoader(Numbers(3), worker_init_fn=print)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (dict(dataset=Numbers(0)), ValueError, "the dataset is empty"),
        (dict(dataset=iter([1])), TypeError, "a dataset needs len"),
        (dict(batch_size=0), ValueError, "batch_size is 0, expected 1 or more"),
        (dict(num_workers=-1), ValueError, "num_workers is -1"),
        (dict(prefetch_factor=0), ValueError, "prefetch_factor is 0"),
        (dict(batch_size=1.5), TypeError, "batch_size is 1.5, expected an integer"),
        (dict(sampler=[0], shuffle=True), ValueError, "shuffle=True with a sampler"),
    ],
)
def test_bad_arguments_are_named(arguments: dict, error, message: str) -> None:
    with pytest.raises(error, match=message):
        DataLoader(**{"dataset": Numbers(3), **arguments})
