"""Random models against timm in float64, with redrawn parameters.

    python tests/random_models.py KIND FIRST COUNT

KIND "options": random sets of constructor arguments; outputs, features, what the head reads,
blocks, and every gradient. KIND "changes": random sequences of changes of a model (another head,
size, blocks, copies, precision of checkpoints), of which some are refused; after each of them the
outputs, and of a refused one that it changed nothing. Trial number n is drawn from the seed n.
Prints the outcomes with their counts, and every trial that was not right.
"""

import sys
import time
import warnings
from collections import Counter
from copy import deepcopy
from typing import Any

import numpy as np
import torch

import vitc
import vitc.functional as F
from oracle import double, gradient_errors, redrawn, relative, timm
from vitc.models import create_model
from vitc.tape import no_grad

OUTPUTS, GRADIENTS = 1e-5, 5e-5
BASES = ("test_vit", "test_vit4", "vit_base_patch16_clip_224", "vit_base_patch16_siglip_224",
         "deit_tiny_distilled_patch16_224", "vit_medium_patch16_gap_256",
         "vit_small_patch14_reg4_dinov2", "beit3_base_patch16_224")  # fmt: skip


class Draw:
    """Choices from a seed."""

    def __init__(self, seed: int) -> None:
        self.generator = np.random.default_rng(seed)

    def one(self, *values: Any) -> Any:
        return values[int(self.generator.integers(len(values)))]

    def maybe(self, chance: float) -> bool:
        return bool(self.generator.random() < chance)


# ------------------------------------------------------------------------------- options


def options(draw: Draw) -> tuple[str, dict[str, Any]]:
    """A name and arguments of a small model, of which some do not fit together."""
    heads = draw.one(1, 2, 3)
    patch = draw.one(8, 16, (8, 16), 5)
    given: dict[str, Any] = dict(
        num_heads=heads, embed_dim=heads * draw.one(8, 12, 16), depth=draw.one(1, 2, 3),
        patch_size=patch, img_size=draw.one(32, (32, 48), (40, 24), (30, 32)),
        num_classes=draw.one(0, 3, 7),
    )  # fmt: skip
    rare: dict[str, tuple[Any, ...]] = dict(
        in_chans=(1, 4), mlp_ratio=(2.0, 3.3, 0.5), qkv_bias=(False,), qk_norm=(True,),
        proj_bias=(False,), init_values=(0.3, 0.0), class_token=(False, True), pos_embed=("none",),
        no_embed_class=(True,), reg_tokens=(1, 3), pre_norm=(True,), final_norm=(False,),
        fc_norm=(True, False), pool_include_prefix=(True,), scale_attn_norm=(True,),
        scale_mlp_norm=(True,), dynamic_img_size=(True,), dynamic_img_pad=(True,),
        global_pool=("", "token", "avg", "max", "avgmax", "map", "prr"),
        norm_layer=("rmsnorm", "layernorm"), act_layer=("gelu_tanh", "quick_gelu", "silu"),
        attn_layer=("diff",), embed_norm_layer=("rmsnorm", "layernorm"),
    )  # fmt: skip
    for name, values in rare.items():
        if draw.maybe(0.15):
            given[name] = draw.one(*values)
    if draw.maybe(0.2):
        kinds = ("ResPost", "ParallelScaling", "DiffParallelScaling", "ParallelThings")
        given["block_fn"] = getattr(timm.models.vision_transformer, f"{draw.one(*kinds)}Block")
    if draw.maybe(0.2):
        given["mlp_layer"] = draw.one(timm.layers.SwiGLUPacked, timm.layers.SwiGLU)
    return draw.one(*BASES), given


def made(name: str, given: dict[str, Any]) -> tuple[Any, Any] | str:
    """Both models with the same parameters, or who refused."""
    try:
        ours = create_model(name, **given).eval()
        with no_grad():
            ours(np.zeros((1, ours.in_chans, *ours.config.image), np.float32))
    except (ValueError, TypeError) as error:
        assert str(error), "a refusal says why"
        ours = None
    try:
        theirs = timm.create_model(name, **given).double().eval()
        side = theirs.patch_embed.img_size
        with torch.no_grad():
            theirs(torch.zeros(1, given.get("in_chans", 3), *side).double())
    except Exception:  # of whatever kind
        theirs = None
    if ours is None or theirs is None:
        both = ours is None and theirs is None
        return "refused by both" if both else f"refused by {'vitc' if ours is None else 'timm'}"
    if ours.config.differential:  # the slope of its lambda is a sum of what cancels
        ours = create_model(name, dtype="float64", **given).eval()
    state = redrawn(ours.shapes, "float32")
    ours.load_state_dict(state)
    theirs.load_state_dict({k: torch.tensor(v, dtype=torch.float64) for k, v in state.items()})
    return ours, theirs


def pictures(draw: Draw, model: Any, batch: int = 2) -> np.ndarray:
    c = model.config
    x = draw.generator.standard_normal((batch, c.in_chans, *c.image)).astype(np.float32)
    return x.astype(model.params.dtype)


def check_options(seed: int) -> str:
    """The outcome of a trial; `AssertionError` for one that is not right."""
    draw = Draw(seed)
    both = made(*options(draw))
    if isinstance(both, str):
        return both
    ours, theirs = both
    x = pictures(draw, ours)
    with no_grad(), torch.no_grad():
        tokens, expected = ours.forward_features(x), theirs.forward_features(double(x))
        assert relative(tokens, expected) <= OUTPUTS, "features"
        before = theirs.forward_head(expected, pre_logits=True)
        assert relative(ours.forward_head(tokens, pre_logits=True), before) <= OUTPUTS, "head"
        blocks = ours.forward_intermediates(x, intermediates_only=True, output_fmt="NLC")
        others = theirs.forward_intermediates(double(x), intermediates_only=True, output_fmt="NLC")
        assert all(relative(a, b) <= OUTPUTS for a, b in zip(blocks, others, strict=True)), "blocks"
    out, wanted = ours(x), theirs(double(x))
    assert relative(out, wanted.detach()) <= OUTPUTS, "outputs"
    if out.ndim != 2 or not ours.num_classes:
        return "equal"
    F.cross_entropy(out, [0, 2]).backward()
    torch.nn.functional.cross_entropy(wanted, torch.tensor([0, 2])).backward()
    errors = gradient_errors(ours, theirs)
    worst = max(errors, key=lambda name: errors[name])
    assert errors[worst] <= GRADIENTS, f"gradient of {worst}: {errors[worst]:.1e}"
    return "equal, with gradients"


# ------------------------------------------------------------------------------- changes


def change(draw: Draw, ours: Any, theirs: Any) -> tuple[str, Any, Any]:
    """A change of both models: its name, and what makes it in each."""
    depth, classes = ours.config.depth, draw.one(0, 2, 6, -3)
    pool = draw.one(None, "", "avg", "max", "token", "map", "nothing")
    count = draw.one(1, 2, [0], [-1], 9)
    norm, head = draw.maybe(0.5), draw.maybe(0.5)
    size = draw.one(48, (32, 64), 80, 7)
    kind = draw.one(
        "reset", "assign", "identity", "prune", "blocks", "size", "checkpointing", "copy"
    )
    if "dist_token" in ours.shapes and kind in ("assign", "identity"):
        kind = "checkpointing"  # one of two heads is another matter
    if kind == "reset":
        distilled = "dist_token" in ours.shapes
        pool = None if distilled else pool
        return f"reset {classes} {pool}", *(
            (lambda m: m.reset_classifier(classes, pool)) for _ in range(2)
        )
    if kind == "assign":
        classes = max(classes, 2)
        width = ours.embed_dim
        return (
            f"assign {classes}",
            lambda m: setattr(m, "head", vitc.nn.Linear(width, classes)),
            lambda m: setattr(m, "head", torch.nn.Linear(width, classes).double()),
        )
    if kind == "identity":
        return (
            "identity",
            lambda m: setattr(m, "head", vitc.nn.Identity()),
            lambda m: setattr(m, "head", torch.nn.Identity()),
        )
    if kind == "prune":
        prune = lambda m: m.prune_intermediate_layers(count, norm, head)  # noqa: E731
        return f"prune {count} {norm} {head}", prune, prune
    if kind == "blocks":
        some = int(draw.generator.integers(1, depth + 1))
        shorten = lambda m: setattr(m, "blocks", m.blocks[:some])  # noqa: E731
        return f"blocks {some}", shorten, shorten
    if kind == "size":
        resize = lambda m: m.set_input_size(img_size=size)  # noqa: E731
        return f"size {size}", resize, resize
    if kind == "checkpointing":
        return (kind, *[lambda m: m.set_grad_checkpointing(True)] * 2)
    return kind, lambda m: None, lambda m: None


def bits(model: Any, x: np.ndarray) -> tuple[Any, ...]:
    """What a refused change may not change."""
    state = {k: v.tobytes() for k, v in model.state_dict().items()}
    return np.asarray(model(x)).tobytes(), state, model.config, repr(model)


def check_changes(seed: int) -> str:
    draw = Draw(seed)
    name = draw.one(*BASES)
    patch = 14 if "14" in name else 16
    both = made(name, dict(num_heads=2, embed_dim=32, depth=4, img_size=4 * patch, num_classes=5))
    assert not isinstance(both, str)
    ours, theirs = both
    told = []
    for _ in range(int(draw.generator.integers(2, 7))):
        step, ours_changed, theirs_changed = change(draw, ours, theirs)
        told.append(step)
        x = pictures(draw, ours, 1)
        with no_grad():
            before = bits(ours, x)
        try:
            ours_changed(ours)
        except (ValueError, TypeError, AttributeError):
            with no_grad():
                assert bits(ours, x) == before, f"{told}: a refused change changed something"
            continue
        theirs_changed(theirs)
        if step == "copy":
            ours, theirs = deepcopy(ours), deepcopy(theirs)
        state = redrawn(ours.shapes, "float32", len(told))
        keys = {k: tuple(v.shape) for k, v in theirs.state_dict().items()}
        assert keys == dict(ours.shapes), f"{told}: other parameters"
        ours.load_state_dict(state)
        theirs.load_state_dict({k: torch.tensor(v, dtype=torch.float64) for k, v in state.items()})
        x = pictures(draw, ours)
        with torch.no_grad(), no_grad():
            assert relative(ours(x), theirs(double(x))) <= OUTPUTS, f"{told}: other outputs"
    return "equal"


CHECKS = {"options": check_options, "changes": check_changes}


def run(kind: str, first: int, count: int) -> tuple[Counter[str], list[str]]:
    """Outcomes with their counts, and the trials that were not right."""
    outcomes: Counter[str] = Counter()
    wrong = []
    for seed in range(first, first + count):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                outcomes[CHECKS[kind](seed)] += 1
        except Exception as error:
            wrong.append(f"{kind} {seed}: {type(error).__name__}: {error}"[:300])
    return outcomes, wrong


if __name__ == "__main__":
    begin = time.monotonic()
    found, faults = run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    for outcome, number in sorted(found.items()):
        print(f"{number:6} {outcome}")
    print(f"{len(faults):6} not right, in {time.monotonic() - begin:.0f} s")
    print("\n".join(faults))
