"""Augmentation on one core: vitc against what people use now, side by side.

    python benchmarks/augment.py [--rounds 15] [--only jitter] [--out results/FILE.json | --add ...]
    python benchmarks/augment.py --count results/FILE.json

Photographs of scikit-image, as JPEGs of 500 x 375 pixels and quality 92. Every library starts from
what it decodes to: torchvision v1 and timm from Pillow images, torchvision v2 from uint8 tensors,
the others from arrays. In each round all libraries take turns in a random order; what counts is the
ratio of the processor times of one round, and its median and quartiles over the rounds: above 1,
vitc is the faster. AlbumentationsX and kornia-rs take part where they are installed. Pillow-SIMD
takes Pillow's place in an environment of its own; --add puts its figures beside those of an earlier
--out. Only torchvision v1 and timm, on Pillow itself, give the same pixels as vitc. OpenCV below
AlbumentationsX does not average what it leaves out in shrinking, unless told to ("area"), and
neither does kornia-rs with "bilinear": they read fewer pixels, and show patterns that are not
there.

--count: instructions per call of the core on AVX2, by valgrind's callgrind: to be compared without
noise.
"""

import argparse
import importlib.util
import io
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from race_machine import place, versions

ROOT = Path(__file__).parents[1]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")
PACKAGES = (
    *("vitc", "pillow", "pillow-simd", "torch", "torchvision", "timm"),
    *("albumentationsx", "opencv-python-headless", "kornia-rs"),
)
Calls = dict[str, Callable[[], Any]]  # by library


def photographs() -> list[bytes]:
    """JPEGs of 500 x 375 pixels."""
    from PIL import Image
    from skimage import data

    files = []
    for name in PHOTOGRAPHS:
        image = Image.fromarray(getattr(data, name)()).convert("RGB").resize((500, 375))
        image.save(file := io.BytesIO(), "JPEG", quality=92, subsampling="4:2:0")
        files.append(file.getvalue())
    return files


def over(step: Callable[[Any], Any], images: list[Any]) -> Callable[[], None]:
    def call() -> None:
        for image in images:
            step(image)

    return call


# ---------------------------------------------------------------- workloads


class Libraries:
    """The libraries' transforms, and the photographs as each has them."""

    def __init__(self) -> None:
        sys.path.insert(0, str(ROOT / "tests"))
        import torch

        from oracle import timm  # makes torchvision importable

        torch.set_num_threads(1)
        import torchvision.transforms as v1
        import torchvision.transforms.v2 as v2
        from PIL import Image

        import vitc.data
        from vitc.data import random, transforms

        self.vitc, self.timm, self.v1, self.v2, self.torch = transforms, timm.data, v1, v2, torch
        self.create_transform = vitc.data.create_transform
        self.jpegs = photographs()
        self.generator = random.generator
        self.decode = vitc.data.Decoder("RGB", value_range="dtype")
        self.open = lambda data: Image.open(io.BytesIO(data)).convert("RGB")
        self.pillow = [self.open(data) for data in self.jpegs]
        self.small = [image.resize((224, 224)) for image in self.pillow]

    @staticmethod
    def arrays(images: list[Any]) -> list[np.ndarray]:
        return [np.asarray(image) for image in images]

    def tensors(self, images: list[Any]) -> list[Any]:
        planes = [array.transpose(2, 0, 1).copy() for array in self.arrays(images)]
        return [self.torch.from_numpy(array) for array in planes]

    def pair(self, name: str, *args: Any, small: bool = True, **options: Any) -> Calls:
        """A transform that the libraries have by one name."""
        images = self.small if small else self.pillow
        theirs = {k: self.v1.InterpolationMode(v) for k, v in options.items()}
        return {
            "vitc": over(getattr(self.vitc, name)(*args, **options), self.arrays(images)),
            "torchvision": over(getattr(self.v1, name)(*args, **theirs), images),
            "torchvision v2": over(getattr(self.v2, name)(*args, **theirs), self.tensors(images)),
        }

    def normalise(self) -> Calls:
        return {
            "vitc": over(self.tail(self.vitc), self.arrays(self.small)),
            "torchvision": over(self.tail(self.v1), self.small),
            "torchvision v2": over(
                self.v2.Compose(
                    [self.v2.ToDtype(self.torch.float32, scale=True), self.v2.Normalize(MEAN, STD)]
                ),
                self.tensors(self.small),
            ),
        }

    @staticmethod
    def tail(t: Any, *first: Any) -> Any:
        return t.Compose([*first, t.ToTensor(), t.Normalize(MEAN, STD)])

    def article(self, t: Any) -> Any:
        jitter = t.ColorJitter(0.2, 0.2, 0.2)
        return self.tail(t, t.RandomResizedCrop(224), t.RandomHorizontalFlip(), jitter)

    def decoded(self, build: Callable[[Any], Any]) -> Calls:
        """A whole pipeline, from the bytes of a file on."""
        ours, theirs = build(self.vitc), build(self.v1)
        return {
            "vitc": over(lambda data: ours(self.decode(data)), self.jpegs),
            "torchvision": over(lambda data: theirs(self.open(data)), self.jpegs),
        }

    def timm_training(self) -> Calls:
        options = {"is_training": True, "auto_augment": "rand-m9-inc1"}
        return {
            "vitc": over(self.create_transform(224, **options), self.arrays(self.pillow)),
            "timm": over(self.timm.create_transform(224, **options), self.pillow),
        }


def others(lib: Libraries) -> dict[tuple[str, str], Callable[[], Any]]:
    """What AlbumentationsX and kornia-rs have of the workloads, by workload and library."""
    found = {}
    if importlib.util.find_spec("albumentations"):
        found |= albumentations_calls(lib)
    if importlib.util.find_spec("kornia_rs"):
        found |= kornia_calls(lib)
    return found


def albumentations_calls(lib: Libraries) -> dict[tuple[str, str], Callable[[], Any]]:
    import albumentations as A
    import cv2
    from albumentations.pytorch import ToTensorV2

    cv2.setNumThreads(1)
    size, level = (224, 224), (0.8, 1.2)
    crop, tail = A.RandomResizedCrop(size), [A.Normalize(MEAN, STD), ToTensorV2()]
    averaging = A.RandomResizedCrop(size, area_for_downscale="image")
    bicubic = A.RandomResizedCrop(size, interpolation=cv2.INTER_CUBIC)
    jitter = A.ColorJitter(level, level, level, (0, 0), p=1)
    article = A.Compose([crop, A.HorizontalFlip(), jitter, *tail])
    evaluation = A.Compose([A.SmallestMaxSize(256), A.CenterCrop(*size), *tail])

    def calls(step: Any, images: list[Any]) -> Callable[[], None]:
        return over(lambda image: step(image=image), images)

    def decoded(step: Any) -> Callable[[], None]:
        def call(data: bytes) -> Any:
            return step(image=cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB))

        return over(call, lib.jpegs)

    arrays, small = lib.arrays(lib.pillow), lib.arrays(lib.small)
    x, area = "albumentations", "albumentations (area)"
    return {
        ("crop bilinear", x): calls(crop, arrays),
        ("crop bilinear", area): calls(averaging, arrays),
        ("crop bicubic", x): calls(bicubic, arrays),
        ("jitter", x): calls(jitter, small),
        ("jitter with hue", x): calls(A.ColorJitter(level, level, level, (-0.1, 0.1), p=1), small),
        ("normalise", x): calls(A.Compose(tail), small),
        ("article, with decoding", x): decoded(article),
        ("evaluation, with decoding", x): decoded(evaluation),
    }


def kornia_calls(lib: Libraries) -> dict[tuple[str, str], Callable[[], Any]]:
    """It has no crop of random size: vitc draws one for it."""
    import kornia_rs

    drawn = lib.vitc.RandomResizedCrop(224)
    jitter = kornia_rs.augmentations.ColorJitter(0.2, 0.2, 0.2)
    hue = kornia_rs.augmentations.ColorJitter(0.2, 0.2, 0.2, 0.1)
    wrap, write = kornia_rs.image.Image.from_numpy, kornia_rs.pipeline.resize_normalize_to_tensor

    def crop(mode: str) -> Callable[[Any], Any]:
        def call(image: Any) -> Any:
            top, left, height, width, _ = drawn.draw(image, lib.generator())
            part = np.ascontiguousarray(image[top : top + height, left : left + width])
            return kornia_rs.imgproc.resize(part, (224, 224), mode)

        return call

    arrays, small = lib.arrays(lib.pillow), lib.arrays(lib.small)
    return {
        ("crop bilinear", "kornia-rs"): over(crop("bilinear"), arrays),
        ("crop bicubic", "kornia-rs"): over(crop("bicubic"), arrays),
        ("jitter", "kornia-rs"): over(lambda image: jitter(wrap(image)).numpy(), small),
        ("jitter with hue", "kornia-rs"): over(lambda image: hue(wrap(image)).numpy(), small),
        ("normalise", "kornia-rs"): over(lambda i: write(i, (224, 224), MEAN, STD), small),
    }


def renamed(library: str) -> str:
    """torchvision v1 and timm are as fast as the Pillow below them."""
    import PIL

    simd = library in ("torchvision", "timm") and "post" in PIL.__version__
    return f"{library} on Pillow-SIMD" if simd else library


def workloads() -> dict[str, Calls]:
    lib = Libraries()
    crop = {"small": False}
    table = {
        "crop bilinear": lib.pair("RandomResizedCrop", 224, interpolation="bilinear", **crop),
        "crop bicubic": lib.pair("RandomResizedCrop", 224, interpolation="bicubic", **crop),
        "jitter": lib.pair("ColorJitter", 0.2, 0.2, 0.2),
        "jitter with hue": lib.pair("ColorJitter", 0.2, 0.2, 0.2, 0.1),
        "normalise": lib.normalise(),
        "randaugment": lib.pair("RandAugment", 2, 9),
        "timm training, without decoding": lib.timm_training(),
        "article, with decoding": lib.decoded(lib.article),
        "evaluation, with decoding": lib.decoded(
            lambda t: lib.tail(t, t.Resize(256), t.CenterCrop(224))
        ),
    }
    for (name, library), call in others(lib).items():
        table[name][library] = call
    return {
        name: {renamed(library): call for library, call in calls.items()}
        for name, calls in table.items()
    }


# ---------------------------------------------------------------- the race


def duration(call: Callable[[], Any], repeats: int) -> float:
    start = time.process_time()
    for _ in range(repeats):
        call()
    return (time.process_time() - start) / repeats / len(PHOTOGRAPHS)


def race(calls: Calls, rounds: int) -> dict[str, dict[str, float]]:
    """Per library: microseconds per image, and the ratio to vitc's time, with quartiles."""
    repeats = {
        name: max(1, int(0.02 / len(PHOTOGRAPHS) / duration(c, 2))) for name, c in calls.items()
    }
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name in random.sample(list(calls), len(calls)):
            times[name].append(duration(calls[name], repeats[name]))
    results = {}
    for name, own in times.items():
        ratios = [theirs / ours for theirs, ours in zip(own, times["vitc"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        figures = {"us": statistics.median(own) * 1e6, "ratio": middle, "low": low, "high": high}
        results[name] = {key: round(value, 2) for key, value in figures.items()}
    return results


# ---------------------------------------------------------------- instruction counts

COUNTED: dict[str, tuple[str, tuple[float, ...]]] = {
    "crop bilinear": ("resize", (224, 224, 1, 0)),
    "crop bicubic": ("resize", (224, 224, 2, 0)),
    "flip": ("flip", (1, 0)),
    "quarter turn": ("rot90", (0,)),
    "border": ("pad", (4, 4, 4, 4, 2, 0, 0, 0)),
    "rotate nearest": ("affine", (224, 224, 0, 0.98, 0.15, -15, -0.15, 0.98, 20, 0, 0, 0)),
    "rotate bilinear": ("affine", (224, 224, 1, 0.98, 0.15, -15, -0.15, 0.98, 20, 0, 0, 0)),
    "rotate bicubic": ("affine", (224, 224, 2, 0.98, 0.15, -15, -0.15, 0.98, 20, 0, 0, 0)),
    "brightness": ("brightness", (1.2,)),
    "contrast": ("contrast", (1.2,)),
    "saturation": ("saturation", (1.2,)),
    "hue": ("hue", (0.1,)),
    "sharpness": ("sharpness", (1.3,)),
    "solarize": ("solarize", (128,)),
    "equalize": ("equalize", ()),
    "autocontrast": ("autocontrast", ()),
    "box blur": ("box_blur", (1.0,)),
    "Gaussian blur": ("gaussian_blur", (23, 23, 1.0, 1.0)),
}
WRITTEN: dict[str, dict[str, Any]] = {
    "normalise": {},
    "normalise and flip": {"flip": True},
    "normalise and mix": {"mixed": True, "lam": 0.3, "box": (0, 0, 224, 224)},
    "normalise to bf16": {"bf16": True},
}


def run_counted() -> None:
    """In the process under callgrind: each operation twice, the first time to warm up."""
    from PIL import Image

    from vitc import _vitc

    pixels = np.asarray(Image.open(io.BytesIO(photographs()[2])))
    crop, small = pixels[40:340, 50:380], np.ascontiguousarray(pixels[:224, :224])
    for name, (operation, numbers) in COUNTED.items():
        for _ in range(2):
            _vitc.image(operation, crop if name.startswith("crop") else small, *numbers)
    mean, std = np.array(MEAN, np.float32), np.array(STD, np.float32)
    for options in WRITTEN.values():
        other = small[::-1].copy() if options.pop("mixed", False) else None
        for _ in range(2):
            _vitc.write_image(small, mean, std, other=other, **options)


def count() -> dict[str, int]:
    """Instructions per call."""
    return counted("vt_py_image", list(COUNTED)) | counted("vt_py_write_image", list(WRITTEN))


def counted(entry: str, names: list[str]) -> dict[str, int]:
    """Of the second of every two calls of a function of the core."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out"]
        command += [f"--toggle-collect={entry}", f"--dump-after={entry}"]
        subprocess.run(
            [*command, sys.executable, __file__, "--counted"],
            env={**os.environ, "VITC_ISA": "avx2"},
            check=True,
        )
        parts = sorted(Path(folder).glob("out.*"), key=lambda path: int(path.suffix[1:]))
        totals = [re.search(r"^(?:totals|summary): (\d+)", p.read_text(), re.M) for p in parts]
    costs = [int(found[1]) for found in totals if found and int(found[1])]
    return dict(zip(names, costs[1::2], strict=True))


# ---------------------------------------------------------------- main


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", default="", help="workloads whose name has this in it")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--add", type=Path, help="an earlier --out to be added to")
    parser.add_argument("--count", type=Path, help="write instruction counts and end")
    parser.add_argument("--counted", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.counted:
        return run_counted()
    if options.count:
        options.count.write_text(json.dumps(count(), indent=2) + "\n")
        return None
    results = {}
    for name, calls in workloads().items():
        if options.only not in name:
            continue
        results[name] = race(calls, options.rounds)
        for library, figures in results[name].items():
            print(f"{name:32} {library:24} {figures['us']:8.0f} us", end="")
            print(f"  x {figures['ratio']:.2f} ({figures['low']:.2f} to {figures['high']:.2f})")
    if options.out:
        report = {"versions": place() | versions(*PACKAGES), "results": results}
        options.out.write_text(json.dumps(report, indent=2) + "\n")
    if options.add:
        report = json.loads(options.add.read_text())
        report["versions"] = place() | versions(*PACKAGES) | report["versions"]
        for name, libraries in results.items():
            report["results"][name] = libraries | report["results"][name]
        options.add.write_text(json.dumps(report, indent=2) + "\n")
    return None


if __name__ == "__main__":
    main()
