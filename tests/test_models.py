"""vitc.models against timm: outputs, features and every gradient, and what models can do.

Each architecture: test_architectures.py; the table of names: test_registry.py.
"""

from copy import deepcopy

import numpy as np
import pytest
import torch

from oracle import double, gradient_errors, images, pair, relative
from vitc import functional as F
from vitc.models import create_model
from vitc.tape import no_grad

OUTPUTS, GRADIENTS = 1e-5, 5e-5  # relative, float32 against float64
DOUBLE = 1e-11  # relative, float64 against float64


# ------------------------------------------------------------------------------- numbers

SMALL = dict(num_classes=10)
CASES = {
    "test_vit": ("test_vit", SMALL, 8),
    "test_vit batch 1": ("test_vit", SMALL, 1),
    "test_vit grey": ("test_vit", dict(num_classes=3, in_chans=1), 3),
    "test_vit no qkv bias": ("test_vit", dict(num_classes=3, qkv_bias=False), 3),
    "tiny odd sizes": (
        "vit_tiny_patch16_224",
        dict(num_classes=7, img_size=(112, 61), embed_dim=60, num_heads=3, depth=2, mlp_ratio=2.7),
        3,
    ),
    "tiny": ("vit_tiny_patch16_224", SMALL, 3),
    "small": ("vit_small_patch16_224", SMALL, 1),
    "small patch 32": ("vit_small_patch32_224", SMALL, 8),
    "base patch 8": ("vit_base_patch8_224", dict(num_classes=10, img_size=96, depth=2), 1),
    "base": ("vit_base_patch16_224", SMALL, 1),
    "distilled": ("deit_tiny_distilled_patch16_224", dict(num_classes=10, img_size=96), 3),
}


def _loss_and_gradients(ours, theirs, x: np.ndarray) -> None:
    labels = np.arange(len(x)) % ours.num_classes
    F.cross_entropy(ours(x), labels, label_smoothing=0.1).backward()
    logits = theirs(double(x))
    torch.nn.functional.cross_entropy(logits, torch.tensor(labels), label_smoothing=0.1).backward()


@pytest.mark.parametrize("case", CASES)
def test_outputs_and_gradients_equal_timms(case: str) -> None:
    name, arguments, batch = CASES[case]
    ours, theirs = pair(name, **arguments)
    x = images(batch, ours)
    with torch.no_grad(), no_grad():
        assert relative(ours(x), theirs(double(x))) <= OUTPUTS
        features = theirs.forward_features(double(x))
        assert relative(ours.forward_features(x), features) <= OUTPUTS
    _loss_and_gradients(ours, theirs, x)
    errors = gradient_errors(ours, theirs)
    worst = max(errors, key=errors.get)
    assert errors[worst] <= GRADIENTS, (worst, errors[worst])


@pytest.mark.parametrize("name", ["test_vit", "deit_tiny_distilled_patch16_224"])
def test_the_double_build_equals_timm_in_float64(name: str) -> None:
    ours, theirs = pair(name, dtype="float64", num_classes=10, depth=3)
    x = images(2, ours).astype(np.float64)
    assert relative(ours(x), theirs(double(x)).detach()) <= DOUBLE
    _loss_and_gradients(ours, theirs, x)
    errors = gradient_errors(ours, theirs)
    worst = max(errors, key=errors.get)
    assert errors[worst] <= DOUBLE, (worst, errors[worst])


def test_distilled_training_gives_both_heads_and_evaluation_their_mean() -> None:
    ours, theirs = pair("deit_tiny_distilled_patch16_224", num_classes=10, img_size=96)
    x = images(3, ours)
    ours.train()
    theirs.train()
    assert ours(x).shape == (3, 10)  # not before it is asked for
    ours.set_distilled_training(True)
    theirs.set_distilled_training(True)
    first, second = ours(x)
    expected = theirs(double(x))
    assert relative(first, expected[0].detach()) <= OUTPUTS
    assert relative(second, expected[1].detach()) <= OUTPUTS
    (0.3 * F.cross_entropy(first, [1, 2, 3]) + 0.7 * F.cross_entropy(second, [4, 5, 6])).backward()
    loss = torch.nn.functional.cross_entropy
    (
        0.3 * loss(expected[0], torch.tensor([1, 2, 3]))
        + 0.7 * loss(expected[1], torch.tensor([4, 5, 6]))
    ).backward()
    assert max(gradient_errors(ours, theirs).values()) <= GRADIENTS
    ours.eval()
    assert relative(ours(x), (expected[0] + expected[1]).detach() / 2) <= OUTPUTS


def test_only_one_head_of_a_distilled_pair_may_be_used() -> None:
    ours, theirs = pair("deit_tiny_distilled_patch16_224", num_classes=10, img_size=48, depth=1)
    for model in (ours.train(), theirs.train()):
        model.set_distilled_training(True)
    x = images(2, ours)
    F.cross_entropy(ours(x)[1], [1, 2]).backward()
    torch.nn.functional.cross_entropy(theirs(double(x))[1], torch.tensor([1, 2])).backward()
    gradient = dict(theirs.named_parameters())["dist_token"].grad
    assert relative(ours.dist_token.grad, gradient) <= GRADIENTS
    assert not np.any(ours.head.weight.grad)


@pytest.mark.parametrize("name", ["test_vit", "deit_tiny_distilled_patch16_224"])
def test_head_and_features_apart_equal_the_whole(name: str) -> None:
    ours, theirs = pair(name, num_classes=10, depth=2)
    x = images(2, ours)
    F.cross_entropy(ours.forward_head(ours.forward_features(x)), [3, 4]).backward()
    torch.nn.functional.cross_entropy(theirs(double(x)), torch.tensor([3, 4])).backward()
    assert max(gradient_errors(ours, theirs).values()) <= GRADIENTS
    tokens = theirs.forward_features(double(x))
    before = theirs.forward_head(tokens, pre_logits=True).detach()
    assert relative(ours.forward_head(tokens.detach(), pre_logits=True), before) <= OUTPUTS


def test_without_classes_the_output_is_the_feature_vector() -> None:
    ours, theirs = pair("test_vit", num_classes=0)
    x = images(2, ours)
    assert "head.weight" not in ours.state_dict()
    assert relative(ours(x), theirs(double(x)).detach()) <= OUTPUTS


def test_attention_maps_equal_timms_softmax() -> None:
    ours, theirs = pair("test_vit", num_classes=10, depth=3)
    for block in theirs.blocks:
        block.attn.fused_attn = False
    seen: list[np.ndarray] = []
    for block in theirs.blocks:  # the input of attn_drop is the softmax
        block.attn.attn_drop.register_forward_hook(lambda _, __, p: seen.append(p.detach().numpy()))
    x = images(2, ours)
    theirs(double(x))
    maps = ours.attention_maps(x)
    assert maps.shape == (2, 3, 2, 101, 101)
    assert relative(maps, np.stack(seen, axis=1)) <= OUTPUTS


# ------------------------------------------------------------------------------- arguments


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="'vit_tny_patch16_224'.*'vit_tiny_patch16_224'"):
        create_model("vit_tny_patch16_224")
    with pytest.raises(TypeError, match="'num_clases'.*'num_classes'"):
        create_model("test_vit", num_clases=3)
    with pytest.raises(ValueError, match="attn_drop_rate is 1.0"):
        create_model("test_vit", attn_drop_rate=1.0)
    with pytest.raises(ValueError, match="embed_dim 64 .* num_heads 5"):
        create_model("test_vit", num_heads=5)
    with pytest.raises(ValueError, match="drop_rate is 1.5"):
        create_model("test_vit", drop_rate=1.5)
    with pytest.raises(ValueError, match="img_size .* smaller than patch_size"):
        create_model("test_vit", img_size=15)
    with pytest.raises(TypeError, match="num_classes is '7'"):
        create_model("test_vit", num_classes="7")
    with pytest.raises(ValueError, match="dtype is 'int8'"):
        create_model("test_vit", dtype="int8")


def test_none_leaves_the_architecture_as_it_is() -> None:
    assert create_model("test_vit", num_classes=None, img_size=None).num_classes == 1000


def test_bad_inputs_are_named() -> None:
    model = create_model("test_vit", num_classes=2, dynamic_img_size=False)
    with pytest.raises(ValueError, match=r"1 channels .*\(2, 1, 160, 160\).*expected 3"):
        model(np.zeros((2, 1, 160, 160)))
    with pytest.raises(ValueError, match="channels-last"):
        model(np.zeros((2, 160, 160, 3)))
    with pytest.raises(ValueError, match=r"\(2, 3, 96, 160\), expected \(batch, 3, 160, 160\)"):
        model(np.zeros((2, 3, 96, 160)))
    with pytest.raises(ValueError, match="add the batch axis"):
        model(np.zeros((3, 160, 160)))
    with pytest.raises(ValueError, match="empty"):
        model(np.zeros((0, 3, 160, 160)))
    with pytest.raises(TypeError, match="uint8.*mean"):
        model(np.zeros((2, 3, 160, 160), np.uint8))


def test_inputs_may_be_tensors_lists_and_views() -> None:
    model = create_model("test_vit", num_classes=2).eval()
    x = images(2, model)
    expected = np.array(model(x))
    channels_last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    for given in (torch.tensor(x), list(x), x.astype(np.float64), channels_last):
        assert np.array_equal(model(given), expected)


# ------------------------------------------------------------------------------- description


def test_attributes_and_repr() -> None:
    model = create_model("deit_tiny_distilled_patch16_224", num_classes=5, in_chans=1, img_size=96)
    assert (model.num_features, model.embed_dim, model.num_classes) == (192, 192, 5)
    assert model.num_prefix_tokens == 2
    assert model.default_cfg["input_size"] == (1, 96, 96)
    assert model.default_cfg["mean"] == pytest.approx((0.449,), abs=1e-3)
    assert model.no_weight_decay() == {"pos_embed", "cls_token", "dist_token"}
    assert len(model.get_classifier()) == 2
    count = sum(p.numel() for p in model.parameters())
    assert repr(model).endswith(
        f"deit_tiny_distilled_patch16_224, input 1 x 96 x 96, 5 classes, {count:,} parameters)"
    )


def test_layers_are_found_by_name() -> None:
    model = create_model("test_vit")
    assert len(model.blocks) == 6
    assert [p.name for p in model.blocks[-1].attn.parameters()] == [
        f"blocks.5.attn.{layer}.{kind}" for layer in ("qkv", "proj") for kind in ("weight", "bias")
    ]
    assert model.head.weight.shape == (1000, 64)
    model.requires_grad_(False)
    model.blocks[2].requires_grad_(True)
    assert {n.split(".")[1] for n, p in model.named_parameters() if p.requires_grad} == {"2"}
    with pytest.raises(AttributeError, match="'hed'.*'head'"):
        _ = model.hed


def test_reset_classifier_keeps_the_trunk_and_what_is_frozen() -> None:
    model = create_model("test_vit", num_classes=10)
    model.requires_grad_(False)
    before = {k: np.array(v) for k, v in model.state_dict().items()}
    model.reset_classifier(3)
    assert model(images(2, model)).shape == (2, 3)
    assert model.head.weight.shape == (3, 64)
    assert 0.05 < np.abs(model.head.weight.data).max() <= 64**-0.5
    for name, value in model.state_dict().items():
        assert name.startswith("head.") or np.array_equal(value, before[name])
    assert [n for n, p in model.named_parameters() if p.requires_grad] == [
        "head.weight",
        "head.bias",
    ]
    assert model.reset_classifier(0)(images(2, model)).shape == (2, 64)


def test_a_deep_copy_is_independent() -> None:
    model = create_model("test_vit", num_classes=3, depth=1).eval()
    model.blocks.requires_grad_(False)
    x = images(1, model)
    expected = np.array(model(x))
    twin = deepcopy(model)
    assert np.array_equal(twin(x), expected) and not twin.training
    assert not twin.blocks[0].norm1.bias.requires_grad and twin.head.bias.requires_grad
    with twin.edit() as weights:
        weights["head.bias"] += 1
    assert np.array_equal(model(x), expected)


def test_initial_values_depend_on_seed_and_name_alone() -> None:
    one = create_model("test_vit", num_classes=5).state_dict()
    other = create_model("test_vit", num_classes=7, depth=2).state_dict()
    assert np.array_equal(one["blocks.1.mlp.fc1.weight"], other["blocks.1.mlp.fc1.weight"])
    assert not np.array_equal(one["blocks.0.mlp.fc1.weight"], one["blocks.1.mlp.fc1.weight"])
