"""Classifies an image file with a model that `vitc export triton` wrote and Triton serves.

    pip install vitc "tritonclient[grpc]"
    python triton_client.py photo.jpg --url localhost:8001 --request-id inspection-0042

How the image is to be prepared is asked of the server, so that client and model cannot differ.
"""

import argparse
import json

import numpy as np
import tritonclient.grpc as triton

from vitc.data import create_transform, open_image


def prepared(path: str, config) -> np.ndarray:
    """The image as the model takes it: float32 (1, C, H, W)."""
    said = {key: item.string_value for key, item in config.parameters.items()}
    channels, height, width = config.input[0].dims
    transform = create_transform(
        (height, width),
        mean=json.loads(said["mean"]),
        std=json.loads(said["std"]),
        interpolation=said["interpolation"],
        crop_pct=json.loads(said["crop_pct"]),
        crop_mode=said["crop_mode"],
    )
    return transform(open_image(path, "L" if channels == 1 else "RGB"))[None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image")
    parser.add_argument("--url", default="localhost:8001")
    parser.add_argument("--model", default="vit_classifier")
    parser.add_argument("--request-id", default="1", help="comes back with the answer")
    parser.add_argument("--top", type=int, default=3, metavar="N", help="classes to show")
    options = parser.parse_args()

    client = triton.InferenceServerClient(options.url)
    image = prepared(options.image, client.get_model_config(options.model).config)
    images = triton.InferInput("input", image.shape, "FP32")
    images.set_data_from_numpy(image)
    best = triton.InferRequestedOutput("output", class_count=options.top)
    answer = client.infer(options.model, [images], outputs=[best], request_id=options.request_id)
    print(f"request {answer.get_response().id}")
    for line in answer.as_numpy("output").ravel():
        logit, number, *label = line.decode().split(":", 2)
        print(f"{label[0] if label else number}  {float(logit):.3f}")


if __name__ == "__main__":
    main()
