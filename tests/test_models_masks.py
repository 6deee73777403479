"""attn_mask and is_causal in every type of block, against timm in float64.

Outputs 1e-5, gradients 5e-5 relative; ONNX Runtime within 1e-4 of the largest output; a bias of
zeros is no mask, to 1e-6.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from oracle import double, gradient_errors, images, pair, relative
from vitc import export
from vitc import functional as F
from vitc.models import create_model
from vitc.models.masks import Masking, masked
from vitc.models.vision_transformer import VisionTransformer
from vitc.program import Program
from vitc.quantization import quantize
from vitc.tape import no_grad

SMALL = dict(depth=2, embed_dim=32, num_heads=2, num_classes=5, img_size=64)
NAMES = (
    "test_vit",
    "test_vit3",  # registers, attention pool
    "vit_base_patch16_rpn_224",  # ResPostBlock
    "vit_base_patch16_xp_224",  # ParallelScalingBlock
    "vit_dpwee_patch16_reg1_gap_256",  # DiffParallelScalingBlock
    "vit_dlittle_patch16_reg1_gap_256",  # differential attention
    "vit_small_patch16_18x2_224",  # ParallelThingsBlock
)
KINDS = ("causal", "bool", "bool of images", "numbers of heads")


def tokens_of(model: VisionTransformer) -> int:
    return model.num_prefix_tokens + model.config.num_patches


def mask_of(kind: str, batch: int, heads: int, tokens: int) -> Any:
    random = np.random.default_rng(4)
    if kind == "causal":
        return None
    if kind == "numbers of heads":
        return random.standard_normal((batch, heads, tokens, tokens)).astype(np.float32)
    seen = random.random((tokens, tokens) if kind == "bool" else (batch, 1, tokens, tokens)) < 0.6
    return seen | np.eye(tokens, dtype=bool)


def for_timm(mask: Any) -> Any:
    return mask if mask is None else torch.as_tensor(mask if mask.dtype == bool else double(mask))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_outputs_and_gradients_equal_timms(name: str, kind: str) -> None:
    causal = kind == "causal"
    # A causal class token sees nothing but itself, and no gradient would reach queries and keys.
    ours, theirs = pair(name, **SMALL | (dict(global_pool="avg") if causal else {}))
    x, labels = images(3, ours), [1, 2, 3]
    mask = mask_of(kind, 3, 2, tokens_of(ours))
    logits = ours(x, attn_mask=mask, is_causal=causal)
    expected = theirs(double(x), attn_mask=for_timm(mask), is_causal=causal)
    assert relative(logits, expected.detach()) <= 1e-5
    assert relative(logits, theirs(double(x)).detach()) > 1e-3  # it matters
    F.cross_entropy(logits, labels).backward()
    torch.nn.functional.cross_entropy(expected, torch.tensor(labels)).backward()
    errors = gradient_errors(ours, theirs)
    worst = max(errors, key=lambda key: errors[key])
    assert errors[worst] <= 5e-5, (worst, errors[worst])


@pytest.mark.parametrize("kind", KINDS)
def test_features_and_intermediates_are_masked(kind: str) -> None:
    ours, theirs = pair("test_vit3", **SMALL)
    x, mask = images(2, ours), mask_of(kind, 2, 2, tokens_of(ours))
    arguments = dict(is_causal=kind == "causal")
    with torch.no_grad(), no_grad():
        found = ours.forward_features(x, attn_mask=mask, **arguments)
        expected = theirs.forward_features(double(x), attn_mask=for_timm(mask), **arguments)
        assert relative(found, expected) <= 1e-5
        last, inner = ours.forward_intermediates(x, attn_mask=mask, **arguments)
        last_theirs, inner_theirs = theirs.forward_intermediates(
            double(x), attn_mask=for_timm(mask), **arguments
        )
        assert relative(last, last_theirs) <= 1e-5
        for one, other in zip(inner, inner_theirs, strict=True):
            assert relative(one, other) <= 1e-5


def test_causal_wins_over_a_mask_and_zeros_are_none() -> None:
    model, _ = pair("test_vit", **SMALL)
    x, tokens = images(2, model), tokens_of(model)
    with no_grad():
        causal = np.array(model(x, is_causal=True))
        assert np.array_equal(model(x, np.eye(tokens, dtype=bool), is_causal=True), causal)
        lower = np.tril(np.ones((tokens, tokens), bool))
        np.testing.assert_allclose(model(x, attn_mask=lower), causal, rtol=1e-5, atol=1e-6)
        zeros = np.zeros((tokens, tokens), np.float32)
        np.testing.assert_allclose(model(x, attn_mask=zeros), model(x), rtol=1e-6, atol=1e-6)


def test_quantised_and_refined_models_are_masked() -> None:
    """The refined pool ("prr") sees all tokens, as in timm."""
    ours, theirs = pair("test_vit", **SMALL, global_pool="prr")
    x, mask = images(2, ours), mask_of("bool", 2, 2, tokens_of(ours))
    with torch.no_grad(), no_grad():
        logits = np.array(ours(x, attn_mask=mask))
        assert relative(logits, theirs(double(x), attn_mask=for_timm(mask))) <= 1e-5
        assert relative(quantize(ours)(x, attn_mask=mask), logits) <= 0.05


def test_bad_masks_are_named() -> None:
    model = create_model("test_vit", **SMALL)
    x, tokens = images(2, model), tokens_of(model)
    with pytest.raises(
        ValueError, match=r"\(16, 16\), expected one that broadcasts to \(2, 2, 17, 17\)"
    ):
        model(x, attn_mask=np.ones((16, 16), bool))
    with pytest.raises(ValueError, match="sees no other and not itself"):
        model(x, attn_mask=np.zeros((tokens, tokens), bool))
    with pytest.raises(TypeError, match="int64, expected bool or floating point"):
        model(x, attn_mask=np.ones((tokens, tokens), np.int64))


# ------------------------------------------------------------------------------- ONNX


class Masked(VisionTransformer):
    """A model whose forward pass is the masked one, to be written to a file."""

    masking = Masking()

    def _forward_program(self, training: bool) -> Program:
        return masked(super()._forward_program(training), self.masking)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["test_vit", "vit_dlittle_patch16_reg1_gap_256"])
def test_onnx_agrees(name: str, kind: str, tmp_path: Path) -> None:
    plain, _ = pair(name, **SMALL)
    x, tokens = images(2, plain), tokens_of(plain)
    mask = mask_of(kind, 2, 2, tokens)
    masking = plain._masking(x, plain.config.image, mask, kind == "causal")
    model = Masked(plain.config, plain.name, plain.pretrained_cfg)
    model.load_state_dict(plain.state_dict())
    model.masking = masking
    feeds = {"input": x} if masking.bias is None else {"input": x, "mask": masking.bias}
    file = export.onnx(model, tmp_path / "model.onnx", input_names=list(feeds))
    (found,) = onnxruntime.InferenceSession(file).run(None, feeds)
    with no_grad():
        expected = np.array(plain(x, attn_mask=mask, is_causal=kind == "causal"))
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("masking", ["causal", "mask"])
def test_checkpointing_with_a_mask_changes_no_bit(masking: str) -> None:
    gradients = []
    for checkpointing in (False, True):
        model = create_model("test_vit", **SMALL)
        model.set_grad_checkpointing(checkpointing)
        mask = mask_of("bool", 2, 2, tokens_of(model)) if masking == "mask" else None
        logits = model(images(2, model), attn_mask=mask, is_causal=masking == "causal")
        F.cross_entropy(logits, np.arange(2)).backward()
        gradients.append({name: p.grad.copy() for name, p in model.named_parameters()})
    assert all(np.array_equal(v, gradients[1][k]) for k, v in gradients[0].items())
    program = masked(model._part("forward", False, (64, 64)), Masking(causal=True))
    assert len(program.core.borders) == 1 + 2  # before the blocks and after each


@pytest.mark.parametrize("shape", [(2, 1, 1, 17), (1, 1, 17, 17), (1, 17), (1, 2, 17, 17),
                                   (2, 17, 17), (2, 2, 1, 17), (1, 1, 1, 1)])  # fmt: skip
@pytest.mark.parametrize("kind", ["bool", "float"])
def test_masks_broadcast_as_in_torch(shape: tuple[int, ...], kind: str) -> None:
    ours, theirs = pair("test_vit", depth=2, embed_dim=32, num_heads=2, img_size=64, num_classes=5)
    draw = np.random.default_rng(4)
    mask = draw.random(shape) < 0.7 if kind == "bool" else draw.standard_normal(shape)
    if kind == "bool":
        mask[..., 0] = True  # what sees nothing is another matter
    x = images(2, ours)
    given = torch.tensor(mask if kind == "bool" else np.float64(mask))
    assert relative(ours(x, mask), theirs(double(x), attn_mask=given).detach()) <= 1e-5
