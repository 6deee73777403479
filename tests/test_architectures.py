"""Every architecture of the table against timm in float64: keys, outputs and every gradient.

Depth and width are reduced so that all of them run in about a minute; every option is kept. The
parameters are redrawn as in `oracle`.
"""

import re
from typing import Any

import numpy as np
import pytest
import torch

from oracle import double, families, gradient_errors, images, pair, reduced, relative, timm
from vitc import functional as F
from vitc.models import create_model, list_models
from vitc.models.architectures import ARCHITECTURES
from vitc.quantization import quantize
from vitc.tape import Loss, no_grad

OUTPUTS, GRADIENTS = 1e-5, 5e-5  # relative, float32 against float64
DOUBLE = 1e-10  # relative, float64 against float64


def assert_equal(
    name: str, arguments: dict[str, Any], batch: int, tolerance: float = GRADIENTS
) -> tuple[float, float]:
    """Logits, features and the gradients of a loss; returns the worst of the former and latter."""
    ours, theirs = pair(name, **arguments)
    x = images(batch, ours)
    with torch.no_grad(), no_grad():
        outputs = relative(ours(x), theirs(double(x)))
        features = relative(ours.forward_features(x), theirs.forward_features(double(x)))
    assert max(outputs, features) <= OUTPUTS
    labels = np.arange(batch) % ours.num_classes
    F.cross_entropy(ours(x), labels).backward()
    torch.nn.functional.cross_entropy(theirs(double(x)), torch.tensor(labels)).backward()
    errors = gradient_errors(ours, theirs)
    worst = max(errors, key=lambda key: errors[key])
    assert errors[worst] <= tolerance, (worst, errors[worst])
    return max(outputs, features), errors[worst]


@pytest.mark.parametrize("name", list_models())
def test_outputs_and_gradients_equal_timms(name: str) -> None:
    assert_equal(name, reduced(name), batch=2)


WIDE = [name for name in families() if ARCHITECTURES[name].arguments["embed_dim"] <= 1024]


@pytest.mark.parametrize("name", WIDE)
def test_a_block_of_full_width_equals_timms(name: str) -> None:
    patch = ARCHITECTURES[name].arguments.get("patch_size", 16)
    counts = ARCHITECTURES[name].arguments.get("num_kv_heads")
    shared = dict(num_kv_heads=(min(counts),)) if counts else {}
    assert_equal(name, dict(depth=1, img_size=2 * patch, num_classes=3, **shared), batch=2)


# One as large as it is, of each family in which one fits into the memory of a small machine:
# float64 with gradients is 16 bytes per parameter.
LARGEST = 400_000_000
SMALLER = {"aimv2_1b_patch14_224": "aimv2_large_patch14_224"}
# Nothing normalises what its blocks take in, so that rounding grows with depth: of these gradients
# torch's own float32 is 7.2e-5, 5.9e-5 and 6.0e-5 from float64.
SENSITIVE = {
    "vit_base_patch16_rpn_224": 1e-4,
    "vit_relpos_base_patch16_rpn_224": 1e-4,
    "vit_relpos_base_patch32_plus_rpn_256": 1e-4,
}
FULL = [SMALLER.get(name, name) for name in families()]


@pytest.mark.long
@pytest.mark.parametrize("name", FULL)
def test_a_full_size_model_equals_timms(name: str) -> None:
    """Prints its line of benchmarks/results/full_size.md."""
    with torch.device("meta"):
        count = sum(p.numel() for p in timm.create_model(name).parameters())
    if count > LARGEST:
        pytest.skip(f"{name} has {count:,} parameters; its blocks are compared one by one above")
    outputs, gradients = assert_equal(name, dict(num_classes=10), 1, SENSITIVE.get(name, GRADIENTS))
    print(f"| {name} | {count / 1e6:.0f} M | {outputs:.1e} | {gradients:.1e} |")


# ------------------------------------------------------------------------------- between the blocks

INTERMEDIATES = {
    "all": {},
    "the last two": dict(indices=2, norm=True),
    "some": dict(indices=[0, -1], return_prefix_tokens=True, output_fmt="NLC"),
    "one, early": dict(indices=[1], stop_early=True, intermediates_only=True),
}


@pytest.mark.parametrize(
    "name", ["vit_base_patch14_reg4_dinov2", "vit_base_patch16_siglip_gap_224"]
)
@pytest.mark.parametrize("case", INTERMEDIATES)
def test_intermediates_equal_timms(name: str, case: str) -> None:
    ours, theirs = pair(name, **reduced(name) | dict(depth=3))
    x, arguments = images(2, ours), INTERMEDIATES[case]
    with torch.no_grad(), no_grad():
        found = ours.forward_intermediates(x, **arguments)
        expected = theirs.forward_intermediates(double(x), **arguments)

    def assert_close(found: Any, expected: Any) -> None:
        assert isinstance(found, (list, tuple)) == isinstance(expected, (list, tuple))
        if not isinstance(found, (list, tuple)):
            assert relative(found, expected) <= OUTPUTS
            return
        for one, other in zip(found, expected, strict=True):
            assert_close(one, other)

    assert_close(found, expected)


def test_gradients_flow_through_intermediates() -> None:
    ours, theirs = pair(
        "vit_base_patch16_siglip_gap_224", **reduced("vit_base_patch16_siglip_gap_224")
    )
    x, labels = images(2, ours), [1, 3]
    arguments = dict(n=[0], norm=True)
    (first,), (expected,) = (
        ours.get_intermediate_layers(x, **arguments),
        theirs.get_intermediate_layers(double(x), **arguments),
    )
    F.cross_entropy(ours.forward_head(first), labels).backward()
    logits = theirs.forward_head(expected)
    torch.nn.functional.cross_entropy(logits, torch.tensor(labels)).backward()
    for name, parameter in theirs.named_parameters():
        gradient = dict(ours.named_parameters())[name].grad
        assert (gradient is None) == (parameter.grad is None), name
        if gradient is not None and not name.endswith("qkv.bias"):
            assert relative(gradient, parameter.grad) <= GRADIENTS, name


def test_bad_choices_of_blocks_are_named() -> None:
    model = create_model("test_vit2", **reduced("test_vit2"))
    with pytest.raises(ValueError, match="indices is 3"):
        model.forward_intermediates(images(1, model), 3)
    with pytest.raises(ValueError, match="-2 to 1"):
        model.forward_intermediates(images(1, model), [2])
    with pytest.raises(ValueError, match="output_fmt"):
        model.forward_intermediates(images(1, model), output_fmt="NHWC")


@pytest.mark.parametrize(
    "name",
    [
        "vit_base_patch16_clip_224",
        "vit_wee_patch16_reg1_gap_256",
        "deit_tiny_distilled_patch16_224",
    ],
)
def test_groups_and_descriptions_are_timms(name: str) -> None:
    ours, theirs = pair(name, **reduced(name))
    assert ours.no_weight_decay() == theirs.no_weight_decay() & set(ours.shapes)
    assert ours.feature_info == theirs.feature_info
    for attribute in ("num_features", "num_prefix_tokens", "num_reg_tokens", "global_pool"):
        assert getattr(ours, attribute) == getattr(theirs, attribute)
    found, expected = ours.group_matcher(), theirs.group_matcher()
    assert found["blocks"] == expected["blocks"]
    for key in ours.shapes:
        assert bool(re.match(found["stem"], key)) == bool(re.match(expected["stem"], key)), key


def test_attention_maps_of_every_head_and_map() -> None:
    """A differential head has two; a block of parallel things two attentions."""
    for name, attentions, heads in (
        ("vit_dwee_patch16_reg1_gap_256", 2, 4),
        ("vit_dpwee_patch16_reg1_gap_256", 2, 4),
        ("vit_small_patch16_18x2_224", 4, 2),
    ):
        model = create_model(name, **reduced(name)).eval()
        maps = model.attention_maps(images(3, model))
        assert maps.shape == (3, attentions, heads, 7, 7)
        assert np.abs(maps.sum(axis=-1) - 1).max() <= 1e-5


# ------------------------------------------------------------------------------- options

# Options that no architecture has, alone and together with others.
OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "no pool": ("vit_tiny_patch16_224", dict(global_pool="")),
    "no pool, no class token": ("vit_wee_patch16_reg1_gap_256", dict(global_pool="")),
    "prr": ("vit_tiny_patch16_224", dict(global_pool="prr")),
    "prr of patches": ("vit_wee_patch16_reg1_gap_256", dict(global_pool="prr")),
    "class token in the mean": (
        "vit_tiny_patch16_224",
        dict(global_pool="avg", pool_include_prefix=True, reg_tokens=2),
    ),
    "map with a class token": ("vit_tiny_patch16_224", dict(global_pool="map")),
    "max": ("vit_tiny_patch16_224", dict(global_pool="max")),
    "avgmax of patches": ("vit_wee_patch16_reg1_gap_256", dict(global_pool="avgmax")),
    "avgmax of all tokens": (
        "vit_tiny_patch16_224",
        dict(global_pool="avgmax", pool_include_prefix=True, fc_norm=False),
    ),
    "no positions": ("vit_tiny_patch16_224", dict(pos_embed="none", reg_tokens=3)),
    "qk_norm": ("vit_tiny_patch16_224", dict(qk_norm=True, proj_bias=False)),
    "qk_norm and differential": ("vit_dlittle_patch16_reg1_gap_256", dict(qk_norm=True)),
    "differential, norms, no bias": (
        "vit_dpwee_patch16_reg1_gap_256",
        dict(qk_norm=True, qkv_bias=False, proj_bias=False, init_values=None),
    ),
    "parallel things, all norms": (
        "vit_small_patch16_18x2_224",
        dict(scale_attn_norm=True, scale_mlp_norm=True, init_values=None),
    ),
    "gate of gelu, normalised": (
        "vit_giant_patch14_dinov2",
        dict(act_layer="gelu", scale_mlp_norm=True, mlp_ratio=4.0),
    ),
    "token and fc_norm": ("vit_tiny_patch16_224", dict(fc_norm=True)),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_options_equal_timms(case: str) -> None:
    name, changes = OPTIONS[case]
    ours, theirs = pair(name, **reduced(name) | changes)
    x = images(2, ours)
    weight = np.random.default_rng(3).standard_normal(ours(x).shape).astype(np.float32)
    logits, expected = ours(x), theirs(double(x))
    assert relative(logits, expected.detach()) <= OUTPUTS
    if logits.ndim == 2:
        F.cross_entropy(logits, [1, 3]).backward()
        torch.nn.functional.cross_entropy(expected, torch.tensor([1, 3])).backward()
    else:
        Loss(0.0, 1.0, [(logits.edge, weight)]).backward()
        (expected * double(weight)).sum().backward()
    errors = gradient_errors(ours, theirs)
    worst = max(errors, key=lambda key: errors[key])
    assert errors[worst] <= GRADIENTS, (worst, errors[worst])


@pytest.mark.parametrize("name", families())
def test_the_double_build_equals_timm_in_float64(name: str) -> None:
    ours, theirs = pair(name, dtype="float64", **reduced(name))
    x = images(2, ours).astype(np.float64)
    F.cross_entropy(ours(x), [1, 3]).backward()
    torch.nn.functional.cross_entropy(theirs(double(x)), torch.tensor([1, 3])).backward()
    errors = gradient_errors(ours, theirs)
    worst = max(errors, key=lambda key: errors[key])
    # timm computes the lambda of differential attention, the tables of rotary positions and the
    # logarithms of distances in float32, whatever the model is in.
    narrow = any("lambda" in key or "rel_pos.mlp" in key for key in errors)
    narrow = narrow or getattr(theirs, "rope", None)
    assert errors[worst] <= (1e-6 if narrow else DOUBLE), (worst, errors[worst])


@pytest.mark.parametrize("name", families())
def test_int8_is_near(name: str) -> None:
    """int8: the logits of a quantised model within 5 % of those of float32."""
    ours, _ = pair(name, **reduced(name))
    x = images(2, ours)
    with no_grad():
        before = np.array(ours(x))
        after = np.array(quantize(ours)(x))
    assert 0 < np.linalg.norm(after - before) <= 0.05 * np.linalg.norm(before)


@pytest.mark.parametrize("name", families())
def test_dropout_acts_in_training_only(name: str) -> None:
    rates = dict(drop_rate=0.1, pos_drop_rate=0.1, proj_drop_rate=0.1, drop_path_rate=0.2)
    rates["attn_drop_rate"] = 0.1
    known = ARCHITECTURES[name].model.config_type.arguments()
    rates = {rate: value for rate, value in rates.items() if rate in known}
    ours, _ = pair(name, **reduced(name))
    dropping = create_model(name, **reduced(name) | rates)
    dropping.load_state_dict(ours.state_dict())
    x = images(2, ours)
    with no_grad():
        assert np.array_equal(dropping.eval()(x), ours(x))
        assert not np.allclose(dropping.train()(x), ours(x))
    F.cross_entropy(dropping(x), [1, 3]).backward()
    assert all(np.isfinite(p.grad).all() for p in dropping.parameters())
