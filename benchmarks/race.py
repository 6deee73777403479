"""vitc against torch + timm, side by side on one machine.

    python benchmarks/race.py [--threads 2] [--rounds 15] [--only tiny] [--out results/FILE.json]

One process per engine, both loaded and warmed up. In each round the engines take turns in a random
order, and the one that waits is stopped (SIGSTOP), so that its spinning threads cost nothing.
Shared machines drift; so the figure that counts is the ratio of the two times of one round, and its
median and quartiles over the rounds. Every pair is first checked to compute the same logits.
"""

import argparse
import json
import os
import platform
import random
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

# name: model, batch, training, calls per slice
WORKLOADS = {
    "tiny inference 1": ("vit_tiny_patch16_224", 1, False, 30),
    "tiny inference 8": ("vit_tiny_patch16_224", 8, False, 6),
    "base inference 1": ("vit_base_patch16_224", 1, False, 6),
    "base inference 8": ("vit_base_patch16_224", 8, False, 2),
    "tiny training 16": ("vit_tiny_patch16_224", 16, True, 2),
    "base training 4": ("vit_base_patch16_224", 4, True, 1),
}
ENGINES = ("vitc", "torch")


# ---------------------------------------------------------------- in the process of one engine


def torch_worker(model_name, batch, training, threads, weights):
    import numpy as np

    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    import torch
    from safetensors.torch import load_file

    from oracle import timm

    torch.set_num_threads(threads)
    model = timm.create_model(model_name)
    model.load_state_dict(load_file(weights))
    x, y = inputs(np, batch)
    x, y = torch.from_numpy(x), torch.from_numpy(y)
    if not training:
        model.eval()

        @torch.inference_mode()
        def run():
            return model(x).numpy()

        return run
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def run():
        loss = torch.nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach().numpy()

    return run


def vitc_worker(model_name, batch, training, threads, weights):
    import numpy as np

    import vitc
    import vitc.functional as F

    vitc.set_num_threads(threads)
    model = vitc.create_model(model_name, checkpoint_path=weights)
    x, y = inputs(np, batch)
    if not training:
        model.eval()

        def run():
            with vitc.no_grad():
                return np.asarray(model(x))

        return run
    optimizer = vitc.optim.AdamW(model.parameters(), lr=1e-4)

    def run():
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return np.asarray(loss.item())

    return run


def inputs(np, batch):
    generator = np.random.default_rng(0)
    images = generator.standard_normal((batch, 3, 224, 224)).astype(np.float32)
    return images, generator.integers(0, 1000, batch)


def worker(engine, workload, threads, weights):
    """Say what the first call gave, then time slices on demand: one line in, one line out."""
    model_name, batch, training, calls = WORKLOADS[workload]
    make = {"vitc": vitc_worker, "torch": torch_worker}[engine]
    run = make(model_name, batch, training, threads, weights)
    print(json.dumps(run().astype(float).ravel()[:1000].tolist()), flush=True)
    run()
    for _ in sys.stdin:
        times = []
        for _ in range(calls):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        print(json.dumps(statistics.median(times)), flush=True)


# ---------------------------------------------------------------- the race


class Engine:
    def __init__(self, name, workload, threads, weights):
        command = [sys.executable, __file__, "--worker", name, "--only", workload]
        command += ["--threads", str(threads), "--weights", weights]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.first = json.loads(self.process.stdout.readline())
        self.process.send_signal(signal.SIGSTOP)

    def slice(self):
        self.process.send_signal(signal.SIGCONT)
        print("go", file=self.process.stdin, flush=True)
        seconds = json.loads(self.process.stdout.readline())
        self.process.send_signal(signal.SIGSTOP)
        return seconds

    def close(self):
        self.process.kill()
        self.process.wait()


def race(workload, threads, rounds, weights):
    engines = {name: Engine(name, workload, threads, weights) for name in ENGINES}
    try:
        difference = max(
            abs(a - b) for a, b in zip(engines["vitc"].first, engines["torch"].first, strict=True)
        )
        times = {name: [] for name in ENGINES}
        for _ in range(rounds):
            for name in random.sample(ENGINES, len(ENGINES)):
                times[name].append(engines[name].slice())
    finally:
        for engine in engines.values():
            engine.close()
    ratios = [t / v for v, t in zip(times["vitc"], times["torch"], strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4)
    return {
        "workload": workload,
        "vitc_ms": 1e3 * statistics.median(times["vitc"]),
        "torch_ms": 1e3 * statistics.median(times["torch"]),
        "ratio": median,
        "ratio_quartiles": [low, high],
        "largest_difference": difference,
    }


def save_weights(model_name, path):
    import vitc

    vitc.create_model(model_name).save(path)


def versions():
    import torch

    import vitc

    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":")[1].strip() for line in lines if "model name" in line), "")
    return {
        "vitc": vitc.__version__,
        "torch": torch.__version__,
        "cpu": cpu,
        "python": platform.python_version(),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", default="", help="workloads whose name contains this")
    parser.add_argument("--out", help="write the figures as JSON")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--weights", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        worker(args.worker, args.only, args.threads, args.weights)
        return
    results = []
    for workload in [name for name in WORKLOADS if args.only in name]:
        weights = f"/tmp/race-{os.getpid()}.safetensors"
        save_weights(WORKLOADS[workload][0], weights)
        results.append(race(workload, args.threads, args.rounds, weights))
        os.unlink(weights)
        print(
            "{workload}: vitc {vitc_ms:.1f} ms, torch {torch_ms:.1f} ms, ratio {ratio:.2f} "
            "[{ratio_quartiles[0]:.2f}, {ratio_quartiles[1]:.2f}], largest difference "
            "{largest_difference:.1e}".format(**results[-1]),
            flush=True,
        )
    if args.out:
        report = {**versions(), "threads": args.threads, "rounds": args.rounds, "results": results}
        Path(args.out).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
