"""Model repositories for NVIDIA's Triton Inference Server."""

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from vitc import _vitc, checks
from vitc.errors import nearest, shown
from vitc.export import triton_config as config
from vitc.export.onnx_file import onnx
from vitc.export.program_file import program
from vitc.export.properties import labels_for
from vitc.export.stored import read_folder
from vitc.export.triton_config import Backend, Settings, Tensor
from vitc.files import flush, flush_tree, move, replacing
from vitc.models.timm_folder import write_config, write_folder
from vitc.models.vision_transformer import VisionTransformer
from vitc.models.weights.local_dir import CONFIG, read_config

Write = Callable[[Path, VisionTransformer, Settings, Sequence[str] | None], None]
PREPARATION = ("mean", "std", "interpolation", "crop_pct", "crop_mode", "input_size")


class Kind(NamedTuple):
    """A backend, what fills the folder of a version, and the files that the model's own holds."""

    backend: Backend
    write: Write
    files: Callable[[], Sequence[Path]] = lambda: ()


def triton(
    model: VisionTransformer,
    directory: str | os.PathLike[str],
    *,
    backend: str = "onnxruntime",
    name: str = "vit_classifier",
    version: int | None = None,
    ensemble: bool = False,
    max_batch_size: int = 32,
    instances: int = 1,
    threads: int | None = None,
    queue_delay: int = 0,
    preferred_batch_sizes: Sequence[int] = (),
    response_cache: bool = False,
    served_versions: int = 1,
    labels: Sequence[str] | None = None,
) -> Path:
    """Writes a model into a model repository of Triton; returns `directory/name`.

    Its input is "input", float32 (batch, C, H, W), its output "output", float32 (batch, classes).
    backend: "onnxruntime" and "tensorrt" serve an ONNX file, for which TensorRT has to build a plan
    on its machine first (`build_plan.sh` beside it); "vitc" and "python" serve with vitc, also
    models in bf16 and with 8-bit weights, with their bits: the first by a backend in C that comes
    along, in the server's process, the second in a process per instance.

    version: None for the first one of a new model; N above all that are there adds a version, while
    the server runs: of config.pbtxt only what describes the model changes. ensemble: also writes
    `name_images`, whose input "image", uint8 (1, bytes), is a JPEG or another image file, and
    `name_prepare`, by which vitc prepares it; images of several requests are computed together.

    max_batch_size: images that are computed together at most. threads: of each of the instances; by
    default they share the processors. queue_delay: the microseconds a request may wait until a
    batch is full, or has one of preferred_batch_sizes. response_cache: the server may repeat an
    answer. served_versions: how many of the latest are served. labels: the names of the classes, by
    default the model's, or their numbers.

    What is new appears whole, or nothing does. Raises `ValueError` or `TypeError` for a bad
    argument, `FileExistsError` if the repository holds such a model or version, other `OSError` if
    it cannot be written.
    """
    settings = Settings(
        name,
        max_batch_size,
        instances,
        threads,
        queue_delay,
        tuple(preferred_batch_sizes),
        response_cache,
        served_versions,
    )
    config.check(settings)
    if backend not in BACKENDS:
        raise ValueError(f"there is no backend {shown(backend)}; {nearest(backend, BACKENDS)}")
    if threads is not None and not BACKENDS[backend].backend.thread_key:
        raise ValueError(f"threads is {shown(threads)}, the backend {backend} has no such setting")
    checks.flag("ensemble", ensemble)
    checks.optional(checks.integer, "version", version, 1)
    labels = _labels(model, labels)
    final = Path(directory) / name
    if version is not None and os.path.lexists(final):
        _add_version(final, model, settings, BACKENDS[backend], version, labels)
        return final
    models = {name: _single(model, settings, BACKENDS[backend], version or 1, labels)}
    if ensemble:
        models |= _of_images(model, settings, labels)
    for taken in models:
        if os.path.lexists(final.with_name(taken)):
            raise FileExistsError(
                f"{final.with_name(taken)} is there already: remove it, give another name, or "
                "the number of a new version"
            )
    final.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".vitc", dir=final.parent) as scratch:
        for folder, fill in models.items():
            (Path(scratch) / folder).mkdir()
            fill(Path(scratch) / folder)
            flush_tree(Path(scratch) / folder)
        for folder in models:
            move(Path(scratch) / folder, final.with_name(folder))
    flush(final.parent)
    return final


def _labels(model: VisionTransformer, labels: Sequence[str] | None) -> list[str] | None:
    if not isinstance(model, VisionTransformer):
        raise TypeError(f"expected a model, got {shown(model)}; of a module, pass its model")
    if model.params.dtype != "float32":
        raise ValueError(f"the model has dtype {model.params.dtype}, Triton is to serve float32")
    found = labels_for(model, labels)
    for label in found or ():
        if "\n" in label or "\r" in label:
            raise ValueError(f"the label {shown(label)} has more than one line")
    return found


# ------------------------------------------------------------------------------------- the folders


def _single(
    model: VisionTransformer,
    settings: Settings,
    kind: Kind,
    version: int,
    labels: Sequence[str] | None,
) -> Callable[[Path], None]:
    """What fills the folder of a model."""

    def fill(folder: Path) -> None:
        (folder / str(version)).mkdir()
        kind.write(folder / str(version), model, settings, labels)
        for file in kind.files():
            shutil.copyfile(file, folder / file.name)
        (folder / "config.pbtxt").write_text(config.served(model, settings, kind.backend))
        _write_labels(folder, model, labels)

    return fill


def _write_labels(folder: Path, model: VisionTransformer, labels: Sequence[str] | None) -> None:
    names = labels or [str(i) for i in range(model.num_classes)]
    if names:
        with replacing(folder / "labels.txt") as unfinished:
            unfinished.write_text("\n".join(names) + "\n", encoding="utf-8")


def _add_version(
    final: Path,
    model: VisionTransformer,
    settings: Settings,
    kind: Kind,
    version: int,
    labels: Sequence[str] | None,
) -> None:
    """The version beside those that are there; then config.pbtxt describes it."""
    there = [int(path.name) for path in final.iterdir() if path.name.isdecimal()]
    if version <= max(there, default=0):
        raise FileExistsError(f"{final} has version {max(there)} already: give a higher number")
    try:
        text = (final / "config.pbtxt").read_text()
        text = config.with_version_of(text, model, settings, kind.backend)
        _check_preparation(final.with_name(f"{final.name}_prepare"), model)
    except ValueError as error:
        raise ValueError(f"{final / 'config.pbtxt'}: {error}") from None
    with tempfile.TemporaryDirectory(prefix=".vitc", dir=final.parent) as scratch:
        folder = Path(scratch) / str(version)
        folder.mkdir()
        kind.write(folder, model, settings, labels)
        flush_tree(folder)
        move(folder, final / str(version))
    _write_labels(final, model, labels)
    with replacing(final / "config.pbtxt") as unfinished:
        unfinished.write_text(text)


# ------------------------------------------------------------------------------------- from files


def _of_images(
    model: VisionTransformer, settings: Settings, labels: Sequence[str] | None
) -> dict[str, Callable[[Path], None]]:
    """The ensemble, and the model in front that prepares images; by their names."""
    prepare, whole = (f"{settings.name}_{suffix}" for suffix in ("prepare", "images"))
    image = Tensor("image", "TYPE_UINT8", (-1,))  # as for DALI; some backends garble strings
    prepared = Tensor("prepared", "TYPE_FP32", model.program().inputs[0].outer)
    batch = f"max_batch_size: {settings.max_batch_size}"
    memory = config.said_of_memory(model, settings, models=2)  # of which one may serve

    def fill_prepare(folder: Path) -> None:
        (folder / "1").mkdir()
        write_config(folder / "1", model, None)
        shutil.copyfile(_source("triton_prepare.py"), folder / "1" / "model.py")
        lines = [
            *config.head(prepare, _PYTHON.line, _PYTHON.note + memory),
            batch,
            *config.tensors("input", image),
            *config.tensors("output", prepared),
            "dynamic_batching { }",
            f"instance_group [ {{ count: {settings.instances} kind: KIND_CPU }} ]",
        ]
        (folder / "config.pbtxt").write_text("\n".join([*lines, ""]))

    def fill_whole(folder: Path) -> None:
        (folder / "1").mkdir()  # which Triton wants, though it holds nothing
        steps = [
            (prepare, "image", "image", "prepared", "prepared"),
            (settings.name, "input", "prepared", "output", "output"),
        ]
        lines = [
            *config.head(whole, 'platform: "ensemble"'),
            batch,
            *config.tensors("input", image),
            *config.tensors("output", config.output_of(model)),
            "ensemble_scheduling {",
            *(_STEP.format(*step) for step in steps),
            "}",
        ]
        (folder / "config.pbtxt").write_text("\n".join([*lines, ""]))
        _write_labels(folder, model, labels)

    return {prepare: fill_prepare, whole: fill_whole}


_STEP = """\
  step {{
    model_name: "{0}"
    model_version: -1
    input_map {{ key: "{1}" value: "{2}" }}
    output_map {{ key: "{3}" value: "{4}" }}
  }}"""


def _check_preparation(folder: Path, model: VisionTransformer) -> None:
    """Raises `ValueError` if an ensemble prepares images otherwise than the model needs them."""
    if folder.is_dir():
        there, own = read_config(folder / "1" / CONFIG).cfg, model.default_cfg
        for name in PREPARATION:
            if name in own and _plain(there.get(name)) != _plain(own[name]):
                raise ValueError(
                    f"{folder} prepares images with {name} {shown(there.get(name))}, the model "
                    f"needs {shown(own[name])}: write it under another name"
                )


def _plain(value: object) -> object:
    return list(value) if isinstance(value, list | tuple) else value


def needs_of(folder: Path) -> list[str]:
    """The lines of a config.pbtxt that say what its container needs."""
    prepare = folder.with_name(f"{folder.name}_prepare")
    config_file = (prepare if prepare.is_dir() else folder) / "config.pbtxt"
    lines = config_file.read_text().splitlines()
    return [line[2:].partition(":")[0] for line in lines if line.startswith(f"# {config.SHARED}")]


def _source(name: str) -> Path:
    return Path(__file__).with_name(name)


# ------------------------------------------------------------------------------------- backends

_BUILD_PLAN = """\
#!/bin/sh
# Builds model.plan. A plan runs only on the kind of GPU and with the version of TensorRT it was
# built with: run this on the machine of the server, in its container.
#
#   sh build_plan.sh 10             TensorRT 10, in the types of model.onnx
#   sh build_plan.sh 11             TensorRT 11, the same
#   sh build_plan.sh 10 FILE        of another file; model_fp16.onnx is the model in half precision.
#                                   Not by --fp16, which also computes norms in half precision
#   sh build_plan.sh 10 int8 CACHE  TensorRT 10 only: in 8 bits by a calibration cache
set -eu
cd "$(dirname "$0")"
shapes="--minShapes=input:1x{image} --optShapes=input:{usual}x{image}"
shapes="$shapes --maxShapes=input:{most}x{image}"
build() {{
    onnx="$1"
    shift
    trtexec --onnx="$onnx" --saveEngine=model.plan $shapes "$@"
}}
case "${{1:-}} ${{2:-}}" in
"10 int8") build model.onnx --int8 --calib="${{3:?which calibration cache?}}" ;;
"10 "*) build "${{2:-model.onnx}}" --stronglyTyped ;;
"11 "*) build "${{2:-model.onnx}}" ;;
*) echo "usage: sh build_plan.sh 10|11 [FILE], or 10 int8 CACHE" >&2; exit 2 ;;
esac
"""


def _write_onnx(
    folder: Path, model: VisionTransformer, settings: Settings, labels: Sequence[str] | None
) -> None:
    onnx(model, folder / "model.onnx", labels=labels)


def _write_plan(
    folder: Path, model: VisionTransformer, settings: Settings, labels: Sequence[str] | None
) -> None:
    onnx(model, folder / "model.onnx", target="tensorrt", labels=labels)
    if not model.quantized:
        half = folder / "model_fp16.onnx"
        onnx(model, half, target="tensorrt", precision="fp16", labels=labels)
    most = settings.max_batch_size
    image = "x".join(map(str, model.program().inputs[0].outer))
    text = _BUILD_PLAN.format(image=image, usual=max(1, most // 2), most=most)
    (folder / "build_plan.sh").write_text(text)


def _write_python(
    folder: Path, model: VisionTransformer, settings: Settings, labels: Sequence[str] | None
) -> None:
    write_folder(folder, model, labels)
    read_folder(folder)  # as the server will
    shutil.copyfile(_source("triton_model.py"), folder / "model.py")


_PYTHON = Backend(
    'backend: "python"',
    note="The server starts the python3 that it finds first in PATH, without PYTHONPATH: start it\n"
    "with the environment that has vitc first in PATH, or name an archive of that environment in\n"
    "the parameter EXECUTION_ENV_PATH.",
    shares=True,
    thread_key="threads",
    divides=True,
)


def _write_program(
    folder: Path, model: VisionTransformer, settings: Settings, labels: Sequence[str] | None
) -> None:
    program(model, folder / "model.vitc", labels=labels)


def _libraries() -> list[Path]:
    """The backend in C, what it is linked with, and the licences of that. Raises `ValueError`
    where it was not built."""
    found = sorted(path for path in _LIBRARIES.iterdir() if path.is_file())
    if not (_LIBRARIES / "libtriton_vitc.so").is_file():
        raise ValueError("this build of vitc has no backend of its own for Triton: it is for Linux")
    return found


_LIBRARIES = Path(_vitc.__file__).with_name("_lib")
BACKENDS: dict[str, Kind] = {
    "onnxruntime": Kind(
        Backend(
            'platform: "onnxruntime_onnx"',
            note="An instance uses all processors of the server, unless the parameter\n"
            "intra_op_thread_count says less: several instances get their share of the processors\n"
            "of the machine where this was written.",
            thread_key="intra_op_thread_count",
        ),
        _write_onnx,
    ),
    "tensorrt": Kind(
        Backend(
            'platform: "tensorrt_plan"',
            "KIND_GPU",
            "It loads 1/model.plan, which 1/build_plan.sh makes.",
        ),
        _write_plan,
    ),
    "python": Kind(_PYTHON, _write_python),
    "vitc": Kind(
        Backend(
            'backend: "vitc"',
            note="The server finds libtriton_vitc.so beside this file. All instances share the\n"
            "weights. OMP_WAIT_POLICY=passive in the server's environment leaves processors to\n"
            "others while a thread waits.",
            thread_key="threads",
            divides=True,
        ),
        _write_program,
        _libraries,
    ),
}
