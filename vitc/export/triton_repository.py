"""Model repositories for NVIDIA's Triton Inference Server."""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from vitc import checks
from vitc.errors import nearest, shown
from vitc.export.onnx_file import onnx
from vitc.export.properties import properties
from vitc.export.stored import read_folder
from vitc.files import flush, flush_tree, move
from vitc.models.timm_folder import write_folder
from vitc.models.vision_transformer import VisionTransformer
from vitc.program import Shape


class Settings(NamedTuple):
    """How a model is served. queue_delay: microseconds a request may wait for others."""

    name: str
    max_batch_size: int
    instances: int
    queue_delay: int


class Backend(NamedTuple):
    """One of Triton's backends. write: fills the folder of the version."""

    line: str  # of config.pbtxt
    kind: str  # what its instances run on
    write: Callable[[Path, VisionTransformer, Settings, Sequence[str] | None], None]
    note: str = ""  # a comment of config.pbtxt


def triton(
    model: VisionTransformer,
    directory: str | os.PathLike[str],
    *,
    backend: str = "onnxruntime",
    name: str = "vit_classifier",
    max_batch_size: int = 32,
    instances: int = 1,
    queue_delay: int = 0,
    labels: Sequence[str] | None = None,
) -> Path:
    """Writes a model into a model repository of Triton as version 1; returns `directory/name`.

    Its input is "input", float32 (batch, C, H, W), its output "output", float32 (batch, classes).
    backend: "onnxruntime" and "tensorrt" serve an ONNX file, for which TensorRT has to build a plan
    on its machine first (`build_plan.sh` beside it); "python" serves through vitc. queue_delay: the
    microseconds a request may wait until a batch is full. labels: the names of the classes, by
    default their numbers.

    The folder appears when it is whole. Raises `ValueError` or `TypeError` for a bad argument,
    `FileExistsError` if the repository holds a model of this name, other `OSError` if it cannot be
    written.
    """
    settings = Settings(name, max_batch_size, instances, queue_delay)
    _check(settings, backend)
    _check_model(model, labels)
    names = labels or [str(i) for i in range(model.num_classes)]
    final = Path(directory) / name
    if os.path.lexists(final):
        raise FileExistsError(f"{final} is there already: remove it, or give another name")
    final.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".vitc", dir=final.parent) as scratch:
        folder = Path(scratch) / name
        (folder / "1").mkdir(parents=True)
        BACKENDS[backend].write(folder / "1", model, settings, labels)
        (folder / "config.pbtxt").write_text(_config(model, settings, BACKENDS[backend]))
        if names:
            (folder / "labels.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
        flush_tree(folder)
        move(folder, final)
        flush(final.parent)
    return final


def _check(settings: Settings, backend: str) -> None:
    if backend not in BACKENDS:
        raise ValueError(f"there is no backend {shown(backend)}; {nearest(backend, BACKENDS)}")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", settings.name):
        raise ValueError(
            f"name is {shown(settings.name)}, expected letters, digits, '_', '.' and '-'"
        )
    for what, least in (("max_batch_size", 1), ("instances", 1), ("queue_delay", 0)):
        checks.integer(what, getattr(settings, what), least)


def _check_model(model: VisionTransformer, labels: Sequence[str] | None) -> None:
    if model.params.dtype != "float32":
        raise ValueError(f"the model has dtype {model.params.dtype}, Triton is to serve float32")
    if labels is not None and len(labels) != model.num_classes:
        raise ValueError(
            f"there are {len(labels)} labels, the model has {model.num_classes} classes"
        )
    for label in labels or ():
        if "\n" in label or "\r" in label:
            raise ValueError(f"the label {shown(label)} has more than one line")


# ------------------------------------------------------------------------------------- the config

_CONFIG = """\
name: "{s.name}"
{backend.line}{note}
max_batch_size: {s.max_batch_size}
input [
  {{
    name: "input"
    data_type: TYPE_FP32
    dims: {input}
  }}
]
output [
  {{
    name: "output"
    data_type: TYPE_FP32
    dims: {output}{labels}
  }}
]
dynamic_batching {{
  max_queue_delay_microseconds: {s.queue_delay}
}}
instance_group [
  {{
    count: {s.instances}
    kind: {backend.kind}
  }}
]
model_warmup [
{warmup}
]
{parameters}
"""

_WARMUP = """\
  {{
    name: "batch of {batch}"
    batch_size: {batch}
    inputs {{
      key: "input"
      value {{
        data_type: TYPE_FP32
        dims: {input}
        zero_data: true
      }}
    }}
  }}"""


def _config(model: VisionTransformer, settings: Settings, backend: Backend) -> str:
    """config.pbtxt, in the text format of protobuf."""
    program = model.program()
    images, outputs = _dims(program.inputs[0].outer), _dims(program.outputs[0].outer)
    warmup = [
        _WARMUP.format(batch=batch, input=images) for batch in sorted({1, settings.max_batch_size})
    ]
    return _CONFIG.format(
        s=settings,
        backend=backend,
        note="".join(f"\n# {line}" for line in backend.note.splitlines()),
        input=images,
        output=outputs,
        labels='\n    label_filename: "labels.txt"' if model.num_classes else "",
        warmup=",\n".join(warmup),
        parameters="\n".join(_parameter(*item) for item in properties(model).items()),
    )


def _parameter(key: str, value: str) -> str:
    """What a client can read about the model: Triton returns it with the configuration."""
    return f'parameters {{ key: "{key}" value {{ string_value: {json.dumps(value)} }} }}'


def _dims(shape: Shape) -> str:
    return f"[ {', '.join(map(str, shape))} ]"


# ------------------------------------------------------------------------------------- backends

_BUILD_PLAN = """\
#!/bin/sh
# Builds model.plan from model.onnx. A plan runs only on the kind of GPU and with the version of
# TensorRT it was built with: run this on the machine of the server, in its container.
#
#   sh build_plan.sh 10       TensorRT 10: in half precision where TensorRT finds it faster
#   sh build_plan.sh 11       TensorRT 11: in the precision of model.onnx, which is float32
#   sh build_plan.sh 11 FILE  the same of another ONNX file, such as the one in half precision of
#                             python -m modelopt.onnx.autocast --onnx_path model.onnx
set -eu
cd "$(dirname "$0")"
shapes="--minShapes=input:1x{image} --optShapes=input:{usual}x{image}"
shapes="$shapes --maxShapes=input:{most}x{image}"
case "${{1:-}}" in
10) trtexec --onnx="${{2:-model.onnx}}" --saveEngine=model.plan $shapes --fp16 ;;
11) trtexec --onnx="${{2:-model.onnx}}" --saveEngine=model.plan $shapes ;;
*) echo "usage: sh build_plan.sh 10|11 [FILE]" >&2; exit 2 ;;
esac
"""


def _write_onnx(
    folder: Path, model: VisionTransformer, settings: Settings, labels: Sequence[str] | None
) -> None:
    onnx(model, folder / "model.onnx", labels=labels)


def _write_plan(
    folder: Path, model: VisionTransformer, settings: Settings, labels: Sequence[str] | None
) -> None:
    _write_onnx(folder, model, settings, labels)
    most = settings.max_batch_size
    image = "x".join(map(str, model.program().inputs[0].outer))
    text = _BUILD_PLAN.format(image=image, usual=max(1, most // 2), most=most)
    (folder / "build_plan.sh").write_text(text)


def _write_python(
    folder: Path, model: VisionTransformer, settings: Settings, labels: Sequence[str] | None
) -> None:
    write_folder(folder, model, list(labels) if labels else None)
    read_folder(folder)  # as the server will
    shutil.copyfile(Path(__file__).with_name("triton_model.py"), folder / "model.py")


BACKENDS: dict[str, Backend] = {
    "onnxruntime": Backend(
        'platform: "onnxruntime_onnx"',
        "KIND_CPU",
        _write_onnx,
        "An instance uses all processors unless the parameter intra_op_thread_count says less.",
    ),
    "tensorrt": Backend(
        'platform: "tensorrt_plan"',
        "KIND_GPU",
        _write_plan,
        "It loads 1/model.plan, which 1/build_plan.sh makes.",
    ),
    "python": Backend(
        'backend: "python"',
        "KIND_CPU",
        _write_python,
        "The backend's Python has to find vitc: by PYTHONPATH, or by a separate environment in\n"
        "the parameter EXECUTION_ENV_PATH. The instances share the processors.",
    ),
}
