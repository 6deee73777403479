"""From what a checkpoint holds to timm's keys: the containers and the names of other writers."""

import re
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from vitc.arrays import Array
from vitc.errors import listed, said, shown, word_of
from vitc.models.weights.eva_writers import without_zero_biases
from vitc.models.weights.unpickle import Fields, Opaque
from vitc.models.weights.writers import converted, is_sign
from vitc.program import Shape

# Where a training script keeps the weights, the preferred place first; ema: averaged ones. Any
# other dictionary of tensors is taken if it alone holds a trunk.
EMA_CONTAINERS = ("state_dict_ema", "model_ema", "ema_state_dict", "ema")
CONTAINERS = ("state_dict", "model", "teacher", "encoder")  # DINO: teacher, I-JEPA: encoder
_DEEPEST, _MOST = 5, 100_000  # dictionaries in dictionaries, and how many are looked into

OF_CLIP = ("text.", "logit_scale", "logit_bias")  # beside the image tower, which is `visual`
# A key that every trunk has. What precedes it is the name of the module that holds the trunk:
# "module." (DataParallel), "model." (Lightning), "_orig_mod." (torch.compile), "backbone." (DINO).
TRUNK = "patch_embed.proj.weight"
PREFERRED = ("", "module.", "model.", "_orig_mod.", "backbone.", "module.backbone.",
             "module.base_encoder.", "base_encoder.")  # fmt: skip
# What a head beside the trunk is called, and what it is here.
HEADS = {"head": "head", "classifier": "head", "fc": "head", "head_dist": "head_dist"}


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
    KeyMap(r"(?:projection_)?head\.\d+\..*", None, "MoCo v3: the projection"),
    KeyMap(r"(blocks\.\d+\.mlp\.)w12(\..*)", r"\1fc1\2", "DINOv2: packed SwiGLU"),
    KeyMap(r"(blocks\.\d+\.mlp\.)w3(\..*)", r"\1fc2\2", "DINOv2: packed SwiGLU"),
    KeyMap(r"(?:.*\.)?rope(?!\.freqs$).*", None, "EVA-02: tables of angles"),
    KeyMap(r".*relative_position_index", None, "BEiT, Swin: where rows of the table belong"),
    KeyMap(r"lm_head\..*", None, "EVA: the head for masked patches"),
    KeyMap(r"(blocks\.\d+\.mlp\.)w1(\..*)", r"\1fc1_g\2", "EVA-02, DINOv3: SwiGLU"),
    KeyMap(r"(blocks\.\d+\.mlp\.)w2(\..*)", r"\1fc1_x\2", "EVA-02, DINOv3: SwiGLU"),
    KeyMap(r"(blocks\.\d+\.mlp\.)ffn_ln(\..*)", r"\1norm\2", "EVA-02"),
    KeyMap(r"(blocks\.\d+\.attn\.)inner_attn_ln(\..*)", r"\1norm\2", "EVA-02"),
    KeyMap(r"(blocks\.\d+\.attn\.[qv])_bias", r"\1_proj.bias", "EVA-02: q, k and v apart"),
    KeyMap(r"(blocks\.\d+\.)gamma_(\d)", r"\1ls\2.gamma", "DeiT-3"),
    KeyMap(r"distillation_head\.(\w+)", r"head_dist.\1", "DeiT, early files"),
)


class Found(NamedTuple):
    """A state dict. unread: of tensors of kinds that are not read, what they are."""

    state: dict[str, Any]
    unread: dict[str, str]


def weights_of(checkpoint: Any, tensors: tuple[type, ...], use_ema: bool = True) -> Found:
    """The state dict in what a file holds: name -> tensor.

    use_ema: averaged weights are preferred, as timm does. Raises `ValueError` if there is none, if
    there are several, or if it holds other objects than tensors.
    """
    if not isinstance(checkpoint, Mapping):
        kind = checkpoint.name if isinstance(checkpoint, Opaque) else type(checkpoint).__name__
        raise ValueError(f"it holds a {shown(kind)[1:-1]}, expected a state dict")
    places = [p for p in _dictionaries(checkpoint) if _holds_tensors(p[1], tensors)]
    places = [p for p in places if _holds_trunk(p[1])] or [
        p for p in places if not p[0] or p[0] in [(n,) for n in (*EMA_CONTAINERS, *CONTAINERS)]
    ]
    if not places:
        raise ValueError(f"it holds no state dict; its keys: {_names(checkpoint) or 'none'}")
    places.sort(key=lambda place: _rank(place[0], use_ema))
    if len(places) > 1 and _rank(places[0][0], use_ema) == _rank(places[1][0], use_ema):
        raise ValueError(
            "it holds several models: " + listed([".".join(path) for path, _ in places])
        )
    return _read(places[0][1], tensors)


_OTHER = len(CONTAINERS) + 1  # the rank of a place of another name


def _rank(path: tuple[str, ...], use_ema: bool) -> tuple[int, int, int]:
    """The preferred place has the least."""
    averaged = [EMA_CONTAINERS.index(part) for part in path if part in EMA_CONTAINERS]
    ranks = [CONTAINERS.index(part) for part in path if part in CONTAINERS]
    known = min(ranks, default=_OTHER if path else _OTHER - 1)
    ema = len(EMA_CONTAINERS) if not averaged else min(averaged) + (0 if use_ema else 99)
    return ema, known, len(path) if ranks or averaged or not path else 0


def _dictionaries(checkpoint: Any) -> Iterator[tuple[tuple[str, ...], Mapping[Any, Any]]]:
    """The dictionary and those in it by their path, outer ones first, each once."""
    waiting: deque[tuple[tuple[str, ...], Any]] = deque([((), checkpoint)])
    met: set[int] = set()
    while waiting and len(met) < _MOST:
        path, found = waiting.popleft()
        found = found.state if isinstance(found, Fields) else found
        if not isinstance(found, Mapping) or id(found) in met:
            continue
        met.add(id(found))
        yield path, found
        if len(path) < _DEEPEST:
            waiting += [((*path, k), v) for k, v in found.items() if isinstance(k, str)]


def _holds_tensors(state: Mapping[Any, Any], tensors: tuple[type, ...]) -> bool:
    return any(isinstance(k, str) and isinstance(v, tensors) for k, v in state.items())


def _holds_trunk(state: Mapping[Any, Any]) -> bool:
    return any(isinstance(k, str) and (k.endswith(TRUNK) or is_sign(k)) for k in state)


def _read(state: Mapping[Any, Any], tensors: tuple[type, ...]) -> Found:
    found = Found({}, {})
    for key, value in state.items():
        if isinstance(key, str) and isinstance(value, tensors):
            found.state[key] = value
        elif isinstance(key, str) and isinstance(value, Opaque):
            if not value.name.startswith("torch."):
                raise ValueError(
                    f"the state dict has a {shown(value.name)[1:-1]} under {shown(key)}, which is "
                    "refused: only tensors are read, and nothing is executed"
                )
            found.unread[key] = value.name
    return found


def _names(state: Mapping[Any, Any]) -> str:
    return listed([shown(key).strip("'") for key in state], 8)


def renamed(state: Mapping[str, Array], shapes: Mapping[str, Shape]) -> dict[str, Array]:
    """The state dict under the names of the model, as far as the tables know them.

    shapes: of the model, by its keys. Keys that the tables do not know stay as they are; of those
    beside the trunk a head is taken, and a warning names the others. Raises `ValueError` if several
    modules of the checkpoint could be the trunk, or for layers of LoRA.
    """
    for key in state:
        if ".lora_" in key:
            raise ValueError(
                f"it has layers of LoRA ({shown(key)}), whose strength is not in the file: merge "
                "them before saving, in peft with merge_and_unload()"
            )
    try:
        own = _registers(_trunk(converted(state), shapes))
    except KeyError as error:
        raise ValueError(f"{said(error)}, which its other keys need") from None
    except (ArithmeticError, LookupError, TypeError) as error:  # in shapes that no writer gives
        raise ValueError(f"its arrays do not fit each other: {said(error)}") from None
    out = {}
    for key, value in own.items():
        new = key if key in shapes else _mapped(key)
        if new is not None:
            out[new] = value
    if "reg_token" in shapes and "dist_token" in out and "dist_token" not in shapes:
        out["reg_token"] = out.pop("dist_token")  # of DeiT without the head that reads it
    out = without_zero_biases(_without_pool(out, shapes), shapes)
    return _norm_of_the_mean(out, shapes)


def _trunk(state: Mapping[str, Array], shapes: Mapping[str, Shape]) -> Mapping[str, Array]:
    """The part of the state dict that belongs to the trunk, without its prefix; and its head."""
    found = [key.removesuffix(TRUNK) for key in state if key.endswith(TRUNK)]
    if TRUNK not in shapes or not found or "" in found:
        return state
    known = [prefix for prefix in PREFERRED if prefix in found]
    if len(found) > 1 and not known:
        raise ValueError(f"it holds several models: {listed(found)}")
    prefix = (known or found)[0]
    if len(found) > 1:
        warnings.warn(
            f"the weights hold several models, {listed(found)}: {word_of(prefix)} is taken",
            stacklevel=2,
        )
    own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    beside = {k: v for k, v in state.items() if not any(k.startswith(f) for f in found)}
    return own | _outer_heads(beside, prefix, own, shapes)


def _outer_heads(
    beside: Mapping[str, Array],
    prefix: str,
    own: Mapping[str, Array],
    shapes: Mapping[str, Shape],
) -> dict[str, Array]:
    """The heads that a script put beside the trunk of this prefix, as `self.head` next to
    `self.backbone`. A warning names what is left out."""
    parent = re.escape(prefix[:-1].rpartition(".")[0])
    pattern = rf"{parent and parent + r'[.]'}({'|'.join(HEADS)})(?:\.\d+)?\.(weight|bias)"
    heads: dict[str, Array] = {}
    left = []
    for key, value in beside.items():
        match = re.fullmatch(pattern, key)
        name = f"{HEADS[match[1]]}.{match[2]}" if match else ""
        shape = shapes.get(name, ())
        if name in own or name in heads or not shape or value.shape[1:] != shape[1:]:
            left += [] if prefix == "visual." and key.startswith(OF_CLIP) else [key]
        else:
            heads[name] = value
    for head in {name.split(".")[0] for name in heads}:
        weight = heads.get(f"{head}.weight")
        if weight is not None and f"{head}.bias" not in heads:
            heads[f"{head}.bias"] = np.zeros(len(weight), weight.dtype)
    if left and any(name in shapes for name in ("head.weight", "head_dist.weight")):
        warnings.warn(
            f"the weights hold more than the trunk under {word_of(prefix)!r}; left out: "
            f"{listed(left, 8)}",
            stacklevel=2,
        )
    return heads


def _without_pool(state: dict[str, Array], shapes: Mapping[str, Shape]) -> dict[str, Array]:
    """Without an attention pool that the model does not have because it pools in another way."""
    if TRUNK not in shapes or any(name.startswith("attn_pool.") for name in shapes):
        return state
    return {key: value for key, value in state.items() if not key.startswith("attn_pool.")}


def _registers(state: Mapping[str, Array]) -> Mapping[str, Array]:
    """DINOv2 gives the class token a position, and none to its registers; timm adds it to it."""
    if "register_tokens" not in state:
        return state
    own = dict(state)
    own["reg_token"] = own.pop("register_tokens")
    own["cls_token"] = own["cls_token"] + own["pos_embed"][:, :1]
    own["pos_embed"] = own["pos_embed"][:, 1:]
    return own


def _mapped(key: str) -> str | None:
    for row in KEY_MAPS:
        match = re.fullmatch(row.pattern, key)
        if match:
            return None if row.replacement is None else match.expand(row.replacement)
    return key


def _norm_of_the_mean(state: dict[str, Array], names: Mapping[str, Shape]) -> dict[str, Array]:
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
