"""vitc.data.transforms against torchvision: pixels to the bit, distributions by chi square."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from oracle import timm  # makes torchvision importable
from oracle.pictures import draws, image, same, sample

# isort: split
from torchvision import transforms as TV
from torchvision.transforms import functional as TF

from vitc.data import functional as F
from vitc.data import random
from vitc.data import transforms as T
from vitc.tape import clock

timm_transforms = timm.data.transforms
MODES = ("RGB", "L", "RGBA", "F")
SIZES = ((37, 61), (61, 37), (40, 40), (1, 7))
MODE = {name: TV.InterpolationMode(name) for name in T.InterpolationMode}


IMAGES = [pytest.param(image(mode, size), id=f"{mode} {size}") for mode in MODES for size in SIZES]


# ------------------------------------------------------------------------------- without draws

FIXED = [
    *(("Resize", (24, mode)) for mode in MODE),
    ("Resize", (100, "bicubic")),
    ("Resize", ((19, 50), "lanczos")),
    ("Resize", ([30],)),
    ("Resize", (30, "bilinear", 40)),
    ("Resize", (37,)),
    ("CenterCrop", (20,)),
    ("CenterCrop", ((21, 34),)),
    ("CenterCrop", (64,)),
    ("CenterCrop", ((60, 20),)),
    ("Pad", (3,)),
    ("Pad", ((3, 1), 9)),
    ("Pad", ((0, 1, 2, 3),)),
]


@pytest.mark.parametrize("img", IMAGES)
def test_fixed_geometry_is_torchvisions(img) -> None:
    for name, args in FIXED:
        theirs = [MODE.get(arg, arg) if isinstance(arg, str) else arg for arg in args]
        ours = getattr(T, name)(*args)
        assert same(ours(img), getattr(TV, name)(*theirs)(img)), ours


@pytest.mark.parametrize("size", [(24, 31), (90, 20), (40, 100)])
def test_fitting_without_distortion_is_timms(size: tuple[int, int]) -> None:
    for img in (image(), image(size=(61, 37))):
        for longest in (0.0, 0.3, 1.0):
            args = (size, longest, "bicubic")
            assert same(T.ResizeKeepRatio(*args)(img), timm_transforms.ResizeKeepRatio(*args)(img))
        args = (size, (9, 8, 7))
        assert same(T.CenterCropOrPad(*args)(img), timm_transforms.CenterCropOrPad(*args)(img))


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("padding", F.PADDINGS)
def test_borders_are_torchvisions(padding: str, mode: str) -> None:
    img = image(mode)
    args = ((2, 5, 3, 1), 7, padding)
    assert same(T.Pad(*args)(img), TV.Pad(*args)(img))


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA", "CMYK", "1", "F"])
def test_tensors_are_torchvisions(mode: str) -> None:
    img = image(mode)
    ours, theirs = T.ToTensor()(img), TV.ToTensor()(img).numpy()
    assert ours.dtype == np.float32 and ours.flags.c_contiguous
    assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3), (5, 7, 6)])
def test_tensors_of_arrays_are_torchvisions(dtype: str, shape: tuple[int, ...]) -> None:
    pixels = (np.random.default_rng(0).random(shape) * 255).astype(dtype)
    ours, theirs = T.ToTensor()(pixels), TV.ToTensor()(pixels).numpy()
    assert ours.dtype == theirs.dtype and np.array_equal(ours, theirs)


def test_tensors_of_16_bits_go_from_0_to_1() -> None:
    """torchvision's are int16 and overflow; `functional.to_tensor` keeps the values."""
    pixels = np.array([[0, 300, 40000, 65535]], np.uint16)
    for source in (pixels, Image.fromarray(pixels)):
        tensor = T.ToTensor()(source)
        assert tensor.dtype == np.float32 and np.array_equal(tensor[0], pixels / np.float32(65535))
        assert np.array_equal(F.to_tensor(source)[0], pixels)
        standard = T.Compose([T.ToTensor(), T.Normalize((0.5,), (0.25,))])(source)
        assert np.array_equal(standard, (tensor - np.float32(0.5)) / np.float32(0.25))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_normalizing_is_torchvisions_and_leaves_the_input(dtype) -> None:
    tensor = T.ToTensor()(image()).astype(dtype)
    before = tensor.copy()
    for stats in (((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), ((0.3,), (0.7,))):
        ours = T.Normalize(*stats)(tensor)
        theirs = TV.Normalize(*stats)(torch.from_numpy(tensor)).numpy()
        assert ours.dtype == dtype and np.array_equal(ours, theirs)
    assert np.array_equal(tensor, before)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
@pytest.mark.parametrize("channels", [1, 3])
def test_grey_is_torchvisions(mode: str, channels: int) -> None:
    assert same(T.Grayscale(channels)(image(mode)), TV.Grayscale(channels)(image(mode)))


# ------------------------------------------------------------------------------- given draws


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "random"])
def test_resized_crops_are_torchvisions(mode: str, interpolation: str) -> None:
    img, seen = image(mode), set()
    for (*box, drawn), ours in draws(T.RandomResizedCrop(24, interpolation=interpolation), img):
        assert same(ours, TF.resized_crop(img, *box, [24, 24], MODE[drawn]))
        seen.add(str(drawn))
    assert seen == ({"bilinear", "bicubic"} if interpolation == "random" else {interpolation})


def test_crops_are_torchvisions() -> None:
    img = image()
    crop = T.RandomCrop((30, 64), padding=4, fill=7, padding_mode="reflect")
    padded = TF.pad(img, [4], 7, "reflect")
    for i in range(20):
        with random.item(0, 0, i):
            top, left = crop.draw(padded, random.generator())
        with random.item(0, 0, i):
            assert same(crop(img), TF.crop(padded, top, left, 30, 64))


def test_a_crop_of_more_than_the_image_is_padded_if_asked() -> None:
    img = image(size=(10, 12))
    with pytest.raises(ValueError, match="10 x 12 pixels, less than the crop of 20 x 14"):
        T.RandomCrop((20, 14))(img)
    theirs = TV.RandomCrop((20, 14), pad_if_needed=True)
    theirs.get_params = lambda img, size: (3, 1, *size)
    crop = T.RandomCrop((20, 14), pad_if_needed=True)
    assert same(crop.apply(crop.padded(img), 3, 1), theirs(img))


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_flips_are_torchvisions(mode: str) -> None:
    img = image(mode)
    for name, theirs in (("Horizontal", TF.hflip), ("Vertical", TF.vflip)):
        flip = getattr(T, f"Random{name}Flip")()
        seen = {
            flipped: same(ours, theirs(img) if flipped else img)
            for (flipped,), ours in draws(flip, img)
        }
        assert seen == {True: True, False: True}


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
def test_rotations_are_torchvisions(mode: str, interpolation: str) -> None:
    img = image(mode)
    for expand, center, fill in ((False, None, 0), (True, None, 9), (False, (3, 20), 200)):
        args = (interpolation, expand, center, fill)
        for (angle,), ours in draws(T.RandomRotation(180, *args), img, 5):
            assert same(ours, TF.rotate(img, angle, MODE[interpolation], *args[1:]))


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
def test_affine_images_are_torchvisions(interpolation: str) -> None:
    img = image(size=(60, 83))
    affine = T.RandomAffine(
        40, (0.2, 0.3), (0.5, 2), (-30, 30, -20, 5), interpolation, (9, 8, 7), (20, 30)
    )
    for (angle, move, scale, shear), ours in draws(affine, img):
        rest = dict(interpolation=MODE[interpolation], fill=(9, 8, 7), center=(20, 30))
        assert same(ours, TF.affine(img, angle, move, scale, shear, **rest))


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jittered_images_are_torchvisions(mode: str) -> None:
    img = image(mode)
    theirs = (TF.adjust_brightness, TF.adjust_contrast, TF.adjust_saturation, TF.adjust_hue)
    for (order, *factors), ours in draws(T.ColorJitter(0.9, (0.2, 3), 0.8, 0.5), img):
        expected = img
        for i in order:
            expected = theirs[i](expected, factors[i])
        assert same(ours, expected)


def test_grey_at_random_keeps_the_channels() -> None:
    img = image()
    for (acts,), ours in draws(T.RandomGrayscale(0.5), img):
        assert same(ours, TF.rgb_to_grayscale(img, 3) if acts else img)


# ------------------------------------------------------------------------------- distributions


def uniform(values, low: float, high: float) -> bool:
    """Chi square of ten bins at 0.1 %; and nothing outside."""
    counts = np.histogram(values, 10, (low, high))[0]
    expected = len(values) / 10
    inside = low <= np.min(values) and np.max(values) <= high
    return inside and np.sum((counts - expected) ** 2 / expected) < 27.9


def test_area_and_ratio_are_uniform_where_all_crops_fit() -> None:
    img = Image.new("L", (2000, 2000))
    boxes = np.array([b[:4] for b in sample(T.RandomResizedCrop(9, (0.1, 0.4), (0.5, 2)), img)])
    assert uniform(boxes[:, 2] * boxes[:, 3] / 4e6, 0.0999, 0.4004)
    assert uniform(np.log(boxes[:, 3] / boxes[:, 2]), -math.log(2) - 1e-3, math.log(2) + 1e-3)
    assert uniform(boxes[:, 0] / (2000 - boxes[:, 2]), 0, 1)
    assert uniform(boxes[:, 1] / (2000 - boxes[:, 3]), 0, 1)


def test_a_crop_reaches_every_edge() -> None:
    img = Image.new("L", (5, 4))
    boxes = {box[:4] for box in sample(T.RandomResizedCrop(9, (0.45, 0.45), (1, 1)), img, 200)}
    assert boxes == {(top, left, 3, 3) for top in (0, 1) for left in (0, 1, 2)}


@pytest.mark.parametrize("size", [(10, 900), (900, 10), (100, 100)])
def test_without_a_fitting_crop_it_is_the_largest_in_the_middle(size) -> None:
    img = Image.new("L", size[::-1])
    for scale in ((1.0, 1.0), (4.0, 4.0)):
        if size == (100, 100) and scale == (1.0, 1.0):
            continue  # some crops fit
        theirs = TV.RandomResizedCrop.get_params(img, scale, (3 / 4, 4 / 3))
        assert {box[:4] for box in sample(T.RandomResizedCrop(9, scale), img, 20)} == {theirs}


def test_other_draws_have_torchvisions_distributions() -> None:
    img = Image.new("RGB", (70, 50))
    tops, lefts = zip(*sample(T.RandomCrop((45, 61)), img), strict=True)
    assert set(tops) == set(range(6)) and set(lefts) == set(range(10))
    assert uniform(np.array(lefts) + 0.5, 0, 10)
    assert 550 < sum(flip for (flip,) in sample(T.RandomHorizontalFlip(0.3), img)) < 650
    assert uniform([angle for (angle,) in sample(T.RandomRotation((-10, 30)), img)], -10, 30)
    affine = sample(T.RandomAffine(5, (0.5, 0.0), (0.5, 2.0), 7), img)
    assert uniform([angle for angle, *_ in affine], -5, 5)
    assert {move[1] for _, move, *_ in affine} == {0}
    assert {move[0] for _, move, *_ in affine} == set(range(-35, 36))
    assert uniform([scale for _, _, scale, _ in affine], 0.5, 2)
    assert uniform([shear[0] for *_, shear in affine], -7, 7)
    assert {shear[1] for *_, shear in affine} == {0.0}


def test_jitter_draws_order_and_factors() -> None:
    params = sample(T.ColorJitter(0.4, 2, (0.5, 0.7), 0.1), Image.new("RGB", (2, 2)), 2400)
    orders, *factors = zip(*params, strict=True)
    counts = np.unique(np.array(orders), axis=0, return_counts=True)[1]
    assert len(counts) == 24 and np.sum((counts - 100) ** 2 / 100) < 49.7  # 23 degrees of freedom
    for values, limits in zip(factors, ((0.6, 1.4), (0, 3), (0.5, 0.7), (-0.1, 0.1)), strict=True):
        assert uniform(values, *limits)
    order, *off = T.ColorJitter(hue=0.2).draw(Image.new("RGB", (2, 2)), np.random.default_rng(0))
    assert off[:3] == [None] * 3 and abs(off[3]) <= 0.2


# ------------------------------------------------------------------------------- chains


def test_own_callables_stand_anywhere() -> None:
    chain = T.Compose([lambda x: x.convert("L"), T.ToTensor(), np.sum, T.Lambda(lambda x: x + 1)])
    assert chain(image()) == np.sum(T.ToTensor()(image("RGB").convert("L"))) + 1


def test_apply_and_choice_have_their_probabilities() -> None:
    def share(transform) -> float:
        return sum(transform(0) for _ in range(2000)) / 2000

    clock.restart(clock.seed)
    assert 0.15 < share(T.RandomApply([lambda x: x + 1], 0.2)) < 0.25
    assert share(T.RandomApply([lambda x: x + 1], 0)) == 0
    assert share(T.RandomApply([lambda x: x + 1, lambda x: x * 3], 1)) == 3
    steps = [lambda x: 0, lambda x: 1, lambda x: 100]
    assert 0.7 < share(T.RandomChoice(steps, (1, 3, 0))) < 0.8
    assert 0.45 < share(T.RandomChoice(steps[:2])) < 0.55


def test_the_same_item_is_augmented_the_same_way() -> None:
    chain = T.Compose(
        [T.RandomResizedCrop(16), T.RandomHorizontalFlip(), T.ColorJitter(0.4, 0.4, 0.4, 0.1)]
    )

    def item(sample: int, epoch: int = 0) -> bytes:
        with random.item(3, epoch, sample):
            return chain(image()).tobytes()

    assert item(1) == item(1)
    assert len({item(1), item(2), item(1, epoch=1)}) == 3


# ------------------------------------------------------------------------------- words


def test_printed_as_in_torchvision() -> None:
    mine = T.Compose(
        [
            T.Resize(24, "bicubic"),
            T.RandomApply([T.RandomVerticalFlip(0.25)], 0.1),
            T.RandomResizedCrop(16, interpolation="bicubic"),
            T.ColorJitter(0.4, hue=0.1),
            T.ToTensor(),
            T.Normalize((0.5,), (0.25,)),
        ]
    )
    text = repr(mine)
    assert text.startswith(
        "Compose(\n    Resize(size=24, interpolation=bicubic, max_size=None, antialias=True)\n"
    )
    for part in (
        "RandomApply(\n    p=0.1\n    RandomVerticalFlip(p=0.25)\n)",
        "RandomResizedCrop(size=(16, 16), scale=(0.08, 1.0), ratio=(0.75, 1.3333333333333333), "
        "interpolation=bicubic, antialias=True)",
        repr(TV.ColorJitter(0.4, hue=0.1)),
        "ToTensor()",
        repr(TV.Normalize((0.5,), (0.25,))),
    ):
        assert part in text


PRINTED = [
    T.Resize((3, 4), "lanczos"),
    T.CenterCropOrPad(9, (1, 2, 3), "reflect"),
    T.Letterbox(9, 7, "bicubic"),
    T.TenCrop(9, True),
    T.Pad((1, 2), 3, "edge"),
    T.TrimBorder(3),
    T.ResizeKeepRatio(9, 0.3, "random", 0.5, random_aspect_prob=0.2),
    T.RandomResizedCrop(9, (0.2, 0.4), interpolation="random"),
    T.RandomCrop(9, 2),
    T.RandomCropOrPad(9, 2, "edge"),
    T.RandomDihedral(),
    T.RandomRotation(9, "bicubic", True, (1, 2), 3),
    T.RandomAffine(9, (0.1, 0.2), (1, 2), 3, "bilinear", 4, (5, 6)),
    T.Grayscale(3),
    T.RandomPosterize(3, 0.2),
    T.RandomSolarize(9, 0.3),
    T.RandomAdjustSharpness(3, 0.2),
    T.GaussianBlur((3, 5), 2),
    T.GaussianNoise(0.1, 0.2, False),
    T.RandomGaussianNoise(0.1, 0.2),
    T.RandomGamma(0.1, 0.2),
    T.RandomBiasField(0.2, 2, 0.3),
    T.RandomHEDJitter(0.2, 0.3),
    T.ToDtype("float32", scale=True),
    T.Normalize((1, 2), (3, 4)),
    T.RandomErasing(0.2, (0.1, 0.2), (1, 2), (3, 4), True),
    T.AutoAugment("svhn", fill=3),
    T.RandAugment(3, 4, 5, "bilinear", 6),
    T.TrivialAugmentWide(9, "bicubic", (1, 2, 3)),
    T.AugMix(4, 5, 6, 0.7, False, "nearest", 8),
    T.MixUp(alpha=0.3, num_classes=4),
]


@pytest.mark.parametrize("transform", PRINTED, ids=str)
def test_what_is_printed_makes_the_same_transform(transform) -> None:
    """With the names of this module, of modes and of dtypes, as torchvision prints them."""
    names = {**vars(T), **{mode: mode for mode in [*T.InterpolationMode, *F.PADDINGS, "random"]}}
    again = eval(repr(transform), {**names, "float32": np.float32})
    assert repr(again) == repr(transform) and vars(again) == vars(transform)


BAD = [
    (lambda: T.Resize(0), "size is 0"),
    (lambda: T.Resize((3, 4, 5)), "size is .3, 4, 5."),
    (lambda: T.Resize(3, "bicubid"), "interpolation is 'bicubid'; did you mean 'bicubic'"),
    (lambda: T.Resize(30, max_size=20), "max_size is 20, size is 30"),
    (lambda: T.Resize(30, antialias=False), "antialias=False"),
    (lambda: T.RandomHorizontalFlip(1.5), "p is 1.5"),
    (lambda: T.RandomResizedCrop(9, (1, 0.5)), "scale is .1, 0.5."),
    (lambda: T.RandomResizedCrop(9, ratio=(0, 1)), "above 0"),
    (lambda: T.RandomCrop(9, padding_mode="mirror"), "padding_mode is 'mirror'"),
    (lambda: T.RandomRotation((3, 1)), "degrees is .3, 1."),
    (lambda: T.RandomAffine(0, translate=(0, 2)), "translate is"),
    (lambda: T.RandomAffine(0, scale=(0, 2)), "scale is"),
    (lambda: T.ColorJitter(-1), "brightness is -1"),
    (lambda: T.ColorJitter(hue=0.6), "hue is"),
    (lambda: T.Grayscale(2), "num_output_channels is 2"),
    (lambda: T.Normalize((0,), (0,)), "std is"),
    (lambda: T.Normalize((0, 0), (1, 1))(np.zeros((3, 4, 4), np.float32)), "mean has 2 values"),
    (lambda: T.RandomChoice([], None), "no transforms"),
    (lambda: T.RandomChoice([abs], (1, 2)), "p is .1, 2., expected 1 weights"),
    (lambda: F.adjust_hue(image(), 0.7), "hue_factor is 0.7"),
    (lambda: T.Pad((1, 2, 3))(image()), "padding is"),
    (lambda: T.Pad(1, (1, 2))(image()), "fill is"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_values_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_wrong_types_are_named() -> None:
    with pytest.raises(TypeError, match="expected .*: transforms of images stand before ToTensor"):
        T.Compose([T.ToTensor(), T.Resize(9)])(image())
    with pytest.raises(TypeError, match="floating point numbers, as ToTensor.* got Image"):
        T.Normalize((0,), (1,))(image())
    with pytest.raises(TypeError, match="callable, got 3"):
        T.Compose([T.ToTensor(), 3])


@pytest.mark.parametrize("mode", ["RGB", "L", "LA", "F", "1"])
def test_to_tensor_and_normalize_in_one_pass_are_the_two(mode: str) -> None:
    """Oracle: the two steps, called one after the other. Own classes are never joined."""
    img, calls = image(mode), []

    class Noticed(T.Normalize):
        def __call__(self, img):
            calls.append(img)
            return super().__call__(img)

    first, second = T.ToTensor(), T.Normalize((0.4,), (0.3,))
    assert np.array_equal(T.Compose([first, second])(img), second(first(img)))
    T.Compose([first, Noticed((0.4,), (0.3,)), second])(img)
    assert len(calls) == 1


def test_a_list_of_transforms_may_be_changed_between_calls() -> None:
    image = np.full((4, 4, 3), 100, np.uint8)
    both = T.Compose([T.ToTensor(), T.Normalize((0.5,), (0.5,))])
    before = both(image)
    both.transforms.insert(0, T.RandomInvert(1.0))
    assert np.allclose(both(image), -before)
    both.transforms[-1].mean = (1.0,)
    assert np.allclose(both(image), -before - 1)
