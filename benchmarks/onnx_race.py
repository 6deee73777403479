"""Exported files against timm's and ONNX Runtime's own: time of one image in ONNX Runtime.

    TIMM_FUSED_ATTN=0 python benchmarks/onnx_race.py vit_tiny_patch16_224 120

One thread; CPU time; the files take turns, in either order, and what is compared is the ratio of a
turn. Files in 8 bits are those of vitc, and of onnxruntime.quantization from timm's file: dynamic,
and static for the products with constant weights only, its fastest.
"""

import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnxruntime import quantization

import vitc

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from oracle import redrawn, timm, torch
from oracle.static import static

SHAPE = (1, 3, 224, 224)


class Images(quantization.CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, x: np.ndarray) -> None:
        self._rest = [{"input": x}] * 4

    def get_next(self) -> dict[str, np.ndarray] | None:
        return self._rest.pop() if self._rest else None


def files(name: str, folder: Path, x: np.ndarray) -> dict[str, Path]:
    """What is compared; the first is what the others are compared with."""
    model = vitc.create_model(name).eval()
    state = redrawn(model.shapes, "float32")
    model.load_state_dict(state)
    theirs = timm.create_model(name).eval()
    theirs.load_state_dict({key: torch.tensor(value) for key, value in state.items()})
    found = {
        what: folder / f"{i}.onnx"
        for i, what in enumerate(
            (
                *("timm, opset 17", "vitc, opset 17", "vitc, opset 23"),
                *("onnxruntime dynamic", "vitc dynamic", "onnxruntime static", "vitc static"),
            )
        )
    }
    names = dict(input_names=["input"], opset_version=17, dynamo=False)
    torch.onnx.export(theirs, torch.tensor(x), found["timm, opset 17"], **names)
    vitc.export.onnx(model, found["vitc, opset 17"])
    vitc.export.onnx(model, found["vitc, opset 23"], opset=23)
    vitc.export.onnx(vitc.quantize(model), found["vitc dynamic"])
    vitc.export.onnx(static(model), found["vitc static"])
    source = found["timm, opset 17"]
    quantization.quantize_dynamic(source, found["onnxruntime dynamic"], per_channel=True)
    quantization.quantize_static(
        source,
        found["onnxruntime static"],
        Images(x),
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        op_types_to_quantize=["MatMul"],
        extra_options={"MatMulConstBOnly": True},
    )
    return found


def session(file: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def race(found: dict[str, Path], x: np.ndarray, turns: int) -> None:
    sessions = {name: session(file) for name, file in found.items()}
    times: dict[str, list[float]] = {name: [] for name in sessions}
    for turn in range(turns + 2):
        for name in sorted(sessions, reverse=turn % 2 == 1):
            start = time.process_time()
            sessions[name].run(None, {"input": x})
            times[name].append(time.process_time() - start)
    first = np.array(times[next(iter(times))][2:])
    print("| file | ms | of timm's, median | quartiles |\n|---|---|---|---|")
    for name, seconds in times.items():
        ratio = np.array(seconds[2:]) / first
        low, middle, high = np.quantile(ratio, (0.25, 0.5, 0.75))
        print(
            f"| {name} | {1e3 * np.median(seconds[2:]):.1f} | {middle:.2f} | {low:.2f} {high:.2f} |"
        )


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    image = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    with tempfile.TemporaryDirectory() as scratch:
        race(files(sys.argv[1], Path(scratch), image), image, int(sys.argv[2]))
