"""The client's side of test_export_triton.py; it runs where tritonclient is installed.

python triton_driver.py parse FILE...               config.pbtxt as JSON, one line each
python triton_driver.py load HTTP GRPC MODEL REQUESTS IN OUT   requests over both; answers to a .npz
python triton_driver.py files HTTP GRPC MODEL REQUESTS IN OUT  the same with the files of a folder
python triton_driver.py reload HTTP MODEL           asks the server to look again
"""

import json
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.http
from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2

CONCURRENCY = 8
Images = np.ndarray | list[np.ndarray]


def parse(*files: str) -> None:
    for file in files:
        with open(file, encoding="utf-8") as text:
            config = text_format.Parse(text.read(), model_config_pb2.ModelConfig())
        print(json_format.MessageToJson(config, preserving_proto_field_name=True, indent=None))


def sizes(count: int) -> list[int]:
    """How many images each request holds: one, two or three."""
    return [1 + i % 3 for i in range(count)]


def send_all(
    module: Any, url: str, model: str, requests: int, images: Images
) -> tuple[list[str], np.ndarray]:
    """That many requests, CONCURRENCY at once, each for some of the images in turn; images: pixels,
    or bytes of files, of which each is for one.

    The ids and the answers in the order of the requests; a lost one is an exception.
    """
    own = threading.local()

    def send(number: int) -> tuple[str, np.ndarray]:
        if not hasattr(own, "client"):
            own.client = module.InferenceServerClient(url)
        if isinstance(images, list):
            x, kind = images[number % len(images)][None], ("image", "UINT8")
        else:
            count, kind = sizes(requests)[number], ("input", "FP32")
            x = images[np.arange(number, number + count) % len(images)]
        given = module.InferInput(kind[0], x.shape, kind[1])
        given.set_data_from_numpy(x)
        answer = own.client.infer(model, [given], request_id=f"request {number}")
        said = answer.get_response()
        return said["id"] if isinstance(said, dict) else said.id, answer.as_numpy("output")

    with ThreadPoolExecutor(CONCURRENCY) as pool:
        found = list(pool.map(send, range(requests)))
    return [name for name, _ in found], np.concatenate([y for _, y in found])


def refused(url: str, model: str, name: str, kind: str, x: np.ndarray) -> str:
    """What the server says to an input that is none."""
    client = tritonclient.grpc.InferenceServerClient(url)
    given = tritonclient.grpc.InferInput(name, x.shape, kind)
    given.set_data_from_numpy(x)
    try:
        client.infer(model, [given])
    except tritonclient.grpc.InferenceServerException as error:
        return error.message()
    return ""


def reload(http: str, model: str) -> None:
    client = tritonclient.http.InferenceServerClient(http)
    client.load_model(model)
    print(json.dumps(client.get_model_metadata(model)["versions"]))


def load(http: str, grpc: str, model: str, requests: str, source: str, target: str) -> None:
    x = np.zeros((1, 3, 8, 8), np.float32)
    ask(http, grpc, model, int(requests), np.load(source), target, ("input", "FP32", x))


def files(http: str, grpc: str, model: str, requests: str, source: str, target: str) -> None:
    images = [np.fromfile(path, np.uint8) for path in sorted(Path(source).iterdir())]
    x = np.frombuffer(b"no image", np.uint8)[None]
    ask(http, grpc, model, int(requests), images, target, ("image", "UINT8", x))


def ask(
    http: str, grpc: str, model: str, requests: int, images: Images, target: str, bad: tuple
) -> None:
    client = tritonclient.http.InferenceServerClient(http)
    before = client.get_inference_statistics(model)
    http_ids, over_http = send_all(tritonclient.http, http, model, requests, images)
    grpc_ids, over_grpc = send_all(tritonclient.grpc, grpc, model, requests, images)
    np.savez(target, http=over_http, grpc=over_grpc)
    said = {
        "ids": [http_ids, grpc_ids],
        "metadata": client.get_model_metadata(model),
        "statistics": [before, client.get_inference_statistics(model)],
        "refused": refused(grpc, model, *bad),
    }
    print(json.dumps(said))


COMMANDS: dict[str, Callable[..., None]] = {
    "parse": parse,
    "load": load,
    "files": files,
    "reload": reload,
}

if __name__ == "__main__":
    COMMANDS[sys.argv[1]](*sys.argv[2:])
