"""vitc.data.timm.auto_augment against timm: policies as parsed, pixels to the bit,
distributions."""

import math

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from oracle import timm
from oracle.pictures import draws, image, same, sample, smooth
from vitc.data import functional as F
from vitc.data.timm.auto_augment import OPERATIONS, AugmentOp, auto_augment_transform

theirs = timm.data.auto_augment
GREY = {"img_mean": (128, 128, 128)}
RESAMPLING = {name: Image.Resampling[name.upper()] for name in ("nearest", "bilinear", "bicubic")}

# ------------------------------------------------------------------------------- strings

STRINGS = [
    "rand-m9-mstd0.5-inc1",
    "rand-m9-mstd0.5",
    "rand-m7-n3-p0.3-inc1",
    "rand-m15-mmax20-inc1",
    "rand-mstd101-m6",
    "rand-m9-inc0",
    "rand",
    "rand-mstd1-tweights",
    "rand-m9-t3a",
    "rand-n4-m6-t3aw",
    "original",
    "original-mstd0.5",
    "originalr",
    "v0",
    "v0r-mstd0.3",
    "3a",
    "augmix-m3-w3",
    "augmix-m5-w4-d2",
    "augmix-m4-a0.5-b1-mstd1",
]


def parsed_by_timm(string: str, hparams: dict):
    kinds = {"rand": "rand_augment_transform", "augm": "augment_and_mix_transform"}
    return getattr(theirs, kinds.get(string[:4], "auto_augment_transform"))(string, hparams)


@pytest.mark.parametrize("string", STRINGS)
def test_strings_mean_what_they_mean_to_timm(string: str) -> None:
    """Everything that timm's objects print: operations in order, magnitudes, probabilities, spread,
    sizes; and the shares of a weighted choice."""
    ours, other = auto_augment_transform(string), parsed_by_timm(string, {"img_mean": (1, 2, 3)})
    assert repr(ours) == repr(other)
    if hasattr(other, "choice_weights"):
        mine = ours.choice_weights
        assert (mine is None) == (other.choice_weights is None)
        assert mine is None or np.array_equal(mine, other.choice_weights)
    assert getattr(ours, "blended", None) == getattr(other, "blended", None)


def test_given_hparams_come_before_the_string() -> None:
    given = {"magnitude_std": 0.25, "magnitude_max": 7}
    for string in ("rand-m9-mstd0.5-mmax10", "original-mstd0.5", "augmix-mstd2"):
        assert repr(auto_augment_transform(string, given)) == repr(parsed_by_timm(string, given))


@pytest.mark.parametrize(
    ("string", "message"),
    [
        ("random-m9", "'random-m9' is not a policy; did you mean 'rand'"),
        (
            "rand-q9",
            "'rand-q9': 'q9' is not an option, expected a number behind one of m, n, p, mstd",
        ),
        ("rand-m", "'m' is not an option"),
        ("rand-m9.5", "'m9.5' is not an option"),
        ("rand-tweight", "there is no set 'weight'; did you mean 'weights'"),
        ("v0-m9", "'m9' is not an option"),
        ("rand-p3", "prob is 3.0, expected a probability"),
        ("augmix-w0", "width is 0"),
    ],
)
def test_strings_without_meaning_are_refused(string: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        auto_augment_transform(string)


# ------------------------------------------------------------------------------- operations


def timms(op: AugmentOp, params: tuple, img):
    """What timm's function of the same name makes of the image with these arguments."""
    acts, arguments = params
    if not acts:
        return img
    if op.name.startswith("Posterize") and arguments == (0,):
        return Image.new(img.mode, img.size)  # as up to Pillow 12; from 13 on it is refused
    keywords = {}
    if OPERATIONS[op.name].warps:
        *arguments, interpolation, fill = arguments
        keywords = {"resample": RESAMPLING[interpolation], "fillcolor": fill}
    return theirs.NAME_TO_OP[op.name](img, *arguments, **keywords)


# timm's own function draws the radius.
ELSEWHERE = {"GaussianBlurRand"}


@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - ELSEWHERE))
def test_pixels_of_an_operation_are_timms(name: str) -> None:
    for magnitude in (1, 3.3, 7, 10):
        op = AugmentOp(name, 1.0, magnitude, {"img_mean": (124, 116, 104)})
        for picture in (image(), smooth("RGB", (40, 31))):
            for params, ours in draws(op, picture, 4):
                assert same(ours, timms(op, params, picture))


def test_a_random_blur_is_pillows() -> None:
    from PIL import ImageFilter

    op = AugmentOp("GaussianBlurRand", 1.0, 10)
    for (_, (radius,)), ours in draws(op, image(), 8):
        assert same(ours, image().filter(ImageFilter.GaussianBlur(radius)))


@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - ELSEWHERE))
@pytest.mark.parametrize("magnitude", [0, 2, 4.5, 9, 10, 14])
def test_levels_become_timms_arguments(name: str, magnitude: float) -> None:
    """The sets of all that is drawn, which are one value or two with opposite signs."""
    hparams = dict(magnitude_max=20, translate_const=100, translate_pct=0.3)
    op = AugmentOp(name, 1.0, magnitude, hparams)
    ours = {params[1][0] if params[1] else None for params in sample(op, image(), 40)}
    function = theirs.LEVEL_TO_ARG[name] or (lambda level, hparams: (None,))
    expected = {function(magnitude, hparams)[0] for _ in range(40)}
    assert ours == expected


def test_grey_images_are_augmented_too() -> None:
    for string in ("rand-m9-mstd0.5-inc1", "original", "augmix-m3-w3", "3a"):
        transform = auto_augment_transform(string, {"img_mean": (124,)})
        for _, ours in draws(transform, smooth("L"), 10):
            assert (ours.mode, ours.size) == ("L", (61, 37))


# ------------------------------------------------------------------------------- chains


@pytest.mark.parametrize("string", ["rand-m6-n3-inc1", "original", "3a", "v0r"])
def test_chains_apply_what_they_have_drawn(string: str) -> None:
    for steps, ours in draws(auto_augment_transform(string, GREY), image(), 12):
        expected = image()
        for op, params in steps:
            expected = (
                op.apply(expected, *params) if op.name in ELSEWHERE else timms(op, params, expected)
            )
        assert same(ours, expected)


@pytest.mark.parametrize("string", ["augmix-m3-w3", "augmix-m3-w2-d2-b1"])
def test_mixtures_are_timms(string: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """timm's object does the mixing, with our weights and chains put in place of its draws."""
    transform, other = auto_augment_transform(string, GREY), parsed_by_timm(string, {})
    for picture in (image(size=(40, 31)), smooth(size=(40, 31))):
        for (weights, share, chains), ours in draws(transform, picture, 4):
            upcoming = iter(chains)
            monkeypatch.setattr(np.random, "dirichlet", lambda alpha, given=weights: given)
            monkeypatch.setattr(np.random, "beta", lambda a, b, given=share: given)

            def chosen(ops, depth, replace, upcoming=upcoming):
                return [
                    lambda img, op=op, params=params: timms(op, params, img)
                    for op, params in next(upcoming)
                ]

            monkeypatch.setattr(np.random, "choice", chosen)
            assert same(ours, other(picture))


# ------------------------------------------------------------------------------- distributions


def recorded(string: str, count: int, monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """The operations of timm that act in `count` images: (name, level before its arguments)."""
    import random

    random.seed(0)
    np.random.seed(0)
    transform, seen = parsed_by_timm(string, {}), []
    for op in transform.ops:
        op.level_fn = lambda magnitude, hparams: (magnitude,)
        op.aug_fn = lambda img, level, name=op.name, **rest: seen.append((name, level)) or img
    for _ in range(count):
        transform(None)
    return seen


def acting(string: str, count: int) -> list[tuple]:
    """The same of ours; the level is read back from the one operation that shows it."""
    transform = auto_augment_transform(string)
    steps = (step for steps in sample(transform, image(), count) for step in steps)
    return [(op.name, arguments) for op, (acts, arguments) in steps if acts]


@pytest.mark.parametrize(
    "string", ["rand-m9-mstd0.5-inc1", "rand-m9-t3aw", "rand-n3-tweights-p0.8"]
)
def test_operations_are_as_frequent_as_timms(string: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chi square of the two samples' counts at 0.1 %, and of how many operations act."""
    ours = [name for name, _ in acting(string, 3000)]
    other = [name for name, _ in recorded(string, 3000, monkeypatch)]
    names = sorted({*ours, *other})
    table = [[names_of.count(name) for name in names] for names_of in (ours, other)]
    assert stats.chi2_contingency(table).pvalue > 0.001
    drawn = 3000 * auto_augment_transform(string).num_layers
    silent = [[len(acted), drawn - len(acted)] for acted in (ours, other)]
    assert stats.chi2_contingency(silent).pvalue > 0.001


@pytest.mark.parametrize("string", ["rand-m9-mstd0.5-inc1", "rand-m6-mstd101", "rand-m4-mstd3"])
def test_magnitudes_are_distributed_as_timms(string: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kolmogorov-Smirnov at 0.1 %, of the angle, whose size is 3 degrees per unit of magnitude."""
    angles = np.array(
        [arguments[0] for name, arguments in acting(string, 9000) if name == "Rotate"]
    )
    levels = [level for name, level in recorded(string, 9000, monkeypatch) if name == "Rotate"]
    assert len(angles) > 300
    assert stats.ks_2samp(np.abs(angles) / 3, levels).pvalue > 0.001
    assert stats.binomtest(int((angles < 0).sum()), len(angles)).pvalue > 0.001


def test_sub_policies_and_interpolations_are_equally_frequent() -> None:
    policy = auto_augment_transform("original").policy
    chosen = [
        [op.name for op, _ in steps] for steps in sample(auto_augment_transform("3a"), image())
    ]
    counts = [chosen.count([name]) for name in ("Solarize", "Desaturate", "GaussianBlurRand")]
    assert stats.chisquare(counts).pvalue > 0.001
    assert len(policy) == 25
    modes = [params[1][1] for params in sample(AugmentOp("Rotate", 1.0), image())]
    assert stats.binomtest(modes.count("bicubic"), len(modes)).pvalue > 0.001
    fixed = AugmentOp("Rotate", 1.0, hparams={"interpolation": "nearest"})
    assert {params[1][1] for params in sample(fixed, image(), 20)} == {"nearest"}


def test_weights_of_a_mixture_are_dirichlet_and_beta() -> None:
    params = sample(auto_augment_transform("augmix-m3-w3-a0.7"), image(), 1500)
    weights, shares = np.array([p[0] for p in params]), [float(p[1]) for p in params]
    assert np.allclose(weights.sum(1), 1)
    for column in weights.T:
        assert stats.kstest(column, stats.beta(0.7, 1.4).cdf).pvalue > 0.001
    assert stats.kstest(shares, stats.beta(0.7, 0.7).cdf).pvalue > 0.001
    depths = [len(chain) for p in params for chain in p[2]]
    assert stats.chisquare([depths.count(depth) for depth in (1, 2, 3)]).pvalue > 0.001


def test_random_radius_is_timms() -> None:
    radii = [params[1][0] for params in sample(AugmentOp("GaussianBlurRand", 1.0, 10), image())]
    assert stats.kstest(radii, stats.uniform(0.1, 1.9).cdf).pvalue > 0.001


# ------------------------------------------------------------------------------- words


def test_unknown_operations_are_named() -> None:
    with pytest.raises(ValueError, match="no operation 'Rotat'; did you mean 'Rotate'"):
        AugmentOp("Rotat")
    assert math.isinf(auto_augment_transform("augmix").ops[0].magnitude_std)
    assert F.solarize_add(image(), 20).size == image().size
