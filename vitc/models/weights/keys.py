"""From what a checkpoint holds to timm's keys: the containers and the names of other writers."""

import re
import warnings
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from vitc.arrays import Array
from vitc.models.weights.eva_writers import without_zero_biases
from vitc.models.weights.writers import converted

# Where a training script keeps the weights, the preferred place first; ema: averaged ones.
EMA_CONTAINERS = ("state_dict_ema", "model_ema")
CONTAINERS = ("state_dict", "model", "teacher", "encoder")  # DINO: teacher, I-JEPA: encoder

# A key that every trunk has. What precedes it is the name of the module that holds the trunk:
# "module." (DataParallel), "model." (Lightning), "_orig_mod." (torch.compile), "backbone." (DINO).
TRUNK = "patch_embed.proj.weight"
PREFERRED = ("", "module.", "model.", "_orig_mod.", "backbone.", "module.backbone.")


class KeyMap(NamedTuple):
    """replacement: None for a key that is left out, unless the model has it."""

    pattern: str
    replacement: str | None
    writer: str


KEY_MAPS = (
    KeyMap(r"mask_token", None, "MAE, DINOv2: the token in place of masked patches"),
    KeyMap(r"decoder(_\w+)?\..*|decoder_pos_embed", None, "MAE: the decoder"),
    KeyMap(r"pre_logits\..*", None, "ViTs on ImageNet-21k: a layer before the head"),
    KeyMap(r"(?:projection_)?head\.(?:mlp|last_layer).*", None, "DINO: the projection"),
    KeyMap(r"(blocks\.\d+\.mlp\.)w12(\..*)", r"\1fc1\2", "DINOv2: packed SwiGLU"),
    KeyMap(r"(blocks\.\d+\.mlp\.)w3(\..*)", r"\1fc2\2", "DINOv2: packed SwiGLU"),
    KeyMap(r"(?:.*\.)?rope(?!\.freqs$).*", None, "EVA-02: tables of angles"),
    KeyMap(r"lm_head\..*", None, "EVA: the head for masked patches"),
    KeyMap(r"(blocks\.\d+\.mlp\.)w1(\..*)", r"\1fc1_g\2", "EVA-02, DINOv3: SwiGLU"),
    KeyMap(r"(blocks\.\d+\.mlp\.)w2(\..*)", r"\1fc1_x\2", "EVA-02, DINOv3: SwiGLU"),
    KeyMap(r"(blocks\.\d+\.mlp\.)ffn_ln(\..*)", r"\1norm\2", "EVA-02"),
    KeyMap(r"(blocks\.\d+\.attn\.)inner_attn_ln(\..*)", r"\1norm\2", "EVA-02"),
    KeyMap(r"(blocks\.\d+\.attn\.[qv])_bias", r"\1_proj.bias", "EVA-02: q, k and v apart"),
    KeyMap(r"(blocks\.\d+\.)gamma_(\d)", r"\1ls\2.gamma", "DeiT-3"),
    KeyMap(r"distillation_head\.(\w+)", r"head_dist.\1", "DeiT, early files"),
)


def weights_of(checkpoint: Any, tensor: type, use_ema: bool = True) -> dict[str, Any]:
    """The state dict in what a file holds: name -> tensor.

    use_ema: averaged weights are preferred, as timm does. Raises `ValueError` if there is none.
    """
    if not isinstance(checkpoint, Mapping):
        raise ValueError(f"it holds a {type(checkpoint).__name__}, expected a state dict")
    for name in (*(EMA_CONTAINERS if use_ema else ()), *CONTAINERS):
        found = _tensors(checkpoint.get(name), tensor)
        if found:
            return found
    found = _tensors(checkpoint, tensor)
    if not found:
        keys = ", ".join(str(key)[:40] for key in list(checkpoint)[:8]) or "none"
        raise ValueError(f"it holds no state dict; its keys: {keys}")
    return found


def _tensors(state: Any, tensor: type) -> dict[str, Any]:
    if not isinstance(state, Mapping):
        return {}
    return {k: v for k, v in state.items() if isinstance(v, tensor) and isinstance(k, str)}


def renamed(state: Mapping[str, Array], names: Collection[str]) -> dict[str, Array]:
    """The state dict under the names of the model, as far as the tables know them.

    names: the keys of the model. Keys that the tables do not know stay as they are. Raises
    `ValueError` if several modules of the checkpoint could be the trunk.
    """
    out = {}
    for key, value in _registers(_trunk(converted(state), names)).items():
        new = key if key in names else _mapped(key)
        if new is not None:
            out[new] = value
    return _norm_of_the_mean(without_zero_biases(out, names), names)


def _trunk(state: Mapping[str, Array], names: Collection[str]) -> Mapping[str, Array]:
    """The part of the state dict that belongs to the trunk, without its prefix."""
    found = [key.removesuffix(TRUNK) for key in state if key.endswith(TRUNK)]
    if TRUNK not in names or not found or "" in found:
        return state
    known = [prefix for prefix in PREFERRED if prefix in found]
    if len(found) > 1 and not known:
        raise ValueError(f"it holds several models: {', '.join(found)}")
    prefix = (known or found)[0]
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def _registers(state: Mapping[str, Array]) -> Mapping[str, Array]:
    """DINOv2 gives the class token a position, and none to its registers; timm adds it to it."""
    if "register_tokens" not in state:
        return state
    own = dict(state)
    own["reg_token"] = own.pop("register_tokens")
    own["cls_token"] = own["cls_token"] + own["pos_embed"][:, 0]
    own["pos_embed"] = own["pos_embed"][:, 1:]
    return own


def _mapped(key: str) -> str | None:
    for row in KEY_MAPS:
        match = re.fullmatch(row.pattern, key)
        if match:
            return None if row.replacement is None else match.expand(row.replacement)
    return key


def _norm_of_the_mean(state: dict[str, Array], names: Collection[str]) -> dict[str, Array]:
    """`norm` and `fc_norm` for each other: the norm before and after the mean over the tokens."""
    for old, new in (("fc_norm", "norm"), ("norm", "fc_norm")):
        wanted = f"{new}.weight" in names and f"{old}.weight" not in names
        if wanted and f"{old}.weight" in state and f"{new}.weight" not in state:
            warnings.warn(
                f"the weights have {old}, the model has {new}: it is loaded, but the model pools "
                "its tokens in another way than the one that was trained",
                stacklevel=2,
            )
            rename: Callable[[str], str] = lambda k: re.sub(rf"^{old}\.", f"{new}.", k)  # noqa: B023, E731
            return {rename(key): value for key, value in state.items()}
    return state
