"""The parts of a model as timm's users read them, assign to them and take them away; and that a
refused change changes nothing. The oracle is timm in float64 with redrawn parameters."""

import pickle
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch

import vitc
import vitc.functional as F
from oracle import double, gradient_errors, images, pair, redrawn, relative, timm
from oracle.static import static
from vitc.models import create_model
from vitc.models.model import Model
from vitc.tape import no_grad

pytestmark = pytest.mark.filterwarnings("ignore:the weights have fc_norm")
OUTPUTS, GRADIENTS = 1e-5, 5e-5
SMALL = dict(depth=3, embed_dim=32, num_heads=2, img_size=64, num_classes=5)
BF16 = vitc._vitc.config()["bf16"]

# ------------------------------------------------------------------------------- a head


@pytest.mark.parametrize("name", ["test_vit", "test_vit3", "vit_medium_patch16_gap_256"])
def test_a_linear_layer_becomes_the_head(name: str) -> None:
    ours, theirs = pair(name, **SMALL)
    layer = vitc.nn.Linear(ours.head.in_features, 3)
    ours.head, theirs.head = layer, torch.nn.Linear(32, 3).double()
    theirs.load_state_dict({k: torch.tensor(np.array(v)) for k, v in ours.state_dict().items()})
    x = images(2, ours)
    logits, expected = ours(x), theirs(double(x))
    assert ours.num_classes == 3 and relative(logits, expected.detach()) <= OUTPUTS
    F.cross_entropy(logits, [1, 2]).backward()
    torch.nn.functional.cross_entropy(expected, torch.tensor([1, 2])).backward()
    assert max(gradient_errors(ours, theirs).values()) <= GRADIENTS
    assert np.array_equal(layer.weight.grad, ours.head.weight.grad)
    assert (
        relative(layer(np.ones((1, 32))), theirs.head(torch.ones(1, 32).double()).detach()) < 1e-5
    )


def test_an_optimizer_of_the_assigned_head_trains_the_model(tmp_path: Any) -> None:
    model = create_model("test_vit", **SMALL)
    model.requires_grad_(False)
    model.head = layer = vitc.nn.Linear(32, 2)
    optimizer = vitc.optim.SGD(layer.parameters(), lr=1.0)
    before = model.head.weight.data.copy()
    F.cross_entropy(model(images(2, model)), [0, 1]).backward()
    optimizer.step()
    assert not np.array_equal(model.head.weight.data, before)
    assert np.array_equal(layer.weight.data, model.head.weight.data)
    vitc.save_for_timm(model, tmp_path / "folder")
    theirs = timm.create_model(f"local-dir:{tmp_path / 'folder'}", pretrained=True)
    assert np.array_equal(theirs.head.weight.detach().numpy(), model.head.weight.data)
    deepcopy(layer).weight = np.zeros((2, 32))
    assert model.head.weight.data.any()


def test_a_head_in_a_lightning_module_is_that_of_its_model() -> None:
    class Fine(vitc.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = create_model("test_vit", **SMALL)
            self.model.head = vitc.nn.Linear(self.model.head.in_features, 4)

    module = Fine()
    assert module.state_dict()["model.head.weight"].shape == (4, 32)
    assert len(list(module.parameters())) == len(list(module.model.parameters()))


def test_a_trunk_of_feature_maps_is_found_in_a_module() -> None:
    class Trunk(vitc.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = create_model("test_vit", features_only=True, **SMALL)

    module = Trunk()
    assert "backbone.model.blocks.0.attn.qkv.weight" in module.state_dict()
    assert module.eval().backbone.model.training is False


def test_identity_takes_the_head_away() -> None:
    ours, theirs = pair("test_vit", **SMALL)
    ours.head, theirs.head = vitc.nn.Identity(), torch.nn.Identity()
    x = images(2, ours)
    assert ours.num_classes == 0 and isinstance(ours.head, vitc.nn.Identity)
    assert relative(ours(x), theirs(double(x)).detach()) <= OUTPUTS
    ours.head = vitc.nn.Linear(ours.num_features, 7)
    assert ours(x).shape == (2, 7)


def test_both_heads_of_a_distilled_model_are_assigned() -> None:
    model = create_model("deit_tiny_distilled_patch16_224", **SMALL)
    model.head, model.head_dist = vitc.nn.Linear(32, 5), vitc.nn.Linear(32, 5)
    with pytest.raises(AttributeError, match=r"32 -> 3, .*cannot be the head: expected 32 -> 5"):
        model.head = vitc.nn.Linear(32, 3)
    assert model.eval()(images(1, model)).shape == (1, 5)


# ------------------------------------------------------------------------------- other parts


def test_the_first_blocks_may_be_assigned() -> None:
    ours, theirs = pair("test_vit", drop_path_rate=0.3, **SMALL)
    ours.blocks, theirs.blocks = ours.blocks[:2], theirs.blocks[:2]
    x = images(2, ours)
    assert relative(ours(x), theirs(double(x)).detach()) <= OUTPUTS
    assert ours.config.drop_path_rate == pytest.approx(theirs.blocks[1].drop_path1.drop_prob)


def test_arrays_are_written_into_parameters() -> None:
    model = create_model("test_vit", **SMALL).eval()
    state = redrawn(model.shapes, "float32")
    model.pos_embed = state["pos_embed"]
    model.head.weight = torch.nn.Parameter(torch.tensor(state["head.weight"]))
    model.blocks[1].attn.qkv.bias.data = torch.tensor(state["blocks.1.attn.qkv.bias"]).bfloat16()
    assert np.array_equal(model.pos_embed.data, state["pos_embed"])
    assert np.array_equal(model.head.weight.data, state["head.weight"])
    assert np.allclose(
        model.blocks[1].attn.qkv.bias.data, state["blocks.1.attn.qkv.bias"], rtol=1e-2
    )
    layer = vitc.nn.Linear(4, 2)
    layer.weight = np.ones((2, 4))
    layer.bias = np.zeros(2)
    assert np.array_equal(layer(np.ones((1, 4))), [[4, 4]])


def test_checkpointing_is_an_attribute() -> None:
    model = create_model("test_vit", **SMALL)
    model.grad_checkpointing = True
    assert model._pool.checkpointing and model.grad_checkpointing
    model.grad_checkpointing = np.False_
    assert not model._pool.checkpointing


REFUSED: dict[str, tuple[Callable[[Model], Any], str]] = {
    "wide head": (lambda m: setattr(m, "head", vitc.nn.Linear(33, 3)), "expected 32 -> 3"),
    "no bias": (lambda m: setattr(m, "head", vitc.nn.Linear(32, 3, bias=False)), "no bias"),
    "float64": (lambda m: setattr(m, "head", vitc.nn.Linear(32, 3, dtype="float64")), "float64"),
    "of torch": (lambda m: setattr(m, "head", torch.nn.Linear(32, 3)), r"vitc\.nn\.Linear"),
    "none": (lambda m: setattr(m, "head", None), r"reset_classifier\(\)"),
    "del head": (lambda m: delattr(m, "head"), r"reset_classifier\(\)"),
    "last blocks": (lambda m: setattr(m, "blocks", m.blocks[1:]), "prune_intermediate_layers"),
    "other blocks": (
        lambda m: setattr(m, "blocks", create_model("test_vit", **SMALL).blocks[:1]),
        "prune_intermediate_layers",
    ),
    "norm": (lambda m: setattr(m, "norm", None), "prune_intermediate_layers"),
    "fc_norm": (lambda m: setattr(m, "fc_norm", vitc.nn.Identity()), "prune_intermediate_layers"),
    "no positions": (lambda m: setattr(m, "pos_embed", None), "set_input_size"),
    "patch embedding": (lambda m: setattr(m, "patch_embed", 3), "set_input_size"),
    "classes": (lambda m: setattr(m, "num_classes", 3), "reset_classifier"),
    "rate": (lambda m: setattr(m, "drop_rate", 0.1), "create_model takes it"),
    "config": (lambda m: setattr(m, "config", m.config), "create_model makes"),
    "method": (lambda m: setattr(m, "forward_features", print), "subclass"),
    "layer": (lambda m: setattr(m.blocks[0], "attn", None), r"blocks\.0\.attn cannot be set"),
    "fused": (lambda m: setattr(m.blocks[0].attn, "fused_attn", 0), "fused_attn cannot be set"),
    "flag": (lambda m: setattr(m.head, "requires_grad", False), "requires_grad_"),
    "del weight": (lambda m: delattr(m.head, "weight"), "cannot be deleted"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_assigned_is_refused_by_name(case: str) -> None:
    change, message = REFUSED[case]
    model = create_model("test_vit", **SMALL).eval()
    before = described(model)
    with pytest.raises(AttributeError, match=message):
        change(model)
    assert described(model) == before


@pytest.mark.parametrize("value", [np.zeros((1, 17, 16)), np.full((1, 17, 32), np.nan), [["a"]]])
def test_arrays_that_do_not_fit_are_refused(value: Any) -> None:
    model = create_model("test_vit", **SMALL)
    with pytest.raises(ValueError, match="pos_embed: "):
        model.pos_embed = value


def test_one_layer_is_not_the_head_of_two_models() -> None:
    one, other = create_model("test_vit", **SMALL), create_model("test_vit", **SMALL)
    one.head = layer = vitc.nn.Linear(32, 3)
    with pytest.raises(AttributeError, match="it is the head of a model already"):
        other.head = layer


# ------------------------------------------------------------------------------- what is read


@pytest.mark.parametrize("name", ["test_vit", "test_vit3", "vit_medium_patch16_gap_256"])
def test_attributes_are_timms(name: str) -> None:
    ours = create_model(name, **{**SMALL, "img_size": (64, 96)})
    theirs = timm.create_model(name, **{**SMALL, "img_size": (64, 96)})
    for path in (
        "head.in_features", "head.out_features", "patch_embed.num_patches",
        "patch_embed.grid_size", "patch_embed.img_size", "patch_embed.patch_size",
        "patch_embed.proj.kernel_size", "patch_embed.proj.in_channels",
        "patch_embed.proj.out_channels", "patch_embed.proj.stride", "blocks.0.attn.num_heads",
        "blocks.0.attn.head_dim", "blocks.0.attn.scale", "blocks.0.norm1.eps",
        "blocks.0.norm1.normalized_shape", "blocks.0.mlp.fc1.out_features",
    ):  # fmt: skip
        assert read(ours, path) == read(theirs, path), path
    for layer in ("norm", "fc_norm", "norm_pre", "head"):
        absent = isinstance(getattr(theirs, layer), torch.nn.Identity)
        assert isinstance(getattr(ours, layer), vitc.nn.Identity) == absent, layer
    for token in ("attn_pool", "cls_token", "reg_token"):
        assert (getattr(ours, token) is None) == (getattr(theirs, token) is None), token
    assert ours.in_chans == 3 and ours.fc_norm is not None
    if "gap" in name:
        assert ours.blocks[0].attn.qkv.bias is None
    for module, _ in ours.named_modules():
        assert module == "" or read(theirs, module) is not None


def read(model: Any, path: str) -> Any:
    for part in path.split("."):
        model = model[int(part)] if part.isdigit() else getattr(model, part)
    return model


@pytest.mark.parametrize("name", ["test_vit", "test_vit3", "vit_medium_patch16_gap_256"])
@pytest.mark.parametrize("pool_type", [None, "", "token", "avg", "max", "avgmax"])
def test_pooling_is_timms(name: str, pool_type: str | None) -> None:
    ours, theirs = pair(name, **SMALL)
    if pool_type == "token" and not ours.has_class_token:
        pool_type = "avg"
    tokens = theirs.forward_features(double(images(2, ours)))
    expected = theirs.pool(tokens, pool_type)
    assert relative(ours.pool(tokens.detach().numpy(), pool_type), expected.detach()) <= OUTPUTS


def test_a_model_is_on_the_cpu_in_its_dtype() -> None:
    model = create_model("test_vit", **SMALL)
    for same in (model.to("cpu"), model.to(torch.device("cpu")), model.to(dtype=torch.float32),
                 model.cpu(), model.float(), model.to(np.float32)):  # fmt: skip
        assert same is model
    for other in (lambda: model.to("cuda:0"), model.cuda, model.half, model.double,
                  lambda: model.to(torch.device("meta"))):  # fmt: skip
        with pytest.raises(ValueError, match=r"the model is on the CPU in float32, it cannot"):
            other()


def test_apply_meets_every_layer_inner_ones_first() -> None:
    model = create_model("test_vit", **SMALL)
    met: list[Any] = []
    assert model.apply(met.append) is model
    assert met[-1] is model and len(met) == len(list(model.modules()))
    names = [layer._name for layer in met[:-1]]
    assert names.index("blocks.0.attn.qkv") < names.index("blocks.0.attn") < names.index("blocks")
    assert [name for name, _ in model.named_children()] == ["patch_embed", "blocks", "norm", "head"]


# ------------------------------------------------------------------------------- refused changes

NAMES = ("test_vit", "test_vit3", "deit_tiny_distilled_patch16_224", "vit_medium_patch16_gap_256")
CHANGES: dict[str, Callable[[Any], Any]] = {
    "reset -1": lambda m: m.reset_classifier(-1),
    "reset 2.5": lambda m: m.reset_classifier(2.5),
    "reset map": lambda m: m.reset_classifier(3, "map" if m.global_pool != "map" else "prr"),
    "reset no such pool": lambda m: m.reset_classifier(3, "mean"),
    "reset token": lambda m: m.reset_classifier(3, "avg" if "dist_token" in m.shapes else "tok"),
    "prune none": lambda m: m.prune_intermediate_layers([]),
    "prune 9": lambda m: m.prune_intermediate_layers(9),
    "prune [1.5]": lambda m: m.prune_intermediate_layers([1.5]),
    "prune norm": lambda m: m.prune_intermediate_layers(1, prune_norm="yes"),
    "size 0": lambda m: m.set_input_size(img_size=0),
    "size 8": lambda m: m.set_input_size(img_size=8),
    "size text": lambda m: m.set_input_size(img_size="64"),
    "patch 128": lambda m: m.set_input_size(patch_size=128),
    "mode": lambda m: m.init_weights("flax"),
    "train": lambda m: m.train("yes"),
    "precision": lambda m: setattr(m, "precision", "int4"),
    "checkpointing": lambda m: m.set_grad_checkpointing("no"),
    "state": lambda m: m.load_state_dict({**m.state_dict(), "head.bias": np.zeros(99)}),
    "blocks": lambda m: setattr(m, "blocks", []),
    "head": lambda m: setattr(m, "head", vitc.nn.Linear(3, 3)),
}


def made(name: str, kind: str) -> Model:
    model = create_model(name, **SMALL).eval()
    model.load_state_dict(redrawn(model.shapes, "float32"))
    model.head.requires_grad_(False)
    if kind == "bf16":
        model.precision = "bf16"
    ways = {"int8": vitc.quantize, "static": static}
    return ways.get(kind, lambda model: model)(model)


def described(model: Model) -> tuple[Any, ...]:
    """All that a change could have changed."""
    with no_grad():
        x = images(1, model)
        bits = [np.asarray(m(x)).tobytes() for m in (model, deepcopy(model))]
    state = {k: v.tobytes() for k, v in model.state_dict().items()}
    frozen = [p.requires_grad for p in model.parameters()]
    facts = (model.config, model.training, model.precision, model.quantized, model.shapes)
    return repr(model), bits, state, frozen, facts, model.grad_checkpointing, model.default_cfg


@pytest.mark.parametrize("kind", ["float32", "bf16", "int8", "static"])
@pytest.mark.parametrize("name", NAMES)
def test_a_refused_change_changes_nothing(name: str, kind: str, tmp_path: Any) -> None:
    if kind == "bf16" and not BF16:
        pytest.skip("no bfloat16 here")
    model = made(name, kind)
    before = described(model)
    for case, change in CHANGES.items():
        with pytest.raises((ValueError, TypeError, AttributeError)):
            change(model)
        assert described(model) == before, case
    with pytest.raises(ValueError, match="gone"), model.edit() as weights:
        weights["head.bias"] += 1
        raise ValueError("gone")
    for other in ("float32", "bf16", "int8", "static"):
        if other != "bf16" or BF16:
            made("test_vit4", other).save(tmp_path / "other.safetensors")
            with pytest.raises(ValueError, match=r"other\.safetensors: the state dict does not"):
                model.load(tmp_path / "other.safetensors")
    assert described(model) == before


def test_modules_load_all_of_their_models_or_none() -> None:
    class Two(vitc.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = vitc.nn.Linear(2, 2), vitc.nn.Linear(2, 2)

    module = Two()
    before = {k: v.tobytes() for k, v in module.state_dict().items()}
    state = {k: v + 1 for k, v in module.state_dict().items()} | {"other.bias": np.zeros(3)}
    with pytest.raises(ValueError, match=r"bias: shape \(3,\), expected \(2,\)"):
        module.load_state_dict(state)
    assert {k: v.tobytes() for k, v in module.state_dict().items()} == before


@pytest.mark.parametrize("kind", ["float32", "int8", "static"])
@pytest.mark.parametrize("name", NAMES)
def test_accepted_changes_keep_what_they_do_not_change(name: str, kind: str) -> None:
    model = made(name, kind)
    kept = {k: v.tobytes() for k, v in model.state_dict().items()}
    model.reset_classifier(3)
    assert model(images(1, model)).shape == (1, 3)
    assert model.quantized == {"float32": "", "int8": "dynamic", "static": "static"}[kind]
    model.set_input_size(img_size=96)
    assert model(images(1, model)).shape == (1, 3)
    model.prune_intermediate_layers([1], prune_head=False)
    assert len(model.blocks) == 2 and model(images(1, model)).shape == (1, 3)
    same = [k for k, v in model.state_dict().items() if kept.get(k) == v.tobytes()]
    assert set(model.shapes) - set(same) <= {"pos_embed", *(k for k in kept if "head" in k)}


@pytest.mark.parametrize("kind", ["float32", "bf16", "int8"])
def test_models_are_pickled(kind: str) -> None:
    if kind == "bf16" and not BF16:
        pytest.skip("no bfloat16 here")
    for name in NAMES:
        model = made(name, kind)
        twin = pickle.loads(pickle.dumps(model))
        assert described(twin) == described(model)
    with pytest.raises(AttributeError):
        twin.head = None
    layer = pickle.loads(pickle.dumps(vitc.nn.Linear(3, 2)))
    assert layer(np.ones((1, 3))).shape == (1, 2)


@pytest.mark.parametrize("name", [f"deit_{s}_distilled_patch16_224" for s in ("tiny", "small")])
def test_feature_maps_of_distilled_models_are_timms(name: str) -> None:
    ours = create_model(name, features_only=True, **SMALL).eval()
    theirs = timm.create_model(name, features_only=True, **SMALL).double().eval()
    state = redrawn(ours.shapes, "float32")
    ours.load_state_dict(state)
    theirs.load_state_dict({f"model.{k}": torch.tensor(v) for k, v in state.items()})
    x = images(2, ours.model)
    for one, other in zip(ours(x), theirs(double(x)), strict=True):
        assert relative(one, other.detach()) <= OUTPUTS


@pytest.mark.parametrize("options", [dict(prune_norm=True, prune_head=False), {}])
def test_pruning_a_mean_pooled_model_leaves_its_norm_to_the_head(options: Any) -> None:
    ours, theirs = pair("vit_medium_patch16_gap_256", fc_norm=True, **SMALL)
    ours.prune_intermediate_layers([1], **options)
    theirs.prune_intermediate_layers([1], **options)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    x = images(2, ours)
    assert relative(ours(x), theirs(double(x)).detach()) <= OUTPUTS
