"""Model repositories for Triton: read by tritonclient's protobuf, and served by a real server.

The server is the binary in nvidia-pytriton, which has the python backend only. It and tritonclient
are installed once into a virtual environment of their own, below the user's cache, since they pin
other versions of NumPy and protobuf than vitc's tests need.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
from PIL import Image

import vitc
import vitc.export
from oracle import images, redrawn
from vitc.cli import main
from vitc.models.model import Model
from vitc.models.timm_folder import write_folder
from vitc.training import checkpoint, snapshot
from vitc.training.folders import claim

SERVER = "nvidia-pytriton==0.7.0"
CLIENT = ["tritonclient[grpc,http]==2.73.0", "pillow", "simplejpeg"]
DRIVER = Path(__file__).with_name("triton_driver.py")
EXAMPLE = Path(__file__).parents[1] / "examples" / "triton_client.py"
LABELS = [f"kind {i}" for i in range(10)]
MAX_BATCH, INSTANCES = 8, 2


def create(**arguments: Any) -> Model:
    arguments = {"img_size": 32, "num_classes": 10, **arguments}
    model = vitc.create_model("test_vit", **arguments).eval()
    model.load_state_dict(redrawn(model.shapes, "float32"))
    return model


def files(path: Path) -> list[str]:
    return sorted(str(p.relative_to(path)) for p in path.rglob("*") if p.is_file())


# ------------------------------------------------------------------------------- environment


def _reason_to_skip() -> str:
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "the server is there for Linux on x86-64 only"
    name, version = platform.libc_ver()
    if name != "glibc" or tuple(map(int, version.split("."))) < (2, 35):
        return f"the server needs glibc 2.35, this is {name} {version}"
    if sys.version_info >= (3, 14) or not sysconfig.get_config_var("Py_ENABLE_SHARED"):
        return "the server's python backend needs Python 3.8 to 3.13 as a shared library"
    return ""


@pytest.fixture(scope="module")
def python() -> Path:
    """The interpreter of the environment with server and client; made the first time."""
    if _reason_to_skip():
        pytest.skip(_reason_to_skip())
    parts = f"{sys.version} {sys.base_prefix} {SERVER} {CLIENT}"
    key = hashlib.sha256(parts.encode()).hexdigest()[:12]
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "vitc-test"
    place = home / f"triton-{key}"
    home.mkdir(parents=True, exist_ok=True)
    with (home / f"{place.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "complete").exists():
            _install(place)
    return place / "bin" / "python"


def _install(place: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True)
    pip = [place / "bin" / "python", "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, *CLIENT], check=True)
    subprocess.run([*pip, "--no-deps", SERVER], check=True)  # for its binary, not its Python
    server = _server_folder(place)
    stub = f"{sys.version_info.major}.{sys.version_info.minor}/triton_python_backend_stub"
    shutil.copy(server / "python_backend_stubs" / stub, server / "backends" / "python")
    (place / "complete").touch()


def _server_folder(place: Path) -> Path:
    (found,) = place.glob("lib/python3.*/site-packages/pytriton/tritonserver")
    return found


def run(python: Path, *arguments: Any, **environment: str) -> str:
    """What a program says in that environment."""
    given = [python, *map(str, arguments)]
    place = {**os.environ, **environment}
    done = subprocess.run(given, env=place, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


# ------------------------------------------------------------------------------- repositories


@pytest.mark.parametrize("backend", ["onnxruntime", "tensorrt", "python"])
def test_the_configuration_as_triton_reads_it(backend: str, python: Path, tmp_path: Path) -> None:
    model = create(in_chans=1)
    written = vitc.export.triton(
        model, tmp_path, backend=backend, max_batch_size=16, instances=3, queue_delay=250
    )
    assert written == tmp_path / "vit_classifier"
    config = json.loads(run(python, DRIVER, "parse", written / "config.pbtxt"))
    assert config["name"] == "vit_classifier" and config["max_batch_size"] == 16
    assert (
        config.get("platform", config.get("backend"))
        == {
            "onnxruntime": "onnxruntime_onnx",
            "tensorrt": "tensorrt_plan",
            "python": "python",
        }[backend]
    )
    image = ["1", "32", "32"]
    assert config["input"] == [{"name": "input", "data_type": "TYPE_FP32", "dims": image}]
    assert config["output"] == [
        {
            "name": "output",
            "data_type": "TYPE_FP32",
            "dims": ["10"],
            "label_filename": "labels.txt",
        }
    ]
    assert config["dynamic_batching"] == {"max_queue_delay_microseconds": "250"}
    kind = "KIND_GPU" if backend == "tensorrt" else "KIND_CPU"
    assert config["instance_group"] == [{"count": 3, "kind": kind}]
    assert [(w["batch_size"], w["inputs"]) for w in config["model_warmup"]] == [
        (n, {"input": {"data_type": "TYPE_FP32", "dims": image, "zero_data": True}})
        for n in (1, 16)
    ]
    said = {key: value["string_value"] for key, value in config["parameters"].items()}
    assert said["architecture"] == "test_vit" and json.loads(said["mean"]) == [0.5]
    assert (written / "labels.txt").read_text().split() == [str(i) for i in range(10)]


def test_a_model_without_classes_has_no_labels(python: Path, tmp_path: Path) -> None:
    written = vitc.export.triton(create(num_classes=0), tmp_path, max_batch_size=1, name="features")
    config = json.loads(run(python, DRIVER, "parse", written / "config.pbtxt"))
    assert config["output"] == [{"name": "output", "data_type": "TYPE_FP32", "dims": ["64"]}]
    assert len(config["model_warmup"]) == 1 and config["name"] == "features"
    assert files(written) == ["1/model.onnx", "config.pbtxt"]


def test_what_the_onnx_file_holds_is_what_the_configuration_says(tmp_path: Path) -> None:
    written = vitc.export.triton(create(), tmp_path, labels=LABELS)
    assert files(written) == ["1/model.onnx", "config.pbtxt", "labels.txt"]
    assert (written / "labels.txt").read_text().splitlines() == LABELS
    graph = onnx.load(written / "1" / "model.onnx").graph
    shapes = {
        value.name: [d.dim_value or d.dim_param for d in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }
    assert shapes == {"input": ["batch", 3, 32, 32], "output": ["batch", 10]}


def test_the_lines_for_trtexec(tmp_path: Path) -> None:
    """Run with a stand-in that writes down what it was called with."""
    folder = vitc.export.triton(create(), tmp_path, backend="tensorrt") / "1"
    assert files(folder) == ["build_plan.sh", "model.onnx"]
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "trtexec").write_text('#!/bin/sh\necho "$PWD" "$@"\n')
    (tools / "trtexec").chmod(0o755)
    place = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}

    def said(*arguments: str) -> subprocess.CompletedProcess[str]:
        script = ["sh", str(folder / "build_plan.sh"), *arguments]
        return subprocess.run(script, env=place, capture_output=True, text=True, cwd="/")

    common = (
        f"{folder} --onnx=%s --saveEngine=model.plan --minShapes=input:1x3x32x32 "
        "--optShapes=input:16x3x32x32 --maxShapes=input:32x3x32x32"
    )
    assert said("10").stdout.strip() == common % "model.onnx" + " --fp16"
    assert said("11").stdout.strip() == common % "model.onnx"
    assert said("11", "half.onnx").stdout.strip() == common % "half.onnx"
    assert said().returncode == 2 and "10|11" in said("8").stderr


@pytest.mark.parametrize(
    "options, words",
    [
        (dict(backend="openvino"), "there is no backend 'openvino'"),
        (dict(max_batch_size=0), "max_batch_size is 0"),
        (dict(instances=True), "instances is True, expected an integer"),
        (dict(queue_delay=-1), "queue_delay is -1"),
        (dict(queue_delay=0.5), "queue_delay is 0.5, expected an integer"),
        (dict(name='a"b'), "name is 'a\"b'"),
        (dict(name="../up"), "name is '../up'"),
        (dict(labels=["a"]), "1 labels, the model has 10 classes"),
        (dict(labels=["a\nb"] * 10), "more than one line"),
        (dict(model=vitc.create_model("test_vit", dtype="float64")), "dtype float64"),
    ],
)
def test_bad_arguments_leave_nothing(options: dict[str, Any], words: str, tmp_path: Path) -> None:
    error = TypeError if "an integer" in words else ValueError
    with pytest.raises(error, match=re.escape(words)):
        vitc.export.triton(**{"model": create(), "directory": tmp_path / "models", **options})
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = create()
    written = vitc.export.triton(model, tmp_path, backend="python")
    before = {name: (written / name).read_bytes() for name in files(written)}
    with pytest.raises(FileExistsError, match="is there already"):
        vitc.export.triton(model, tmp_path)
    with pytest.raises(OSError):
        vitc.export.triton(model, "/proc/models")

    def fails(*_: Any, **__: Any) -> None:
        raise onnx.checker.ValidationError("no")

    monkeypatch.setattr(onnx.checker, "check_model", fails)
    with pytest.raises(onnx.checker.ValidationError):
        vitc.export.triton(model, tmp_path, name="other")
    assert {name: (written / name).read_bytes() for name in files(written)} == before
    assert [p.name for p in tmp_path.iterdir()] == ["vit_classifier"]


# ------------------------------------------------------------------------------- the server


class Server(NamedTuple):
    model: Model
    http: str
    grpc: str
    metrics: str
    log: Path


@pytest.fixture(scope="module")
def server(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Triton with what `vitc export triton` makes of a checkpoint."""
    work = tmp_path_factory.mktemp("triton")
    model = create()
    (work / "checkpoint").mkdir()
    write_folder(work / "checkpoint", model, LABELS)
    options = ["--backend", "python", "--queue-delay", "2000"]
    options += ["--max-batch-size", str(MAX_BATCH), "--instances", str(INSTANCES)]
    assert main(["export", "triton", f"{work}/checkpoint", f"{work}/models", *options]) == 0
    ports = dict(zip(("http", "grpc", "metrics"), _free_ports(3), strict=True))
    urls = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
    process = _start(python, work, ports)
    try:
        _wait_until_ready(process, urls["http"], work / "log")
        yield Server(model, log=work / "log", **urls)
    finally:
        _stop(process)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _start(python: Path, work: Path, ports: dict[str, int]) -> subprocess.Popen[bytes]:
    """The server in a session of its own. Its Python is that of this test, with vitc's NumPy."""
    server = _server_folder(python.parents[1])
    found = {str(Path(module.__file__).parents[1]): None for module in (vitc, np)}
    place = {
        **os.environ,
        "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": str(sysconfig.get_config_var("LIBDIR")),
        "PYTHONPATH": os.pathsep.join(found),
    }
    options = [f"--{name}-port={port}" for name, port in ports.items()]
    options += [f"--{name}-address=127.0.0.1" for name in ports]
    options += [f"--model-repository={work}/models", f"--backend-directory={server}/backends"]
    with (work / "log").open("wb") as log:
        return subprocess.Popen(
            [server / "bin" / "tritonserver", *options],
            env=place,
            cwd=work,  # the backend's Python looks for modules where the server was started
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _wait_until_ready(process: subprocess.Popen[bytes], http: str, log: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{http}/v2/health/ready"):
            return
        time.sleep(0.1)
    pytest.fail(f"the server did not start:\n{log.read_text()[-3000:]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Asks it to end, and ends what is left of its session."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=20)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=10)


def test_a_real_server_answers_every_request(server: Server, python: Path, tmp_path: Path) -> None:
    """2,000 requests, half of them over each protocol, eight at once, from one to three images.

    Their answers are those of the model in this process to the bit, whatever batch they were in.
    """
    x = images(64, server.model)
    np.save(tmp_path / "images.npy", x)
    before = _metrics(server)
    said = json.loads(
        run(
            python,
            DRIVER,
            "load",
            server.http,
            server.grpc,
            tmp_path / "images.npy",
            tmp_path / "answers.npz",
        )
    )
    # The ids, in order: none is lost, and none is another's.
    assert said["ids"] == [[f"request {i}" for i in range(1000)]] * 2
    sizes = np.arange(1000) % 3 + 1
    order = np.concatenate([np.arange(i, i + n) % 64 for i, n in enumerate(sizes)])
    expected = np.asarray(server.model(x))[order]
    answers = np.load(tmp_path / "answers.npz")
    for protocol in ("http", "grpc"):
        np.testing.assert_array_equal(answers[protocol], expected)

    first, last = (_counts(statistics) for statistics in said["statistics"])
    counts = {name: last[name] - first.get(name, 0) for name in last}  # without the warm-up
    batches = {name: count for name, count in counts.items() if isinstance(name, int)}
    print(f"images in a batch: {batches}")
    assert counts["success"] == 2000 and counts["fail"] == 0
    assert counts["images"] == 2 * sizes.sum()
    assert counts["batches"] == sum(batches.values()) < 1500
    assert sum(count for size, count in batches.items() if 3 < size <= MAX_BATCH) > 100
    assert max(batches) <= MAX_BATCH
    after = _metrics(server)
    for name, count in (
        ("nv_inference_request_success", 2000),
        ("nv_inference_count", 2 * sizes.sum()),
        ("nv_inference_request_failure", 0),
    ):
        assert after[name] - before[name] == count, name

    shape = said["metadata"]["inputs"][0]["shape"]
    assert shape == [-1, 3, 32, 32] and "unexpected shape" in said["refused"]
    assert "Traceback" not in server.log.read_text()


def _counts(statistics: Any) -> dict[str | int, int]:
    """Requests by their end, images, batches, and batches by their size."""
    (model,) = statistics["model_stats"]
    ends = {name: model["inference_stats"][name].get("count", 0) for name in ("success", "fail")}
    sizes = {row["batch_size"]: row["compute_infer"]["count"] for row in model["batch_stats"]}
    images, batches = model["inference_count"], model["execution_count"]
    return {**ends, "images": images, "batches": batches, **sizes}


def _metrics(server: Server) -> dict[str, float]:
    """The counters of the model on the page for Prometheus, summed over their reasons."""
    with urllib.request.urlopen(f"http://{server.metrics}/metrics") as page:
        text = page.read().decode()
    found: dict[str, float] = {}
    for name, value in re.findall(r'^(\w+)\{.*model="vit_classifier".*\} (\S+)$', text, re.M):
        found[name] = found.get(name, 0) + float(value)
    return found


def test_the_example_names_the_class_of_an_image(
    server: Server, python: Path, tmp_path: Path
) -> None:
    """It prepares the image as the server says: the classes are those that vitc finds."""
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / "vitc").symlink_to(Path(vitc.__file__).parent)  # and nothing beside it
    options = [tmp_path / "photo.png", "--url", server.grpc, "--request-id", "part 17", "--top", 2]
    first, *lines = run(python, EXAMPLE, *options, PYTHONPATH=str(tmp_path / "place")).splitlines()
    transform = vitc.data.create_transform(**vitc.data.resolve_data_config(model=server.model))
    logits = np.asarray(server.model(transform(Image.fromarray(pixels))[None]))[0]
    best = np.argsort(-logits)[:2]
    assert first == "request part 17"
    assert [line.split("  ")[0] for line in lines] == [LABELS[i] for i in best]
    assert float(lines[0].split()[-1]) == pytest.approx(logits[best[0]], abs=1e-3)


def test_a_folder_is_the_same_bytes_as_the_checkpoint(tmp_path: Path) -> None:
    """The weights that are served are those of the checkpoint, as its state.json has their hash."""
    module = vitc.Classifier("test_vit", class_names=["a", "b"], img_size=32, depth=1)
    trainer = vitc.Trainer(max_epochs=1, logger=False, enable_progress_bar=False)
    trainer.predict(module, [np.zeros((1, 3, 32, 32), np.float32)])
    content = snapshot.snapshot(trainer, weights_only=True)
    with claim(tmp_path / "c.ckpt") as place:
        checkpoint.write([place], content)
    options = ["--backend", "python", "--name", "parts"]
    assert main(["export", "triton", f"{tmp_path}/c.ckpt", f"{tmp_path}/models", *options]) == 0
    served = tmp_path / "models" / "parts"
    assert files(served) == [
        "1/config.json",
        "1/model.py",
        "1/model.safetensors",
        "config.pbtxt",
        "labels.txt",
    ]
    assert (served / "labels.txt").read_text() == "a\nb\n"
    weights = (served / "1" / "model.safetensors").read_bytes()
    digest = hashlib.sha256(weights).hexdigest()
    state = json.loads((tmp_path / "c.ckpt" / "state.json").read_text())
    assert digest == state["files"]["model.safetensors"]
    assert digest in (served / "config.pbtxt").read_text()
    (tmp_path / "c.ckpt" / "model.safetensors").write_bytes(weights[:-1] + b"!")
    assert main(["export", "onnx", f"{tmp_path}/c.ckpt", f"{tmp_path}/m.onnx"]) == 1
    assert not (tmp_path / "m.onnx").exists()
