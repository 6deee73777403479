"""config.pbtxt: what Triton is told of a model, in the text format of protobuf."""

import json
import re
from collections.abc import Mapping
from math import prod
from typing import NamedTuple

from vitc import checks
from vitc.errors import shown
from vitc.export.properties import properties
from vitc.models.vision_transformer import VisionTransformer
from vitc.program import Shape
from vitc.runtime import get_num_threads

_MB = 1 << 20
SHARED = "docker run --shm-size="
DOCKER = 64  # MB of /dev/shm in a container that is told nothing
_WARMED = 8  # images, of a backend whose batches pass through shared memory


class Settings(NamedTuple):
    """How a model is served, under the names of `vitc.export.triton`, which explains them."""

    name: str = "vit_classifier"
    max_batch_size: int = 32
    instances: int = 1
    threads: int | None = None
    queue_delay: int = 0
    preferred_batch_sizes: tuple[int, ...] = ()
    response_cache: bool = False
    served_versions: int = 1


class Option(NamedTuple):
    """A setting on the command line. line: a pattern of where config.pbtxt says it. least: the
    smallest value of a number; metavar: "" where there is nothing to be given."""

    line: str
    help: str
    least: int = 1
    metavar: str = "N"


OPTIONS: Mapping[str, Option] = {
    "max_batch_size": Option(
        r"^max_batch_size: *\d+", "images that are computed together at most (default: 32)"
    ),
    "instances": Option(r"count: *\d+", "that run at once (default: 1)"),
    "threads": Option(
        r'key: "(?:intra_op_thread_count|threads)".*',
        "of each instance (default: all processors, shared by the instances)",
    ),
    "queue_delay": Option(
        r"max_queue_delay_microseconds: *\d+",
        "microseconds a request may wait for others (default: 0)",
        least=0,
        metavar="US",
    ),
    "preferred_batch_sizes": Option(
        r"preferred_batch_size: *\[[^]]*\]", "a batch of such a size does not wait; may be repeated"
    ),
    "response_cache": Option(
        r"response_cache *\{ *enable: *true", "answers that the server may repeat", metavar=""
    ),
    "served_versions": Option(
        r"num_versions: *\d+", "how many of the latest versions are served (default: 1)"
    ),
}


def check(settings: Settings) -> None:
    """Raises `TypeError` or `ValueError` for a bad setting."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", settings.name):
        raise ValueError(
            f"name is {shown(settings.name)}, expected letters, digits, '_', '.' and '-'"
        )
    for name, option in OPTIONS.items():
        value = getattr(settings, name)
        if not option.metavar:
            checks.flag(name, value)
        elif value is not None or name != "threads":
            for number in value if isinstance(value, tuple) else (value,):
                checks.integer(name, number, option.least)
    if max(settings.preferred_batch_sizes, default=0) > settings.max_batch_size:
        raise ValueError(
            f"preferred_batch_sizes holds {max(settings.preferred_batch_sizes)}, above "
            f"max_batch_size {settings.max_batch_size}"
        )


class Backend(NamedTuple):
    """One of Triton's backends. note: a comment. shares: batches pass through /dev/shm. thread_key:
    the parameter that says how many threads an instance has; divides: without it, the instances
    share the processors."""

    line: str
    kind: str = "KIND_CPU"
    note: str = ""
    shares: bool = False
    thread_key: str = ""
    divides: bool = False


class Tensor(NamedTuple):
    name: str
    dtype: str
    dims: Shape
    labels: bool = False


# ------------------------------------------------------------------------------------- the text


def served(model: VisionTransformer, settings: Settings, backend: Backend) -> str:
    """The config.pbtxt of a model."""
    image = Tensor("input", "TYPE_FP32", model.program().inputs[0].outer)
    output = output_of(model)
    note = backend.note
    note += said_of_memory(model, settings) if backend.shares else ""
    said = properties(model)
    if settings.threads or (settings.instances > 1 and backend.thread_key and not backend.divides):
        said[backend.thread_key] = str(_threads(settings))
    return "\n".join(
        [
            *head(settings.name, backend.line, note),
            f"max_batch_size: {settings.max_batch_size}",
            *tensors("input", image),
            *tensors("output", output),
            *_batching(settings),
            f"instance_group [ {{ count: {settings.instances} kind: {backend.kind} }} ]",
            *_warmup(image, settings, backend),
            *_versions(settings),
            *([_CACHE] if settings.response_cache else []),
            *(parameter(*item) for item in said.items()),
            "",
        ]
    )


_CACHE = "response_cache { enable: true }"


def head(name: str, backend: str, note: str = "") -> list[str]:
    return [f'name: "{name}"', backend, *(f"# {line}" for line in note.splitlines() if line)]


def output_of(model: VisionTransformer) -> Tensor:
    shape = model.program().outputs[0].outer
    return Tensor("output", "TYPE_FP32", shape, labels=bool(model.num_classes))


def _threads(settings: Settings) -> int:
    """Of an instance: as told, or its share of the processors of this machine."""
    return settings.threads or max(1, get_num_threads() // settings.instances)


def said_of_memory(model: VisionTransformer, settings: Settings, models: int = 1) -> str:
    """How much of /dev/shm models of the python backend need: twice the batches of all instances,
    and the first megabyte that each takes."""
    program = model.program()
    image = 4 * (prod(program.inputs[0].outer) + prod(program.outputs[0].outer))
    needed = models * settings.instances * (2 * settings.max_batch_size * image + _MB)
    size = DOCKER
    while size * _MB < needed:
        size *= 2
    return (
        f"\n{SHARED}{size}m: batches pass through /dev/shm, of which a container has {DOCKER} MB"
        "\nby default."
    )


def tensors(what: str, tensor: Tensor) -> list[str]:
    dims = f"[ {', '.join(map(str, tensor.dims))} ]"
    lines = [f'name: "{tensor.name}"', f"data_type: {tensor.dtype}", f"dims: {dims}"]
    if tensor.labels:
        lines.append('label_filename: "labels.txt"')
    return [f"{what} [", "  {", *(f"    {line}" for line in lines), "  }", "]"]


def parameter(key: str, value: str) -> str:
    """What a client can read about the model: Triton returns it with the configuration."""
    return f'parameters {{ key: "{key}" value {{ string_value: {json.dumps(value)} }} }}'


def _batching(settings: Settings) -> list[str]:
    sizes = ", ".join(map(str, sorted(set(settings.preferred_batch_sizes))))
    preferred = [f"  preferred_batch_size: [ {sizes} ]"] if sizes else []
    delay = f"  max_queue_delay_microseconds: {settings.queue_delay}"
    return ["dynamic_batching {", *preferred, delay, "}"]


def _versions(settings: Settings) -> list[str]:
    count = settings.served_versions
    return [] if count == 1 else [f"version_policy {{ latest {{ num_versions: {count} }} }}"]


def _warmup(image: Tensor, settings: Settings, backend: Backend) -> list[str]:
    """One image, and as many as come together; where each instance would fill its part of /dev/shm
    at the start, a few."""
    most = settings.max_batch_size
    sizes = sorted({1, min(most, _WARMED) if backend.shares else most})
    dims = ", ".join(map(str, image.dims))
    value = f"data_type: {image.dtype} dims: [ {dims} ] zero_data: true"
    one = '{{ name: "batch of {0}" batch_size: {0} inputs {{ key: "input" value {{ {1} }} }} }}'
    batches = [f"  {one.format(size, value)}" for size in sizes]
    return ["model_warmup [", ",\n".join(batches), "]"]


# ------------------------------------------------------------------------------------- a version


def with_version_of(
    text: str, model: VisionTransformer, settings: Settings, backend: Backend
) -> str:
    """The config.pbtxt that is there, saying what the model is in place of the one before.

    All else in it stays as it is, whoever has written it. Raises `ValueError` where the model is of
    another kind, or where it says something else than a setting that was given.
    """
    own = served(model, settings, backend)
    for pattern in (r"^(?:platform|backend): *\S+", r"dims: *\[[^]]*\]"):
        before, now = (re.findall(pattern, found, re.MULTILINE) for found in (text, own))
        if set(before) != set(now):
            raise ValueError(
                f"it serves a model with {' and '.join(sorted(set(before)))}, this one has "
                f"{' and '.join(sorted(set(now)))}"
            )
    _check_unchanged(text, own, settings)
    for key, value in properties(model).items():
        line, old = parameter(key, value), re.escape(f'parameters {{ key: "{key}" ')
        there = re.search(rf"^{old}.*$", text, flags=re.MULTILINE)
        text = text.replace(there[0], line) if there else f"{text}{line}\n"
    return text


def _check_unchanged(text: str, own: str, settings: Settings) -> None:
    for name, option in OPTIONS.items():
        value = getattr(settings, name)
        before, now = (re.findall(option.line, found, re.MULTILINE) for found in (text, own))
        if value != getattr(Settings(), name) and before != now:
            raise ValueError(
                f"it is kept when a version is added, and does not say {name} {shown(value)}: edit "
                "it, or leave that out"
            )
