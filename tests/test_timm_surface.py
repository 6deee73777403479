"""What scripts import from timm besides models: optimizers and schedules by name, helpers,
constants. The oracle is timm: rates within 1e-12, steps within 1e-5 in float64."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vitc
import vitc.functional as F
from oracle import images, pair, redrawn, timm
from vitc import scheduler, utils
from vitc.models import create_model
from vitc.optim import create_optimizer_v2, list_optimizers

SMALL: dict[str, Any] = dict(depth=2, embed_dim=32, num_heads=2, img_size=64, num_classes=5)

# ------------------------------------------------------------------------------- optimizers

CASES: dict[str, dict[str, Any]] = {
    "sgd": dict(lr=0.1, weight_decay=0.01),
    "momentum": dict(lr=0.1, momentum=0.8),
    "adam": dict(lr=1e-2, weight_decay=0.01),
    "adamw": dict(lr=1e-2, weight_decay=0.05, betas=(0.8, 0.99)),
    "nadamw": dict(lr=1e-2, weight_decay=0.05),
    "lamb": dict(lr=1e-2, weight_decay=0.05),
    "lambc": dict(lr=1e-2, weight_decay=0.05),
    "lion": dict(lr=1e-3, weight_decay=0.05),
    "muon": dict(lr=1e-2, weight_decay=0.05, momentum=0.95),
    "nmuon": dict(lr=1e-2, weight_decay=0.05, momentum=0.95),
    "muon, original": dict(lr=1e-2, adjust_lr_fn="original", momentum=0.9, ns_steps=3),
    "muon, rms": dict(lr=1e-2, adjust_lr_fn="rms_to_rms", fallback_lr_scale=0.3),
    "layer decay": dict(lr=1e-2, weight_decay=0.05, layer_decay=0.6),
    "no exclusion": dict(lr=1e-2, weight_decay=0.05, filter_bias_and_bn=False),
}


@pytest.mark.parametrize("case", CASES)
def test_optimizers_by_name_step_as_timms_do(case: str, monkeypatch: Any) -> None:
    opt = {"layer decay": "adamw", "no exclusion": "adamw"}.get(case, case.split(",")[0])
    if "muon" in opt:  # timm multiplies matrices in bfloat16
        exact = timm.optim.muon.zeropower_via_newtonschulz
        monkeypatch.setattr(
            timm.optim.muon,
            "zeropower_via_newtonschulz",
            lambda *a, **o: exact(*a, **{**o, "dtype": torch.float64}),
        )
    ours, theirs = pair("test_vit", dtype="float64", **SMALL)
    one = create_optimizer_v2(ours, opt, **CASES[case])
    other = timm.optim.create_optimizer_v2(theirs, opt, **CASES[case])
    assert [len(g["params"]) for g in one.param_groups] == [
        len(g["params"]) for g in other.param_groups
    ]
    for step in range(3):
        x = images(4, ours, seed=step).astype(np.float64)
        one.zero_grad()
        other.zero_grad()
        F.cross_entropy(ours(x), [0, 1, 2, 3]).backward()
        loss = torch.nn.functional.cross_entropy(theirs(torch.tensor(x)), torch.arange(4))
        loss.backward()
        for name, parameter in theirs.named_parameters():  # the k part of a bias has none
            if name.endswith("qkv.bias"):
                parameter.grad[32:64] = torch.tensor(dict(ours.named_parameters())[name].grad)[
                    32:64
                ]
        one.step()
        other.step()
    for name, value in theirs.state_dict().items():
        distance = np.abs(ours.state_dict()[name] - value.numpy()).max()
        assert distance <= 1e-5 * float(value.abs().max()), name


@pytest.mark.parametrize("opt", ["nadamw", "muon"])
def test_the_state_of_optimizers_comes_back(opt: str) -> None:
    def run(stop: bool) -> dict[str, np.ndarray]:
        model = create_model("test_vit", **SMALL)
        model.load_state_dict(redrawn(model.shapes, "float32"))
        optimizer = create_optimizer_v2(model, opt, lr=1e-2)
        for step in range(4):
            if stop and step == 2:
                state = optimizer.state_dict()
                state = {**state, "state": {k: {n: np.array(v) for n, v in row.items()}
                                            for k, row in state["state"].items()}}  # fmt: skip
                optimizer = create_optimizer_v2(model, opt, lr=1e-2)
                optimizer.load_state_dict(state)
            optimizer.zero_grad()
            F.cross_entropy(model(images(2, model, seed=step)), [0, 1]).backward()
            optimizer.step()
        return {k: np.array(v) for k, v in model.state_dict().items()}

    whole, resumed = run(False), run(True)
    assert all(np.array_equal(v, resumed[k]) for k, v in whole.items())


def test_optimizers_say_what_they_do_not_take() -> None:
    model = create_model("test_vit", **SMALL)
    assert set(list_optimizers()) <= set(timm.optim.list_optimizers())
    with pytest.raises(ValueError, match="opt is 'adan', expected one of"):
        create_optimizer_v2(model, "adan")
    with pytest.raises(TypeError, match="layer_decay and param_group_fn go with a model"):
        create_optimizer_v2(model.parameters(), "adamw", layer_decay=0.5)
    with pytest.raises(TypeError, match="nothing"):
        create_optimizer_v2(model, "adamw", nothing=1)
    grouped = create_optimizer_v2(
        model, "sgd", lr=1.0, param_group_fn=lambda m: [{"params": m.head.parameters()}]
    )
    assert [len(group["params"]) for group in grouped.param_groups] == [2]


# ------------------------------------------------------------------------------- schedules

SCHEDULES: dict[str, dict[str, Any]] = {
    "cosine": dict(warmup_epochs=3, min_lr=1e-3),
    "cosine, cycles": dict(cycle_limit=3, cycle_mul=2.0, cycle_decay=0.5, num_epochs=4),
    "cosine, prefix": dict(warmup_epochs=3, warmup_prefix=True, cooldown_epochs=2, k_decay=0.7),
    "cosine, updates": dict(step_on_epochs=False, updates_per_epoch=3, warmup_epochs=2),
    "tanh": dict(warmup_epochs=3),
    "tanh, prefix": dict(warmup_epochs=3, warmup_prefix=True),
    "poly": dict(decay_rate=0.7, warmup_epochs=2),
    "step": dict(decay_epochs=4, decay_rate=0.3, warmup_epochs=2),
    "constant": dict(warmup_epochs=3, warmup_prefix=True),
    "multistep": dict(decay_milestones=[3, 7], warmup_epochs=1),
    "wsd": dict(warmup_epochs=2),
    "wsd, prefix": dict(warmup_epochs=2, warmup_prefix=True, decay_epochs=3),
    "rsqrt": dict(warmup_epochs=3, stable_timescale=4),
    "cosine, noise": dict(noise=[0.2, 0.8], noise_pct=0.5),
}


@pytest.mark.parametrize("case", SCHEDULES)
def test_schedules_by_name_have_timms_rates(case: str) -> None:
    options = {"num_epochs": 12, **SCHEDULES[case]}
    layer = vitc.nn.Linear(2, 2)
    one = vitc.optim.SGD([{"params": [layer.weight], "lr": 0.5},
                          {"params": [layer.bias], "lr": 0.2, "lr_scale": 0.3}])  # fmt: skip
    weights = [torch.nn.Parameter(torch.ones(2)) for _ in range(2)]
    other = torch.optim.SGD([{"params": [weights[0]], "lr": 0.5},
                             {"params": [weights[1]], "lr": 0.2, "lr_scale": 0.3}])  # fmt: skip
    sched = case.split(",")[0]
    ours, epochs = scheduler.create_scheduler_v2(one, sched, **options)
    theirs, expected = timm.scheduler.create_scheduler_v2(other, sched, **options)
    assert epochs == expected and ours is not None
    names = {"constant": "StepLRScheduler"}
    assert type(ours).__name__ == names.get(sched, type(theirs).__name__)
    first = [group["lr"] for group in other.param_groups]
    assert ours.get_last_lr() == pytest.approx(first, rel=1e-6)  # tanh is not yet at its top
    for t in range(1, 40):
        for a, b in ((ours, theirs),):
            a.step(t // 3)
            b.step(t // 3)
            a.step_update(t)
            b.step_update(t)
        assert ours.get_last_lr() == pytest.approx(
            [group["lr"] for group in other.param_groups], rel=1e-12, abs=1e-15
        )
    state = ours.state_dict()
    again, _ = scheduler.create_scheduler_v2(one, sched, **options)
    again.load_state_dict(state)
    assert again.get_last_lr() == ours.get_last_lr()


def test_schedules_move_on_by_themselves_in_a_trainer(tmp_path: Path) -> None:
    class Fit(vitc.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = create_model("test_vit", **SMALL)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return F.cross_entropy(self.model(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            optimizer = create_optimizer_v2(self, "adamw", lr=0.1)
            made, _ = scheduler.create_scheduler_v2(optimizer, "cosine", num_epochs=4)
            return [optimizer], [made]

    module = Fit()
    batches = [(images(2, module.model), np.array([0, 1]))]
    trainer = vitc.Trainer(max_epochs=2, logger=False, enable_progress_bar=False,
                           enable_checkpointing=False, default_root_dir=tmp_path)  # fmt: skip
    trainer.fit(module, batches)
    expected = 0.5 * 0.1 * (1 + np.cos(np.pi * 2 / 4))
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(expected)


def test_schedules_that_cannot_be_are_named() -> None:
    optimizer = vitc.optim.SGD(vitc.nn.Linear(2, 2).parameters())
    assert scheduler.create_scheduler_v2(optimizer, "none", 7) == (None, 7)
    for sched, options, words in (
        ("plateau", {}, "ReduceLROnPlateau"),
        ("cosin", {}, "sched is 'cosin', expected one of cosine"),
        ("cosine", dict(step_on_epochs=False), "updates_per_epoch"),
        ("cosine", dict(num_epochs=0), "t_initial"),
        ("wsd", dict(decay_epochs=500), "decay_t"),
        ("step", dict(decay_epochs=0), "decay_t"),
    ):
        with pytest.raises(ValueError, match=words):
            scheduler.create_scheduler_v2(optimizer, sched, **options)
    with pytest.raises(ValueError, match="lb is 3"):
        scheduler.TanhLRScheduler(optimizer, 5, lb=3, ub=-3)


# ------------------------------------------------------------------------------- helpers


def test_constants_are_timms() -> None:
    names = [name for name in vars(timm.data.constants) if name.isupper()]
    assert len(names) == 10
    for name in names:
        assert getattr(vitc.data, name) == pytest.approx(getattr(timm.data, name)), name


def test_accuracy_and_means_are_timms() -> None:
    draw = np.random.default_rng(2)
    scores, labels = draw.standard_normal((40, 7)), draw.integers(0, 7, 40)
    expected = timm.utils.accuracy(torch.tensor(scores), torch.tensor(labels), (1, 3, 99))
    assert utils.accuracy(scores, labels, (1, 3, 99)) == pytest.approx([float(a) for a in expected])
    with pytest.raises(ValueError, match=r"output has shape \(40, 7\) and target 39 labels"):
        utils.accuracy(scores, labels[1:])
    ours, theirs = utils.AverageMeter(), timm.utils.AverageMeter()
    for value, n in ((1.5, 3), (2.5, 1), (0.0, 0)):
        ours.update(value, n)
        theirs.update(value, n)
    assert (ours.avg, ours.val, ours.count) == (theirs.avg, theirs.val, theirs.count)


def test_freezing_is_timms() -> None:
    ours, theirs = create_model("test_vit", **SMALL), timm.create_model("test_vit", **SMALL)
    for names in (["blocks.0", "patch_embed"], "head", []):
        for name in ("freeze", "unfreeze"):
            getattr(utils, name)(ours, names)
            getattr(timm.utils, name)(theirs, names)
            frozen = {n for n, p in theirs.named_parameters() if not p.requires_grad}
            assert {n for n, p in ours.named_parameters() if not p.requires_grad} == frozen
    with pytest.raises(ValueError, match=r"there is no layer 'block\.0'; .*'blocks\.0"):
        utils.freeze(ours, ["head", "block.0"])
    assert all(p.requires_grad for p in ours.parameters())


# ------------------------------------------------------------------------------- the registry


def test_models_of_users_are_made_by_name(monkeypatch: Any) -> None:
    monkeypatch.setattr("vitc.models.registry.USERS", {})
    monkeypatch.setattr("vitc.models.factory.USERS", vitc.models.registry.USERS)

    @vitc.register_model
    def my_vit(pretrained: bool = False, **options: Any) -> Any:
        return create_model("test_vit", pretrained, **{**SMALL, **options})

    model = create_model("my_vit", num_classes=3)
    assert model.num_classes == 3 and vitc.is_model("my_vit")
    assert vitc.list_models("my*") == ["my_vit"]
    assert vitc.model_entrypoint("my_vit")(num_classes=2).num_classes == 2
    with pytest.raises(ValueError, match="there is an architecture 'test_vit' already"):
        vitc.register_model(type("F", (), {"__name__": "test_vit"})())


def test_entrypoints_and_cfgs_are_timms() -> None:
    entry = vitc.model_entrypoint("test_vit")
    assert entry(**SMALL).shapes == create_model("test_vit", **SMALL).shapes
    with pytest.raises(ValueError, match="did you mean 'test_vit'"):
        vitc.model_entrypoint("tst_vit")
    for name in ("vit_tiny_patch16_224", "vit_base_patch16_224.mae", "test_vit4"):
        assert vitc.models.is_model_pretrained(name) == timm.models.is_model_pretrained(name)
        for key in ("num_classes", "crop_pct", "interpolation"):
            value = vitc.models.get_pretrained_cfg_value(name, key)
            assert value == timm.models.get_pretrained_cfg_value(name, key)


def test_checkpoints_are_loaded_under_timms_names(tmp_path: Path) -> None:
    model = create_model("test_vit", **SMALL)
    state = {k: torch.tensor(v) for k, v in redrawn(model.shapes, "float32").items()}
    averaged = {k: v + 1 for k, v in state.items()}
    torch.save({"state_dict": state, "state_dict_ema": averaged}, tmp_path / "m.pth.tar")
    for use_ema, expected in ((True, averaged), (False, state)):
        keys = vitc.models.load_checkpoint(model, tmp_path / "m.pth.tar", use_ema=use_ema)
        assert keys == ([], [])
        held = vitc.models.load_state_dict(tmp_path / "m.pth.tar", use_ema=use_ema)
        for name, value in expected.items():
            assert np.array_equal(model.state_dict()[name], value.numpy())
            assert np.array_equal(held[name], value.numpy())
