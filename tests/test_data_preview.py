"""vitc.data.preview: every cell against the draw that it shows, and the command that writes it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitc.cli import aug_preview, main
from vitc.data import ArrayDataset, DataLoader, create_transform, preview
from vitc.data import transforms as T

RNG = np.random.default_rng(0)
PHOTOS = [
    Image.fromarray(RNG.integers(0, 256, (h, w, 3), dtype=np.uint8))
    for h, w in ((60, 60), (30, 60))
]
GAP, WIDE, PAPER = 4, 12, (40, 80, 120)


def cell(picture: Image.Image, row: int, column: int, size: int) -> np.ndarray:
    left = GAP + column * (size + GAP) + (WIDE - GAP if column else 0)
    top = GAP + row * (size + GAP)
    return np.asarray(picture.crop((left, top, left + size, top + size))).astype(int)


def test_cells_are_the_draws_of_a_loaders_epochs() -> None:
    """A normalised value goes back to the byte it came from."""
    transform = create_transform(60, is_training=True)
    picture = preview(transform, PHOTOS, copies=3, seed=5)
    assert picture.mode == "RGB" and picture.size == (4 * 64 + WIDE, 2 * 64 + GAP)
    for row, photo in enumerate(PHOTOS):
        plain = T.Compose(transform.transforms[:-2])
        for epoch in range(3):
            data = ArrayDataset([np.asarray(photo)] * 2, [0, 1], T.Compose([plain, np.asarray]))
            loader = DataLoader(data, 2, seed=5)
            loader.set_epoch(epoch)
            ((expected, _),) = loader
            assert np.array_equal(cell(picture, row, 1 + epoch, 60), expected[row])


def test_the_first_column_is_the_whole_image() -> None:
    picture = preview(T.CenterCrop(60), PHOTOS, copies=1)
    assert np.array_equal(cell(picture, 0, 0, 60), np.asarray(PHOTOS[0]))
    assert np.array_equal(cell(picture, 1, 0, 60)[15:45], np.asarray(PHOTOS[1]))
    assert np.all(cell(picture, 1, 0, 60)[:15] == PAPER)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_arrays_are_shown_in_their_first_channels(dtype, channels: int) -> None:
    top = np.iinfo(dtype).max
    values = RNG.integers(0, top, (8, 8, channels), dtype=dtype, endpoint=True)
    picture = preview(lambda image: image, [values], copies=1)
    shown = values[:, :, :3] if channels >= 3 else values[:, :, :1]
    assert np.array_equal(cell(picture, 0, 1, 8), np.rint(shown / (top / 255)) + np.zeros(3))


def test_small_draws_are_not_blurred() -> None:
    picture = preview(lambda image: image.crop((0, 0, 8, 8)), [PHOTOS[0]], copies=1)
    assert np.array_equal(cell(picture, 0, 1, 8), np.asarray(PHOTOS[0])[:8, :8])


def test_what_cannot_be_shown_is_named() -> None:
    with pytest.raises(ValueError, match="a preview of 0 images"):
        preview(T.ToTensor(), [])
    with pytest.raises(ValueError, match=r"an array \(2, 2, 2, 2\), expected \(C, H, W\)"):
        preview(lambda image: np.zeros((2, 2, 2, 2)), PHOTOS)


def test_images_are_taken_from_all_folders_at_equal_distances() -> None:
    paths = [Path(f"a/{i}") for i in range(9)] + [Path("b/0"), Path("b/1")]

    def chosen(count: int) -> list[str]:
        return [str(path) for path in aug_preview.spread(paths, count)]

    assert chosen(1) == ["a/0"] and chosen(2) == ["a/0", "b/0"]
    assert chosen(5) == ["a/0", "b/0", "a/3", "b/1", "a/6"]
    assert sorted(chosen(99)) == sorted(map(str, paths))


def test_the_command_writes_the_picture(tmp_path: Path, capsys) -> None:
    for i, name in enumerate(("a/0.png", "a/1.png", "a/2.png", "b/0.png")):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        PHOTOS[i % 2].save(path)
    output = tmp_path / "preview.png"
    arguments = ["aug-preview", str(tmp_path / "photos"), "--output", str(output)]
    assert main([*arguments, "--img-size", "32", "--images", "3", "--copies", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{output}: {3 * 36 + WIDE} x {3 * 36 + GAP} pixels, of"
    assert [line.strip().removeprefix(f"{tmp_path}/photos/") for line in lines[1:4]] == [
        "a/0.png",
        "b/0.png",
        "a/1.png",
    ]
    assert "RandomResizedCrop" in lines[5]
    first = output.read_bytes()
    assert Image.open(output).size == (3 * 36 + WIDE, 3 * 36 + GAP)
    main([*arguments, "--img-size", "32", "--images", "3", "--copies", "2", "--seed", "1"])
    assert output.read_bytes() != first
    assert main(["aug-preview", str(tmp_path / "none")]) == 1
    assert "none: there is no such file" in capsys.readouterr().err
    assert main([*arguments, "--grey", "--images", "0"]) == 1
