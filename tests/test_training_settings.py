"""The arguments of a Trainer: every one of them with values of every wrong kind.

What is refused is refused when the Trainer is made, by a sentence that begins with the name of the
argument; the oracle of what is taken is Lightning's documentation.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vitc
from training_kit import Batches, classifier, trainer
from vitc.training import settings

WRONG: dict[str, Any] = {
    "text": "x",
    "a number as text": "3",
    "a time": "00:01:00:00",
    "bytes": b"3",
    "-7": -7,
    "-1.5": -1.5,
    "1.5": 1.5,
    "1e9": 1e9,
    "nan": math.nan,
    "inf": math.inf,
    "a list": [1],
    "a dict": {0: 1},
    "an object": object(),
    "a type": int,
    "an array": np.ones(3),
    "True": True,
    "None": None,
}
# What each takes of these.
FLAGS = {"True", "None"}
NOTHING = {"None"}
TAKES = {
    "accelerator": {"text", "a number as text", "a time"},  # another than "cpu" is noticed
    "strategy": set(),
    "devices": {"a list", "a number as text"},
    "num_nodes": set(),
    "logger": FLAGS,
    "fast_dev_run": {"True"},
    "max_time": {"a time", "None"},
    "enable_checkpointing": FLAGS,
    "enable_progress_bar": FLAGS,
    "enable_model_summary": FLAGS,
    "gradient_clip_val": {"1.5", "1e9", "inf", "None"},
    "deterministic": FLAGS,
    "inference_mode": FLAGS,
    "detect_anomaly": FLAGS,
    "default_root_dir": {"text", "a number as text", "a time", "None"},
    "accumulate_grad_batches": set(),
    "max_steps": set(),
    "on_nonfinite": set(),
}
ARGUMENTS = [n for n in vitc.Trainer.__init__.__annotations__ if n not in ("unknown", "return")]


def made(name: str, value: Any) -> str | None:
    """Why a Trainer is refused."""
    try:
        vitc.Trainer(**{"enable_checkpointing": False, "logger": False, name: value})
    except (TypeError, ValueError) as error:
        return str(error)
    return None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_wrong_value_is_refused_by_name(name: str) -> None:
    taken = TAKES.get(name, NOTHING)
    for kind, value in WRONG.items():
        why = made(name, value)
        assert (why is None) is (kind in taken), (kind, why)
        assert why is None or why.startswith(name), (kind, why)


def test_every_argument_has_a_check() -> None:
    of_run = {"accelerator", "strategy", "devices", "num_nodes", "precision", "threads"}
    assert {*settings._TRAINER} == {*ARGUMENTS} - of_run


def test_what_is_said_of_a_number_of_batches() -> None:
    share = "expected a number of batches, 0 or more, or a share from 0.0 to 1.0"
    assert made("limit_val_batches", 1.5) == f"limit_val_batches is 1.5, {share}"
    interval = "expected a number of batches, 1 or more, or a share above 0.0 and up to 1.0"
    for value in ("'1'", 0, 0.0, True):
        given = "1" if value == "'1'" else value
        assert made("val_check_interval", given) == f"val_check_interval is {value}, {interval}"
    assert str(made("precision", "x")).endswith(
        "; known: 16, 16-mixed, 32, 32-true, 64, 64-true, bf16, bf16-mixed"
    )
    assert made("deterministic", "warn") is None and made("limit_val_batches", 0.0) is None


def test_what_a_run_has_come_to_is_only_read() -> None:
    run = vitc.Trainer(logger=False)
    for name in ("current_epoch", "world_size", "callback_metrics"):
        with pytest.raises(AttributeError, match=f"{name} of a Trainer can only be read"):
            setattr(run, name, 3)
    assert "world_size" in dir(vitc.Trainer) and run.world_size == 1


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    run = trainer(tmp_path, max_epochs=np.int64(2), limit_train_batches=np.float64(0.5))
    run.fit(classifier(), Batches(4))
    assert run.global_step == 4


def test_a_validation_that_never_comes_is_refused(tmp_path: Path) -> None:
    """Once a whole run without validation and without any checkpoint."""
    run = trainer(tmp_path, max_epochs=1, val_check_interval=9)
    with pytest.raises(ValueError, match="val_check_interval is 9, but an epoch has 4 batches"):
        run.fit(classifier(), Batches(4), Batches(1))
    run.fit(classifier(), Batches(4))  # nothing is to be validated
    over_epochs = dict(max_epochs=3, val_check_interval=9, check_val_every_n_epoch=None)
    run = trainer(tmp_path, **over_epochs)
    run.fit(classifier(), Batches(4), Batches(1))
    assert "val_loss" in run.callback_metrics
