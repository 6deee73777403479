"""Does two things at once to what two threads share. `test_races.py` runs it in its own process:

    python tests/races.py pairs SECONDS [PART PARTS]
    python tests/races.py pair SECONDS ONE OTHER
    python tests/races.py arrays SECONDS

pairs: every pair of ACTIONS, each for so long, on one model; after it, a step from the first
weights must give the bits of a model that nobody else has touched. PART of PARTS: every so manyth
pair from that one on. arrays: every call of MOVING while another thread writes into its arguments
what the call would refuse. A crash ends it, and so does an exception that is not expected.
"""

import hashlib
import itertools
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

import vitc
import vitc.functional as F
from vitc import _vitc, optim
from vitc.tape import no_grad

# ---------------------------------------------------------------------------------------- pairs


class Scene:
    """A model, what trains it and what follows it."""

    def __init__(self) -> None:
        vitc.seed_everything(0)
        arguments = dict(img_size=16, patch_size=8, embed_dim=24, num_heads=3, depth=1)
        self.model = vitc.create_model("test_vit", num_classes=3, **arguments)
        self.start = {name: np.array(value) for name, value in self.model.state_dict().items()}
        self.parameters = list(self.model.parameters())
        self.mean = optim.ModelEmaV3(self.model, decay=0.9)
        rules = (optim.AdamW, optim.RAdam, optim.SGD, optim.Lion, optim.Lamb)
        self.rules = {rule.__name__: rule(self.parameters, lr=1e-4) for rule in rules}
        self.buffer = self.model.params.new_buffer()
        self.x = np.random.default_rng(0).standard_normal((2, 3, 16, 16)).astype(np.float32)

    def backward(self) -> None:
        try:
            F.cross_entropy(self.model(self.x), [0, 2]).backward()
        except vitc.VitcError as error:  # refused: the other thread has written weights meanwhile
            assert "changed between" in str(error), error

    def train(self) -> None:
        self.model.zero_grad()
        self.backward()

    def predict(self, model: Any) -> Any:
        with no_grad():
            return np.array(model(self.x))

    def flip(self) -> None:
        for p in self.parameters[::3]:
            p.requires_grad = not p.requires_grad

    def digest(self) -> str:
        """Of a step from the first weights: logits, gradients, and the weights after it."""
        self.model.requires_grad_(True)
        self.model.load_state_dict(self.start)
        logits = self.predict(self.model)
        self.train()
        gradients = [p.grad for p in self.parameters]
        assert all(gradient is not None for gradient in gradients)
        parts = [logits, *map(np.array, gradients)]
        optim.AdamW(self.parameters, lr=1e-3).step()
        parts += map(np.array, self.model.state_dict().values())
        return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


ACTIONS: dict[str, Callable[[Scene], Any]] = {
    "zero_grad": lambda s: s.model.zero_grad(),
    "train": Scene.train,
    "backward": Scene.backward,
    "clip_grad_norm": lambda s: optim.clip_grad_norm_(s.parameters, 0.1),
    "clip_grad_value": lambda s: optim.clip_grad_value_(s.parameters, 0.1),
    "adaptive_clip_grad": lambda s: optim.adaptive_clip_grad(s.parameters),
    "gradient_norm": lambda s: s.model.params.gradient_norm(),
    "scale_gradients": lambda s: s.model.params.scale_gradients(0.5),
    "read gradients": lambda s: [p.grad for p in s.parameters],
    "RAdam": lambda s: s.rules["RAdam"].step(),
    "AdamW": lambda s: s.rules["AdamW"].step(),
    "SGD": lambda s: s.rules["SGD"].step(),
    "Lion": lambda s: s.rules["Lion"].step(),
    "Lamb": lambda s: s.rules["Lamb"].step(),
    "average": lambda s: s.mean.update(s.model),
    "average back": lambda s: _vitc.average(s.model.params, s.mean.module.params, 0.1),
    "predict": lambda s: s.predict(s.model),
    "predict by the average": lambda s: s.predict(s.mean.module),
    "write": lambda s: s.model.load_state_dict(s.start),
    "write a buffer": lambda s: s.buffer.write(0, s.start[s.parameters[0].name]),
    "flip requires_grad": Scene.flip,
    "plan": lambda s: _vitc.Plan(s.model.program().core, s.model.params, training=True),
    "sizes": lambda s: (s.model.params.version, s.model.params.nbytes),
}
PAIRS = list(itertools.combinations_with_replacement(ACTIONS, 2))


def together(
    one: Callable[[], Any],
    other: Callable[[], Any],
    seconds: float,
    enough: Callable[[], Any] = lambda: True,
) -> list[int]:
    """Calls both again and again, each in a thread of its own, for so long and until it is enough;
    how often each."""
    counts, wrong = [0, 0], []
    end = time.monotonic() + seconds

    def repeat(which: int, act: Callable[[], Any]) -> None:
        try:
            while not wrong and not (counts[which] and time.monotonic() >= end and enough()):
                act()
                counts[which] += 1
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=repeat, args=pair) for pair in enumerate((one, other))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if wrong:
        raise wrong[0]
    return counts


def run_pairs(seconds: float, pairs: Sequence[tuple[str, str]]) -> None:
    expected, scene = Scene().digest(), Scene()
    calls = 0
    for one, other in pairs:
        scene.train()  # so that there are gradients
        calls += sum(
            together(partial(ACTIONS[one], scene), partial(ACTIONS[other], scene), seconds)
        )
        assert scene.digest() == expected, f"{one} beside {other} has left something behind"
    print(f"{len(pairs)} pairs, {calls} calls")


# ---------------------------------------------------------------------------------------- arrays

FAR = 1 << 40


def labels() -> tuple[Callable[[], Any], Callable[[], Any]]:
    """A call, and what another thread does to its arguments meanwhile."""
    logits, target = np.zeros((20_000, 4), np.float32), np.zeros(20_000, np.int64)
    weights = np.ones(4, np.float32)
    return lambda: _vitc.cross_entropy(logits, target, weights), lambda: flip(target)


def boxes() -> tuple[Callable[[], Any], Callable[[], Any]]:
    image, where = np.zeros((3, 32, 32), np.uint8), np.ones((2000, 4), np.int64)
    three = np.zeros(3, np.float32)
    return lambda: _vitc.erase(image, where, three, three), lambda: flip(where[:, 0])


def batch() -> tuple[Any, ...]:
    images, lam = np.zeros((4000, 1, 8, 8), np.float32), np.full(4000, 0.5)
    return images, np.zeros(4000, np.int64), lam, np.tile(np.array([1, 1, 4, 4]), (4000, 1))


def partners() -> tuple[Callable[[], Any], Callable[[], Any]]:
    images, index, lam, where = batch()
    return lambda: _vitc.mix_batch(images, index, lam, where), lambda: flip(index)


def mixed_boxes() -> tuple[Callable[[], Any], Callable[[], Any]]:
    images, index, lam, where = batch()
    return lambda: _vitc.mix_batch(images, index, lam, where), lambda: flip(where[:, 2])


def mixed_list() -> tuple[Callable[[], Any], Callable[[], Any]]:
    weights = np.full(8, 0.125, np.float32)
    images = [np.zeros((64, 64, 3), np.uint8)[:, ::-1] for _ in range(8)]

    def empty_and_fill() -> None:
        images.clear()
        images.extend(np.zeros((64, 64, 3), np.uint8)[:, ::-1] for _ in range(8))
        time.sleep(0)  # lets the other thread go on

    return lambda: _vitc.mix_images(images, weights), empty_and_fill


def shape() -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Of the first input, while the second one is copied."""
    program = _vitc.Program([(256, 512)] * 2, [(1,)], [("add", (0, 1), (), {})], [2])
    run = _vitc.Run(_vitc.Plan(program, _vitc.Params([("unused", (1,))])), 4, 1)
    x, y = np.zeros((2, 256, 512), np.float32), np.zeros((2, 512, 256), np.float32)

    def forward() -> None:
        (out,) = run.forward([x, y.swapaxes(1, 2)])
        assert len(out) == 2

    def reshape() -> None:
        x.shape = (4, 128, 512)
        time.sleep(0)  # lets the other thread go on
        x.shape = (2, 256, 512)
        time.sleep(0)

    return forward, reshape


MOVING = (labels, boxes, partners, mixed_boxes, mixed_list, shape)


def flip(numbers: Any) -> None:
    numbers += FAR
    numbers -= FAR


def run_arrays(seconds: float) -> None:
    for kind in MOVING:
        call, move = kind()
        seen = Counter[str]()
        together(partial(attempt, call, seen), move, seconds, partial(was_moved, seen))
        print(f"{kind.__name__}: {seen['done']} done, {seen['refused']} refused", flush=True)


def was_moved(seen: Counter[str]) -> bool:
    return seen["done"] > 0 and seen["refused"] > 0


def attempt(call: Callable[[], Any], seen: Counter[str]) -> None:
    try:
        call()
        seen["done"] += 1
    except ValueError:
        seen["refused"] += 1


if __name__ == "__main__":
    sys.setswitchinterval(1e-5)
    warnings.simplefilter("ignore")  # of forward passes that wait, and of shapes set in place
    what, seconds, *rest = sys.argv[1:]
    if what == "pairs":
        part, parts = map(int, rest or (0, 1))
        run_pairs(float(seconds), PAIRS[part::parts])
    elif what == "pair":
        run_pairs(float(seconds), [(rest[0], rest[1])])
    else:
        run_arrays(float(seconds))
