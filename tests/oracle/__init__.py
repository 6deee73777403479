"""timm in float64 as the oracle of vitc's models.

timm's own initialisation hides faults (a layer left out may change the logits by 1e-5 only), so
both sides get parameters drawn anew from a seed. The oracle computes in float64 from the same
numbers.
"""

from typing import Any

import numpy as np
import torch


def _register_vision_operators() -> None:
    """CPU-only torch lacks the compiled operators torchvision asks for when it is imported."""
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    register = torch.library.register_fake

    def register_known(op: Any, *args: Any, **options: Any) -> Any:
        if isinstance(op, str) and op.startswith("torchvision::"):
            return lambda function: function
        return register(op, *args, **options)

    torch.library.register_fake = register_known
    globals()["_library"] = library  # the operators live as long as this object


_register_vision_operators()
# Two thread pools that take turns on the same cores wait for each other.
torch.set_num_threads(2)

import timm  # noqa: E402
import timm.loss  # noqa: E402
import timm.optim  # noqa: E402
import timm.scheduler  # noqa: E402
import timm.utils  # noqa: E402

import vitc.models  # noqa: E402
from vitc.models.architectures import ARCHITECTURES  # noqa: E402
from vitc.models.model import Model  # noqa: E402


def _lambda(self: Any) -> torch.Tensor:
    """What timm computes, but in the parameters' precision: it rounds to float32."""
    first = torch.exp((self.lambda_q1 * self.lambda_k1).sum(-1))
    second = torch.exp((self.lambda_q2 * self.lambda_k2).sum(-1))
    return first - second + self.lambda_init


for differential in (
    timm.layers.DiffAttention,
    timm.models.vision_transformer.DiffParallelScalingBlock,
):
    differential._compute_lambda = _lambda


def redrawn(shapes: dict[str, tuple[int, ...]], dtype: str, seed: int = 0) -> dict[str, np.ndarray]:
    """Matrices N(0, 1/fan_in), norm weights 1 + 0.3 N, biases 0.2 N, tokens and tables 0.5 N.

    The vectors behind the lambda of differential attention 0.2 N: their product is in an exponent.
    """
    generator = np.random.default_rng(seed)
    state = {}
    for name, shape in shapes.items():
        noise = generator.standard_normal(shape)
        if len(shape) in (2, 4):
            value = noise / np.sqrt(np.prod(shape[1:]))
        elif name.endswith(".weight"):
            value = 1 + 0.3 * noise
        else:
            small = name.endswith("bias") or "lambda_" in name
            value = (0.2 if small else 0.5) * noise
        state[name] = value.astype(dtype)
    return state


def reduced(name: str) -> dict[str, Any]:
    """Arguments of a narrow version with two blocks over 3 x 2 patches; heads of 16 columns."""
    own = ARCHITECTURES[name].arguments
    heads = 1 if own["num_heads"] % 2 else 2
    patch = own.get("patch_size", 16)
    grouped = dict(num_kv_heads=(heads, 1)) if "num_kv_heads" in own else {}
    return grouped | dict(
        depth=2,
        num_heads=heads,
        embed_dim=16 * heads,
        img_size=(3 * patch, 2 * patch),
        num_classes=5,
    )


def pair(name: str, *, dtype: str = "float32", **arguments: Any) -> tuple[Model, torch.nn.Module]:
    """A vitc model and timm's in float64, in evaluation mode, with the same redrawn parameters."""
    ours = vitc.models.create_model(name, dtype=dtype, **arguments).eval()
    theirs = timm.create_model(name, **arguments).double().eval()
    state = redrawn(ours.shapes, dtype)
    ours.load_state_dict(state)
    theirs.load_state_dict({k: torch.tensor(v, dtype=torch.float64) for k, v in state.items()})
    return ours, theirs


def images(batch: int, model: Model, seed: int = 1) -> np.ndarray:
    """Normally distributed images for a model, float32."""
    shape = (batch, *model.default_cfg["input_size"])
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def double(x: np.ndarray) -> torch.Tensor:
    return torch.tensor(np.asarray(x), dtype=torch.float64)


def relative(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Relative L2 distance, or a tenth of max|distance| over max|value| if that is greater."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape
    distance = ours - theirs
    if not theirs.any():
        return float("inf") if ours.any() else 0.0
    return max(
        float(np.linalg.norm(distance) / np.linalg.norm(theirs)),
        float(np.abs(distance).max() / np.abs(theirs).max() / 10),
    )


def gradient_errors(ours: Model, theirs: torch.nn.Module) -> dict[str, float]:
    """`relative` of every gradient; q, k and v apart, and the k part of a bias against the q part.

    A constant added to all keys, or to all scores, moves no softmax, so the true gradient of that
    part is zero.
    """
    errors = {}
    expected = {name: p.grad.numpy() for name, p in theirs.named_parameters()}
    for name, parameter in ours.named_parameters():
        if name.endswith("k_norm.bias"):  # another constant added to all keys
            queries = expected[name.replace("k_norm", "q_norm")]
            errors[name] = float(np.linalg.norm(parameter.grad) / np.linalg.norm(queries))
            continue
        if name.endswith("rel_pos.mlp.fc2.bias") and not theirs.num_prefix_tokens:
            inner = expected[name.replace("fc2", "fc1")]
            errors[name] = float(np.linalg.norm(parameter.grad) / np.linalg.norm(inner))
            continue
        if ".qkv." not in name:
            errors[name] = relative(parameter.grad, expected[name])
            continue
        q, k, v = zip(np.split(parameter.grad, 3), np.split(expected[name], 3), strict=True)
        errors[name + " q"], errors[name + " v"] = relative(*q), relative(*v)
        norm = name.replace("qkv.bias", "k_norm.weight")
        bias = name.endswith("bias") and norm not in expected
        bias = bias and getattr(theirs, "rope", None) is None  # which turns it differently
        size = float(np.linalg.norm(k[0]) / np.linalg.norm(q[1]))
        errors[name + " k"] = size if bias else relative(*k)
    return errors


_SIZES = {"patch_size", "embed_dim", "depth", "num_heads", "mlp_ratio", "img_size", "init_values"}
_SIZES |= {"dynamic_img_size", "ref_feat_shape", "swiglu_align_to", "rel_pos_dim"}


def families() -> list[str]:
    """One architecture for each set of options that occurs, sizes apart."""
    first: dict[str, str] = {}
    for name in vitc.models.list_models():
        model, arguments, _ = ARCHITECTURES[name]
        options = {k: v for k, v in arguments.items() if k not in _SIZES}
        scaled = "init_values" in arguments
        first.setdefault(repr((model, scaled, sorted(options.items()))), name)
    return list(first.values())
