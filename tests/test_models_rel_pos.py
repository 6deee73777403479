"""BEiT and timm's ViTs with relative positions, beside what test_architectures.py proves of every
name: options, other sizes, what changes a model, files and narrow numbers.

The oracle is timm in float64, with outputs within 1e-5 and gradients within 5e-5 relative.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vitc
from oracle import double, gradient_errors, images, pair, redrawn, reduced, relative, timm
from vitc.models import create_model, save_for_timm
from vitc.models.model import Model
from vitc.models.resample import resample_bias_table
from vitc.quantization import quantize
from vitc.tape import no_grad

OUTPUTS, GRADIENTS = 1e-5, 5e-5
BEIT, CLASS, SHARED = (
    "beit_base_patch16_224",
    "vit_relpos_medium_patch16_cls_224",
    "vit_srelpos_small_patch16_224",
)
NAMES = [BEIT, CLASS, SHARED]


def small(**changes: Any) -> dict[str, Any]:
    return reduced(BEIT) | dict(img_size=64, depth=3) | changes


def assert_equal(ours: Model, theirs: torch.nn.Module, size: tuple[int, int] = (64, 64)) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, *size)).astype(np.float32)
    with torch.no_grad(), no_grad():
        assert relative(ours(x), theirs(double(x))) <= OUTPUTS


OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "shared": (BEIT, dict(use_rel_pos_bias=False, use_shared_rel_pos_bias=True)),
    "own and shared": (BEIT, dict(use_shared_rel_pos_bias=True, qkv_bias=False)),
    "positions, no bias": (BEIT, dict(use_rel_pos_bias=False, use_abs_pos_emb=True)),
    "gated, normalised": (BEIT, dict(swiglu_mlp=True, scale_mlp=True, init_values=None)),
    "token": (BEIT, dict(global_pool="token")),
    "token and fc_norm": (BEIT, dict(global_pool="token", use_fc_norm=True)),
    "mean, norm before": (BEIT, dict(use_fc_norm=False)),
    "table": (SHARED, dict(rel_pos_type="bias", shared_rel_pos=False)),
    "table with a class token": (CLASS, dict(rel_pos_type="bias", qk_norm=True)),
    "shared table": (SHARED, dict(rel_pos_type="bias", fc_norm=True)),
    "post norm": ("vit_relpos_small_patch16_rpn_224", dict(init_values=None)),
    "wide mlp of positions": (CLASS, dict(rel_pos_dim=7)),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_options_equal_timms(case: str) -> None:
    name, changes = OPTIONS[case]
    ours, theirs = pair(name, **small(**changes))
    assert_equal(ours, theirs)
    x = images(2, ours)
    vitc.functional.cross_entropy(ours(x), [1, 3]).backward()
    torch.nn.functional.cross_entropy(theirs(double(x)), torch.tensor([1, 3])).backward()
    errors = gradient_errors(ours, theirs)
    worst = max(errors, key=lambda key: errors[key])
    assert errors[worst] <= GRADIENTS, (worst, errors[worst])


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match="use_rel_pos_bias is 'no', expected True or False"):
        create_model(BEIT, use_rel_pos_bias="no")
    with pytest.raises(ValueError, match="rel_pos_type is 'mlp-swin', expected"):
        create_model(CLASS, rel_pos_type="mlp-swin")
    with pytest.raises(ValueError, match="rel_pos_dim is 0"):
        create_model(CLASS, rel_pos_dim=0)
    with pytest.raises(TypeError, match="'pos_drop_rate'"):
        create_model(CLASS, pos_drop_rate=0.1)


# ------------------------------------------------------------------------------- tables


@pytest.mark.filterwarnings("ignore")  # of torch, about timm
@pytest.mark.parametrize("old, new", [((4, 4), (6, 6)), ((5, 3), (3, 7)), ((3, 3), (3, 4))])
@pytest.mark.parametrize("extra", [0, 3])
def test_tables_are_resized_as_timm_does(
    old: tuple[int, int], new: tuple[int, int], extra: int
) -> None:
    table = np.random.default_rng(0).standard_normal(
        ((2 * old[0] - 1) * (2 * old[1] - 1) + extra, 5)
    )
    shape = ((2 * new[0] - 1) * (2 * new[1] - 1) + extra, 5)
    expected = timm.layers.resize_rel_pos_bias_table(torch.tensor(table), new, shape, old)
    found = resample_bias_table(table, old, new)
    assert found.shape == shape
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)
    assert np.array_equal(resample_bias_table(table, old, old), table)


@pytest.mark.parametrize("name", [BEIT, CLASS, "vit_relpos_base_patch16_224"])
@pytest.mark.parametrize("kind", ["mlp", "bias"])
@pytest.mark.filterwarnings("ignore")
def test_other_sizes_equal_timms(name: str, kind: str) -> None:
    options = {} if name == BEIT else dict(rel_pos_type=kind)
    ours, theirs = pair(name, **small(**options))
    for model in (ours, theirs):
        model.set_input_size(img_size=(80, 48))
    assert_equal(ours, theirs.double(), (80, 48))


@pytest.mark.parametrize("case", ["BEiT", "table"])
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("size", [(64, 64), (96, 96), (64, 128)])
def test_a_file_for_another_size_is_read_as_timm_reads_it(
    tmp_path: Path, case: str, size: tuple[int, int]
) -> None:
    name = BEIT if case == "BEiT" else CLASS
    options = {} if case == "BEiT" else dict(rel_pos_type="bias")
    state = redrawn(create_model(name, **small(**options)).shapes, "float32")
    foreign = {k: torch.tensor(v) for k, v in state.items()}
    foreign |= {"blocks.0.attn.relative_position_index": torch.zeros(17, 17, dtype=torch.long)}
    torch.save({"model": foreign}, tmp_path / "m.pth")
    arguments = small(**options, img_size=size)
    overlay = dict(input_size=(3, 64, 64), num_classes=5, file=tmp_path / "m.pth")
    ours = create_model(name, True, pretrained_cfg_overlay=overlay, **arguments).eval()
    theirs = timm.create_model(name, **arguments)
    module = timm.models.beit if name == BEIT else timm.models.vision_transformer_relpos
    if name != BEIT:
        foreign.pop("blocks.0.attn.relative_position_index")
    theirs.load_state_dict(module.checkpoint_filter_fn(foreign, theirs))
    assert_equal(ours, theirs.double().eval(), size)


def test_a_table_of_no_square_grid_is_refused(tmp_path: Path) -> None:
    model = create_model(BEIT, **small())
    state = {k: torch.tensor(np.array(v)) for k, v in model.state_dict().items()}
    key = "blocks.1.attn.relative_position_bias_table"
    state[key] = state[key][:-1]
    torch.save(state, tmp_path / "m.pth")
    with pytest.raises(ValueError, match=rf"m\.pth: {key} has 51 rows, .* no square grid"):
        create_model(BEIT, checkpoint_path=tmp_path / "m.pth", **small())


# ------------------------------------------------------------------------------- changes


@pytest.mark.parametrize("head", [True, False])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_pruned_models_equal_timms(name: str, last: bool, head: bool) -> None:
    ours, theirs = pair(name, **small())
    for model in (ours, theirs):
        model.prune_intermediate_layers([0], prune_norm=last, prune_head=head)
    assert_equal(ours, theirs)


@pytest.mark.parametrize("classes, pool", [(0, None), (3, "avg"), (0, ""), (3, "token")])
@pytest.mark.parametrize("name", [BEIT, CLASS])
def test_other_heads_equal_timms(name: str, classes: int, pool: str | None) -> None:
    ours, theirs = pair(name, **small())
    ours.reset_classifier(classes, pool)
    theirs.reset_classifier(classes, pool)
    state = {k: torch.tensor(np.array(v)) for k, v in ours.state_dict().items()}
    theirs.load_state_dict(state)
    assert_equal(ours, theirs.double())
    with pytest.raises(ValueError, match="global_pool is 'max'"):
        ours.reset_classifier(3, "max")


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
def test_attention_maps_equal_timms_softmax(name: str) -> None:
    ours, theirs = pair(name, **small())
    seen: list[np.ndarray] = []
    for block in theirs.blocks:  # the input of attn_drop is the softmax
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_hook(lambda _, __, p: seen.append(p.detach().numpy()))
    x = images(2, ours)
    theirs(double(x))
    assert relative(ours.attention_maps(x), np.stack(seen, axis=1)) <= OUTPUTS


def test_a_mask_is_refused() -> None:
    for name in NAMES:
        model = create_model(name, **small())
        with pytest.raises(ValueError, match="takes no mask"):
            model(images(1, model), is_causal=True)
        with pytest.raises(ValueError, match="takes no mask"):
            model.forward_features(images(1, model), attn_mask=np.zeros((16, 16), np.float32))


def test_descriptions_and_starts_are_timms() -> None:
    for name in NAMES:
        ours, theirs = pair(name, **small())
        assert ours.no_weight_decay() == theirs.no_weight_decay() & set(ours.shapes)
        assert ours.group_matcher() == theirs.group_matcher()
        assert ours.feature_info == theirs.feature_info
        fresh = create_model(name, **small(embed_dim=192, num_classes=100)).state_dict()
        expected = timm.create_model(name, **small(embed_dim=192, num_classes=100)).state_dict()
        for key, value in fresh.items():
            if value.size >= 100:
                deviation = expected[key].numpy().std()
                assert abs(value.std() - deviation) <= 0.2 * deviation, key


def test_the_mlp_of_positions_drops_in_training_mode_only() -> None:
    for name in (CLASS, SHARED):
        model, _ = pair(name, **small())
        x = images(2, model)
        with no_grad():
            expected = np.array(model(x))
            assert not np.array_equal(model.train()(x), expected)
            assert np.array_equal(model.eval()(x), expected)
    model = create_model(CLASS, **small(rel_pos_type="bias"))
    with no_grad():
        assert np.array_equal(model.train()(x), model.eval()(x))


# ------------------------------------------------------------------------------- files and numbers


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_folder_opens_in_timm_and_here(tmp_path: Path, name: str) -> None:
    ours, _ = pair(name, **small())
    save_for_timm(ours, tmp_path / "m")
    theirs = timm.create_model(f"local-dir:{tmp_path / 'm'}", pretrained=True).double().eval()
    assert_equal(ours, theirs)
    again = create_model(f"local-dir:{tmp_path / 'm'}", pretrained=True).eval()
    x = images(2, ours)
    assert np.array_equal(again(x), ours(x))


def test_the_mlp_of_positions_stays_as_it_is_in_8_bits() -> None:
    model = quantize(create_model(CLASS, **small()).eval())
    kinds = dict(zip(model.params.names, model.params.dtypes, strict=True))
    assert kinds["blocks.1.mlp.fc1.weight"] == "int8"
    assert kinds["blocks.1.attn.rel_pos.mlp.fc2.weight"] == "float32"


@pytest.mark.parametrize("name", NAMES)
def test_checkpointing_changes_no_bit(name: str) -> None:
    gradients = []
    for recompute in (False, True):
        model, _ = pair(name, **small())
        model.set_grad_checkpointing(recompute)
        x = images(2, model)
        vitc.functional.cross_entropy(model(x), [1, 3]).backward()
        gradients.append({name: np.array(p.grad) for name, p in model.named_parameters()})
    for key, value in gradients[0].items():
        assert np.array_equal(gradients[1][key], value), key
