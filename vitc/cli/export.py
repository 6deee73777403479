"""Write a model for other runtimes: an ONNX file, a model repository for Triton, a file for C.

vitc export onnx lightning_logs/version_0/checkpoints/epoch=9-val_acc=0.930.ckpt model.onnx

vitc export triton CHECKPOINT models/ --backend python --queue-delay 500
"""

import argparse
from pathlib import Path

from vitc import export
from vitc.errors import nearest, shown
from vitc.export.folder import Folder, read_folder
from vitc.export.onnx_file import OPSETS
from vitc.export.triton_repository import BACKENDS
from vitc.models.factory import create_model
from vitc.models.registry import list_models


def add_arguments(parser: argparse.ArgumentParser) -> None:
    formats = parser.add_subparsers(title="formats", required=True, metavar="FORMAT")
    onnx = formats.add_parser("onnx", help="one file for ONNX Runtime, OpenVINO, TensorRT")
    _add_source(onnx)
    onnx.add_argument("file", metavar="FILE")
    onnx.add_argument(
        "--opset",
        type=int,
        default=17,
        metavar="N",
        help=f"{OPSETS[0]} to {OPSETS[-1]} (default: 17)",
    )
    onnx.set_defaults(write=_onnx)
    program = formats.add_parser("program", help="one file for C without Python")
    _add_source(program)
    program.add_argument("file", metavar="FILE")
    program.set_defaults(write=_program)
    triton = formats.add_parser("triton", help="a folder in a model repository of Triton")
    _add_source(triton)
    _add_serving(triton)
    triton.set_defaults(write=_triton)


def _add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", metavar="CHECKPOINT", help="a checkpoint; or timm's name, for fresh weights"
    )


def _add_serving(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("directory", metavar="DIR", help="the model repository")
    add("--name", default="vit_classifier", help="of the model (default: vit_classifier)")
    add("--backend", choices=BACKENDS, default="onnxruntime", help="default: onnxruntime")
    add("--max-batch-size", type=int, default=32, metavar="N", help="default: 32")
    add("--instances", type=int, default=1, metavar="N", help="that run at once (default: 1)")
    add(
        "--queue-delay",
        type=int,
        default=0,
        metavar="US",
        help="microseconds a request may wait for others (default: 0)",
    )


def run(options: argparse.Namespace) -> None:
    print(options.write(options, _source(options.source)))


def _source(source: str) -> Folder:
    """The model of a checkpoint, or a fresh one of a known name."""
    if Path(source).exists():
        return read_folder(source)
    if source not in list_models():
        raise ValueError(
            f"there is no checkpoint {shown(source)}, and no model; "
            f"{nearest(source, list_models())}"
        )
    return Folder(create_model(source).eval(), None)


def _onnx(options: argparse.Namespace, source: Folder) -> str:
    file = export.onnx(source.model, options.file, opset=options.opset, labels=source.labels)
    size = file.stat().st_size / 1e6
    return f"{file}: {source.model!r}, opset {options.opset}, {size:.1f} MB"


def _program(options: argparse.Namespace, source: Folder) -> str:
    file = export.program(source.model, options.file, labels=source.labels)
    return f"{file}: {source.model!r}, {file.stat().st_size / 1e6:.1f} MB"


def _triton(options: argparse.Namespace, source: Folder) -> str:
    folder = export.triton(
        source.model,
        options.directory,
        backend=options.backend,
        name=options.name,
        max_batch_size=options.max_batch_size,
        instances=options.instances,
        queue_delay=options.queue_delay,
        labels=source.labels,
    )
    files = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
    return (
        f"{folder}: {', '.join(files)}\nserve it: tritonserver --model-repository={folder.parent}"
    )
