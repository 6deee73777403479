"""Weights for other classes, channels, image and patch sizes. The oracle is timm, and torch's
interpolate in float32, within 1e-5."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from oracle import redrawn, timm
from vitc.models import create_model
from vitc.models.adapt import adapt_input_conv
from vitc.models.resample import MATRICES, resample_patch_embed, resample_pos_embed

resample_abs_pos_embed = timm.layers.resample_abs_pos_embed
timm_patch_embed = timm.layers.resample_patch_embed
timm_input_conv = timm.models.adapt_input_conv

GRIDS = [(14, 14), (7, 7), (24, 24), (28, 28), (10, 10), (12, 20), (16, 9), (1, 1), (37, 37)]
TOLERANCE = 1e-5


def draw(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("prefix", [0, 1, 2])
@pytest.mark.parametrize("old", GRIDS[:-1])
def test_position_embeddings_are_resampled_as_torch_does(old: tuple[int, int], prefix: int) -> None:
    table = draw((1, prefix + old[0] * old[1], 6))
    for new in (grid for grid in GRIDS if grid != old):  # 64 pairs, up and down
        expected = resample_abs_pos_embed(
            torch.tensor(table), list(new), list(old), num_prefix_tokens=prefix
        ).numpy()
        ours = resample_pos_embed(table, old, new, prefix)
        assert ours.shape == expected.shape and ours.dtype == np.float32
        assert np.abs(ours - expected).max() <= TOLERANCE, new
        assert np.array_equal(ours[:, :prefix], table[:, :prefix])


@pytest.mark.parametrize("corners", [False, True])
def test_bilinear_is_that_of_torch_without_antialiasing(corners: bool) -> None:
    matrix = MATRICES["bilinear_corners" if corners else "bilinear"]
    for old in GRIDS:
        for new in GRIDS:
            image = draw((1, 2, *old))
            expected = torch.nn.functional.interpolate(
                torch.tensor(image), new, mode="bilinear", align_corners=corners, antialias=False
            ).numpy()
            rows, columns = (matrix(a, b) for a, b in zip(old, new, strict=True))
            assert np.abs(rows @ image @ columns.T - expected).max() <= TOLERANCE


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("pair", [(16, 14), (14, 16), (16, 32), (32, 16), (8, 16), (16, 8), (4, 7)])
def test_patch_kernels_are_resampled_as_timm_does(
    pair: tuple[int, int], interpolation: str
) -> None:
    old, new = pair
    kernel = draw((3, 2, old, old)) / old
    expected = timm_patch_embed(
        torch.tensor(kernel), [new, new], interpolation, antialias=interpolation == "bicubic"
    ).numpy()
    ours = resample_patch_embed(kernel, (new, new), interpolation)
    assert np.abs(ours - expected).max() <= TOLERANCE * max(1, np.abs(expected).max())


def test_an_enlarged_kernel_gives_the_same_for_enlarged_patches() -> None:
    kernel, patch = draw((3, 2, 8, 8)), draw((2, 8, 8), 1)
    rows = MATRICES["bicubic"](8, 16)
    large = resample_patch_embed(kernel, (16, 16))
    before, after = np.tensordot(kernel, patch, 3), np.tensordot(large, rows @ patch @ rows.T, 3)
    assert np.abs(before - after).max() <= 1e-4


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6, 7])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_channels_are_adapted_as_timm_does(channels: int, dtype: str) -> None:
    kernel = draw((4, 3, 2, 2)).astype(dtype)
    expected = timm_input_conv(channels, torch.tensor(kernel)).numpy()
    ours = adapt_input_conv(channels, kernel)
    assert ours.dtype == dtype and np.abs(ours - expected).max() <= TOLERANCE


# ------------------------------------------------------------------------------- whole models

ORIGINAL = dict(num_classes=7, img_size=96)
TARGETS: dict[str, dict[str, Any]] = {
    "same": {},
    "grey": dict(in_chans=1),
    "five channels": dict(in_chans=5),
    "larger": dict(img_size=160),
    "not square": dict(img_size=(64, 144)),
    "smaller patches": dict(patch_size=8),
    "everything": dict(in_chans=2, img_size=(160, 96), patch_size=(8, 16)),
    "other classes": dict(num_classes=3),
}


@pytest.fixture(scope="module")
def file(tmp_path_factory: Any) -> Path:
    path = tmp_path_factory.mktemp("weights") / "m.pth"
    shapes = create_model("test_vit", depth=2, **ORIGINAL).shapes
    state = {k: torch.tensor(v) for k, v in redrawn(shapes, "float32").items()}
    torch.save(state, path)
    return path


@pytest.mark.parametrize("name", TARGETS)
def test_models_are_adapted_as_timm_adapts_them(file: Path, name: str) -> None:
    arguments = {**ORIGINAL, "depth": 2, **TARGETS[name]}
    overlay = dict(file=str(file), num_classes=7, input_size=(3, 96, 96), custom_load=False)
    with warnings.catch_warnings(record=True):
        ours = create_model("test_vit", True, pretrained_cfg_overlay=overlay, **arguments)
    theirs = timm.create_model("test_vit", True, pretrained_cfg_overlay=overlay, **arguments)
    for key, value in theirs.state_dict().items():
        if name == "other classes" and key.startswith("head."):
            continue
        distance = np.abs(ours.state_dict()[key] - value.numpy()).max()
        assert distance <= TOLERANCE * max(1, float(value.abs().max())), key


def test_a_head_for_other_classes_starts_fresh_and_a_warning_says_so(file: Path) -> None:
    overlay = dict(file=str(file), input_size=(3, 96, 96))
    arguments = dict(depth=2, img_size=96, num_classes=3)
    with pytest.warns(UserWarning, match="for 7 classes, the model has 3: head starts fresh"):
        model = create_model("test_vit", True, pretrained_cfg_overlay=overlay, **arguments)
    with pytest.raises(ValueError, match=r"m\.pth: head is for 7 classes, the model has 3: .*=7"):
        create_model("test_vit", checkpoint_path=file, **arguments)
    fresh = create_model("test_vit", depth=2, img_size=96, num_classes=3)
    assert np.array_equal(model.head.weight.data, fresh.head.weight.data)
    assert not np.array_equal(model.norm.weight.data, fresh.norm.weight.data)


def test_a_model_without_head_is_silent_and_one_with_a_head_is_not(
    file: Path, tmp_path: Path
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bare = create_model("test_vit", depth=2, img_size=96, num_classes=0, checkpoint_path=file)
    bare.save(tmp_path / "bare.safetensors")
    with pytest.warns(UserWarning, match="have no head, the model has 7: head starts fresh"):
        create_model("test_vit", depth=2, checkpoint_path=tmp_path / "bare.safetensors", **ORIGINAL)


def test_both_heads_of_a_distilled_model_are_dropped(tmp_path: Path) -> None:
    arguments = dict(depth=1, embed_dim=24)
    name = "deit_tiny_distilled_patch16_224"
    create_model(name, num_classes=5, **arguments).save(tmp_path / "m.safetensors")
    overlay = dict(file=tmp_path / "m.safetensors")
    with pytest.warns(UserWarning) as told:
        create_model(name, True, pretrained_cfg_overlay=overlay, num_classes=2, **arguments)
    assert [str(w.message).split(": ")[1] for w in told] == [
        "head starts fresh",
        "head_dist starts fresh",
    ]


def test_what_cannot_be_adapted_is_named(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"m\.pth: .*\n.*unexpected: blocks\.1\."):
        create_model("test_vit", depth=1, checkpoint_path=file, **ORIGINAL)
    state = torch.load(file)
    state["pos_embed"] = state["pos_embed"][:, :-3]
    torch.save(state, tmp_path / "odd.pth")
    with pytest.raises(
        ValueError, match=r"odd\.pth: pos_embed is for 33 patches, neither a square"
    ):
        create_model("test_vit", depth=2, checkpoint_path=tmp_path / "odd.pth", **ORIGINAL)
    del state["head.bias"], state["pos_embed"]
    torch.save(state, tmp_path / "odd.pth")
    with pytest.raises(ValueError, match=r"missing: pos_embed\n.*missing: head\.bias"):
        create_model("test_vit", depth=2, checkpoint_path=tmp_path / "odd.pth", **ORIGINAL)


def test_the_grid_of_the_source_is_read_from_its_image_size(tmp_path: Path) -> None:
    """36 patches are 6 x 6 or 4 x 9; an overlay says which."""
    source = create_model("test_vit", depth=1, num_classes=0, img_size=(64, 144))
    source.load_state_dict(redrawn(source.shapes, "float32"))
    source.save(tmp_path / "m.safetensors")
    overlay = dict(file=str(tmp_path / "m.safetensors"), input_size=(3, 64, 144))
    arguments = dict(depth=1, num_classes=0, img_size=(96, 96))
    found = create_model("test_vit", True, pretrained_cfg_overlay=overlay, **arguments)
    expected = resample_pos_embed(source.state_dict()["pos_embed"], (4, 9), (6, 6), 1)
    assert np.array_equal(found.pos_embed.data, expected)


def test_a_model_reads_its_own_weights_back_whatever_its_grid(tmp_path: Path) -> None:
    arguments = dict(depth=1, num_classes=0, img_size=(64, 144))  # as many patches as 96 x 96
    source = create_model("test_vit", **arguments)
    source.load_state_dict(redrawn(source.shapes, "float32"))
    source.save(tmp_path / "m.safetensors")
    again = create_model("test_vit", checkpoint_path=tmp_path / "m.safetensors", **arguments)
    assert np.array_equal(again.pos_embed.data, source.pos_embed.data)


def test_linear_patch_weights_of_old_files_are_folded(file: Path, tmp_path: Path) -> None:
    state = torch.load(file)
    state["patch_embed.proj.weight"] = state["patch_embed.proj.weight"].flatten(1)
    torch.save(state, tmp_path / "old.pth")
    old = create_model("test_vit", depth=2, checkpoint_path=tmp_path / "old.pth", **ORIGINAL)
    new = create_model("test_vit", depth=2, checkpoint_path=file, **ORIGINAL)
    assert np.array_equal(old.patch_embed.proj.weight.data, new.patch_embed.proj.weight.data)


def test_a_checkpoint_path_that_is_none_is_explained() -> None:
    with pytest.raises(TypeError, match=r"checkpoint_path is True.*set_grad_checkpointing\(\)"):
        create_model("test_vit", checkpoint_path=True)
