"""Tiles: coverage counted pixel by pixel, tiles against the image, scores by hand."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitc.data import (
    ArrayDataset,
    DataLoader,
    Decoder,
    ImageFolder,
    TileDataset,
    aggregate,
    heat_map,
    tile_grid,
)

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(10, 10), (11, 23), (4, 9), (3, 30), (100, 7)])
@pytest.mark.parametrize(("tile", "stride"), [(4, None), (4, 2), ((5, 3), (4, 3)), (10, 7)])
def test_every_pixel_is_covered_and_no_tile_reaches_beyond(shape, tile, stride) -> None:
    boxes = tile_grid(*shape, tile, stride)
    size = np.broadcast_to(tile, 2)
    step = size if stride is None else np.broadcast_to(stride, 2)
    assert np.all(boxes[:, 2:] - boxes[:, :2] == size) and np.all(boxes[:, :2] >= 0)
    count = np.zeros(shape, int)
    for top, left, bottom, right in boxes:
        count[top:bottom, left:right] += 1
    assert count.min() >= 1
    for axis, whole in enumerate(shape):
        starts = np.unique(boxes[:, axis])
        assert starts[-1] == max(whole - size[axis], 0)
        assert np.all(np.diff(starts) <= step[axis])
        assert len(starts) == 1 + -(-max(whole - size[axis], 0) // step[axis])  # and no more


def test_gaps_are_refused() -> None:
    with pytest.raises(ValueError, match="stride is 5, expected at most the tile of 4"):
        tile_grid(9, 9, 4, 5)
    with pytest.raises(ValueError, match="tile is 0"):
        tile_grid(9, 9, 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i, (height, width) in enumerate([(9, 13), (4, 4), (3, 10)]):
        path = tmp_path / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
    return tmp_path


@pytest.mark.parametrize("options", [dict(), dict(value_range=(0, 255))], ids=str)
def test_tiles_are_cut_from_the_image(options: dict, folder: Path) -> None:
    whole = ImageFolder(folder, **options)
    data = TileDataset(whole, 4, 3)
    assert len(data) == len(data.boxes) == 4 * 3 + 3 + 1
    assert data.shapes == [(9, 13), (3, 10), (4, 4)]
    assert data.targets == [0] * 15 + [1] and data.classes == ["a", "b"]
    assert data.groups == data.owners.tolist()
    for i, (top, left, bottom, right) in enumerate(data.boxes):
        image, label = whole[data.owners[i]]
        tile = np.asarray(data[i][0])
        part = np.asarray(image)[top:bottom, left:right]
        assert tile.shape == (4, 4, 3) and data[i][1] == label
        assert np.array_equal(tile[: len(part)], part) and not tile[len(part) :].any()
    assert repr(data) == "TileDataset(16 tiles of 3 images)"


def test_an_image_is_decoded_once_for_tiles_in_order(folder: Path) -> None:
    whole = ImageFolder(folder)
    decode, seen = whole.decode, []

    class Counting:
        shape = staticmethod(decode.shape)

        def __call__(self, path: str, frame: int):
            seen.append(path)
            return decode(path, frame)

    whole.decode = Counting()
    data = TileDataset(whole, 4, transform=np.asarray)
    assert not seen
    list(DataLoader(data, 5))
    assert seen == [path for path, _ in whole.samples]


@pytest.mark.filterwarnings("ignore:.*EXIF")
def test_shapes_are_those_that_reading_gives(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for format in ("JPEG", "PNG", "TIFF"):
        path = tmp_path / f"a.{format}"
        Image.new("RGB", (7, 5)).save(path, exif=exif)
        for turned in (False, True):
            decoder = Decoder(exif=turned)
            width, height = decoder(path).size
            assert decoder.shape(path) == (height, width)


def test_groups_of_the_dataset_are_those_of_its_tiles() -> None:
    images = RNG.integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    whole = ArrayDataset(images, [0, 1, 0])
    whole.groups = ["P1", "P2", "P1"]
    data = TileDataset(whole, 4)
    assert data.groups == ["P1"] * 4 + ["P2"] * 4 + ["P1"] * 4
    assert np.array_equal(np.asarray(data[5][0]), images[1, :4, 4:])


# ------------------------------------------------------------------------------- scores


def test_scores_of_tiles_become_scores_of_images() -> None:
    owners = np.array([1, 0, 1, 1, 1, 0])
    scores = np.array([[1.0, 9], [5, 5], [2, 8], [4, 6], [3, 7], [7, 1]])
    assert aggregate(scores, owners).tolist() == [[7, 5], [4, 9]]
    assert aggregate(scores, owners, "mean").tolist() == [[6, 3], [2.5, 7.5]]
    assert aggregate(scores, owners, "topk", k=2).tolist() == [[6, 3], [3.5, 8.5]]
    assert aggregate(scores[:, 0], owners, "topk").tolist() == [6, 3]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, 2], [0]), "2 scores have 1 owners"),
        (([1, 2], [0, 2]), "image 1 has no tiles"),
        (([1, 2], [0, 0], "sum"), "method is 'sum', expected one of max, mean, topk"),
        (([1, 2], [0, 0], "topk", 0), "k is 0"),
    ],
)
def test_scores_that_do_not_fit_are_named(arguments, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        aggregate(*arguments)


def test_a_heat_map_is_the_mean_of_the_tiles_over_a_pixel() -> None:
    boxes = tile_grid(4, 7, 4, 3)
    found = heat_map([1.0, 3.0], boxes, (4, 8))
    assert np.array_equal(found[:, :3], np.full((4, 3), 1.0))
    assert np.array_equal(found[:, 3], np.full(4, 2.0))
    assert np.array_equal(found[:, 4:7], np.full((4, 3), 3.0))
    assert np.isnan(found[:, 7]).all()
