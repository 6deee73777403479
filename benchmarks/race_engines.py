"""The engines of `race.py`, each in a process of its own: what it loads, and one call of it.

`torch compiled` is inductor with weights frozen in inference; bf16 is autocast. ONNX Runtime gets
vitc's export with whole attention operators (opset 23), its fastest file of those that
onnx_race.md compares; "fused" is that file after onnxruntime.transformers.optimizer, int8 after
onnxruntime.quantization, of MatMul alone. OpenVINO is told its precision: it would choose bf16. Its
int8 is ONNX Runtime's static file, or by NNCF where that is installed, which is faster.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import race_machine
from race_workloads import CLASSES, Workload

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

Run = Callable[[], Any]  # one call; gives the logits, or the loss


class Task(NamedTuple):
    """weights: the file that all engines load; what they make of it goes beside it."""

    work: Workload
    threads: int
    weights: str


def inputs(work: Workload) -> tuple[Any, Any]:
    import numpy as np

    generator = np.random.default_rng(0)
    shape = (work.batch, 3, work.side, work.side)
    images = generator.standard_normal(shape).astype(np.float32)
    return images, generator.integers(0, CLASSES, work.batch)


# ---------------------------------------------------------------- vitc


def vitc_engine(task: Task, kind: str = "float32") -> Run:
    import numpy as np

    import vitc
    import vitc.functional as F

    vitc.set_num_threads(task.threads)
    model = vitc.create_model(task.work.model, checkpoint_path=task.weights, num_classes=CLASSES)
    x, y = inputs(task.work)
    if not task.work.training:
        model.eval()
        if kind.startswith("int8 static"):
            from oracle.static import static

            model = static(model)
        elif kind == "int8":
            model = vitc.quantize(model)
    if kind.endswith("bf16"):
        model.precision = "bf16"

    def infer():
        with vitc.no_grad():
            return np.asarray(model(x))

    if not task.work.training:
        return infer
    optimizer = vitc.optim.AdamW(model.parameters(), lr=1e-4)

    def step():
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return np.asarray(loss.item())

    return step


# ---------------------------------------------------------------- torch


def torch_engine(task: Task, *, compiled: bool = False, bf16: bool = False) -> Run:
    from oracle import torch

    options = {}
    if compiled:
        import torch._inductor.config

        torch._inductor.config.freezing = not task.work.training
        options = {"backend": "inductor"}
    return torch_call(task, options, bf16)


def zentorch_engine(task: Task, bf16: bool = False) -> Run:
    if "AMD" not in race_machine.processor():
        raise RuntimeError("it is for processors of AMD")
    import torch._inductor.config
    import zentorch  # noqa: F401 - it adds a backend

    torch._inductor.config.freezing = True
    return torch_call(task, {"backend": "zentorch"}, bf16)


def torch_call(task: Task, compiler: dict[str, str], bf16: bool) -> Run:
    """compiler: options of torch.compile, or none for eager."""
    from safetensors.torch import load_file

    from oracle import timm, torch

    torch.set_num_threads(task.threads)
    plain = timm.create_model(task.work.model, num_classes=CLASSES)
    plain.load_state_dict(load_file(task.weights))
    plain.train(task.work.training)
    model = torch.compile(plain, **compiler) if compiler else plain
    x, y = map(torch.from_numpy, inputs(task.work))

    def forward():
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return model(x)

    def infer():
        with torch.no_grad():
            return forward().float().numpy()

    if not task.work.training:
        return infer
    optimizer = torch.optim.AdamW(plain.parameters(), lr=1e-4, fused=True)

    def step():
        loss = torch.nn.functional.cross_entropy(forward().float(), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach().numpy()

    return step


# ---------------------------------------------------------------- files of ONNX


def exported(task: Task) -> Path:
    """The model as an ONNX file beside its weights."""
    import vitc

    path = Path(task.weights).with_name(f"{task.work.model}-{time.monotonic_ns()}.onnx")
    model = vitc.create_model(
        task.work.model, checkpoint_path=task.weights, num_classes=CLASSES
    ).eval()
    return Path(vitc.export.onnx(model, path, opset=23))


def fused(task: Task) -> Path:
    from onnxruntime.transformers import optimizer

    source = exported(task)
    made = optimizer.optimize_model(str(source), model_type="vit", opt_level=0)
    counts = made.get_fused_operator_statistics()
    if not any(counts.values()):
        raise RuntimeError("the optimizer found nothing to fuse")
    path = source.with_suffix(".fused.onnx")
    made.save_model_to_file(str(path))
    return path


def dynamic(task: Task) -> Path:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    source = exported(task)
    path = source.with_suffix(".int8.onnx")
    quantize_dynamic(source, path, op_types_to_quantize=["MatMul"], per_channel=True,
                     weight_type=QuantType.QInt8)  # fmt: skip
    return path


def qdq(task: Task) -> Path:
    """The exported model with its linear layers in static int8, as runs fastest on CPUs: no
    quantisation behind a product."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Images(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = [{"input": x[None]} for x in inputs(task.work._replace(batch=8))[0]]

        def get_next(self) -> Any:
            return self.left.pop() if self.left else None

    source = exported(task)
    path = source.with_suffix(".qdq.onnx")
    options = {"MatMulConstBOnly": True, "OpTypesToExcludeOutputQuantization": ["MatMul"]}
    quantize_static(source, path, Images(), op_types_to_quantize=["MatMul"], per_channel=True,
                    activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                    extra_options=options)  # fmt: skip
    return path


def nncf(task: Task) -> Path:
    """OpenVINO's own quantisation, of attention's products too; in the form of its models."""
    import openvino
    from nncf import Dataset, ModelType, QuantizationPreset, quantize

    network = openvino.Core().read_model(exported(task))
    network.reshape([task.work.batch, 3, task.work.side, task.work.side])
    images = [inputs(task.work)[0]]
    made = quantize(network, Dataset(images), model_type=ModelType.TRANSFORMER,
                    preset=QuantizationPreset.PERFORMANCE)  # fmt: skip
    path = Path(task.weights).with_name(f"{task.work.model}-{time.monotonic_ns()}.xml")
    openvino.save_model(made, path, compress_to_fp16=False)
    return path


def onnxruntime_engine(task: Task, file: Callable[[Task], Path]) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = task.threads
    options.log_severity_level = 3
    path = file(task)
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    x, _ = inputs(task.work)
    return lambda: session.run(None, {"input": x})[0]


def openvino_engine(task: Task, file: Callable[[Task], Path], precision: str) -> Run:
    """precision: of all that the file leaves in floating point."""
    import openvino

    options = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": task.threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    network = openvino.Core().read_model(file(task))
    network.reshape([task.work.batch, 3, task.work.side, task.work.side])
    request = openvino.Core().compile_model(network, "CPU", options).create_infer_request()
    x, _ = inputs(task.work)
    return lambda: request.infer([x])[0]


# ---------------------------------------------------------------- all of them

STARTS: dict[str, Callable[[Task], Run]] = {
    "vitc": vitc_engine,
    "vitc bf16": lambda t: vitc_engine(t, "bf16"),
    "vitc int8": lambda t: vitc_engine(t, "int8"),
    "vitc int8 static": lambda t: vitc_engine(t, "int8 static"),
    "vitc int8 static bf16": lambda t: vitc_engine(t, "int8 static bf16"),
    "torch": torch_engine,
    "torch bf16": lambda t: torch_engine(t, bf16=True),
    "torch compiled": lambda t: torch_engine(t, compiled=True),
    "torch compiled bf16": lambda t: torch_engine(t, compiled=True, bf16=True),
    "zentorch": zentorch_engine,
    "zentorch bf16": lambda t: zentorch_engine(t, bf16=True),
    "onnxruntime": lambda t: onnxruntime_engine(t, exported),
    "onnxruntime fused": lambda t: onnxruntime_engine(t, fused),
    "onnxruntime int8": lambda t: onnxruntime_engine(t, dynamic),
    "onnxruntime int8 static": lambda t: onnxruntime_engine(t, qdq),
    "openvino": lambda t: openvino_engine(t, exported, "f32"),
    "openvino bf16": lambda t: openvino_engine(t, exported, "bf16"),
    "openvino int8": lambda t: openvino_engine(t, qdq, "f32"),
    "openvino int8 bf16": lambda t: openvino_engine(t, qdq, "bf16"),
    "openvino int8 nncf": lambda t: openvino_engine(t, nncf, "f32"),
    "openvino int8 nncf bf16": lambda t: openvino_engine(t, nncf, "bf16"),
}
PACKAGES = {  # by the first word of an engine's name
    "vitc": ("vitc",),
    "torch": ("torch", "timm"),
    "zentorch": ("zentorch", "torch", "timm"),
    "onnxruntime": ("onnxruntime",),
    "openvino": ("openvino",),
}


def packages(engine: str) -> tuple[str, ...]:
    first, *others = engine.split()
    return (*PACKAGES[first], *(word for word in others if word == "nncf"))


def canary(threads: int) -> Run:
    """A small product of fixed size by NumPy, on as many threads as the engines have."""
    os.environ |= dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), str(threads))
    import numpy as np

    a = np.ones((512, 512), np.float32)
    out = np.empty_like(a)

    def run():
        for _ in range(8):
            np.matmul(a, a, out=out)
        return out

    return run
