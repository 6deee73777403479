"""Micro-batches, and what a run is said to take before its first step."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vitc
from vitc import _vitc
from vitc import functional as F
from vitc.runtime import get_num_threads
from vitc.tape import Loss, clock
from vitc.training import micro, outset
from vitc.training.tools import estimate

BATCH, CLASSES = 16, 4


class Mixed:
    """Two batches of 16 images, each mixed with its mirror (mixup over the loader's batch)."""

    batch_size = BATCH

    def __len__(self) -> int:
        return 2

    def __iter__(self):
        random = np.random.default_rng(3)
        for _ in range(2):
            x = random.standard_normal((BATCH, 3, 32, 32)).astype(np.float32)
            y = np.eye(CLASSES, dtype=np.float32)[random.integers(0, CLASSES, BATCH)]
            share = np.float32(random.beta(0.8, 0.8))
            yield share * x + (1 - share) * x[::-1], share * y + (1 - share) * y[::-1]


class Net(vitc.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        vitc.seed_everything(7)
        self.model = vitc.create_model(
            "test_vit", num_classes=CLASSES, img_size=32, drop_path_rate=0.3, drop_rate=0.1
        )
        self.seen: list[tuple[int, int]] = []
        self.outputs: list[Any] = []

    def training_step(self, batch, index):
        x, y = batch
        self.seen.append((index, len(x)))
        loss = F.cross_entropy(self.model(x), y)
        self.log("loss", loss, on_step=True, on_epoch=True)
        return loss

    def on_train_batch_end(self, outputs, batch, index):
        assert len(batch[0]) == BATCH
        self.outputs.append(outputs)

    def configure_optimizers(self):
        return vitc.optim.AdamW(self.parameters(), lr=1e-2)


def fit(folder: Path, **options: Any) -> tuple[Net, vitc.Trainer]:
    module = Net()
    quiet = dict(logger=False, enable_progress_bar=False, enable_checkpointing=False)
    run = vitc.Trainer(
        max_epochs=2,
        gradient_clip_val=1.0,
        default_root_dir=folder,
        enable_model_summary=False,
        **quiet,
        **options,
    )
    run.fit(module, Mixed())
    return module, run


def sha(module: Net) -> str:
    whole = hashlib.sha256()
    for p in module.parameters():
        whole.update(p.data.tobytes())
    return whole.hexdigest()


def test_no_bit_depends_on_the_micro_batch_or_the_threads(tmp_path: Path) -> None:
    """Four steps with dropout, drop path, mixup and clipping: one SHA-256 of all weights."""
    before, seen = get_num_threads(), {}
    try:
        for size, threads in ((16, 1), (16, 2), (4, 3), (1, 8), (4, 1), (5, 2)):
            module, run = fit(tmp_path, micro_batch=size, threads=threads)
            seen[size, threads] = sha(module)
            assert run.global_step == 4
    finally:
        vitc.set_num_threads(before)
    assert len(set(seen.values())) == 1, seen


def test_batches_and_logs_are_those_of_the_loader(tmp_path: Path) -> None:
    whole, a = fit(tmp_path, micro_batch=16)
    parts, b = fit(tmp_path, micro_batch=5)
    assert whole.seen == [(0, 16), (1, 16)] * 2
    assert parts.seen == [(i, n) for i in (0, 1) for n in (5, 5, 5, 1)] * 2
    for name, value in a.callback_metrics.items():
        assert b.callback_metrics[name] == pytest.approx(value, rel=1e-6)
    for one, other in zip(whole.outputs, parts.outputs, strict=True):
        one, other = one["loss"], other["loss"]
        assert isinstance(other, Loss) and float(other) == pytest.approx(float(one), rel=1e-6)
        assert other.weight == BATCH


def test_what_has_the_rows_of_a_batch_is_cut() -> None:
    x, y = np.arange(6).reshape(3, 2), [7, 8, 9]
    batch = {"x": x, "labels": y, "both": (x, [x, "a"]), "size": 3, "name": "abc"}
    (first, a), (second, b) = micro.parts(batch, 3, 2)
    assert (first, second) == (0, 2)
    assert np.array_equal(a["x"], x[:2]) and np.array_equal(b["both"][1][0], x[2:])
    assert (a["labels"], b["labels"]) == ([7, 8], [9])
    assert (a["size"], a["name"], b["both"][1][1]) == (3, "abc", "a")
    pair = (np.zeros((2, 5)), np.zeros(2))  # two arrays of two samples
    assert [len(part[1]) for _, part in micro.parts(pair, 2, 1)] == [1, 1]


# ------------------------------------------------------------------------------- memory


def test_the_default_takes_at_most_a_quarter_of_what_is_free() -> None:
    module = Net()

    def bytes_of(n: int) -> int:
        return module.model.run_bytes(n, training=True, mode=True)

    assert estimate.default_micro_batch(module, 16, 4 * bytes_of(16)) == 16
    assert estimate.default_micro_batch(module, 16, 4 * bytes_of(16) - 4) == 8
    assert estimate.default_micro_batch(module, 20, 4 * bytes_of(20) - 4) == 16
    assert estimate.default_micro_batch(module, 16, 4 * bytes_of(4)) == 4
    assert estimate.default_micro_batch(module, 16, 0) == 1


def test_a_run_that_cannot_fit_ends_before_its_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outset, "free_memory", lambda: 1_000_000)
    with pytest.raises(MemoryError, match=r"1 MB are free.*set_grad_checkpointing.*smaller model"):
        fit(tmp_path)
    with pytest.raises(MemoryError, match=r"Trainer\(micro_batch=1\)"):
        fit(tmp_path, micro_batch=16)


def test_a_run_takes_what_was_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Just enough for one image at a time is enough: the growth of the core's counter, less what a
    plan and its products weigh."""
    for optimizer, buffers in ((vitc.optim.AdamW, 2), (vitc.optim.Lion, 1)):
        module = Net()
        kept = optimizer(module.parameters())
        said = estimate.estimate(module, 1, 0, kept)
        assert said.parts["optimizer"] == buffers * module.model.params.new_buffer().nbytes
    assert estimate.free_memory() > 50_000_000


# ------------------------------------------------------------------------------- time


def test_the_time_is_measured_and_leaves_nothing_behind() -> None:
    module = Net()
    module.model.run_flops(training=True, mode=True)
    before, draws = _vitc.memory()["bytes"], (clock.step, clock.row, clock.forward)
    left = estimate.time_left(module, 1000)
    assert left is not None and 0 < left.probe < left.seconds
    forward, backward = module.model.run_flops(training=True, mode=True)
    assert left.seconds / left.probe == pytest.approx((forward + backward) / forward)
    assert _vitc.memory()["bytes"] - before < 500_000  # the products of other strips stay cached
    assert (clock.step, clock.row, clock.forward) == draws


def test_durations_in_words() -> None:
    assert [estimate.duration(s) for s in (5, 300, 9000, 400_000)] == [
        "5 s",
        "5 min",
        "2 h 30 min",
        "4.6 days",
    ]
    assert str(estimate.Duration(300, 100)) == "about 5 min of training passes"
    long = str(estimate.Duration(9000, 3000))
    assert "frozen trunk about 50 min; a smaller model or fewer epochs" in long
    assert "frozen" not in str(estimate.Duration(9000, 9000))


# ------------------------------------------------------------------------------- what a cut may not


class Ignoring(Net):
    """Labels of -100 in some batches, class weights, and what is logged of them."""

    def on_train_batch_end(self, outputs, batch, index):
        self.outputs.append(outputs)

    def training_step(self, batch, index):
        x, y = batch
        weight = np.array([0.2, 1.0, 3.0, 0.5], np.float32)
        loss = F.cross_entropy(self.model(x), y, weight=weight)
        self.log("loss", loss, on_step=True, on_epoch=True)
        self.log("least", float(y.min()), on_step=True, on_epoch=True, reduce_fx="min")
        self.log("positive", float((y >= 0).sum()), on_step=True, on_epoch=True, reduce_fx="sum")
        return loss


def ignoring(batches: int = 4) -> list[tuple[Any, Any]]:
    """The first half of a batch has no labels, and the third batch none at all."""
    random = np.random.default_rng(5)
    made = []
    for i in range(batches):
        y = random.integers(0, CLASSES, 8)
        y[: 8 if i == 2 else 4] = -100
        made.append((random.standard_normal((8, 3, 32, 32)).astype(np.float32), y))
    return made


@pytest.mark.parametrize("window", [1, 2])
def test_samples_without_a_label_and_class_weights_are_cut_anywhere(tmp_path, window) -> None:
    """Weights, and every logged number, are those of the whole batch; a part, or a batch, that is
    all ignored adds nothing, and is not a fault."""
    found = {}
    for size in (8, 3, 2, 1):
        module = Ignoring()
        run = vitc.Trainer(
            max_epochs=2,
            accumulate_grad_batches=window,
            micro_batch=size,
            default_root_dir=tmp_path / str(size),
            log_every_n_steps=1,
            enable_progress_bar=False,
            enable_checkpointing=False,
            enable_model_summary=False,
        )
        run.fit(module, ignoring())
        rows = (run.log_dir / "metrics.csv").read_text().splitlines()
        metrics = {name: float(value) for name, value in run.callback_metrics.items()}
        found[size] = sha(module), metrics, len(rows)
        assert run.global_step == 8 // window
    for size, (weights, metrics, rows) in found.items():
        assert weights == found[8][0], size
        assert metrics == pytest.approx(found[8][1], rel=1e-6, nan_ok=True), size
        assert rows == found[8][2]
    assert np.isfinite(found[8][1]["loss_epoch"])
    assert found[8][1]["positive_epoch"] == 3 * 4 and found[8][1]["least_epoch"] == -100


def short_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for a run, of which a batch at once takes more than a quarter."""
    module = Net()
    needed = 3 * module.model.run_bytes(BATCH, training=True, mode=True)
    monkeypatch.setattr(outset, "free_memory", lambda: needed)


def test_memory_does_not_cut_where_that_changes_the_result(tmp_path, monkeypatch) -> None:
    """A model that is called twice, and a loss that may look at several samples: the user says how
    the batch is cut, not the machine."""

    class Twice(Net):
        def training_step(self, batch, index):
            x, y = batch
            return F.cross_entropy(self.model(x), y) + F.cross_entropy(self.model(x[:, :, ::-1]), y)

    @vitc.loss
    def spread(x, y):
        return float((x**2).sum()), 2 * x, len(x)

    class Own(Net):
        def training_step(self, batch, index):
            return spread(self.model(batch[0]), batch[1])

    quiet = dict(logger=False, enable_progress_bar=False, enable_checkpointing=False)
    quiet |= dict(max_epochs=1, default_root_dir=tmp_path, enable_model_summary=False)
    cases = ((Twice, "called several times"), (Own, "several samples at once"))
    for kind, _ in cases:
        vitc.Trainer(**quiet).fit(kind(), Mixed())
    short_of_memory(monkeypatch)
    vitc.Trainer(**quiet).fit(Net(), Mixed())
    for kind, words in cases:
        run = vitc.Trainer(**quiet)
        with pytest.raises(ValueError, match=rf"{words}.*Trainer\(micro_batch=\d+\)"):
            run.fit(kind(), Mixed())
        assert run.cuts_by_memory and run.global_step == 0
        vitc.Trainer(**quiet, micro_batch=4).fit(kind(), Mixed())
