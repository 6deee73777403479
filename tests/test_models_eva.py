"""timm's class Eva beside what test_architectures.py proves of every name: rotary positions at
other sizes, what changes a model, and the way of its values through files and narrow numbers.

The oracle is timm in float64, with outputs within 1e-5 and gradients within 5e-5 relative.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vitc
import vitc.functional as F
from oracle import double, gradient_errors, images, pair, redrawn, reduced, relative, timm
from vitc import _vitc
from vitc.models import create_model, save_for_timm
from vitc.models.model import Model
from vitc.program import Builder
from vitc.tape import no_grad

OUTPUTS, GRADIENTS = 1e-5, 5e-5
NAMES = [
    "eva02_base_patch16_clip_224",
    "vit_pe_core_base_patch16_224",
    "vit_small_patch16_dinov3_qkvb",
    "vit_small_patch16_rope_mixed_ape_224",
]


def small(**changes: Any) -> dict[str, Any]:
    return reduced(NAMES[0]) | dict(img_size=64, depth=3) | changes


def assert_equal(ours: Model, theirs: torch.nn.Module, size: tuple[int, int] = (64, 64)) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, *size)).astype(np.float32)
    with torch.no_grad(), no_grad():
        assert relative(ours(x), theirs(double(x))) <= OUTPUTS


# ------------------------------------------------------------------------------- tables of angles

TABLES = {
    "places": dict(),
    "scaled places, columns first": dict(
        ref_feat_shape=(7, 5), rope_grid_offset=1.0, rope_grid_indexing="xy", rope_temperature=50.0
    ),
    "from -1 to 1": dict(rope_type="dinov3", rope_temperature=100.0),
    "from -1 to 1, columns first, shifted": dict(
        rope_type="dinov3", rope_temperature=100.0, rope_grid_indexing="xy", rope_grid_offset=0.25
    ),
    "learned": dict(rope_type="mixed", rope_temperature=10.0),
    "learned, columns first": dict(rope_type="mixed", rope_grid_indexing="xy"),
}


KINDS = [(case, halves) for case in TABLES for halves in (False, True)]


@pytest.mark.parametrize(
    "case, halves", [kind for kind in KINDS if not (kind[1] and "learned" in kind[0])]
)
def test_tables_of_every_kind_equal_timms(case: str, halves: bool) -> None:
    options = TABLES[case]
    arguments = small(use_rot_pos_emb=True, rope_rotate_half=halves, dynamic_img_size=True)
    ours, theirs = pair("eva02_tiny_patch14_224", **arguments | options | dict(patch_size=16))
    for size in ((64, 64), (48, 112)):
        assert_equal(ours, theirs, size)


def test_the_prefix_is_left_alone_to_the_bit() -> None:
    b = Builder({})
    x = b.input((9, 24))
    table = b.rope_table(3, (2, 3), 4, 100.0, (0.5, 0.5), (1.0, 1.0))
    program = b.finish(b.rope(x, table, 2))
    model = Model([])
    given = np.random.default_rng(0).standard_normal((2, 9, 24)).astype(np.float32)
    with no_grad():
        (turned,) = model._run(program, given)
    assert np.array_equal(turned[:, :3], given[:, :3])
    assert np.array_equal(turned[:, :, 16:], given[:, :, 16:])
    assert not np.isclose(turned[:, 3:, :16], given[:, 3:, :16]).any()
    norms = [np.hypot(a[..., :16:2], a[..., 1:16:2]) for a in (turned, given)]
    np.testing.assert_allclose(*norms, rtol=1e-6)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="weight_init is 'jax'"):
        create_model("vit_small_patch16_dinov3", depth=1).init_weights("jax")
    for name, value in dict(qkv_fused="False", use_fc_norm=1, rope_temperature="10").items():
        with pytest.raises(TypeError, match=f"{name} is .*, expected"):
            create_model("vit_small_patch16_dinov3", **{name: value})
    wrong = dict(rope_temperature=np.nan, rope_type="axial", num_reg_tokens=-1)
    wrong |= dict(rope_grid_offset=np.inf, head_init_scale=np.inf, swiglu_align_to=10**30)
    for name, value in wrong.items():
        with pytest.raises(ValueError, match=f"{name} is .*, expected"):
            create_model("vit_small_patch16_dinov3", **{name: value})
    with pytest.raises(ValueError, match=r"embed_dim \* attn_pool_mlp_ratio is .*, expected"):
        create_model("vit_pe_core_tiny_patch16_384", attn_pool_mlp_ratio=1e300)
    with pytest.raises(
        ValueError, match="embed_dim 192 is not a multiple of attn_pool_num_heads 5"
    ):
        create_model("vit_pe_core_tiny_patch16_384", attn_pool_num_heads=5)
    with pytest.raises(ValueError, match="embed_dim / num_heads is 6; rotary .* multiple of 4"):
        create_model("vit_small_patch16_dinov3", embed_dim=12, num_heads=2)
    with pytest.raises(ValueError, match="rope_rotate_half=False"):
        create_model("vit_small_patch16_rope_mixed_224", rope_rotate_half=True)
    with pytest.raises(TypeError, match="'reg_tokens'.*'num_reg_tokens'"):
        create_model("vit_small_patch16_dinov3", reg_tokens=2)


# ------------------------------------------------------------------------------- shared heads

SAPIENS2 = "vit_large_patch16_sapiens2"
GROUPED = dict(embed_dim=96, num_heads=6, depth=2, img_size=(64, 48), num_classes=5)


@pytest.mark.parametrize("counts", [3, (6, 2), (1, 3)])
def test_heads_that_share_keys_and_values_are_timms(counts: Any) -> None:
    ours, theirs = pair(SAPIENS2, **GROUPED, num_kv_heads=counts)
    assert_equal(ours, theirs, (64, 48))
    assert_equal(ours, theirs, (32, 80))
    x = images(2, ours)
    F.cross_entropy(ours(x), [1, 3]).backward()
    torch.nn.functional.cross_entropy(theirs(double(x)), torch.tensor([1, 3])).backward()
    errors = gradient_errors(ours, theirs)
    assert max(errors.values()) <= GRADIENTS, errors


def test_fewer_blocks_have_fewer_numbers_of_shared_heads() -> None:
    ours, theirs = pair(SAPIENS2, **{**GROUPED, "depth": 4, "num_kv_heads": (6, 3, 2, 6)})
    for model in (ours, theirs):
        model.blocks = model.blocks[:3]
    assert ours.config.num_kv_heads == (6, 3, 2)
    assert_equal(ours, theirs, (64, 48))
    for model in (ours, theirs):
        model.prune_intermediate_layers(1)
    assert_equal(ours, theirs, (64, 48))


def test_numbers_of_shared_heads_that_cannot_be_are_refused() -> None:
    for counts, error, words in (
        ((6, 6, 6), ValueError, "num_kv_heads has 3 numbers, the depth is 2"),
        (4, ValueError, "num_heads 6 is not a multiple of num_kv_heads 4"),
        (0, ValueError, "num_kv_heads is 0"),
        ((6, 2.0), TypeError, "num_kv_heads is 2.0"),
        (True, TypeError, "num_kv_heads is True"),
    ):
        with pytest.raises(error, match=words):
            create_model(SAPIENS2, **GROUPED, num_kv_heads=counts)
    for options in (dict(qkv_fused=True), dict(attn_type="eva")):
        with pytest.raises(ValueError, match="num_kv_heads needs attn_type='rope' and qkv_fused"):
            create_model(SAPIENS2, **GROUPED, num_kv_heads=3, **options)
    with pytest.raises(ValueError, match="do not go with use_post_norm"):
        create_model(
            "eva02_enormous_patch14_clip_224", depth=1, embed_dim=32, num_heads=2,
            attn_only_layer_scale=True,
        )  # fmt: skip


# ------------------------------------------------------------------------------- changes


@pytest.mark.parametrize("name", NAMES)
def test_images_of_other_sizes_equal_timms(name: str) -> None:
    ours, theirs = pair(name, **small(dynamic_img_size=True))
    for size in ((48, 80), (64, 64), (112, 32)):
        assert_equal(ours, theirs, size)
    ours, theirs = pair(name, **small())
    ours.set_input_size(img_size=(80, 48))
    theirs.set_input_size(img_size=(80, 48))
    assert_equal(ours, theirs, (80, 48))


@pytest.mark.parametrize("head", [True, False])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_pruned_models_equal_timms(name: str, last: bool, head: bool) -> None:
    ours, theirs = pair(name, **small())
    for model in (ours, theirs):
        model.prune_intermediate_layers([0], prune_norm=last, prune_head=head)
    assert_equal(ours, theirs)


@pytest.mark.parametrize(
    "classes, pool", [(0, None), (3, "avg"), (0, ""), (3, "token"), (4, "max")]
)
@pytest.mark.parametrize("name", NAMES)
def test_other_heads_equal_timms(name: str, classes: int, pool: str | None) -> None:
    ours, theirs = pair(name, **small())
    ours.reset_classifier(classes, pool)
    theirs.reset_classifier(classes, pool)
    state = {
        k: torch.tensor(np.array(v), dtype=torch.float64) for k, v in ours.state_dict().items()
    }
    theirs.double().load_state_dict(state)
    assert_equal(ours, theirs)
    with pytest.raises(ValueError, match="'map' cannot be added"):
        create_model("vit_small_patch16_dinov3", **small()).reset_classifier(3, "map")


@pytest.mark.parametrize("name", NAMES)
def test_feature_maps_equal_timms(name: str) -> None:
    ours = create_model(name, features_only=True, **small()).eval()
    theirs = timm.create_model(name, features_only=True, **small()).double().eval()
    state = redrawn(ours.shapes, "float32")
    ours.load_state_dict(state)
    theirs.model.load_state_dict({k: double(v) for k, v in state.items()})
    x = images(2, ours.model)
    with torch.no_grad(), no_grad():
        for one, other in zip(ours(x), theirs(double(x)), strict=True):
            assert relative(one, other) <= OUTPUTS


@pytest.mark.parametrize("name", NAMES)
def test_masks_and_attention_maps(name: str) -> None:
    ours, theirs = pair(name, **small())
    x, tokens = images(2, ours), ours.num_prefix_tokens + 16
    mask = np.random.default_rng(0).standard_normal((tokens, tokens)).astype(np.float32)
    with torch.no_grad(), no_grad():
        expected = theirs(double(x), attn_mask=double(mask))
        assert relative(ours(x, attn_mask=mask), expected) <= OUTPUTS
        assert relative(ours(x, is_causal=True), theirs(double(x), is_causal=True)) <= OUTPUTS
    maps = ours.attention_maps(x)
    assert maps.shape == (2, 3, ours.config.num_heads, tokens, tokens)
    assert np.abs(maps.sum(axis=-1) - 1).max() <= 1e-5


def test_layer_decay_and_descriptions_are_timms() -> None:
    for name in NAMES:
        ours, theirs = pair(name, **small())
        assert ours.no_weight_decay() == theirs.no_weight_decay() & set(ours.shapes)
        assert ours.group_matcher() == theirs.group_matcher()
        assert ours.feature_info == theirs.feature_info


# ------------------------------------------------------------------------------- starts and files


def test_a_fresh_model_starts_as_timms_does() -> None:
    """Means and deviations of the drawn parameters; the head is nearly zero."""
    arguments = dict(depth=2, embed_dim=192, num_heads=3, num_classes=100)
    vitc.seed_everything(1)
    torch.manual_seed(1)
    for name in ("vit_small_patch16_rope_mixed_224", "vit_small_plus_patch16_dinov3_qkvb"):
        ours = create_model(name, **arguments).state_dict()
        theirs = timm.create_model(name, **arguments).state_dict()
        for key, value in ours.items():
            expected = theirs[key].numpy()
            if value.size < 1000 or key == "rope.freqs":
                continue  # too few for a mean
            assert abs(value.std() - expected.std()) <= 0.2 * expected.std(), key
            assert abs(value.mean() - expected.mean()) <= 0.2 * abs(expected).mean(), key
    frequencies = create_model("vit_small_patch16_rope_mixed_224", **arguments).rope.freqs.data
    length = np.hypot(*frequencies)  # of a pair of frequencies at right angles
    expected = np.hypot(*timm.create_model("vit_small_patch16_rope_mixed_224", **arguments)
                        .rope.freqs.detach().numpy())  # fmt: skip
    np.testing.assert_allclose(length, expected, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_folder_opens_in_timm_and_here(tmp_path: Path, name: str) -> None:
    ours, _ = pair(name, **small())
    save_for_timm(ours, tmp_path / "m")
    theirs = timm.create_model(f"local-dir:{tmp_path / 'm'}", pretrained=True).double().eval()
    assert_equal(ours, theirs)
    again = create_model(f"local-dir:{tmp_path / 'm'}", pretrained=True).eval()
    x = images(2, ours)
    assert np.array_equal(again(x), ours(x))


@pytest.mark.parametrize(
    "precision", ["float32", "bf16"] if _vitc.config()["bf16"] else ["float32"]
)
def test_rotary_positions_keep_nothing_for_backward(precision: str) -> None:
    """What is kept is what attention reads, turned or not: beside it there is only the table."""
    found = []
    for turned in (True, False):
        model = create_model("vit_small_patch16_dinov3", depth=4, img_size=96, num_classes=3,
                             use_rot_pos_emb=turned)  # fmt: skip
        model.precision = precision
        found.append(model.run_bytes(8, training=True, mode=True))
    tokens, size = model.num_prefix_tokens + 36, model.config.head_dim
    assert abs(found[0] - found[1]) <= 8 * 4 * tokens * size + 8192 * 8


@pytest.mark.skipif(not _vitc.config()["bf16"], reason="the processor has no bfloat16")
@pytest.mark.parametrize("name", NAMES)
def test_bf16_and_checkpointing(name: str) -> None:
    """bfloat16 within 3 % of float32; recomputing changes no bit."""
    x, gradients = images(2, create_model(name, **small())), []
    for change in ("", "checkpointing", "bf16"):
        model, _ = pair(name, **small())
        if change == "checkpointing":
            model.set_grad_checkpointing()
        if change == "bf16":
            model.precision = "bf16"
        vitc.functional.cross_entropy(model(x), [1, 3]).backward()
        gradients.append({name: np.array(p.grad) for name, p in model.named_parameters()})
    plain, again, narrow = gradients
    for key, value in plain.items():
        assert np.array_equal(again[key], value), key
        distance = np.linalg.norm(narrow[key] - value)
        assert 0 < distance <= 0.05 * np.linalg.norm(value) + 1e-4, key
