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
import warnings
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
from PIL import Image

import vitc
import vitc.export
from oracle import images, redrawn
from oracle.static import static
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


@pytest.mark.parametrize("backend", ["onnxruntime", "tensorrt", "python", "vitc"])
def test_the_configuration_as_triton_reads_it(backend: str, python: Path, tmp_path: Path) -> None:
    model = create(in_chans=1)
    written = vitc.export.triton(
        model,
        tmp_path,
        backend=backend,
        max_batch_size=16,
        instances=3,
        queue_delay=250,
        preferred_batch_sizes=[8, 4],
        response_cache=True,
        served_versions=2,
        labels=range(10),
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
            "vitc": "vitc",
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
    assert config["dynamic_batching"] == {
        "preferred_batch_size": [4, 8],
        "max_queue_delay_microseconds": "250",
    }
    assert config["response_cache"] == {"enable": True}
    assert config["version_policy"] == {"latest": {"num_versions": 2}}
    kind = "KIND_GPU" if backend == "tensorrt" else "KIND_CPU"
    assert config["instance_group"] == [{"count": 3, "kind": kind}]
    assert [(w["batch_size"], w["inputs"]) for w in config["model_warmup"]] == [
        (n, {"input": {"data_type": "TYPE_FP32", "dims": image, "zero_data": True}})
        for n in (1, 8 if backend == "python" else 16)
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
    assert files(folder) == ["build_plan.sh", "model.onnx", "model_fp16.onnx"]
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
    for version, typed in (("10", " --stronglyTyped"), ("11", "")):
        assert said(version).stdout.strip() == common % "model.onnx" + typed
        half = said(version, "model_fp16.onnx").stdout.strip()
        assert half == common % "model_fp16.onnx" + typed
    cached = said("10", "int8", "my cache").stdout.strip()
    assert cached == common % "model.onnx" + " --int8 --calib=my cache"
    assert said("10", "int8").returncode == 2 and "which calibration" in said("10", "int8").stderr
    assert said().returncode == 2 and "10|11" in said("8").stderr


def test_a_plan_of_8_bits_needs_a_static_model(tmp_path: Path) -> None:
    model = create()
    small = vitc.export.triton(static(model), tmp_path, backend="tensorrt") / "1"
    assert files(small) == ["build_plan.sh", "model.onnx"]
    kinds = {node.op_type for node in onnx.load(small / "model.onnx").graph.node}
    assert "QuantizeLinear" in kinds
    with pytest.raises(ValueError, match="TensorRT runs static 8-bit layers only"):
        vitc.export.triton(vitc.quantize(model), tmp_path, backend="tensorrt", name="other")
    assert [path.name for path in tmp_path.iterdir()] == ["vit_classifier"]


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
        (dict(labels=["a", 1.5]), "expected a list of texts or integers"),
        (dict(version=True), "version is True, expected an integer"),
        (dict(preferred_batch_sizes=[4, 64]), "preferred_batch_sizes holds 64"),
        (dict(threads=2, backend="tensorrt"), "backend tensorrt has no such setting"),
        (dict(labels=["a"]), "1 labels, the model has 10 classes"),
        (dict(labels=["a\nb"] * 10), "more than one line"),
        (dict(model=vitc.create_model("test_vit", dtype="float64")), "dtype float64"),
    ],
)
def test_bad_arguments_leave_nothing(options: dict[str, Any], words: str, tmp_path: Path) -> None:
    error = TypeError if "an integer" in words or "texts or" in words else ValueError
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
    """Triton with what `vitc export triton` makes of a checkpoint, and of two other precisions."""
    work = tmp_path_factory.mktemp("triton")
    model = create()
    (work / "checkpoint").mkdir()
    write_folder(work / "checkpoint", model, LABELS)
    options = ["--backend", "python", "--queue-delay", "2000", "--ensemble"]
    options += ["--max-batch-size", str(MAX_BATCH), "--instances", str(INSTANCES)]
    assert main(["export", "triton", f"{work}/checkpoint", f"{work}/models", *options]) == 0
    for name, other in others(model).items():
        vitc.export.triton(other, work / "models", backend="python", name=name, threads=1)
    for name, other in {"float": model, **others(model)}.items():
        path = other.save(work / f"{name}.safetensors") or work / f"{name}.safetensors"
        native = ["--backend", "vitc", "--name", f"{name}_native", "--instances", "2"]
        if name == "half":  # whose file holds rounded weights
            vitc.export.triton(other, work / "models", backend="vitc", name="half_native")
        else:
            assert main(["export", "triton", str(path), f"{work}/models", *native]) == 0
    with running(python, work, "explicit", "--load-model=*") as urls:
        yield Server(model, log=work / "log", **urls)


def others(model: Model) -> dict[str, Model]:
    """In 8 bits and in bfloat16, which this processor may not have."""
    half = deepcopy(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        half.precision = "bf16"
    return {"small": vitc.quantize(model), "half": half}


@contextlib.contextmanager
def running(
    python: Path, work: Path, mode: str, *options: str, path: str = f"{sys.prefix}/bin"
) -> Iterator[dict[str, str]]:
    """A server of work/models, by its addresses; path: where it finds python3."""
    ports = dict(zip(("http", "grpc", "metrics"), _free_ports(3), strict=True))
    urls = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
    process = _start(python, work, ports, [f"--model-control-mode={mode}", *options], path)
    try:
        _wait_until_ready(process, urls["http"], work / "log")
        yield urls
    finally:
        _stop(process)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _start(
    python: Path, work: Path, ports: dict[str, int], options: list[str], path: str
) -> subprocess.Popen[bytes]:
    """The server in a session of its own."""
    server = _server_folder(python.parents[1])
    place = {
        **os.environ,
        "PATH": f"{path}:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": str(sysconfig.get_config_var("LIBDIR")),
    }
    options = [*options, *(f"--{name}-port={port}" for name, port in ports.items())]
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
            "vit_classifier",
            1000,
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
    assert counts["batches"] == sum(batches.values()) < 2000  # some were put together
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


def test_the_backend_in_c_puts_requests_together(
    server: Server, python: Path, tmp_path: Path
) -> None:
    """300 requests over each protocol, eight at once: each has its own answer, the statistics are
    right, and an image of another size is refused."""
    x = images(64, server.model)
    np.save(tmp_path / "images.npy", x)
    place = server.http, server.grpc, "float_native", 300
    said = json.loads(
        run(python, DRIVER, "load", *place, tmp_path / "images.npy", tmp_path / "out.npz")
    )
    assert said["ids"] == [[f"request {i}" for i in range(300)]] * 2
    order = np.concatenate([np.arange(i, i + i % 3 + 1) % 64 for i in range(300)])
    expected = np.asarray(server.model(x))[order]
    for protocol in ("http", "grpc"):
        np.testing.assert_array_equal(np.load(tmp_path / "out.npz")[protocol], expected)
    first, last = (_counts(statistics) for statistics in said["statistics"])
    assert last["success"] - first["success"] == 600 and not last["fail"]
    assert last["images"] - first["images"] == 2 * len(order)
    assert last["batches"] - first["batches"] < 600
    assert "unexpected shape" in said["refused"]


def test_other_precisions_are_served_as_they_are(
    server: Server, python: Path, tmp_path: Path
) -> None:
    """The answers of 8 bits and of bfloat16 are the model's, to the bit."""
    x = images(16, server.model)
    np.save(tmp_path / "images.npy", x)
    order = np.concatenate([np.arange(i, i + i % 3 + 1) % 16 for i in range(30)])
    served = others(server.model)
    native = {f"{name}_native": model for name, model in served.items()}
    for name, model in {**served, **native, "float_native": server.model}.items():
        place = server.http, server.grpc, name, 30, tmp_path / "images.npy", tmp_path / "out.npz"
        run(python, DRIVER, "load", *place)
        with vitc.no_grad():
            expected = np.asarray(model(x))
        for protocol in ("http", "grpc"):
            answers = np.load(tmp_path / "out.npz")[protocol]
            np.testing.assert_array_equal(answers, expected[order])


@pytest.mark.parametrize(
    "requests", [60, pytest.param(5000, marks=pytest.mark.long)], ids=["few", "many"]
)
def test_the_ensemble_takes_files(
    requests: int, server: Server, python: Path, tmp_path: Path
) -> None:
    """Bytes of JPEG and PNG over both protocols: none lost, each the answer of this process."""
    generator, expected = np.random.default_rng(0), []
    transform = vitc.data.create_transform(**vitc.data.resolve_data_config(model=server.model))
    (tmp_path / "photos").mkdir()
    for i in range(12):
        size = tuple(generator.integers(20, 90, 2))
        photo = Image.fromarray(generator.integers(0, 256, (*size, 3)).astype(np.uint8))
        path = tmp_path / "photos" / f"{i:02}.{('jpg', 'png')[i % 2]}"
        photo.save(path)
        expected.append(transform(vitc.data.open_image(path)))
    with vitc.no_grad():
        answers = np.asarray(server.model(np.stack(expected)))
    order = np.arange(requests) % 12
    place = server.http, server.grpc, "vit_classifier_images", requests
    said = json.loads(
        run(python, DRIVER, "files", *place, tmp_path / "photos", tmp_path / "out.npz")
    )
    assert said["ids"] == [[f"request {i}" for i in range(requests)]] * 2
    for protocol in ("http", "grpc"):
        found = np.load(tmp_path / "out.npz")[protocol]
        np.testing.assert_array_equal(found, answers[order])
    assert "not an image" in said["refused"]


def test_a_served_model_gets_a_second_version(python: Path, tmp_path: Path, capsys) -> None:
    """It is answered by after a reload; what was written by hand into config.pbtxt stays."""
    first, second = create(), create(img_size=32)
    state = {name: value * 1.5 for name, value in first.state_dict().items()}
    second.load_state_dict(state)
    second.save(tmp_path / "second.safetensors")
    models, config = tmp_path / "models", tmp_path / "models" / "vit_classifier" / "config.pbtxt"
    vitc.export.triton(first, models, backend="python")
    text = config.read_text().replace("count: 1 ", "count: 1  # one is enough\n")
    config.write_text(text)
    x = images(2, first)
    np.save(tmp_path / "images.npy", x)
    options = ["--backend", "python", "--version", "2"]
    with running(python, tmp_path, "explicit", "--load-model=*") as urls:
        written = ["export", "triton", str(tmp_path / "second.safetensors"), str(models), *options]
        assert main(written) == 0
        assert json.loads(run(python, DRIVER, "reload", urls["http"], "vit_classifier")) == ["2"]
        place = urls["http"], urls["grpc"], "vit_classifier", 2
        run(python, DRIVER, "load", *place, tmp_path / "images.npy", tmp_path / "out.npz")
        with vitc.no_grad():
            expected = np.asarray(second(x))[[0, 1, 0]]
        np.testing.assert_array_equal(np.load(tmp_path / "out.npz")["http"], expected)
    assert "# one is enough" in config.read_text()
    changed = set(config.read_text().splitlines()) ^ set(text.splitlines())
    assert {line.split('"')[1] for line in changed} == {"weights_sha256"}
    before = {name: (models / name).read_bytes() for name in files(models)}
    for arguments, error, words in (
        (dict(version=2), FileExistsError, "has version 2 already"),
        (dict(version=1), FileExistsError, "has version 2 already"),
        (dict(version=3, max_batch_size=8), ValueError, "does not say max_batch_size 8"),
        (dict(version=3, response_cache=True), ValueError, "does not say response_cache True"),
        (dict(version=3, model=create(num_classes=9)), ValueError, "it serves a model with"),
        (dict(version=3, backend="onnxruntime"), ValueError, "it serves a model with backend"),
        (dict(version=0), ValueError, "version is 0"),
        (dict(), FileExistsError, "is there already"),
    ):
        with pytest.raises(error, match=re.escape(words)):
            given = {"model": second, "directory": models, "backend": "python", **arguments}
            vitc.export.triton(**given)
    assert {name: (models / name).read_bytes() for name in files(models)} == before


def test_versions_of_an_ensemble_need_the_same_preparation(tmp_path: Path) -> None:
    model = create()
    vitc.export.triton(model, tmp_path, backend="python", ensemble=True)
    vitc.export.triton(model, tmp_path, backend="python", version=2)
    model.pretrained_cfg["mean"] = (0.1, 0.2, 0.3)
    with pytest.raises(ValueError, match=r"_prepare prepares images with mean"):
        vitc.export.triton(model, tmp_path, backend="python", version=3)
    assert not (tmp_path / "vit_classifier" / "3").exists()


def test_the_server_says_which_python_lacks_vitc(python: Path, tmp_path: Path) -> None:
    """PYTHONPATH, which would lead to it, is not read."""
    vitc.export.triton(create(), tmp_path / "models", backend="python")
    with (
        pytest.raises(pytest.fail.Exception),
        running(python, tmp_path, "none", path=str(python.parent)),
    ):
        pass
    log = (tmp_path / "log").read_text()
    assert "No module named 'vitc' in" in log and "has vitc first in PATH" in log


def test_what_a_container_needs(tmp_path: Path, capsys) -> None:
    """/dev/shm for the batches of all instances, twice; the command ends with it."""
    options = ["--backend", "python", "--instances", "4", "--max-batch-size", "32"]
    given = ["export", "triton", "vit_tiny_patch16_224", str(tmp_path)]
    assert main([*given, *options]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "docker run --shm-size=256m"
    assert 4 * 32 * 3 * 224 * 224 * 4 * 2 < 256 << 20
    text = (tmp_path / "vit_classifier" / "config.pbtxt").read_text()
    assert "# docker run --shm-size=256m" in text and "PYTHONPATH: start" in text
    assert main([*given, "--name", "b", *options, "--ensemble"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "docker run --shm-size=512m"
    assert main([*given, "--name", "c"]) == 0
    assert "docker" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "data, words",
    [
        (b"VITC", "model.vitc: "),
        (None, "model.vitc cannot be opened"),
    ],
)
def test_the_backend_in_c_names_a_file_that_it_cannot_read(
    data: bytes | None, words: str, python: Path, tmp_path: Path
) -> None:
    file = vitc.export.triton(create(), tmp_path / "models", backend="vitc") / "1" / "model.vitc"
    file.unlink()
    if data is not None:
        file.write_bytes(data)
    with pytest.raises(pytest.fail.Exception), running(python, tmp_path, "none"):
        pass
    assert words in (tmp_path / "log").read_text()


def test_threads_of_instances(tmp_path: Path) -> None:
    """ONNX Runtime is told; vitc divides the processors itself."""

    def parameters(name: str, **options: Any) -> str:
        folder = vitc.export.triton(create(), tmp_path, name=name, **options)
        return (folder / "config.pbtxt").read_text()

    share = str(max(1, vitc.get_num_threads() // 2))
    line = 'key: "intra_op_thread_count" value { string_value: "%s" }'
    assert 'intra_op_thread_count"' not in parameters("a")
    assert line % share in parameters("b", instances=2)
    assert line % 3 in parameters("c", threads=3)
    assert 'key: "threads"' not in parameters("d", instances=2, backend="python")
    assert 'key: "threads" value { string_value: "3" }' in parameters(
        "e", threads=3, backend="python"
    )


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
