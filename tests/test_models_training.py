"""Whole models in training: dropout masks, finite differences, optimisation, and the same bits."""

import threading
from typing import Any

import numpy as np
import pytest
import torch

from oracle import double, gradient_errors, images, pair, relative, timm
from vitc import _vitc
from vitc import functional as F
from vitc.models import create_model
from vitc.models.model import Model
from vitc.runtime import get_num_threads, set_num_threads
from vitc.tape import clock, close_window, no_grad


@pytest.fixture(autouse=True)
def _clock():
    """Every test starts at seed 0, step 0."""
    clock.seed = 0
    clock.begin(0)
    yield
    clock.seed = 0
    clock.begin(0)


# ------------------------------------------------------------------------------- dropout masks


class Masked(torch.nn.Module):
    """A dropout (or drop path) of timm with vitc's mask of the same site."""

    def __init__(self, site: str, rate: float, key: dict[str, int], whole: bool) -> None:
        super().__init__()
        self.site, self.keep, self.key, self.whole = site, 1 - rate, key, whole
        self.seen = 0  # elements of an image in earlier calls: timm's DeiT shares one head_drop

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n = 1 if self.whole else x[0].numel()
        first, self.seen = self.seen, self.seen + n
        key = (self.key["seed"], self.key["step"], self.key["forward"])
        words = [
            _vitc.random_words(*key, self.key["row"] + i, self.site, first + n)[first:]
            for i in range(len(x))
        ]
        mask = double(np.array(words) < self.keep * 2.0**32)
        shape = (-1, *([1] * (x.ndim - 1))) if self.whole else x.shape
        return x * mask.reshape(shape) / self.keep


def put_masks(model: torch.nn.Module, key: dict[str, int]) -> int:
    """Replaces every dropout of timm that acts; returns how many there are."""
    count = 0
    for name, module in list(model.named_modules()):
        kind = type(module).__name__
        rate = {"Dropout": "p", "DropPath": "drop_prob"}.get(kind)
        if rate is None or getattr(module, rate) == 0:
            continue
        parent, _, leaf = name.rpartition(".")
        masked = Masked(name, getattr(module, rate), key, kind == "DropPath")
        setattr(model.get_submodule(parent), leaf, masked)
        count += 1
    return count


RATES = dict(
    drop_rate=0.2, pos_drop_rate=0.1, proj_drop_rate=0.15, attn_drop_rate=0.3, drop_path_rate=0.4
)
SMALL = dict(num_classes=10, depth=3, embed_dim=48, num_heads=3)
SITES = 1 + 4 * 3 + 2 * 2 + 1  # of a block four, of all but the first two more
vision_transformer = timm.models.vision_transformer
DRAWING: dict[str, tuple[str, dict[str, Any], int]] = {
    "test_vit": ("test_vit", {}, SITES),
    "distilled": ("deit_tiny_distilled_patch16_224", {}, SITES),
    "rope": ("eva02_tiny_patch14_224", dict(img_size=84), SITES),
    "bias": ("beit_base_patch16_224", {}, SITES),
    "parallel": (
        "test_vit",
        dict(block_fn=vision_transformer.ParallelScalingBlock),
        1 + 2 * 3 + 2 + 1,
    ),
    "things": (
        "test_vit",
        dict(block_fn=vision_transformer.ParallelThingsBlock),
        1 + 8 * 3 + 4 * 2 + 1,
    ),
}


def drawing_pair(name: str, **arguments: Any) -> tuple[Model, torch.nn.Module]:
    """Both models in training mode with every rate above 0; step 5 of seed 7, images from 64 on."""
    ours, theirs = pair(name, **{"img_size": 96, **SMALL, **RATES, **arguments})
    clock.seed = 7
    clock.begin(step=5, row=64)
    return ours.train(), theirs.train()


KEY = dict(seed=7, step=5, forward=0, row=64)


@pytest.mark.parametrize("case", DRAWING)
def test_dropout_and_drop_path_equal_timm_with_the_same_masks(case: str) -> None:
    name, arguments, sites = DRAWING[case]
    ours, theirs = drawing_pair(name, **arguments)
    for module in theirs.modules():
        module.fused_attn = False  # which has its dropout in a module
    assert put_masks(theirs, KEY) == sites
    assert_trained_alike(ours, theirs)


class Attention:
    """torch's scaled_dot_product_attention with vitc's masks, each map of a head after the other,
    block after block."""

    def __init__(self, maps: int) -> None:
        self.maps, self.calls = maps, 0

    def __call__(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
    ) -> torch.Tensor:
        block, which = divmod(self.calls, self.maps)
        self.calls += 1
        batch, heads, tokens, _ = q.shape
        masked = Masked(f"blocks.{block}.attn.attn_drop", dropout_p, KEY, whole=False)
        ones = torch.ones(batch, heads, self.maps, tokens, tokens, dtype=torch.float64)
        scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
        if attn_mask is not None:
            scores = scores + attn_mask
        if is_causal:
            scores = scores + torch.full((tokens, tokens), -torch.inf).triu(1)
        return scores.softmax(-1) * masked(ones)[:, :, which] @ v


@pytest.mark.parametrize("kind", ["two maps", "mask", "mask of two maps", "causal"])
def test_dropped_probabilities_of_maps_and_masks_are_timms(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two maps in float64: the slope of lambda is a sum of what cancels."""
    maps = 2 if "maps" in kind else 1
    arguments = dict(attn_layer="diff", dtype="float64") if maps == 2 else {}
    ours, theirs = drawing_pair("test_vit", global_pool="avg", **arguments)
    put_masks(theirs, KEY)  # of all others
    for block in theirs.blocks:
        block.attn.attn_drop = torch.nn.Dropout(RATES["attn_drop_rate"])  # gives its rate
    attention = Attention(maps)
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", attention)
    mask = np.random.default_rng(3).standard_normal((4, 1, 37, 37)).astype(np.float32)
    given: dict[str, Any] = {"is_causal": True} if kind == "causal" else {}
    if "mask" in kind:
        given = {"attn_mask": mask}
    assert_trained_alike(ours, theirs, **given)
    assert attention.calls == 3 * maps


def assert_trained_alike(ours: Model, theirs: torch.nn.Module, **masking: Any) -> None:
    """Logits within 1e-5, gradients within 5e-5."""
    x = images(4, ours).astype(ours.params.dtype)
    labels = [1, 2, 3, 4]
    logits = ours(x, **masking)
    expected = theirs(
        double(x), **{k: double(v) if k == "attn_mask" else v for k, v in masking.items()}
    )
    assert relative(logits, expected.detach()) <= 1e-5
    F.cross_entropy(logits, labels).backward()
    torch.nn.functional.cross_entropy(expected, torch.tensor(labels)).backward()
    errors = gradient_errors(ours, theirs)
    worst = max(errors, key=errors.get)
    assert errors[worst] <= 5e-5, (worst, errors[worst])


def test_dropout_acts_in_training_mode_only_and_changes_with_the_step() -> None:
    model = create_model("test_vit", num_classes=10, drop_path_rate=0.5, drop_rate=0.5)
    x = images(2, model)
    first, second = np.array(model(x)), np.array(model(x))
    assert not np.array_equal(first, second)  # the second forward of the step
    clock.begin(0)
    assert np.array_equal(model(x), first)
    with no_grad():
        clock.begin(0)
        assert np.array_equal(model(x), first)
    clock.advance()
    assert not np.array_equal(model(x), first)
    model.eval()
    assert np.array_equal(model(x), model(x))


def test_a_slice_of_a_batch_draws_what_it_draws_in_the_batch() -> None:
    rates = dict(drop_path_rate=0.5, proj_drop_rate=0.1, attn_drop_rate=0.1)
    model = create_model("test_vit", num_classes=10, **rates)
    x = images(4, model)
    whole = np.array(model(x))
    clock.begin(0, row=2)
    assert np.array_equal(model(x[2:]), whole[2:])


# ------------------------------------------------------------------------------- gradients


def test_gradients_equal_finite_differences_in_double() -> None:
    """Central differences along a random direction per parameter, all dropouts acting."""
    model = create_model(
        "test_vit",
        dtype="float64",
        img_size=8,
        patch_size=4,
        embed_dim=8,
        depth=2,
        num_classes=3,
        drop_rate=0.3,
        pos_drop_rate=0.1,
        proj_drop_rate=0.2,
        drop_path_rate=0.5,
    )
    generator = np.random.default_rng(3)
    with model.edit() as weights:
        for value in weights.values():
            value += 0.3 * generator.standard_normal(value.shape)
    x = generator.standard_normal((3, 3, 8, 8))

    def loss():
        clock.begin(11)
        return F.cross_entropy(model(x), [0, 1, 2], label_smoothing=0.1)

    loss().backward()
    step = 1e-5
    for name, parameter in model.named_parameters():
        start, direction = np.array(parameter.data), generator.standard_normal(parameter.shape)
        sides = []
        for sign in (1, -1):
            model.params.write(parameter.index, start + sign * step * direction)
            with no_grad():
                sides.append(float(loss()))
        model.params.write(parameter.index, start)
        expected = (sides[0] - sides[1]) / (2 * step)
        slope = float(np.sum(parameter.grad * direction))
        assert slope == pytest.approx(expected, rel=1e-6, abs=1e-9), name


def test_frozen_parameters_get_no_gradient_and_change_no_other() -> None:
    ours, theirs = pair("test_vit", num_classes=10, depth=3)
    ours.blocks[0].requires_grad_(False)
    ours.patch_embed.requires_grad_(False)
    x = images(2, ours)
    F.cross_entropy(ours(x), [1, 2]).backward()
    torch.nn.functional.cross_entropy(theirs(double(x)), torch.tensor([1, 2])).backward()
    expected = {name: p.grad.numpy() for name, p in theirs.named_parameters()}
    for name, parameter in ours.named_parameters():
        if not parameter.requires_grad:
            assert parameter.grad is None, name
        elif name.endswith("qkv.bias"):
            third = len(expected[name]) // 3
            assert relative(parameter.grad[:third], expected[name][:third]) <= 5e-5
        else:
            assert relative(parameter.grad, expected[name]) <= 5e-5, name


# ------------------------------------------------------------------------------- optimisation


class AdamW:
    """`_vitc.adamw_step` over all parameters of a model."""

    def __init__(self, model: Model, lr: float, weight_decay: float = 0.01) -> None:
        self.model, self.lr, self.weight_decay, self.steps = model, lr, weight_decay, 0
        self.moments = model.params.new_buffer(), model.params.new_buffer()

    def step(self) -> None:
        close_window([self.model])
        self.steps += 1
        _vitc.adamw_step(
            self.model.params,
            *self.moments,
            range(len(self.model.params)),
            step=self.steps,
            lr=self.lr,
            betas=(0.9, 0.999),
            eps=1e-8,
            weight_decay=self.weight_decay,
            l2=0.0,
            threads=get_num_threads(),
        )
        self.model.zero_grad()
        clock.advance()


def test_a_hundred_adamw_steps_follow_timm_in_float64() -> None:
    ours, theirs = pair("test_vit", num_classes=10, img_size=96)
    state = create_model("test_vit", num_classes=10, img_size=96).state_dict()
    ours.load_state_dict(state)
    theirs.load_state_dict({k: double(v) for k, v in state.items()})
    ours.train()
    theirs.train()
    optimizer = AdamW(ours, lr=1e-3)
    reference = torch.optim.AdamW(theirs.parameters(), lr=1e-3, weight_decay=0.01)
    x, labels = images(16, ours), np.arange(16) % 10
    worst = 0.0
    for _ in range(100):
        loss = F.cross_entropy(ours(x), labels)
        loss.backward()
        optimizer.step()
        reference.zero_grad()
        expected = torch.nn.functional.cross_entropy(theirs(double(x)), torch.tensor(labels))
        expected.backward()
        reference.step()
        worst = max(worst, abs(float(loss) - expected.item()))
    assert worst <= 1e-5


def test_eight_images_with_random_labels_are_learned_by_heart() -> None:
    model = create_model("test_vit", num_classes=10, img_size=64)
    optimizer = AdamW(model, lr=3e-3, weight_decay=0.0)
    x, labels = images(8, model), np.random.default_rng(5).integers(0, 10, 8)
    for _ in range(400):
        loss = F.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
    assert float(loss) < 1e-3


# ------------------------------------------------------------------------------- the same bits


def _bits(threads: int, steps: int = 3) -> tuple[list[float], dict[str, np.ndarray]]:
    """Losses and weights of a short training with dropout on this many threads."""
    set_num_threads(threads)
    clock.begin(0)
    rates = dict(drop_path_rate=0.2, drop_rate=0.1, attn_drop_rate=0.2)
    model = create_model("test_vit", num_classes=10, img_size=96, **rates)
    optimizer = AdamW(model, lr=1e-3)
    x, losses = images(5, model), []
    for _ in range(steps):
        loss = F.cross_entropy(model(x), [0, 1, 2, 3, 4])
        loss.backward()
        optimizer.step()
        losses.append(loss.value)
    return losses, model.state_dict()


@pytest.fixture
def _threads():
    before = get_num_threads()
    yield
    set_num_threads(before)


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_threads_and_repetition_change_no_bit(threads: int) -> None:
    losses, weights = _bits(2)
    again, same = _bits(threads)
    assert again == losses
    for name, value in weights.items():
        assert np.array_equal(same[name], value), name


def test_an_image_has_the_same_bits_alone_and_in_a_batch() -> None:
    for training in (False, True):
        model = create_model("vit_tiny_patch16_224", num_classes=10, img_size=96).train(training)
        x = images(5, model)
        whole = np.array(model(x))
        for i in range(5):
            assert np.array_equal(model(x[i : i + 1])[0], whole[i])


def test_recorded_and_plain_forwards_agree() -> None:
    ours, theirs = pair("vit_tiny_patch16_224", num_classes=10, img_size=96)
    x = images(2, ours)
    recorded = ours(x)
    assert recorded.edge is not None
    with no_grad():
        plain = ours(x)
    assert plain.edge is None
    assert relative(plain, recorded) <= 1e-6
    assert relative(plain, theirs(double(x)).detach()) <= 1e-5


def test_two_threads_get_two_runs() -> None:
    model = create_model("test_vit", num_classes=10, img_size=64).eval()
    x = [images(2, model, seed) for seed in range(4)]
    with no_grad():
        expected = [np.array(model(item)) for item in x]
    results: list[bool] = []

    def work(i: int) -> None:
        with no_grad():
            results.extend(np.array_equal(model(x[i]), expected[i]) for _ in range(20))

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(results) == 80 and all(results)
