"""vitc.optim against torch.optim and timm.optim in float64, timm's parameter groups, clipping and
moving averages."""

import numpy as np
import pytest
import torch

import vitc
from oracle import families, pair, timm
from vitc import functional as F
from vitc import nn
from vitc.models import create_model
from vitc.optim import (
    SGD,
    Adam,
    AdamW,
    Lamb,
    Lion,
    ModelEmaV3,
    RAdam,
    adaptive_clip_grad,
    clip_grad_norm_,
    clip_grad_value_,
    dispatch_clip_grad,
    param_groups_layer_decay,
    param_groups_weight_decay,
)
from vitc.tape import clock

TOLERANCE = 1e-12  # relative, float64
X = np.random.default_rng(0).standard_normal((8, 6))
LABELS = np.arange(8) % 3


def twins() -> tuple[nn.Linear, torch.nn.Linear]:
    ours, theirs = nn.Linear(6, 3, dtype="float64"), torch.nn.Linear(6, 3).double()
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    return ours, theirs


def train(ours, theirs, optimizer, reference, steps: int = 10) -> None:
    for step in range(steps):
        x = X * (step + 1)
        optimizer.zero_grad()
        F.cross_entropy(ours(x), LABELS).backward()
        optimizer.step()
        reference.zero_grad()
        loss = torch.nn.functional.cross_entropy(theirs(torch.tensor(x)), torch.tensor(LABELS))
        loss.backward()
        reference.step()


def same(ours, theirs) -> None:
    for name, value in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[name], value, rtol=TOLERANCE, atol=TOLERANCE)


RULES = [
    (AdamW, torch.optim.AdamW, {}),
    (AdamW, torch.optim.AdamW, dict(lr=0.02, betas=(0.8, 0.95), eps=1e-4, weight_decay=0.3)),
    (Adam, torch.optim.Adam, {}),
    (Adam, torch.optim.Adam, dict(lr=0.02, betas=(0.8, 0.95), eps=1e-4, weight_decay=0.3)),
    (RAdam, torch.optim.RAdam, {}),
    (RAdam, torch.optim.RAdam, dict(lr=0.02, betas=(0.7, 0.8), eps=1e-4, weight_decay=0.3)),
    (
        RAdam,
        torch.optim.RAdam,
        dict(lr=0.02, betas=(0.8, 0.9), weight_decay=0.3, decoupled_weight_decay=True),
    ),
    (SGD, torch.optim.SGD, {}),
    (SGD, torch.optim.SGD, dict(lr=0.1, momentum=0.9, weight_decay=0.1)),
    (SGD, torch.optim.SGD, dict(lr=0.1, momentum=0.9, dampening=0.3)),
    (SGD, torch.optim.SGD, dict(lr=0.1, momentum=0.8, nesterov=True, weight_decay=0.1)),
    (Lion, timm.optim.Lion, dict(lr=0.01)),
    (Lion, timm.optim.Lion, dict(lr=0.01, betas=(0.8, 0.95), weight_decay=0.5)),
    (Lamb, timm.optim.Lamb, dict(lr=0.05)),
    (Lamb, timm.optim.Lamb, dict(lr=0.05, max_grad_norm=0.1, weight_decay=0.0)),
    (Lamb, timm.optim.Lamb, dict(lr=0.05, weight_decay=0.0, always_adapt=True, trust_clip=True)),
    (Lamb, timm.optim.Lamb, dict(bias_correction=False, grad_averaging=False, max_grad_norm=None)),
]


@pytest.mark.parametrize(("kind", "reference", "options"), RULES)
def test_ten_steps_equal_those_of_torch_or_timm(kind, reference, options) -> None:
    ours, theirs = twins()
    optimizer = kind(ours.parameters(), **options)
    train(ours, theirs, optimizer, reference(theirs.parameters(), **options))
    same(ours, theirs)


@pytest.mark.parametrize("clip", [True, False])
def test_lamb_clips_a_trust_above_one(clip: bool) -> None:
    """Of the first step, every element moves by one: weights of 1.5 have a trust of 1.5."""
    ours, theirs = twins()
    for p in theirs.parameters():
        p.data.fill_(1.5)
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    options = dict(lr=0.1, weight_decay=0.0, always_adapt=True, trust_clip=clip, eps=1e-30)
    optimizers = Lamb(ours.parameters(), **options), timm.optim.Lamb(theirs.parameters(), **options)
    train(ours, theirs, *optimizers, steps=1)
    same(ours, theirs)
    moved = np.abs(ours.state_dict()["weight"] - 1.5)
    np.testing.assert_allclose(moved, 0.1 if clip else 0.15, rtol=1e-6)


def test_large_parameters_are_cut_into_chunks_alike() -> None:
    """More elements than one chunk, with a group for each parameter: LAMB's norms go over all."""
    ours, theirs = nn.Linear(700, 300, dtype="float64"), torch.nn.Linear(700, 300).double()
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    x = np.random.default_rng(1).standard_normal((4, 700))
    optimizers = [
        kind([{"params": [m.weight]}, {"params": [m.bias], "weight_decay": 0.0}], lr=0.1)
        for kind, m in ((Lamb, ours), (timm.optim.Lamb, theirs))
    ]
    for _ in range(3):
        F.cross_entropy(ours(x), [0, 1, 2, 3]).backward()
        torch.nn.functional.cross_entropy(theirs(torch.tensor(x)), torch.arange(4)).backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    same(ours, theirs)


def test_groups_with_their_own_settings_equal_torch() -> None:
    ours, theirs = twins()
    settings = [dict(lr=0.1), dict(weight_decay=0.5)]
    optimizers = [
        kind([{"params": [m.weight], **settings[0]}, {"params": [m.bias], **settings[1]}], lr=0.01)
        for kind, m in ((AdamW, ours), (torch.optim.AdamW, theirs))
    ]
    train(ours, theirs, *optimizers)
    same(ours, theirs)


def test_a_frozen_parameter_stays_and_counts_its_steps_from_when_it_is_freed() -> None:
    ours, theirs = twins()
    optimizers = AdamW(ours.parameters()), torch.optim.AdamW(theirs.parameters())
    for m in (ours, theirs):
        m.weight.requires_grad = False
    before = ours.weight.data.copy()
    train(ours, theirs, *optimizers, steps=3)
    assert np.array_equal(ours.weight.data, before)
    for m in (ours, theirs):
        m.weight.requires_grad = True
    train(ours, theirs, *optimizers, steps=3)
    same(ours, theirs)


@pytest.mark.parametrize(
    ("kind", "theirs_kind", "options"),
    [
        (AdamW, torch.optim.AdamW, {}),
        (RAdam, torch.optim.RAdam, dict(betas=(0.7, 0.8))),
        (SGD, torch.optim.SGD, dict(momentum=0.9)),
        (Lion, timm.optim.Lion, {}),
        (Lamb, timm.optim.Lamb, {}),
    ],
)
def test_state_goes_through_torch_and_back(kind, theirs_kind, options) -> None:
    """The layout is torch's: its optimizer takes our state, and ours takes its state."""
    ours, theirs = twins()
    optimizer = kind(ours.parameters(), lr=1e-3, **options)
    reference = theirs_kind(theirs.parameters(), lr=1e-3, **options)
    train(ours, theirs, optimizer, reference, steps=4)
    assert optimizer.state_dict()["state"][0]["step"] == 4
    fresh = kind(ours.parameters(), lr=0.5, **options)
    fresh.load_state_dict(reference.state_dict())
    assert fresh.param_groups[0]["lr"] == 1e-3
    train(ours, theirs, fresh, reference, steps=4)
    same(ours, theirs)
    converted = theirs_kind(theirs.parameters(), lr=1e-3, **options)
    moments = fresh.state_dict()["state"]
    converted.load_state_dict(
        {
            "state": {
                i: {k: torch.tensor(np.array(v)) for k, v in row.items()}
                for i, row in moments.items()
            },
            "param_groups": reference.state_dict()["param_groups"],
        }
    )
    train(ours, theirs, fresh, converted, steps=4)
    same(ours, theirs)


def test_a_state_that_does_not_fit_is_refused_and_changes_nothing() -> None:
    ours, _ = twins()
    optimizer = AdamW(ours.parameters(), lr=0.3)
    with pytest.raises(ValueError, match=r"groups of \[1\] parameters, expected \[2\]"):
        optimizer.load_state_dict(AdamW([ours.bias]).state_dict())
    state = optimizer.state_dict()
    zero = np.zeros((4, 4))
    state["state"] = {0: {"step": 1, "exp_avg": zero, "exp_avg_sq": zero}}
    with pytest.raises(
        ValueError, match=r"exp_avg of weight has shape \(4, 4\), expected \(3, 6\)"
    ):
        optimizer.load_state_dict(state)
    assert optimizer.state_dict()["state"] == {}


def test_bad_arguments_are_named() -> None:
    ours, theirs = twins()
    with pytest.raises(ValueError, match="no parameters"):
        AdamW([])
    with pytest.raises(ValueError, match="lr is -1"):
        AdamW(ours.parameters(), lr=-1)
    with pytest.raises(ValueError, match="betas are"):
        AdamW(ours.parameters(), betas=(0.9, 1.0))
    with pytest.raises(ValueError, match="weight is given twice"):
        AdamW([ours.weight, ours.bias, ours.weight])
    with pytest.raises(TypeError, match="vitc models, got Parameter"):
        AdamW(theirs.parameters())
    with pytest.raises(ValueError, match="nesterov needs momentum above 0"):
        SGD(ours.parameters(), nesterov=True)
    with pytest.raises(ValueError, match="momentum is -1"):
        SGD(ours.parameters(), momentum=-1)
    with pytest.raises(ValueError, match="'l2', expected one of norm, value, agc"):
        dispatch_clip_grad(ours.parameters(), 1.0, mode="l2")
    with pytest.raises(ValueError, match="decay is 2"):
        ModelEmaV3(ours, decay=2)
    with pytest.raises(ValueError, match="total_steps"):
        ModelEmaV3(ours, decay="auto")
    with pytest.raises(ValueError, match="differ in their entries"):
        ModelEmaV3(ours).update(nn.Linear(6, 4, dtype="float64"))


def test_a_step_divides_by_the_weight_of_its_window_and_moves_the_clock() -> None:
    ours, theirs = twins()
    optimizer, reference = AdamW(ours.parameters()), torch.optim.AdamW(theirs.parameters())
    clock.begin(5)
    for cut in (slice(0, 6), slice(6, 8)):
        F.cross_entropy(ours(X[cut]), LABELS[cut]).backward()
    optimizer.step()
    assert clock.step == 6
    clock.begin(0)
    torch.nn.functional.cross_entropy(theirs(torch.tensor(X)), torch.tensor(LABELS)).backward()
    reference.step()
    same(ours, theirs)


@pytest.mark.parametrize("name", ["test_vit", "deit_tiny_distilled_patch16_224"])
def test_weight_decay_groups_are_timms(name: str) -> None:
    from timm.optim import param_groups_weight_decay as reference

    ours = create_model(name, num_classes=3)
    theirs = timm.create_model(name, num_classes=3)
    names = {id(p): n for n, p in theirs.named_parameters()}
    expected = reference(theirs, 0.05, no_weight_decay_list=theirs.no_weight_decay())
    found = param_groups_weight_decay(ours, 0.05)
    for a, b in zip(found, expected, strict=True):
        assert a["weight_decay"] == b["weight_decay"]
        assert [p.name for p in a["params"]] == [names[id(p)] for p in b["params"]]


def test_frozen_parameters_are_in_no_group() -> None:
    ours, _ = pair("test_vit", num_classes=3, depth=1)
    ours.requires_grad_(False)
    ours.head.requires_grad_(True)
    groups = param_groups_weight_decay(ours)
    assert [[p.name for p in g["params"]] for g in groups] == [["head.bias"], ["head.weight"]]


@pytest.mark.parametrize("name", families())
def test_layer_decay_groups_are_timms(name: str) -> None:
    """Names, scales and weight decay of every group, in timm's order."""
    from timm.optim import param_groups_layer_decay as reference

    sizes = dict(num_classes=3, depth=2, embed_dim=96, num_heads=2)
    if name.endswith("sapiens2"):  # whose heads share keys and values, by block
        sizes["num_kv_heads"] = (2, 1)
    ours, theirs = create_model(name, **sizes), timm.create_model(name, **sizes)
    names = {id(p): n for n, p in theirs.named_parameters()}
    options = dict(weight_decay=0.05, layer_decay=0.65, min_scale=0.3)
    expected = reference(theirs, no_weight_decay_list=theirs.no_weight_decay(), **options)
    found = param_groups_layer_decay(ours, **options)
    for a, b in zip(found, expected, strict=True):
        assert (a["weight_decay"], a["lr_scale"]) == (b["weight_decay"], b["lr_scale"])
        assert [p.name for p in a["params"]] == [names[id(p)] for p in b["params"]]


def test_a_module_around_a_model_keeps_its_exemptions() -> None:
    class Around(vitc.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = create_model("test_vit", num_classes=3, depth=1)

    module = Around()
    inner, outer = (param_groups_weight_decay(m, 0.1) for m in (module.net, module))
    for a, b in zip(inner, outer, strict=True):
        assert [p.name for p in a["params"]] == [p.name for p in b["params"]]
    with pytest.raises(TypeError, match=r"Around does not tell: pass the model itself"):
        param_groups_layer_decay(module)


def test_layers_below_no_opt_scale_are_frozen() -> None:
    model = create_model("test_vit", num_classes=3, depth=3)
    groups = param_groups_layer_decay(model, layer_decay=0.5, no_opt_scale=0.2)
    frozen = {p.name for p in model.parameters() if not p.requires_grad}
    assert "patch_embed.proj.weight" in frozen and "blocks.2.mlp.fc1.weight" not in frozen
    assert {p.name for g in groups for p in g["params"]} == set(model.shapes) - frozen


# ------------------------------------------------------------------------------- clipping


def with_gradients(scale: float) -> tuple[nn.Linear, torch.nn.Linear]:
    ours, theirs = twins()
    loss = F.cross_entropy(ours(scale * X), LABELS)
    loss.backward()
    torch.nn.functional.cross_entropy(
        theirs(torch.tensor(scale * X)), torch.tensor(LABELS)
    ).backward()
    return ours, theirs


CLIPS = [
    (lambda p: clip_grad_norm_(p, 0.3), lambda p: torch.nn.utils.clip_grad_norm_(p, 0.3)),
    (lambda p: clip_grad_norm_(p, 1e3), lambda p: torch.nn.utils.clip_grad_norm_(p, 1e3)),
    (lambda p: clip_grad_value_(p, 0.05), lambda p: torch.nn.utils.clip_grad_value_(p, 0.05)),
    (lambda p: adaptive_clip_grad(p, 0.3), lambda p: timm.utils.adaptive_clip_grad(p, 0.3)),
    (lambda p: adaptive_clip_grad(p), lambda p: timm.utils.adaptive_clip_grad(p)),
    (  # weights below eps
        lambda p: adaptive_clip_grad(p, 0.01, eps=5.0),
        lambda p: timm.utils.adaptive_clip_grad(p, 0.01, eps=5.0),
    ),
    (
        lambda p: dispatch_clip_grad(p, 0.2, "agc"),
        lambda p: timm.utils.dispatch_clip_grad(p, 0.2, "agc"),
    ),
]


@pytest.mark.parametrize(("clip", "reference"), CLIPS)
def test_clipped_gradients_equal_torchs_and_timms(clip, reference) -> None:
    ours, theirs = with_gradients(2.0)
    norm, expected = clip(ours.parameters()), reference(theirs.parameters())
    if norm is not None:
        assert norm == pytest.approx(expected.item(), rel=TOLERANCE)
    for name, p in theirs.named_parameters():
        np.testing.assert_allclose(
            ours._parameters[name].grad, p.grad.numpy(), rtol=TOLERANCE, atol=TOLERANCE
        )


def test_clipping_some_parameters_leaves_the_others() -> None:
    ours, theirs = with_gradients(2.0)
    before = ours.bias.grad.copy()
    assert clip_grad_norm_([ours.weight], 0.1) == pytest.approx(
        torch.nn.utils.clip_grad_norm_([theirs.weight], 0.1).item(), rel=TOLERANCE
    )
    assert np.array_equal(ours.bias.grad, before)


# ------------------------------------------------------------------------------- averages


@pytest.mark.parametrize(
    "options",
    [
        dict(decay=0.9),
        dict(decay=0.99, use_warmup=True),
        dict(decay=0.95, use_warmup=True, warmup_gamma=2.0, warmup_power=0.75, min_decay=0.2),
        dict(decay=0.9, update_after_step=3),
    ],
)
def test_the_moving_average_equals_timms(options) -> None:
    ours, theirs = twins()
    optimizer = SGD(ours.parameters(), lr=0.5)
    reference = torch.optim.SGD(theirs.parameters(), lr=0.5)
    average, expected = ModelEmaV3(ours, **options), timm.utils.ModelEmaV3(theirs, **options)
    for step in range(1, 11):
        train(ours, theirs, optimizer, reference, steps=1)
        assert average.get_decay(step) == expected.get_decay(step)
        average.update(ours, step)
        expected.update(theirs, step)
        same(average.module, expected.module)
    assert not average.module.training and ours.training


def test_the_automatic_average_looks_back_over_a_twentieth_of_the_run() -> None:
    ours, _ = twins()
    assert ModelEmaV3(ours, decay="auto", total_steps=1000).decay == pytest.approx(1 - 1 / 50)
    assert ModelEmaV3(ours, decay="auto", total_steps=10).decay == 0.0
