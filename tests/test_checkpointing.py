"""Gradient checkpointing: the same bits from less memory."""

import numpy as np
import pytest

from oracle import images, redrawn
from vitc import _vitc
from vitc import functional as F
from vitc.models import create_model
from vitc.models.model import Model
from vitc.tape import clock

NAMES = [
    "test_vit",
    "test_vit4",
    "vit_dpwee_patch16_reg1_gap_256",
    "deit_tiny_distilled_patch16_224",
    "vit_base_patch32_siglip_256",
]
SIZES = dict(num_classes=4, depth=4, embed_dim=96, num_heads=3)


def bits(model: Model, x: np.ndarray) -> dict[str, bytes]:
    """Logits and gradients of a step with drop path, of the same draws each time."""
    model.zero_grad()
    clock.begin(1)
    out = model(x)
    F.cross_entropy(out, np.arange(len(x))).backward()
    clock.begin(0)
    return {"out": np.array(out).tobytes()} | {
        n: p.grad.tobytes() for n, p in model.named_parameters()
    }


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("name", NAMES)
def test_gradients_have_the_same_bits(name: str, precision: str) -> None:
    if precision == "bf16" and not _vitc.config()["bf16"]:
        pytest.skip("the processor has no bfloat16")
    model = create_model(name, drop_path_rate=0.3, attn_drop_rate=0.2, **SIZES)
    model.load_state_dict(redrawn(model.shapes, "float32"))
    model.precision = precision
    x = images(3, model)
    kept = bits(model, x)
    model.set_grad_checkpointing()
    assert bits(model, x) == kept
    model.set_grad_checkpointing(False)
    assert bits(model, x) == kept


def test_frozen_blocks_and_features_have_them_too() -> None:
    model = create_model("test_vit", **SIZES)
    for p in model.blocks[0].parameters():
        p.requires_grad = False
    x, seen = images(2, model), []
    for enable in (False, True):
        model.set_grad_checkpointing(enable)
        model.zero_grad()
        F.mse_loss(model.forward_head(model.forward_features(x)), np.ones((2, 4))).backward()
        trained = [p for p in model.parameters() if p.requires_grad]
        seen.append([p.grad.tobytes() for p in trained])
    assert seen[0] == seen[1]


def plan_of(model: Model, checkpointing: bool) -> _vitc.Plan:
    core = model._forward_program(True).core
    return _vitc.Plan(core, model.params, training=True, checkpointing=checkpointing)


def test_memory_is_that_of_the_borders_and_one_block() -> None:
    """Per image: x between the blocks (197 x 192 floats each), and what one block has with its
    gradients, some 22 of them. Seven tenths of the forward pass run again: what a block ends with
    is a border, so its last product is not needed."""
    model = create_model("vit_tiny_patch16_224", num_classes=10)
    kept, again = plan_of(model, False), plan_of(model, True)
    assert again.image_bytes < 0.3 * kept.image_bytes
    assert again.image_bytes < (13 + 24) * 197 * 192 * 4
    more = again.backward_flops - kept.backward_flops
    assert 0.68 < more / kept.forward_flops < 0.72
    assert again.forward_flops == kept.forward_flops


def test_borders_are_checked_and_readable() -> None:
    def make(borders):
        return _vitc.Program([(2, 4)], [], [("scale", [0], [], {"factor": 2.0})], [1], borders)

    assert make([]).borders == () and make([0, 1]).borders == (1,)
    with pytest.raises(ValueError, match="border 0 is value 2 of 2"):
        make([2])
    with pytest.raises(TypeError):
        make(["a"])


def test_a_copy_and_a_quantised_twin_keep_the_setting() -> None:
    from copy import deepcopy

    model = create_model("test_vit", **SIZES)
    model.set_grad_checkpointing()
    assert deepcopy(model).grad_checkpointing and deepcopy(model)._pool.checkpointing
