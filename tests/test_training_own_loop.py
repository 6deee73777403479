"""`vitc.Run.save` and `load`: a loop with two optimizers goes on with the same bits."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vitc
import vitc.functional as F
from vitc.tape import clock

EPOCHS, BATCHES = 2, 3
MODEL = dict(img_size=32, patch_size=8, embed_dim=24, num_heads=3, depth=2, num_classes=3)


class Loop:
    """Two models that are trained in turn, each by an optimizer of its own."""

    def __init__(self, devices: int = 1) -> None:
        vitc.seed_everything(5)
        random = np.random.default_rng(1)
        images = random.integers(0, 255, (12, 32, 32, 3)).astype(np.uint8)
        transform = vitc.data.create_transform(32, is_training=True)
        data = vitc.data.ArrayDataset(images, np.arange(12) % 3, transform=transform)
        self.run = vitc.Run(devices=devices)
        made = [vitc.create_model("test_vit", **MODEL, drop_path_rate=0.3) for _ in range(2)]
        self.first, self.second = self.run.setup(*made)
        self.loader = self.run.setup(
            vitc.data.DataLoader(data, batch_size=4 // devices, shuffle=True, num_workers=1)
        )
        self.optimizers = (
            vitc.optim.AdamW(self.first.parameters(), lr=1e-3),
            vitc.optim.SGD(self.second.parameters(), lr=1e-2, momentum=0.9),
        )
        self.schedule = vitc.optim.lr_scheduler.StepLR(self.optimizers[0], 2, 0.5)
        self.seen = vitc.metrics.Accuracy(task="multiclass", num_classes=3)
        self.epoch = self.batches = 0

    def state(self) -> dict[str, Any]:
        names = ("first", "second", "loader", "schedule", "seen", "epoch", "batches")
        found = {name: getattr(self, name) for name in names}
        return found | dict(zip(("adamw", "sgd"), self.optimizers, strict=True))

    def train(self, batches: int) -> None:
        """At most so many, to the end of the epochs."""
        while self.epoch < EPOCHS and batches:
            for x, y in self.loader:
                model, optimizer = (self.first, self.second), self.optimizers
                logits = model[self.batches % 2](x)
                self.seen.update(logits, y)
                self.run.backward(F.cross_entropy(logits, y))
                optimizer[self.batches % 2].step()
                optimizer[self.batches % 2].zero_grad()
                self.schedule.step()
                self.batches, batches = self.batches + 1, batches - 1
                if not batches:
                    return
            self.epoch += 1

    def bits(self) -> list[Any]:
        arrays = [p.data for m in (self.first, self.second) for p in m.parameters()]
        kept = [row.values() for o in self.optimizers for row in o.state_dict()["state"].values()]
        arrays += [np.asarray(value) for row in kept for value in row]
        rates = [group["lr"] for o in self.optimizers for group in o.param_groups]
        seen = [value.tobytes() for value in self.seen.state_dict().values()]
        return [a.tobytes() for a in arrays] + rates + seen + [clock.step]


@pytest.mark.parametrize("devices", [1, 2])
def test_a_loop_goes_on_where_it_was_saved(tmp_path: Path, devices: int) -> None:
    whole = Loop(devices)
    whole.train(-1)
    assert whole.batches == EPOCHS * BATCHES
    for at in range(1, EPOCHS * BATCHES):
        cut = Loop(devices)
        cut.train(at)
        cut.run.save(tmp_path / "ck", cut.state())
        again = Loop(devices)
        clock.seed = 99
        again.first.load_state_dict(whole.first.state_dict())
        state = again.state()
        assert again.run.load(tmp_path / "ck", state) == {}
        again.epoch, again.batches = state["epoch"], state["batches"]
        assert again.batches == at and clock.seed == 5
        again.train(-1)
        assert again.bits() == whole.bits(), at


def test_what_is_not_asked_for_is_returned(tmp_path: Path) -> None:
    loop = Loop()
    loop.run.save(tmp_path / "ck", {"first": loop.first, "best": (1.5, None), "name": {0: "a"}})
    rest = loop.run.load(tmp_path / "ck")
    assert rest["best"] == (1.5, None) and rest["name"] == {0: "a"}
    assert rest["first"].keys() == loop.first.state_dict().keys()
    assert loop.run.load(tmp_path / "ck", {"frist": None}, strict=False).keys() == rest.keys()
    with pytest.raises(KeyError, match="has no 'frist'; did you mean 'first'"):
        loop.run.load(tmp_path / "ck", {"frist": loop.first})


def test_a_refused_load_changes_nothing(tmp_path: Path) -> None:
    loop, other = Loop(), Loop()
    loop.train(3)
    loop.run.save(tmp_path / "ck", loop.state())
    before, place = other.bits(), (clock.seed, clock.step)
    for odd in (
        {"second": vitc.create_model("test_vit", **{**MODEL, "depth": 1})},
        {"sgd": vitc.optim.AdamW(other.second.parameters())},
        {"seen": vitc.metrics.Accuracy(task="multiclass", num_classes=4)},
    ):
        with pytest.raises(ValueError, match=f"ck, '{next(iter(odd))}': "):
            other.run.load(tmp_path / "ck", other.state() | odd)
        assert other.bits() == before and (clock.seed, clock.step) == place
    (tmp_path / "ck" / "first.safetensors").write_bytes(b"1234")
    with pytest.raises(ValueError, match="damaged"):
        other.run.load(tmp_path / "ck", other.state())
    assert other.bits() == before


def test_a_save_that_cannot_be_made_leaves_what_is_there(tmp_path: Path) -> None:
    loop = Loop()
    with pytest.raises(TypeError, match="save\\(\\) cannot keep 'odd': it has a object"):
        loop.run.save(tmp_path / "ck", {"odd": object()})
    with pytest.raises(ValueError, match="name 'a/b'"):
        loop.run.save(tmp_path / "ck", {"a/b": 1})
    assert not list(tmp_path.iterdir())
    (tmp_path / "mine").mkdir()
    with pytest.raises(FileExistsError, match="not a checkpoint"):
        loop.run.save(tmp_path / "mine", {"a": 1})
    loop.run.save(tmp_path / "ck", {"a": 1})
    loop.run.save(tmp_path / "ck", {"a": 2})
    assert loop.run.load(tmp_path / "ck") == {"a": 2}


def test_a_trainer_does_not_take_it_for_a_run(tmp_path: Path) -> None:
    module = vitc.Classifier("test_vit", 3, img_size=32)
    vitc.Run().save(tmp_path / "ck", {"model": module.model})
    trainer = vitc.Trainer(default_root_dir=tmp_path, max_epochs=1, enable_progress_bar=False)
    batch = np.zeros((2, 3, 32, 32), np.float32), np.zeros(2, int)
    with pytest.raises(ValueError, match="holds weights only"):
        trainer.fit(module, [batch], ckpt_path=tmp_path / "ck")
    whole = trainer.fit(module, [batch])
    assert whole is None
    path = next(itertools.chain(tmp_path.rglob("epoch*.ckpt")))
    with pytest.raises(ValueError, match=r"was not written by Run\.save\(\)"):
        vitc.Run().load(path)


class Told:
    def __init__(self) -> None:
        self.lines: list[Any] = []

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.lines.append((metrics, step))

    def on_end(self, *args: Any, **options: Any) -> None:
        self.lines.append((args, options))


def test_callbacks_and_loggers_of_a_loop() -> None:
    told, other = Told(), object()
    run = vitc.Run(callbacks=[other, told], loggers=told)
    run.call("on_end", 3, loss=4)
    run.call("on_nothing")
    run.log("loss", F.mse_loss(vitc.nn.Linear(2, 1)(np.ones((1, 2), np.float32)), [[0.0]]) * 0.0, 7)
    assert told.lines == [((3,), {"loss": 4}), ({"loss": 0.0}, 7)]
    assert vitc.Run().launch(lambda fabric, x: (fabric.world_size, x), 5) == (1, 5)
    with pytest.raises(TypeError, match=r"loggers holds 3, which has no log_metrics"):
        vitc.Run(loggers=[3])


def test_clipping_only_what_an_optimizer_moves() -> None:
    model = vitc.nn.Linear(4, 3)
    weight, bias = model.parameters()
    F.mse_loss(model(np.ones((2, 4), np.float32)), np.full((2, 3), 9.0)).backward()
    before = [np.array(p.grad) for p in (weight, bias)]
    with pytest.raises(ValueError, match="needs max_norm or clip_val"):
        vitc.Run().clip_gradients(model)
    vitc.Run().clip_gradients(model, vitc.optim.SGD([bias], lr=0.1), max_norm=0.5)
    assert np.array_equal(weight.grad, before[0])
    assert np.linalg.norm(bias.grad) == pytest.approx(0.5) and np.linalg.norm(before[1]) > 1


def test_several_passes_are_the_mean_over_their_samples() -> None:
    """torch adds them up; here a step does not depend on how its batch is cut."""
    x, y = np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32), np.arange(8) % 3
    found = []
    for parts in (1, 2, 8):
        model = vitc.nn.Linear(4, 3)
        model.load_state_dict({"weight": np.eye(3, 4), "bias": np.zeros(3)})
        for some in np.split(np.arange(8), parts):
            F.cross_entropy(model(x[some]), y[some]).backward()
        found.append(next(model.parameters()).grad)
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5)
    np.testing.assert_allclose(found[2], found[0], rtol=1e-5)


@pytest.mark.parametrize(
    "made", [vitc.nn.CrossEntropyLoss, lambda: vitc.metrics.Accuracy("binary")]
)
def test_what_has_no_place_but_the_cpu(made: Any) -> None:
    thing = made()
    assert thing.to("cpu") is thing is thing.cpu()
    with pytest.raises(ValueError, match=r"to\('cuda'\): vitc computes on the CPU"):
        thing.to("cuda")
