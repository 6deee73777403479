"""vitc.data.loader: files that cannot be read, resuming and memory, against the batches of a loader
that had none of these, and by counting."""

import time
import warnings
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitc.data import ArrayDataset, DataLoader, ImageFolder, Subset
from vitc.data import transforms as T

CHAIN = T.Compose([T.RandomResizedCrop(8), T.RandomHorizontalFlip(), T.ToTensor()])


@pytest.fixture
def broken(tmp_path: Path) -> tuple[ImageFolder, set[int]]:
    """100 photographs of which 5 cannot be read, each for a reason of its own."""
    rng = np.random.default_rng(0)
    for i in range(100):
        path = tmp_path / "ab"[i % 2] / f"{i:02}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(path)
    data = ImageFolder(tmp_path, CHAIN)
    bad = [3, 30, 31, 77, 99]
    paths = [Path(data.samples[i][0]) for i in bad]
    paths[0].write_bytes(b"")
    paths[1].write_bytes(paths[1].read_bytes()[:-30])
    paths[2].write_bytes(b"no image")
    paths[3].unlink()
    paths[4].write_bytes(paths[4].read_bytes()[:11])
    return data, set(bad)


def bits(batches) -> list[bytes]:
    return [x.tobytes() + y.tobytes() for x, y in batches]


# ------------------------------------------------------------------------------- policies


@pytest.mark.parametrize("workers", [0, 3])
def test_skip_leaves_out_what_cannot_be_read_and_names_it(workers: int, broken) -> None:
    data, bad = broken
    loader = DataLoader(data, 8, shuffle=True, seed=1, num_workers=workers, on_error="skip")
    with pytest.warns(UserWarning, match="5 of 100 samples cannot be read .on_error=.skip"):
        batches = list(loader)
    assert sum(len(y) for _, y in batches) == 95
    assert set(loader.unreadable) == bad
    for index, reason in loader.unreadable.items():
        assert data.samples[index][0] in reason
    assert "it is empty" in loader.unreadable[3] and "No such file" in loader.unreadable[77]
    with warnings.catch_warnings(action="error"):  # told once
        list(loader)


def test_what_a_pass_found_that_was_left_is_told_by_the_next(broken) -> None:
    data, _ = broken
    loader = DataLoader(data, 8, on_error="skip")
    with warnings.catch_warnings(action="error"):
        next(iter(loader))
    assert set(loader.unreadable) == {3}
    with pytest.warns(UserWarning, match="5 of 100 samples"):
        assert len(list(islice(loader, len(loader)))) == len(loader)


@pytest.mark.parametrize("workers", [0, 3])
def test_what_is_left_has_the_bits_it_always_has(workers: int, broken) -> None:
    data, bad = broken
    good = [i for i in range(100) if i not in bad]
    loader = DataLoader(data, 1, num_workers=workers, on_error="skip")
    alone = DataLoader(data, 1, sampler=good)
    with pytest.warns(UserWarning, match="5 of 100"):
        assert bits(loader) == bits(alone)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_a_substitute_is_the_next_of_the_epoch_augmented_on_its_own(workers, broken) -> None:
    data, bad = broken
    order = [5, 3, 9, 30, 31, 12, 99]
    loader = DataLoader(data, 7, sampler=order, num_workers=workers, on_error="substitute")
    with pytest.warns(UserWarning, match="4 of 100 samples cannot be read .*substitute"):
        ((x, y),) = loader
    assert y.tolist() == [data.targets[i] for i in (5, 9, 9, 12, 12, 12, 5)]
    assert len({image.tobytes() for image in x}) == 7
    again = DataLoader(data, 7, sampler=order, on_error="substitute")
    with pytest.warns(UserWarning):
        assert bits(again) == bits([(x, y)])


def test_raise_is_the_default_and_other_errors_are_never_passed_over(broken) -> None:
    data, _ = broken
    with pytest.raises(OSError, match="03|it is empty"):
        list(DataLoader(data, 8))
    data.transform = lambda image: 1 / 0
    for policy in ("skip", "substitute"):
        with pytest.raises(ZeroDivisionError):
            list(DataLoader(data, 8, on_error=policy))
    with pytest.raises(ValueError, match="on_error is 'ignore', expected one of raise, skip"):
        DataLoader(data, on_error="ignore")


def test_a_folder_of_nothing_but_broken_files_is_an_error(broken) -> None:
    data, bad = broken
    part = Subset(data, sorted(bad))
    with pytest.raises(OSError, match="nor can the 4 samples after it be read"):
        list(DataLoader(part, 2, on_error="substitute"))
    with pytest.warns(UserWarning, match="5 of 5"):
        assert list(DataLoader(part, 2, on_error="skip")) == []


def test_a_warning_lists_twenty(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for i in range(23):
        (tmp_path / "a" / f"{i}.png").write_bytes(b"")
    loader = DataLoader(ImageFolder(tmp_path), 5, on_error="skip")
    with pytest.warns(UserWarning) as caught:
        list(loader)
    text = str(caught[0].message)
    assert text.count("it is empty") == 20 and text.endswith("and 3 more")
    assert len(loader.unreadable) == 23


# ------------------------------------------------------------------------------- positions


@pytest.fixture
def photos() -> ArrayDataset:
    images = np.random.default_rng(0).integers(0, 256, (23, 20, 24, 3), dtype=np.uint8)
    return ArrayDataset(images, np.arange(23), CHAIN)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loaded_state_goes_on_to_the_bit(workers: int, photos) -> None:
    def loader() -> DataLoader:
        return DataLoader(photos, 4, shuffle=True, seed=1, num_workers=workers)

    first = loader()
    whole = [batch for _ in range(2) for batch in bits(first)]
    for stop in (0, 1, 5, 6, 8):
        first, seen = loader(), []
        while len(seen) < stop:
            for batch in first:
                seen += bits([batch])
                if len(seen) == stop:
                    break
        state = first.state_dict()
        second = loader()
        second.load_state_dict(state)
        rest = bits(second)
        if second.epoch == 1:
            rest += bits(second)
        assert seen + rest == whole
        assert second.epoch == 2


def test_a_state_is_taken_once(photos) -> None:
    loader = DataLoader(photos, 4, seed=1)
    loader.load_state_dict({**loader.state_dict(), "batch": 4})
    assert len(list(loader)) == 2 and len(list(loader)) == 6
    loader.load_state_dict({**loader.state_dict(), "batch": 4})
    loader.set_epoch(0)
    assert len(list(loader)) == 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(seed=2), "the state is of seed 2, this loader has 1"),
        (dict(batch_size=8), "the state is of batch_size 8, this loader has 4"),
        (dict(samples=24), "the state is of samples 24, this loader has 23"),
        (dict(batch=7), "the state is at batch 7 of 6"),
        (dict(epoch=-1), "epoch is -1"),
        (dict(worker=1), "the state has .*'worker'"),
    ],
)
def test_a_state_of_another_loader_is_named(change: dict, message: str, photos) -> None:
    loader = DataLoader(photos, 4, seed=1)
    with pytest.raises(ValueError, match=message):
        loader.load_state_dict({**loader.state_dict(), **change})


# ------------------------------------------------------------------------------- memory


class Large:
    """Items of 1 MB that count how many have been loaded."""

    def __init__(self) -> None:
        self.loaded = 0

    def __len__(self) -> int:
        return 60

    def __getitem__(self, index: int) -> tuple[np.ndarray, dict]:
        self.loaded += 1
        return np.zeros(1 << 19, np.uint8), {"mask": np.zeros(1 << 19, np.uint8)}


def test_what_is_loaded_ahead_is_bounded_in_bytes() -> None:
    for most, expected in ((1 << 40, 16), (5 << 20, 5), (1, 2)):
        data = Large()
        loader = DataLoader(
            data, 1, num_workers=2, prefetch_factor=8, max_prefetch_bytes=most
        )  # fmt: skip
        for seen, _ in enumerate(loader, 1):
            time.sleep(0.005)
            assert data.loaded - seen <= max(expected, 2)
            if seen == 20:
                time.sleep(0.05)
                assert data.loaded - seen == (expected if most > 1 else 1)
                break
    with pytest.raises(ValueError, match="max_prefetch_bytes is 0"):
        DataLoader(Large(), max_prefetch_bytes=0)
