"""Patch dropout: which patches are kept, and that the rest of the model is timm's.

Oracles: selection sampling written out here over the same words of the counter; timm in float64
with these patches kept (outputs 1e-5, gradients 5e-5 relative); the hypergeometric distribution
(each count within 4.5 standard deviations).
"""

import numpy as np
import pytest
import torch

from oracle import double, gradient_errors, images, pair, relative
from vitc import _vitc
from vitc import functional as F
from vitc.models import create_model
from vitc.tape import clock, no_grad

SMALL = dict(depth=2, embed_dim=32, num_heads=2, num_classes=5, img_size=64, patch_drop_rate=0.4)


@pytest.fixture(autouse=True)
def _clock():
    clock.seed = 7
    clock.begin(step=5, row=64)
    yield
    clock.seed = 0
    clock.begin(0)


def kept(row: int, rows: int, count: int) -> list[int]:
    """Which of the patches of an image stay."""
    words = _vitc.random_words(7, 5, 0, row, "patch_drop", rows)
    found: list[int] = []
    for i, word in enumerate(words):
        if word / 2**32 < (count - len(found)) / (rows - i):
            found.append(i)
    return found


class Kept(torch.nn.Module):
    """timm's PatchDropout with the patches that vitc keeps."""

    def __init__(self, prefix: int, indices: bool) -> None:
        super().__init__()
        self.prefix, self.indices = prefix, indices

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        patches = x.shape[1] - self.prefix
        rows = [kept(64 + i, patches, int(patches * 0.6)) for i in range(len(x))]
        index = torch.tensor(
            [[*range(self.prefix), *(self.prefix + r for r in row)] for row in rows]
        )
        tokens = x.gather(1, index[..., None].expand(-1, -1, x.shape[2]))
        return (tokens, index[:, self.prefix :] - self.prefix) if self.indices else tokens


@pytest.mark.parametrize(
    "name",
    [
        "test_vit",
        "vit_base_patch14_reg4_dinov2",
        "vit_base_patch16_siglip_gap_224",  # no prefix, pooled by the mean
        "vit_base_patch16_clip_224",  # a norm behind the dropout
        "deit_tiny_distilled_patch16_224",
        "vit_small_patch16_dinov3",  # turned by the places of the patches
        "vit_small_patch16_rope_mixed_224",  # by learned frequencies
    ],
)
def test_outputs_and_gradients_equal_timms_with_the_same_patches(name: str) -> None:
    ours, theirs = pair(name, **SMALL)
    kind = type(theirs.patch_drop).__name__
    assert kind in ("PatchDropout", "PatchDropoutWithIndices")
    theirs.patch_drop = Kept(ours.num_prefix_tokens, kind.endswith("Indices"))
    x, labels = images(3, ours), [1, 2, 3]
    logits, expected = ours.train()(x), theirs(double(x))
    assert relative(logits, expected.detach()) <= 1e-5
    F.cross_entropy(logits, labels).backward()
    torch.nn.functional.cross_entropy(expected, torch.tensor(labels)).backward()
    errors = gradient_errors(ours, theirs)
    worst = max(errors, key=lambda key: errors[key])
    assert errors[worst] <= 5e-5, (worst, errors[worst])


def test_all_patches_stay_in_evaluation_mode() -> None:
    ours, theirs = pair("test_vit", **SMALL)
    x = images(2, ours)
    with torch.no_grad(), no_grad():
        assert relative(ours(x), theirs(double(x))) <= 1e-5


def test_every_part_of_the_forward_pass_takes_the_tokens_that_are_left() -> None:
    model, _ = pair("test_vit", **SMALL)  # 16 patches, of which 9 stay, and a class token
    x = images(2, model.train())
    with no_grad():
        logits = np.array(model(x))
        clock.begin(step=5, row=64)
        tokens = model.forward_features(x)
        assert tokens.shape == (2, 10, 32)
        np.testing.assert_allclose(model.forward_head(tokens), logits, rtol=1e-6, atol=1e-6)
        clock.begin(step=5, row=64)
        last, found = model.forward_intermediates(x, return_prefix_tokens=True, output_fmt="NLC")
        assert np.array_equal(last, tokens)
        assert [(a.shape, b.shape) for a, b in found] == [((2, 9, 32), (2, 1, 32))] * 2
        with pytest.raises(ValueError, match="form a grid: take output_fmt 'NLC' or call eval"):
            model.forward_intermediates(x)
        assert model.attention_maps(x).shape[-1] == 17


def test_at_least_one_patch_stays() -> None:
    model = create_model("test_vit", **{**SMALL, "patch_drop_rate": 0.99})
    assert model.forward_features(images(1, model)).shape == (1, 2, 32)


def test_every_patch_and_every_pair_is_kept_as_often() -> None:
    images, rows, count = 20_000, 9, 4
    attributes = dict(prefix=0, count=count, site="a")
    program = _vitc.Program([(rows, 1)], [], [("patch_drop", (0,), (), attributes)], [1])
    plan = _vitc.Plan(program, _vitc.Params([], "float64"), training=True, input_gradients=True)
    run = _vitc.Run(plan, images, 2)
    x = np.tile(np.arange(rows, dtype=np.float64)[:, None], (images, 1, 1))
    (y,) = run.forward([x], seed=1, step=2, forward=0, row=0)
    chosen = y[..., 0].astype(int)
    assert (np.diff(chosen, axis=1) > 0).all()  # in order, none twice
    seen = np.zeros((images, rows))
    np.put_along_axis(seen, chosen, 1, axis=1)
    together = seen.T @ seen
    for found, p in (
        (np.diag(together), count / rows),
        (together[np.triu_indices(rows, 1)], count * (count - 1) / (rows * (rows - 1))),
    ):
        assert np.abs(found - images * p).max() <= 4.5 * np.sqrt(images * p * (1 - p))
