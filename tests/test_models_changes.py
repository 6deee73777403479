"""Models as they begin, and as they are changed afterwards: initial values, other input sizes,
fewer blocks, feature maps. The oracle is timm: outputs and weights within 1e-5 relative of its
float64, distributions by the two-sample test of Kolmogorov and Smirnov."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp

from oracle import double, images, pair, relative, timm
from vitc.models import create_model
from vitc.tape import no_grad

OUTPUTS = 1e-5

# ------------------------------------------------------------------------------- initial values

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("vit_tiny_patch16_224", dict(depth=2)),
    "attention pool": ("vit_base_patch16_siglip_224", dict(depth=1)),
    "gated, packed": ("vit_giant_patch14_dinov2", dict(depth=1, num_heads=6)),
    "gated": ("aimv2_large_patch14_224", dict(depth=1, num_heads=4)),
    "parallel": ("vit_base_patch16_xp_224", dict(depth=1)),
    "differential": ("vit_dwee_patch16_reg1_gap_256", dict(depth=2)),
    "post norm": ("vit_base_patch16_rpn_224", dict(depth=1, init_values=0.3)),
    "distilled": ("deit_tiny_distilled_patch16_224", dict(depth=1)),
}


@pytest.mark.parametrize("mode", ["", "reset", "jax", "jax_nlhb", "moco"])
@pytest.mark.parametrize("kind", KINDS)
def test_initial_values_have_timms_distributions(kind: str, mode: str) -> None:
    name, arguments = KINDS[kind]
    arguments = {
        **arguments,
        "embed_dim": 192,
        "img_size": 112,
        "num_classes": 20,
        "weight_init": mode,
    }
    torch.manual_seed(3)
    theirs = timm.create_model(name, **arguments).state_dict()
    for key, value in create_model(name, **arguments).state_dict().items():
        compare(key, value, theirs[key].numpy())


def compare(key: str, value: np.ndarray, expected: np.ndarray) -> None:
    """Gates lie in another part of an array, so it is compared by halves of its rows."""
    halves = np.array_split(np.arange(len(value)), 2) if len(value) > 1 else [[0]]
    for rows in halves:
        ours, theirs = value[rows].ravel(), expected[rows].ravel()
        if np.ptp(theirs) == 0:
            assert np.array_equal(ours, theirs), key
        else:
            few = np.linspace(0, ours.size - 1, min(ours.size, 4000)).astype(int)
            assert ks_2samp(ours[few], theirs[few]).pvalue > 1e-4, key


def test_skip_is_what_torchs_layers_begin_with() -> None:
    """timm leaves the tokens of "skip" as they lie in memory; ours are drawn."""
    one, other = (create_model("test_vit", depth=1, weight_init=m) for m in ("skip", "reset"))
    assert all(np.array_equal(v, other.state_dict()[k]) for k, v in one.state_dict().items())


def test_fix_init_divides_what_ends_a_branch() -> None:
    plain = create_model("test_vit", depth=3).state_dict()
    fixed = create_model("test_vit", depth=3, fix_init=True).state_dict()
    for i in range(3):
        for layer in ("attn.proj", "mlp.fc2"):
            key, scale = f"blocks.{i}.{layer}.weight", np.sqrt(2 * (i + 1))
            assert np.allclose(fixed[key] * scale, plain[key], rtol=1e-6)
    assert np.array_equal(fixed["blocks.2.attn.qkv.weight"], plain["blocks.2.attn.qkv.weight"])
    with pytest.raises(ValueError, match="fix_init is for Block and ResPostBlock, not"):
        create_model("vit_small_patch16_18x2_224", depth=1, fix_init=True)


def test_init_weights_begins_again() -> None:
    model = create_model("test_vit", depth=1, num_classes=9)
    begun = {name: value.copy() for name, value in model.state_dict().items()}
    with model.edit() as weights:
        for value in weights.values():
            value += 1
    model.init_weights()
    assert all(np.array_equal(value, begun[name]) for name, value in model.state_dict().items())
    model.init_weights("jax_nlhb")
    assert np.allclose(model.head.bias.data, -np.log(9)) and not model.head.weight.data.any()
    with pytest.raises(ValueError, match="weight_init is 'flax', expected one of"):
        model.init_weights("flax")


# ------------------------------------------------------------------------------- input sizes

SIZES: dict[str, dict[str, Any]] = {
    "larger": dict(img_size=192),
    "not square": dict(img_size=(96, 160)),
    "as many patches": dict(img_size=(64, 256), patch_size=None),
    "other patches": dict(patch_size=(8, 32)),
    "both": dict(img_size=(128, 96), patch_size=8),
}


@pytest.mark.parametrize("name", ["test_vit", "deit3_small_patch16_224", "test_vit3"])
@pytest.mark.parametrize("size", SIZES)
def test_set_input_size_is_timms(name: str, size: str) -> None:
    ours, theirs = pair(name, img_size=128, depth=1, embed_dim=32, num_heads=2, num_classes=5)
    ours.set_input_size(**SIZES[size])
    theirs.set_input_size(**SIZES[size])
    for key, value in ours.state_dict().items():
        assert relative(value, theirs.state_dict()[key]) <= OUTPUTS, key
    x = images(2, ours)
    assert x.shape[2:] == theirs.patch_embed.img_size
    assert relative(ours(x), theirs(double(x)).detach()) <= OUTPUTS


def test_set_input_size_keeps_what_is_frozen_and_names_what_is_too_small() -> None:
    model = create_model("test_vit", depth=1)
    model.pos_embed.requires_grad = False
    model.set_input_size(img_size=96)
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert frozen == ["pos_embed"] and model.default_cfg["input_size"] == (3, 96, 96)
    with pytest.raises(ValueError, match="img_size 8 is smaller than patch_size"):
        model.set_input_size(img_size=8)
    assert model.grid_size == (6, 6)


# ------------------------------------------------------------------------------- feature maps


@pytest.mark.parametrize("name", ["test_vit", "test_vit3", "vit_base_patch16_siglip_gap_224"])
@pytest.mark.parametrize("out_indices", [None, 1, [0, 2], [-2]])
def test_feature_maps_are_timms(name: str, out_indices: Any) -> None:
    arguments = dict(depth=4, embed_dim=32, num_heads=2, img_size=(64, 96))
    chosen = {} if out_indices is None else dict(out_indices=out_indices)
    ours = create_model(name, features_only=True, **chosen, **arguments).eval()
    theirs = timm.create_model(name, features_only=True, **chosen, **arguments).eval()
    state = {k.removeprefix("model."): v for k, v in theirs.state_dict().items()}
    assert list(ours.state_dict()) == list(state)
    ours.load_state_dict({k: v.numpy() for k, v in state.items()})
    x = images(2, ours.model)
    found, expected = ours(x), theirs.double()(double(x))
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert a.shape == tuple(b.shape) and relative(a, b.detach()) <= OUTPUTS
    assert ours.out_indices == theirs.out_indices
    for what in ("channels", "reduction", "module_name"):
        assert getattr(ours.feature_info, what)() == getattr(theirs.feature_info, what)()


def test_out_indices_without_features_only_is_explained() -> None:
    with pytest.raises(TypeError, match="out_indices goes with features_only=True"):
        create_model("test_vit", out_indices=[1])


@pytest.mark.parametrize("name", ["test_vit", "test_vit4", "vit_medium_patch16_gap_256"])
@pytest.mark.parametrize("options", [{}, dict(prune_norm=True), dict(prune_head=False)])
def test_pruned_models_are_timms(name: str, options: dict[str, bool]) -> None:
    arguments = dict(depth=3, embed_dim=32, num_heads=2, img_size=64, num_classes=5)
    ours, theirs = pair(name, **arguments)
    assert ours.prune_intermediate_layers([1], **options) == [1]
    theirs.prune_intermediate_layers([1], **options)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    x = images(2, ours)
    with no_grad():
        assert relative(ours(x), theirs(double(x)).detach()) <= OUTPUTS


def test_pruned_models_keep_the_drop_path_of_their_blocks() -> None:
    model = create_model("test_vit", depth=5, drop_path_rate=0.4)
    model.prune_intermediate_layers([2])
    assert model.config.drop_path_rate == pytest.approx(0.2)
    features = model.train()(images(2, model))
    assert features.shape == (2, 101, 64)
