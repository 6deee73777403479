"""The client's side of test_export_triton.py; it runs where tritonclient is installed.

python triton_driver.py parse FILE...               config.pbtxt as JSON, one line each
python triton_driver.py load HTTP GRPC IN OUT       requests over both; answers to a .npz
"""

import json
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.http
from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2

MODEL = "vit_classifier"
CONCURRENCY = 8
REQUESTS = 1000  # over each protocol


def parse(*files: str) -> None:
    for file in files:
        with open(file, encoding="utf-8") as text:
            config = text_format.Parse(text.read(), model_config_pb2.ModelConfig())
        print(json_format.MessageToJson(config, preserving_proto_field_name=True, indent=None))


def sizes(count: int) -> list[int]:
    """How many images each request holds: one, two or three."""
    return [1 + i % 3 for i in range(count)]


def send_all(module: Any, url: str, images: np.ndarray) -> tuple[list[str], np.ndarray]:
    """REQUESTS requests, CONCURRENCY at once, each for some of the images in turn.

    The ids and the answers in the order of the requests; a lost one is an exception.
    """
    own = threading.local()

    def send(number: int) -> tuple[str, np.ndarray]:
        if not hasattr(own, "client"):
            own.client = module.InferenceServerClient(url)
        count = sizes(REQUESTS)[number]
        x = images[np.arange(number, number + count) % len(images)]
        given = module.InferInput("input", x.shape, "FP32")
        given.set_data_from_numpy(x)
        answer = own.client.infer(MODEL, [given], request_id=f"request {number}")
        said = answer.get_response()
        return said["id"] if isinstance(said, dict) else said.id, answer.as_numpy("output")

    with ThreadPoolExecutor(CONCURRENCY) as pool:
        found = list(pool.map(send, range(REQUESTS)))
    return [name for name, _ in found], np.concatenate([y for _, y in found])


def refused(url: str) -> str:
    """What the server says to an image of another size."""
    client = tritonclient.grpc.InferenceServerClient(url)
    given = tritonclient.grpc.InferInput("input", [1, 3, 8, 8], "FP32")
    given.set_data_from_numpy(np.zeros((1, 3, 8, 8), np.float32))
    try:
        client.infer(MODEL, [given])
    except tritonclient.grpc.InferenceServerException as error:
        return error.message()
    return ""


def load(http: str, grpc: str, source: str, target: str) -> None:
    images = np.load(source)
    client = tritonclient.http.InferenceServerClient(http)
    before = client.get_inference_statistics(MODEL)
    http_ids, over_http = send_all(tritonclient.http, http, images)
    grpc_ids, over_grpc = send_all(tritonclient.grpc, grpc, images)
    np.savez(target, http=over_http, grpc=over_grpc)
    said = {
        "ids": [http_ids, grpc_ids],
        "metadata": client.get_model_metadata(MODEL),
        "statistics": [before, client.get_inference_statistics(MODEL)],
        "refused": refused(grpc),
    }
    print(json.dumps(said))


COMMANDS: dict[str, Callable[..., None]] = {"parse": parse, "load": load}

if __name__ == "__main__":
    COMMANDS[sys.argv[1]](*sys.argv[2:])
