"""A model of real size under a storm of signals. Run by `test_process.py`.

    VITC_ISA=avx2 python tests/storm.py SIGNALS

A timer sends SIGALRM a thousand times a second, until so many have been handled during inference,
and again during training. Prints the bits of every pass: two digests in all, if no signal has
changed any.
"""

import json
import signal
import sys
from collections.abc import Callable, Iterator

import numpy as np
from bits import sha256

import vitc
import vitc.functional as F
from vitc.tape import clock

PERIOD = 0.001


def passes(work: Callable[[], str], signals: int) -> Iterator[str]:
    """The digests of one quiet pass, and of passes until so many signals have come."""
    yield work()
    seen: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: seen.append(number))
    signal.setitimer(signal.ITIMER_REAL, PERIOD, PERIOD)
    try:
        while len(seen) < signals:
            yield work()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def main(signals: int) -> None:
    vitc.seed_everything(0)
    model = vitc.create_model("vit_tiny_patch16_224", depth=2, num_classes=3, drop_path_rate=0.1)
    x = np.random.default_rng(0).standard_normal((2, 3, 224, 224)).astype(np.float32)

    def infer() -> str:
        with vitc.no_grad():
            return sha256([model.eval()(x)])

    def train() -> str:
        model.train().zero_grad()
        clock.begin(0)
        F.cross_entropy(model(x), [0, 1]).backward()
        return sha256(np.array(p.grad) for p in model.parameters())

    print(
        json.dumps({work.__name__: sorted(set(passes(work, signals))) for work in (infer, train)})
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
