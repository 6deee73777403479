"""Write a model for other runtimes: an ONNX file, a model repository for Triton, a file for C.

vitc export onnx lightning_logs/version_0/checkpoints/epoch=9-val_acc=0.930.ckpt model.onnx

vitc export triton CHECKPOINT models/ --backend python --queue-delay 500
"""

import argparse

from vitc import export
from vitc.cli import common
from vitc.export import onnx_options
from vitc.export.stored import Stored
from vitc.export.triton_config import OPTIONS, Settings
from vitc.export.triton_repository import BACKENDS, needs_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    formats = parser.add_subparsers(title="formats", required=True, metavar="FORMAT")
    onnx = formats.add_parser("onnx", help="one file for ONNX Runtime, OpenVINO, TensorRT")
    common.add_model_options(onnx)
    onnx.add_argument("file", metavar="FILE")
    _add_onnx_options(onnx)
    onnx.set_defaults(write=_onnx)
    program = formats.add_parser("program", help="one file for C without Python")
    common.add_model_options(program)
    program.add_argument("file", metavar="FILE")
    program.set_defaults(write=_program)
    triton = formats.add_parser("triton", help="a folder in a model repository of Triton")
    common.add_model_options(triton)
    _add_serving(triton)
    triton.set_defaults(write=_triton)


def _add_onnx_options(parser: argparse.ArgumentParser) -> None:
    add, default = parser.add_argument, onnx_options.Options()
    for name, option in onnx_options.OPTIONS.items():
        word, value = f"--{name.replace('_', '-')}", getattr(default, name)
        if option.choices:
            add(word, choices=option.choices, default=value, help=option.help)
        elif option.metavar:
            kind = int if isinstance(value, int) else _number_or_name
            add(word, type=kind, default=value, metavar=option.metavar, help=option.help)
        else:
            add(word, action="store_true", help=option.help)
    add("--input-name", default="input", metavar="NAME", help="default: input")
    add(
        "--output-name",
        action="append",
        metavar="NAME",
        help="default: output; again for that of --features",
    )


def _number_or_name(word: str) -> int | str:
    return int(word) if word.isdecimal() else word


def _add_serving(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("directory", metavar="DIR", help="the model repository")
    add("--name", default="vit_classifier", help="of the model (default: vit_classifier)")
    add("--version", type=int, metavar="N", help="add this version to a model that is there")
    add("--backend", choices=BACKENDS, default="onnxruntime", help="default: onnxruntime")
    add(
        "--ensemble",
        action="store_true",
        help="also write NAME_images, which takes the bytes of image files",
    )
    for name, option in OPTIONS.items():
        word = f"--{name.replace('_', '-')}"
        if not option.metavar:
            add(word, action="store_true", help=option.help)
            continue
        many = isinstance(getattr(Settings(), name), tuple)
        add(
            word.removesuffix("s") if many else word,
            dest=name,
            type=int,
            action="append" if many else "store",
            default=[] if many else getattr(Settings(), name),
            metavar=option.metavar,
            help=option.help,
        )


def run(options: argparse.Namespace) -> None:
    print(options.write(options, common.stored_model(options)))


def _onnx(options: argparse.Namespace, source: Stored) -> str:
    file = export.onnx(
        source.model,
        options.file,
        labels=source.labels,
        input_names=[options.input_name],
        output_names=options.output_name,
        **{name: getattr(options, name) for name in onnx_options.OPTIONS},
    )
    size = file.stat().st_size / 1e6
    return f"{file}: {_said(source)}, opset {options.opset}, {size:.1f} MB"


def _said(source: Stored) -> str:
    return " ".join(filter(None, (repr(source.model), source.random)))


def _program(options: argparse.Namespace, source: Stored) -> str:
    file = export.program(source.model, options.file, labels=source.labels)
    return f"{file}: {_said(source)}, {file.stat().st_size / 1e6:.1f} MB"


def _triton(options: argparse.Namespace, source: Stored) -> str:
    folder = export.triton(
        source.model,
        options.directory,
        backend=options.backend,
        name=options.name,
        version=options.version,
        ensemble=options.ensemble,
        labels=source.labels,
        **{name: getattr(options, name) for name in OPTIONS},
    )
    files = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
    return "\n".join(
        (
            f"{folder}: {_said(source)}: {', '.join(files)}",
            f"serve it: tritonserver --model-repository={folder.parent}",
            *needs_of(folder),
        )
    )
