"""Two runs at once in one folder, and a reader beside them. Run by test_training_folders.py.

    python tests/two_runs.py FOLDER PAIRS

The runs have the same names for everything: root, folder of checkpoints, `last.ckpt`. None may die,
each has to end with its own checkpoints, whole, and its own log; the reader may see nothing else
than whole checkpoints. Prints counts as JSON.
"""

import json
import os
import sys
from functools import partial
from pathlib import Path

from kill import in_a_child_at_once

from training_kit import Batches, classifier, trainer
from vitc.training import checkpoint
from vitc.training.callbacks import ModelCheckpoint


def run(folder: Path, number: int) -> None:
    keeper = ModelCheckpoint(
        folder / "checkpoints",
        filename="{step}",
        monitor="train_loss",
        save_top_k=2,
        save_last=True,
        every_n_train_steps=1,
    )
    fit = trainer(folder, max_epochs=2, callbacks=keeper, log_every_n_steps=1)
    fit.fit(classifier(depth=1), Batches(6))
    told = {
        "run": fit.run_id,
        "paths": [*keeper.best_k_models, keeper.last_model_path],
        "log": str(fit.log_dir),
    }
    (folder / f"{number}.json").write_text(json.dumps(told))


def read(folder: Path) -> None:
    """Polls last.ckpt until both are done."""
    seen = 0
    while len(list(folder.glob("?.json"))) < 2:
        try:
            found = checkpoint.read(folder / "checkpoints" / "last.ckpt")
        except FileNotFoundError:
            assert not seen, "last.ckpt was there and is not"
            continue
        assert found.weights("model") and found.tensors("state")
        seen += 1
    (folder / "seen").write_text(str(seen))


def check(folder: Path) -> int:
    """How often the reader saw a checkpoint."""
    runs = [json.loads((folder / f"{number}.json").read_text()) for number in range(2)]
    paths = [path for run in runs for path in run["paths"]]
    assert len(set(paths)) == len(paths) == 6, paths
    for run in runs:
        for path in run["paths"]:
            assert checkpoint.read(path).state["run"] == run["run"], path
        assert len((Path(run["log"]) / "metrics.csv").read_text().splitlines()) > 12
    assert runs[0]["log"] != runs[1]["log"]
    there = {str(path) for path in (folder / "checkpoints").iterdir()}
    assert there == set(paths), there
    return int((folder / "seen").read_text())


def main() -> None:
    base, pairs, seen = Path(sys.argv[1]), int(sys.argv[2]), 0
    for pair in range(pairs):
        folder = base / str(pair)
        folder.mkdir()
        works = [partial(run, folder, 0), partial(run, folder, 1), partial(read, folder)]
        children = [in_a_child_at_once(work) for work in works]
        for child in children:
            assert os.waitpid(child, 0)[1] == 0, f"pair {pair}: one has died"
        seen += check(folder)
    print(json.dumps({"pairs": pairs, "whole checkpoints read": seen}))


if __name__ == "__main__":
    main()
