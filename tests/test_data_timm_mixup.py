"""vitc.data.timm.mixup against timm: numbers to the bit for given draws, distributions."""

import numpy as np
import pytest
import torch
from scipy import stats

from oracle import timm
from oracle.given import WEIGHTS, Given
from training_kit import ARGUMENTS, Batches, digest, trainer
from vitc.data import Box, DataLoader, random
from vitc.data.timm.mixup import FastCollateMixup, Mixup, mixup_target
from vitc.tape import clock
from vitc.training.callbacks import Callback
from vitc.training.tools.classifier import Classifier

theirs = timm.data.mixup
CLASSES = 5
RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((6, 3, 20, 30)).astype(np.float32)
PIXELS = RNG.integers(0, 256, IMAGES.shape, dtype=np.uint8)
LABELS = np.array([0, 3, 2, 4, 1, 0])


def timms(box: Box) -> tuple[int, int, int, int]:
    """In the order of timm's cutmix_bbox_and_lam."""
    return box.top, box.bottom, box.left, box.right


def replay(other, lam, boxes, monkeypatch: pytest.MonkeyPatch) -> None:
    """timm's object does the mixing, with our weights and rectangles in place of its draws."""
    count = {"batch": 1, "elem": len(boxes)}.get(other.mode, len(boxes) // 2)
    weights = np.ravel(lam)[:count].copy()
    cut = [box is not None for box in boxes[:count]]
    monkeypatch.setattr(other, "_params_per_batch", lambda: (float(drawn[0]), cut[0]))
    monkeypatch.setattr(other, "_params_per_elem", lambda n: (drawn, cut))
    drawn = np.where(cut, 0.5, weights).astype(weights.dtype)  # timm passes over what is 1
    pairs = zip(boxes, weights, strict=False)
    upcoming = iter([(timms(box), weight) for box, weight in pairs if box is not None])
    monkeypatch.setattr(theirs, "cutmix_bbox_and_lam", lambda *a, **k: next(upcoming))


KINDS = [
    dict(),
    dict(mixup_alpha=0.8, cutmix_alpha=1.0, label_smoothing=0.0),
    dict(mixup_alpha=0.0, cutmix_alpha=0.5),
    dict(mixup_alpha=0.3, cutmix_minmax=(0.2, 0.8), prob=0.7, switch_prob=0.6),
    dict(mixup_alpha=0.0, cutmix_alpha=1.0, correct_lam=False),
]


@pytest.mark.parametrize("mode", ["batch", "pair", "elem"])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_batches_are_timms(kind: dict, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = dict(mode=mode, num_classes=CLASSES, **kind)
    ours, other = Mixup(**arguments), theirs.Mixup(**arguments)
    for seed in range(8):
        with random.item(0, 0, seed):
            lam, boxes = ours.draw(IMAGES.shape, random.generator())
        replay(other, lam, boxes, monkeypatch)
        images, targets = other(torch.from_numpy(IMAGES.copy()), torch.from_numpy(LABELS))
        with random.item(0, 0, seed):
            mine = ours(IMAGES, LABELS)
        assert np.array_equal(mine[0], images.numpy())
        assert mine[1].dtype == np.float32 and np.array_equal(mine[1], targets.numpy())


@pytest.mark.parametrize("mode", ["batch", "pair", "elem", "half"])
def test_collated_batches_are_timms(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """uint8, rounded. The items are copied for timm, whose pairs change them."""
    arguments = dict(mixup_alpha=0.8, cutmix_alpha=1.0, mode=mode, num_classes=CLASSES)
    ours, other = FastCollateMixup(**arguments), theirs.FastCollateMixup(**arguments)
    items = [(pixels, int(label)) for pixels, label in zip(PIXELS, LABELS, strict=True)]
    for seed in range(8):
        with random.item(0, 0, seed):
            lam, boxes = ours.draw(PIXELS.shape, random.generator())
        replay(other, lam, boxes, monkeypatch)
        images, targets = other([(pixels.copy(), label) for pixels, label in items])
        with random.item(0, 0, seed):
            mine = ours(items)
        assert mine[0].dtype == np.uint8 and np.array_equal(mine[0], images.numpy())
        assert np.array_equal(mine[1], targets.numpy())


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_multi_label_targets_are_timms(smoothing: float) -> None:
    dense = RNG.integers(0, 2, (6, CLASSES)).astype(np.float32)
    lam = RNG.random((6, 1)).astype(np.float32)
    for weight in (0.3, lam):
        other = torch.from_numpy(weight) if isinstance(weight, np.ndarray) else weight
        expected = theirs.mixup_target(torch.from_numpy(dense), CLASSES, other, smoothing, True)
        mine = mixup_target(dense, CLASSES, weight, smoothing, multi_label=True)
        assert np.array_equal(mine, expected.numpy())


def test_probabilities_are_targets_too() -> None:
    """Of one class with certainty they are the label, up to rounding in the smoothing."""
    certain = np.eye(CLASSES)[LABELS]
    hard, soft = (mixup_target(t, CLASSES, 0.3, 0.1) for t in (LABELS, certain))
    assert np.allclose(hard, soft, rtol=0, atol=1e-7) and np.allclose(soft.sum(1), 1)


# ------------------------------------------------------------------------------- distributions


def timms_draws(other, count: int) -> list[tuple[float, bool, float]]:
    np.random.seed(0)
    drawn = []
    for _ in range(count):
        lam, cut = other._params_per_batch()
        area, cut = 0.0, bool(cut and lam != 1)
        if cut:
            (top, bottom, left, right), lam = theirs.cutmix_bbox_and_lam(
                IMAGES.shape, lam, other.cutmix_minmax, other.correct_lam
            )
            area = float((bottom - top) * (right - left))
        drawn.append((lam, cut, area))
    return drawn


def our_draws(mixup: Mixup, count: int) -> list[tuple[float, bool, float]]:
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(count):
        lam, (box, *_) = mixup.draw(IMAGES.shape, rng)
        area = 0.0 if box is None else float(box.height * box.width)
        drawn.append((lam, box is not None, area))
    return drawn


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_draws_are_distributed_as_timms(kind: dict) -> None:
    """Weights and areas by Kolmogorov-Smirnov, how often it cuts by chi square, at 0.1 %."""
    ours, other = our_draws(Mixup(**kind), 3000), timms_draws(theirs.Mixup(**kind), 3000)
    for place in (0, 2):
        columns = [[draw[place] for draw in draws] for draws in (ours, other)]
        assert stats.ks_2samp(*columns).pvalue > 0.001
    cuts = [sum(cut for _, cut, _ in draws) for draws in (ours, other)]
    table = [[cut, 3000 - cut] for cut in cuts]
    assert len(set(map(tuple, table))) == 1 or stats.chi2_contingency(table).pvalue > 0.001


def test_every_element_draws_for_itself() -> None:
    mixup = Mixup(cutmix_alpha=1.0, mode="elem")
    lam, boxes = mixup.draw((1000, 3, 20, 30), np.random.default_rng(0))
    assert lam.shape == (1000, 1) and len(np.unique(lam)) > 600
    assert stats.binomtest(sum(box is not None for box in boxes), 1000).pvalue > 0.001


# ------------------------------------------------------------------------------- rectangles


@pytest.mark.parametrize(("lam", "y", "x"), WEIGHTS)
@pytest.mark.parametrize("corrected", [True, False])
def test_rectangles_of_given_draws_are_timms(lam, y, x, corrected, monkeypatch) -> None:
    places = iter((y, x))
    monkeypatch.setattr(np.random, "randint", lambda *a, **k: next(places))
    expected = theirs.cutmix_bbox_and_lam(IMAGES.shape, lam, correct_lam=corrected)
    mixup = Mixup(0.0, 1.0, correct_lam=corrected)
    weight, boxes = mixup.draw(IMAGES.shape, Given(lam, y, x))
    assert (timms(boxes[0]), weight) == expected


def test_rectangles_between_two_shares_are_timms(monkeypatch) -> None:
    places = iter((6, 21, 11, 4))  # height, width, top, left: timm draws both edges first
    monkeypatch.setattr(np.random, "randint", lambda *a, **k: next(places))
    expected = theirs.cutmix_bbox_and_lam(IMAGES.shape, 0.5, ratio_minmax=(0.2, 0.9))
    mixup = Mixup(0.0, cutmix_minmax=(0.2, 0.9))
    weight, boxes = mixup.draw(IMAGES.shape, Given(0.5, 6, 11, 21, 4))
    assert (timms(boxes[0]), weight) == expected


# ------------------------------------------------------------------------------- in use


def test_the_input_stays_and_switches_switch_off() -> None:
    before = IMAGES.copy()
    mixup = Mixup(num_classes=CLASSES, label_smoothing=0.0)
    assert not np.array_equal(mixup(IMAGES, LABELS)[0], IMAGES)
    mixup.mixup_enabled = False
    images, targets = mixup(IMAGES, LABELS)
    assert np.array_equal(images, before) and np.array_equal(targets, np.eye(CLASSES)[LABELS])
    assert np.array_equal(IMAGES, before)


@pytest.mark.parametrize("mode", ["batch", "pair", "elem", "half"])
def test_the_middle_of_an_odd_batch_stays_as_it_is(mode: str) -> None:
    """The last batch of an epoch may be odd; timm refuses it."""
    items = list(zip(IMAGES[:5], LABELS[:5], strict=True))
    mixup = FastCollateMixup(num_classes=CLASSES, mode=mode, label_smoothing=0.0)
    images, targets = mixup(items)
    if mode == "half":
        assert len(images) == len(targets) == 2
        return
    assert np.allclose(images[2], IMAGES[2], rtol=0, atol=1e-6)
    assert np.allclose(targets[2], np.eye(CLASSES)[LABELS[2]], rtol=0, atol=1e-6)
    assert not np.allclose(images[1], IMAGES[1])


def test_in_a_loader_every_batch_and_epoch_draws_anew_whatever_the_threads() -> None:
    data = list(zip(np.repeat(PIXELS, 4, 0), np.repeat(LABELS, 4), strict=True))

    def epochs(workers: int) -> list[list[bytes]]:
        collate = FastCollateMixup(num_classes=CLASSES, mixup_off_epoch=2)
        loader = DataLoader(data, 6, shuffle=True, seed=1, num_workers=workers, collate_fn=collate)
        return [[targets.tobytes() for _, targets in loader] for _ in range(3)]

    first = epochs(0)
    assert len({batch for epoch in first for batch in epoch}) == 12
    assert first == epochs(1) == epochs(3)
    last = np.frombuffer(first[2][0], np.float32).reshape(-1, CLASSES)
    assert np.isin(last.max(1), np.float32(1 - 0.1 + 0.1 / CLASSES)).all()


class Mixing(Classifier):
    """Mixes in the training step, as timm's training script does."""

    def training_step(self, batch, batch_idx: int):
        return super().training_step(Mixup(0.8, 1.0, num_classes=3)(*batch), batch_idx)


class Save(Callback):
    """Writes a checkpoint after seven batches, which is in the second epoch of five."""

    def on_train_batch_end(self, trainer, *_) -> None:
        if trainer.global_step == 7:
            trainer.save_checkpoint(f"{trainer.default_root_dir}/seven.ckpt")


def test_a_run_resumed_amid_an_epoch_mixes_as_if_it_had_not_stopped(tmp_path) -> None:
    clock.restart(0)
    whole, rest = (Mixing("test_vit", 3, **ARGUMENTS) for _ in range(2))
    trainer(tmp_path, max_epochs=2, callbacks=Save()).fit(whole, Batches())
    clock.restart(0)
    Mixup(num_classes=3)(IMAGES, np.zeros(6, int))  # draws before the run do not count
    run = trainer(tmp_path, max_epochs=2)
    run.fit(rest, Batches(), ckpt_path=tmp_path / "seven.ckpt")
    assert run.global_step == 10 and digest(rest) == digest(whole)
    clock.restart(0)


BAD = [
    (lambda: Mixup(0.0), "mixup_alpha and cutmix_alpha are 0"),
    (lambda: Mixup(mode="row"), "mode is 'row', expected one of batch, pair, elem"),
    (lambda: Mixup(mode="half"), "mode is 'half'"),
    (lambda: Mixup(-1), "mixup_alpha is -1"),
    (lambda: Mixup(cutmix_minmax=(0.8, 0.2)), "cutmix_minmax is .0.8, 0.2."),
    (lambda: Mixup(prob=2), "prob is 2"),
    (lambda: Mixup()(IMAGES, LABELS[:4]), "with 4 targets"),
    (lambda: Mixup(num_classes=4)(IMAGES, LABELS), "expected integers from 0 to 3"),
    (lambda: mixup_target(LABELS, CLASSES, multi_label=True), "expected .batch, 5."),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_values_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_printed_with_their_arguments() -> None:
    names = {"Mixup": Mixup, "batch": "batch"}
    mixup = Mixup(0.8, cutmix_minmax=(0.2, 0.5))
    assert repr(eval(repr(mixup), names)) == repr(mixup)
