"""Models with dynamic_img_size: images of any size, the positions resampled to their grid.

The oracle is timm in float64 with the same redrawn parameters: outputs 1e-5, gradients 5e-5
relative.
"""

from typing import Any

import numpy as np
import pytest
import torch

from oracle import double, gradient_errors, pair, relative, timm
from vitc import functional as F
from vitc.models import create_model
from vitc.models.model import _PROGRAMS
from vitc.tape import no_grad

OUTPUTS, GRADIENTS = 1e-5, 5e-5
SMALL = dict(depth=2, embed_dim=32, num_heads=2, num_classes=5, img_size=64, dynamic_img_size=True)
NAMES = (
    "test_vit",
    "test_vit3",  # registers with positions, attention pool
    "deit3_small_patch16_224",  # no position for the class token
    "vit_base_patch16_siglip_gap_224",  # no class token
    "deit_tiny_distilled_patch16_224",
    "aimv2_large_patch14_224",
)
SIZES = {"larger": (9, 8), "smaller": (2, 3), "long": (2, 11)}  # in patches


def drawn(size: tuple[int, int], batch: int = 2) -> np.ndarray:
    return np.random.default_rng(2).standard_normal((batch, 3, *size)).astype(np.float32)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", NAMES)
def test_outputs_and_gradients_equal_timms(name: str, size: str) -> None:
    ours, theirs = pair(name, **SMALL)
    rows, columns = SIZES[size]
    x = drawn((rows * ours.config.patch[0], columns * ours.config.patch[1]))
    assert relative(ours(x), theirs(double(x)).detach()) <= OUTPUTS
    labels = np.arange(2)
    F.cross_entropy(ours(x), labels).backward()
    torch.nn.functional.cross_entropy(theirs(double(x)), torch.tensor(labels)).backward()
    errors = gradient_errors(ours, theirs)
    worst = max(errors, key=lambda key: errors[key])
    assert errors[worst] <= GRADIENTS, (worst, errors[worst])


def test_every_part_of_the_forward_pass_takes_any_size() -> None:
    ours, theirs = pair("test_vit3", **SMALL)
    x = drawn((48, 96))
    with torch.no_grad(), no_grad():
        tokens, expected = ours.forward_features(x), theirs.forward_features(double(x))
        assert relative(tokens, expected) <= OUTPUTS
        assert relative(ours.forward_head(tokens), theirs.forward_head(expected)) <= OUTPUTS
        last, found = ours.forward_intermediates(x, norm=True)
        last_theirs, found_theirs = theirs.forward_intermediates(double(x), norm=True)
        assert relative(last, last_theirs) <= OUTPUTS
        assert found[0].shape == (2, 32, 3, 6)
        for a, b in zip(found, found_theirs, strict=True):
            assert relative(a, b) <= OUTPUTS
    maps = ours.attention_maps(x)
    assert maps.shape == (2, 2, 2, 19, 19) and np.allclose(maps.sum(-1), 1, atol=1e-5)


@pytest.mark.parametrize("size", [(50, 70), (64, 64), (65, 33)])
def test_images_are_padded_as_timm_does(size: tuple[int, int]) -> None:
    ours, theirs = pair("test_vit", **SMALL, dynamic_img_pad=True)
    x = drawn(size)
    assert relative(ours(x), theirs(double(x)).detach()) <= OUTPUTS


@pytest.mark.parametrize("own", [(30, 32), (33, 47)])
def test_images_of_the_models_own_size_are_padded_too(own: tuple[int, int]) -> None:
    arguments = {**SMALL, "img_size": own, "dynamic_img_pad": True}
    ours, theirs = pair("test_vit", **arguments)
    x = drawn(own)
    tokens = theirs.forward_features(double(x)).detach()
    assert relative(ours.forward_features(x), tokens) <= OUTPUTS
    assert relative(ours(x), theirs(double(x)).detach()) <= OUTPUTS
    rows, columns = (-(-side // 16) for side in own)
    (port,) = ours.program().inputs
    assert port.outer == (3, 16 * rows, 16 * columns) and tokens.shape[1] == rows * columns + 1
    unpadded = create_model("test_vit", **{**arguments, "dynamic_img_pad": False})
    with pytest.raises(ValueError, match=f"images of {own[0]} x {own[1]}, expected multiples"):
        unpadded(x)  # timm raises an AssertionError


def test_the_size_of_the_model_is_the_plain_program() -> None:
    plain = create_model("test_vit", **{**SMALL, "dynamic_img_size": False}).eval()
    dynamic = create_model("test_vit", **SMALL).eval()
    x = drawn((64, 64))
    assert np.array_equal(plain(x), dynamic(x))
    assert plain.program().core.operations == dynamic.program().core.operations


def test_other_sizes_are_refused_where_they_cannot_be() -> None:
    model = create_model("test_vit", **SMALL)
    with pytest.raises(ValueError, match="images of 50 x 64, expected multiples of the patch 16"):
        model(drawn((50, 64)))
    with pytest.raises(ValueError, match=r"\(2, 3, 80, 64\)"):
        create_model("test_vit", **{**SMALL, "dynamic_img_size": False})(drawn((80, 64)))
    with pytest.raises(ValueError, match="dynamic_img_pad goes with dynamic_img_size=True"):
        create_model("vit_tiny_patch16_224", dynamic_img_pad=True)


def test_programs_of_many_sizes_do_not_pile_up() -> None:
    model = create_model("test_vit", **{**SMALL, "depth": 1}).eval()
    for columns in range(1, _PROGRAMS + 10):
        model(drawn((16, 16 * columns), batch=1))
    assert len(model._programs) == _PROGRAMS


@pytest.mark.parametrize("name", ["test_vit", "vit_intern300m_patch14_448"])
def test_architectures_that_are_dynamic_in_timm_are_here(name: str) -> None:
    arguments: dict[str, Any] = dict(depth=1, embed_dim=32, num_heads=2)
    assert timm.create_model(name, **arguments).dynamic_img_size
    assert create_model(name, **arguments).config.dynamic_img_size
