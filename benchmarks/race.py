"""vitc against what people use now, side by side on one machine.

    python benchmarks/race.py [--threads 2] [--rounds 15] [--only tiny] [--clock wall]
                              [--out results/FILE.json]

One process per engine, all loaded and warmed up. In each round the engines take turns in a random
order, and those that wait are stopped (SIGSTOP), so that their spinning threads cost nothing.
Shared machines drift; so the figure that counts is the ratio of the times of one round, and its
median and quartiles over the rounds. The first engine of a workload is the one that the others are
divided by: above 1, it is the faster. `--clock cpu` is for machines with other
work: the time that a process computes or spins. All are first checked to give nearly the same
logits.
"""

import argparse
import json
import platform
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple


class Workload(NamedTuple):
    """calls: per slice. tolerance: of the logits between engines, relative to the largest. side: of
    the images."""

    model: str
    batch: int
    training: bool
    calls: int
    engines: tuple[str, ...]
    tolerance: float = 1e-4
    side: int = 224


FLOAT = ("vitc", "torch")
INT8 = ("vitc int8 static", "vitc int8", "vitc int8 static bf16", "vitc", "onnxruntime int8",
        "onnxruntime int8 static", "openvino int8", "openvino int8 bf16")  # fmt: skip
SMALL = ("vitc int8", "vitc bf16", "vitc", "onnxruntime int8", "openvino bf16")
WORKLOADS = {
    "tiny inference 1": Workload("vit_tiny_patch16_224", 1, False, 30, FLOAT),
    "tiny inference 8": Workload("vit_tiny_patch16_224", 8, False, 6, FLOAT),
    "base inference 1": Workload("vit_base_patch16_224", 1, False, 6, FLOAT),
    "base inference 8": Workload("vit_base_patch16_224", 8, False, 2, FLOAT),
    "tiny training 16": Workload("vit_tiny_patch16_224", 16, True, 2, FLOAT),
    "base training 4": Workload("vit_base_patch16_224", 4, True, 1, FLOAT),
    "tiny deployment 1": Workload("vit_tiny_patch16_224", 1, False, 30, SMALL, 0.1),
    "base deployment 1": Workload("vit_base_patch16_224", 1, False, 6, SMALL, 0.1),
    "int8 tiny 1": Workload("vit_tiny_patch16_224", 1, False, 30, INT8, 0.2),
    "int8 tiny 8": Workload("vit_tiny_patch16_224", 8, False, 6, INT8, 0.2),
    "int8 small 1": Workload("vit_small_patch16_224", 1, False, 12, INT8, 0.2),
    "int8 small 8": Workload("vit_small_patch16_224", 8, False, 3, INT8, 0.2),
    "int8 base 1": Workload("vit_base_patch16_224", 1, False, 5, INT8, 0.2),
    "int8 base 8": Workload("vit_base_patch16_224", 8, False, 1, INT8, 0.2),
}
FAMILIES = {  # with the side of their images; benchmarks/results/families.md
    "vit_small_patch16_224": 224,
    "vit_small_patch16_dinov3": 256,
    "eva02_small_patch14_224": 224,
    "beit_base_patch16_224": 224,
    "vit_pe_core_small_patch16_384": 384,
}
WORKLOADS |= {
    f"family {name} {'training' if training else 'inference'}": Workload(
        name, batch, training, calls, FLOAT, side=side
    )
    for name, side in FAMILIES.items()
    for batch, training, calls in ((1, False, 4), (4, True, 1))
}
CLASSES = 1000


# ---------------------------------------------------------------- in the process of one engine

Run = Callable[[], Any]  # one call; gives the logits, or the loss


def inputs(work: Workload) -> tuple[Any, Any]:
    import numpy as np

    generator = np.random.default_rng(0)
    shape = (work.batch, 3, work.side, work.side)
    images = generator.standard_normal(shape).astype(np.float32)
    return images, generator.integers(0, CLASSES, work.batch)


def torch_worker(work: Workload, threads: int, weights: str) -> Run:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    import torch
    from safetensors.torch import load_file

    from oracle import timm

    torch.set_num_threads(threads)
    model = timm.create_model(work.model, num_classes=CLASSES)
    model.load_state_dict(load_file(weights))
    x, y = map(torch.from_numpy, inputs(work))
    if not work.training:
        model.eval()

        @torch.inference_mode()
        def infer():
            return model(x).numpy()

        return infer
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step():
        loss = torch.nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach().numpy()

    return step


def vitc_worker(work: Workload, threads: int, weights: str, kind: str = "float32") -> Run:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    import numpy as np

    import vitc
    import vitc.functional as F

    vitc.set_num_threads(threads)
    model = vitc.create_model(work.model, checkpoint_path=weights, num_classes=CLASSES)
    x, y = inputs(work)
    if not work.training:
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

        return infer
    optimizer = vitc.optim.AdamW(model.parameters(), lr=1e-4)

    def step():
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return np.asarray(loss.item())

    return step


def exported(work: Workload, weights: str) -> Path:
    """The model as an ONNX file beside its weights."""
    import vitc

    path = Path(weights).with_name(f"{work.model}-{time.monotonic_ns()}.onnx")
    model = vitc.create_model(work.model, checkpoint_path=weights, num_classes=CLASSES).eval()
    return Path(vitc.export.onnx(model, path))


def onnxruntime_int8_worker(work: Workload, threads: int, weights: str) -> Run:
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    source = exported(work, weights)
    path = source.with_suffix(".int8.onnx")
    quantize_dynamic(source, path, weight_type=QuantType.QInt8, per_channel=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    x, _ = inputs(work)
    return lambda: session.run(None, {"input": x})[0]


def qdq(work: Workload, weights: str) -> Path:
    """The exported model with its linear layers in static int8, as runs fastest on CPUs: no
    quantisation behind a product."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Images(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = [{"input": x[None]} for x in inputs(work._replace(batch=8))[0]]

        def get_next(self) -> Any:
            return self.left.pop() if self.left else None

    source = exported(work, weights)
    path = source.with_suffix(".qdq.onnx")
    options = {"MatMulConstBOnly": True, "OpTypesToExcludeOutputQuantization": ["MatMul"]}
    quantize_static(source, path, Images(), op_types_to_quantize=["MatMul"], per_channel=True,
                    activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                    extra_options=options)  # fmt: skip
    return path


def onnxruntime_static_worker(work: Workload, threads: int, weights: str) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    path = qdq(work, weights)
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    x, _ = inputs(work)
    return lambda: session.run(None, {"input": x})[0]


def openvino_worker(work: Workload, threads: int, path: Path, precision: str) -> Run:
    """precision: of all that the file leaves in floating point."""
    import openvino

    options = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    network = openvino.Core().read_model(path)
    network.reshape([work.batch, 3, work.side, work.side])
    request = openvino.Core().compile_model(network, "CPU", options).create_infer_request()
    x, _ = inputs(work)
    return lambda: request.infer([x])[0]


ENGINES: dict[str, Callable[[Workload, int, str], Run]] = {
    "vitc": vitc_worker,
    "vitc bf16": lambda *arguments: vitc_worker(*arguments, "bf16"),
    "vitc int8": lambda *arguments: vitc_worker(*arguments, "int8"),
    "vitc int8 static": lambda *arguments: vitc_worker(*arguments, "int8 static"),
    "vitc int8 static bf16": lambda *arguments: vitc_worker(*arguments, "int8 static bf16"),
    "torch": torch_worker,
    "onnxruntime int8": onnxruntime_int8_worker,
    "onnxruntime int8 static": onnxruntime_static_worker,
    "openvino bf16": lambda w, t, f: openvino_worker(w, t, exported(w, f), "bf16"),
    "openvino int8": lambda w, t, f: openvino_worker(w, t, qdq(w, f), "f32"),
    "openvino int8 bf16": lambda w, t, f: openvino_worker(w, t, qdq(w, f), "bf16"),
}


CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def worker(engine: str, workload: str, threads: int, weights: str, clock: str) -> None:
    """Say what the first call gave, then time slices on demand: one line in, one line out."""
    work = WORKLOADS[workload]
    run = ENGINES[engine](work, threads, weights)
    print(json.dumps(run().astype(float).ravel()[:1000].tolist()), flush=True)
    run()
    for _ in sys.stdin:
        times = []
        for _ in range(work.calls):
            start = CLOCKS[clock]()
            run()
            times.append(CLOCKS[clock]() - start)
        print(json.dumps(statistics.median(times)), flush=True)


# ---------------------------------------------------------------- the race


class Engine:
    def __init__(self, name: str, workload: str, *options: str) -> None:
        command = [sys.executable, __file__, "--worker", name, "--only", workload]
        command += options
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.first = self._answer()
        self.process.send_signal(signal.SIGSTOP)

    def _answer(self) -> Any:
        """The next line of JSON; libraries may print others."""
        for line in self.process.stdout:
            if line[:1] in "[0123456789":
                return json.loads(line)
        raise SystemExit(f"{self.process.args} ended")

    def slice(self) -> float:
        self.process.send_signal(signal.SIGCONT)
        print("go", file=self.process.stdin, flush=True)
        seconds = self._answer()
        self.process.send_signal(signal.SIGSTOP)
        return seconds

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


def race(name: str, rounds: int, options: Sequence[str]) -> list[dict[str, Any]]:
    """A row per engine. options: for the worker of each."""
    work = WORKLOADS[name]
    engines = {engine: Engine(engine, name, *options) for engine in work.engines}
    try:
        differences = compare(engines, work)
        times: dict[str, list[float]] = {engine: [] for engine in engines}
        for _ in range(rounds):
            for engine in random.sample(work.engines, len(work.engines)):
                times[engine].append(engines[engine].slice())
    finally:
        for engine in engines.values():
            engine.close()
    rows = []
    for engine in work.engines:
        ratios = [b / a for a, b in zip(times[work.engines[0]], times[engine], strict=True)]
        low, median, high = statistics.quantiles(ratios, n=4)
        rows.append(
            {
                "workload": name,
                "engine": engine,
                "ms": round(1e3 * statistics.median(times[engine]), 3),
                "ratio": round(median, 3),
                "quartiles": [round(low, 3), round(high, 3)],
                "difference": differences[engine],
            }
        )
    return rows


def compare(engines: dict[str, Engine], work: Workload) -> dict[str, float]:
    """The largest difference of each engine's first answer from the plainest one's, as a share of
    the largest value."""
    plain = engines["vitc"].first
    largest = max(map(abs, plain))
    found = {}
    for name, engine in engines.items():
        difference = max(abs(a - b) for a, b in zip(plain, engine.first, strict=True)) / largest
        found[name] = float(f"{difference:.1e}")
        if difference > work.tolerance:
            raise SystemExit(f"{name} differs from vitc by {difference:.1e} of the largest value")
    return found


def save_weights(model_name: str, folder: str) -> str:
    """Weights drawn anew, as in the tests: what timm draws would make every answer the same."""
    import vitc

    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    from oracle import redrawn

    model = vitc.create_model(model_name, num_classes=CLASSES)
    model.load_state_dict(redrawn(model.shapes, "float32"))
    path = f"{folder}/{model_name}.safetensors"
    model.save(path)
    return path


def versions(*names: str) -> dict[str, str]:
    """Of the packages that are installed; and the processor."""
    from importlib import metadata

    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":")[1].strip() for line in lines if "model name" in line), "")
    installed = {d.metadata["Name"].lower() for d in metadata.distributions()}
    found = {name: metadata.version(name) for name in names if name in installed}
    return {**found, "cpu": cpu, "python": platform.python_version()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", default="", help="workloads whose name contains this")
    parser.add_argument("--clock", default="wall", choices=CLOCKS)
    parser.add_argument("--out", help="write the figures as JSON")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--weights", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        worker(args.worker, args.only, args.threads, args.weights, args.clock)
        return
    results = []
    for name in [name for name in WORKLOADS if args.only in name]:
        with tempfile.TemporaryDirectory() as folder:
            weights = save_weights(WORKLOADS[name].model, folder)
            options = ["--threads", str(args.threads), "--weights", weights, "--clock", args.clock]
            rows = race(name, args.rounds, options)
        for row in rows:
            print(
                "{workload}: {engine:16} {ms:9.2f} ms, ratio {ratio:.2f} "
                "[{quartiles[0]:.2f}, {quartiles[1]:.2f}], difference {difference:.0e}".format(
                    **row
                ),
                flush=True,
            )
        results += rows
    if args.out:
        report = {
            **versions("vitc", "torch", "timm", "onnxruntime", "openvino"),
            "threads": args.threads,
            "rounds": args.rounds,
            "clock": args.clock,
            "results": results,
        }
        Path(args.out).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
