"""Runs that began under Lightning or timm's training script, and go on here."""

import argparse
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vitc
import vitc.functional as F
from oracle import timm
from vitc.optim import AdamW, param_groups_weight_decay

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import pytorch_lightning as pl

SIZE = dict(img_size=32, patch_size=8, depth=2, num_classes=3)
LR, EPSILON = 1e-3, 1e-6  # with 1e-8 the rounding of gradients near 0 decides the sign of a step


def data() -> list[tuple[np.ndarray, np.ndarray]]:
    generator = np.random.default_rng(0)
    return [
        (
            generator.standard_normal((4, 3, 32, 32)).astype(np.float32),
            generator.integers(0, 3, 4),
        )
        for _ in range(3)
    ]


class Theirs(pl.LightningModule):
    def __init__(self, lr: float = LR, label: str = "x") -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = timm.create_model("test_vit", **SIZE)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=self.hparams.lr, eps=EPSILON)


class Ours(vitc.LightningModule):
    def __init__(self, lr: float = LR, label: str = "x") -> None:
        super().__init__()
        self.save_hyperparameters()
        self.model = vitc.create_model("test_vit", **SIZE)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return F.cross_entropy(self.model(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        return AdamW(self.parameters(), lr=self.hparams.lr, eps=EPSILON)


def fit(engine: Any, module: Any, path: Path, epochs: int, **options: Any) -> Any:
    switches = ("enable_progress_bar", "enable_model_summary", "logger")
    given = {**dict.fromkeys(switches, False), "default_root_dir": path, "max_epochs": epochs}
    batches: Any = data()
    if engine is pl:
        logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
        batches = [(torch.tensor(x), torch.tensor(y)) for x, y in batches]
        batches = torch.utils.data.DataLoader(batches, batch_size=None)
        given["accelerator"] = "cpu"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = engine.Trainer(**given)
        run.fit(module, batches, **options)
    return run


def assert_close(ours: dict[str, Any], theirs: dict[str, Any], tolerance: float) -> None:
    """But for the key's third of qkv.bias, whose true gradient is zero."""
    for name, value in theirs.items():
        a, b = np.array(ours[name]), value.detach().numpy()
        if name.endswith("qkv.bias"):
            keep = np.ones(len(b), bool)
            keep[len(b) // 3 : 2 * len(b) // 3] = False
            a, b = a[keep], b[keep]
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance, err_msg=name)


@pytest.fixture(scope="module")
def lightning(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of two epochs under Lightning."""
    path = tmp_path_factory.mktemp("lightning")
    torch.manual_seed(0)
    run = fit(pl, Theirs(label="y"), path, 2)
    return Path(run.checkpoint_callback.best_model_path)


def test_a_checkpoint_of_lightning_makes_the_module(lightning: Path) -> None:
    module = Ours.load_from_checkpoint(lightning)
    assert module.hparams == {"lr": LR, "label": "y"}
    theirs = Theirs.load_from_checkpoint(lightning, weights_only=False)
    for name, value in theirs.net.state_dict().items():
        assert np.array_equal(module.model.state_dict()[name], value.numpy())
    assert Ours.load_from_checkpoint(lightning, lr=5.0).hparams.lr == 5.0


def test_a_run_of_lightning_goes_on(lightning: Path, tmp_path: Path) -> None:
    """A third epoch here and there: every weight within 2e-6. Steps are of lr = 1e-3."""
    theirs, ours = Theirs(), Ours()
    fit(pl, theirs, tmp_path / "theirs", 3, ckpt_path=lightning, weights_only=False)
    run = fit(vitc, ours, tmp_path / "ours", 3, ckpt_path=lightning)
    assert run.global_step == 9 and run.current_epoch == 3
    assert_close(ours.model.state_dict(), theirs.net.state_dict(), 2e-6)


def test_a_run_of_timms_script_goes_on(tmp_path: Path) -> None:
    """The file that timm.utils.CheckpointSaver writes; then one more epoch here and there."""
    torch.manual_seed(1)
    model = timm.create_model("test_vit", **SIZE)
    exempt = model.no_weight_decay()
    groups = timm.optim.param_groups_weight_decay(model, 0.05, no_weight_decay_list=exempt)
    optimizer = torch.optim.AdamW(groups, lr=LR, eps=EPSILON)

    def epoch() -> None:
        for x, y in data():
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(torch.tensor(x)), torch.tensor(y))
            loss.backward()
            optimizer.step()

    epoch()
    args = argparse.Namespace(model="test_vit", lr=LR)
    saver = timm.utils.CheckpointSaver(
        model, optimizer, args=args, checkpoint_dir=str(tmp_path), recovery_dir=str(tmp_path)
    )
    saver.save_checkpoint(0, metric=0.5)
    epoch()

    class Grouped(Ours):
        def configure_optimizers(self) -> Any:
            groups = param_groups_weight_decay(self.model, 0.05)
            return AdamW(groups, lr=LR, eps=EPSILON)

    module = Grouped()
    run = fit(vitc, module, tmp_path / "ours", 2, ckpt_path=tmp_path / "last.pth.tar")
    assert run.global_step == 6 and run.current_epoch == 2
    assert_close(module.model.state_dict(), model.state_dict(), 2e-6)


def test_what_cannot_go_on_is_named(lightning: Path, tmp_path: Path) -> None:
    weights = tmp_path / "w.pth"
    torch.save(timm.create_model("test_vit", **SIZE).state_dict(), weights)
    with pytest.raises(ValueError, match=r"w\.pth holds weights only and cannot be resumed"):
        fit(vitc, Ours(), tmp_path, 1, ckpt_path=weights)
    cut = tmp_path / "cut.ckpt"
    cut.write_bytes(lightning.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"cut\.ckpt is not a checkpoint that can be read"):
        Ours.load_from_checkpoint(cut)
    with pytest.raises(ValueError, match="does not fit the model"):
        fit(vitc, vitc.Classifier("test_vit", 3), tmp_path, 3, ckpt_path=lightning)


def test_objects_among_the_hyperparameters_are_named(lightning: Path, tmp_path: Path) -> None:
    content = torch.load(lightning, weights_only=False)
    content["hyper_parameters"]["label"] = Path("/data")
    torch.save(content, tmp_path / "m.ckpt")
    with pytest.warns(UserWarning, match=r"m\.ckpt: the hyperparameter 'label' is a pathlib"):
        module = Ours.load_from_checkpoint(tmp_path / "m.ckpt")
    assert module.hparams["label"] == Ours().hparams["label"] and module.hparams["lr"] == LR


@pytest.mark.parametrize("damage", [
    lambda c: c["optimizer_states"][0].pop("state"),
    lambda c: c["optimizer_states"].clear() or c["optimizer_states"].append(3),
    lambda c: c["loops"]["fit_loop"].pop("epoch_progress"),
    lambda c: c.update(global_step="x"),
])  # fmt: skip
def test_damaged_runs_are_named_and_change_nothing(
    lightning: Path, tmp_path: Path, damage: Any
) -> None:
    content = torch.load(lightning, weights_only=False)
    damage(content)
    torch.save(content, tmp_path / "m.ckpt")
    module = Ours()
    before = {k: v.tobytes() for k, v in module.state_dict().items()}
    with pytest.raises(ValueError, match=r"m\.ckpt is a damaged checkpoint"):
        fit(vitc, module, tmp_path, 3, ckpt_path=tmp_path / "m.ckpt")
    assert {k: v.tobytes() for k, v in module.state_dict().items()} == before
