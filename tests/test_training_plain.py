"""What a checkpoint keeps beside arrays: hyperparameters and states come back with their types."""

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vitc
from training_kit import ARGUMENTS, Batches, trainer
from vitc.training.plain import as_json, from_json
from vitc.training.tools.classifier import Classifier

VALUES: list[Any] = [
    None,
    True,
    3,
    0.25,
    "text",
    [1, (2, [3, ()])],
    {"a": 1, "b": {"c": (1, 2)}},
    {0: "a", (1, 2): "b", None: 3},
    {"__tuple__": [1]},
    {"__items__": 1, "x": 2},
    {},
    [],
    (),
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_values_come_back(value: Any) -> None:
    found = from_json(json.loads(json.dumps(as_json(value))))
    assert found == value and type(found) is type(value)


def test_what_changes_its_type_keeps_its_value() -> None:
    assert from_json(as_json(np.float32(0.5))) == 0.5 and as_json(np.int64(3)) == 3
    assert as_json(Path("a/b")) == "a/b" and as_json(np.True_) is True
    assert math.isnan(from_json(json.loads(json.dumps(as_json(math.nan)))))


@pytest.mark.parametrize("shape", [(), (3,), (0, 2), (2, 0), (2, 3)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.uint8, bool])
def test_arrays_come_back(shape: tuple[int, ...], dtype: Any) -> None:
    array = (np.arange(math.prod(shape)).reshape(shape) / 3).astype(dtype)
    if shape == ():
        array = np.array(1, dtype)
    found = from_json(json.loads(json.dumps(as_json(array))))
    assert found.dtype == array.dtype and found.shape == shape
    assert np.array_equal(found, array)


@pytest.mark.parametrize(
    "odd",
    [
        {"__tuple__": 3},
        {"__items__": [[1]]},
        {"__items__": [[[], 1]]},
        {"__array__": ["<f8", [2], [1.0]]},
        {"__array__": ["O", [1], [None]]},
        {"__array__": ["nonsense", [1], [1]]},
        {"__array__": [1]},
    ],
    ids=repr,
)
def test_damaged_marks_are_named(odd: Any) -> None:
    with pytest.raises(ValueError, match="is damaged"):
        from_json(odd)


def test_what_cannot_be_kept_is_named() -> None:
    for odd, words in ((object(), "a object"), ({1, 2}, "a set"), (1j, "a complex")):
        with pytest.raises(TypeError, match=f"the state of X has {words}"):
            as_json({"a": [odd]}, "the state of X")


class Typed(Classifier):
    """Hyperparameters of all kinds."""

    def __init__(self, id2label=None, betas=(0.9, 0.99), share=0.5, path=None) -> None:
        super().__init__("test_vit", 3, **ARGUMENTS)
        self.save_hyperparameters()


def test_hyperparameters_come_back_as_they_were(tmp_path: Path) -> None:
    given = dict(id2label={0: "a", 1: "b"}, betas=(0.8, 0.9), share=np.float32(0.25))
    run = trainer(tmp_path, max_epochs=1)
    run.fit(Typed(**given), Batches(1))
    again = Typed.load_from_checkpoint(run.checkpoint_callback.best_model_path)
    assert {name: again.hparams[name] for name in given} == given
    assert isinstance(again.hparams.betas, tuple) and list(again.hparams.id2label) == [0, 1]


def test_what_a_checkpoint_cannot_keep_is_named_before_the_first_step(tmp_path: Path) -> None:
    class Odd(vitc.Callback):
        def state_dict(self) -> dict[str, Any]:
            return {"held": object()}

    module = Typed(id2label=lambda: None)
    run = trainer(tmp_path, max_epochs=1)
    with pytest.raises(TypeError, match=r"hyperparameter 'id2label', a function: leave it out"):
        run.fit(module, Batches(1))
    run = trainer(tmp_path, max_epochs=1, callbacks=Odd())
    with pytest.raises(TypeError, match="the state of Odd has a object"):
        run.fit(Typed(), Batches(1))
    assert run.global_step == 0


def test_one_dict_or_namespace_holds_them_all(tmp_path: Path) -> None:
    class Whole(Classifier):
        def __init__(self, conf: Any, extra: int = 1) -> None:
            super().__init__("test_vit", 3, **ARGUMENTS)
            self.hparams.clear()
            self.save_hyperparameters(conf, ignore="secret")

    for conf in ({"lr": 0.5, "secret": object()}, argparse.Namespace(lr=0.5, secret=object())):
        module = Whole(conf)
        assert dict(module.hparams) == {"lr": 0.5} and module.hparams.lr == 0.5
        module.hparams.update(label_smoothing=0.0, class_weights=None, class_names=["a", "b", "c"])
        module.hparams.update(weight_decay=0.0, betas=(0.9, 0.99), warmup=0.0)
        run = trainer(tmp_path / type(conf).__name__, max_epochs=1)
        run.fit(module, Batches(1))
        again = Whole.load_from_checkpoint(run.checkpoint_callback.best_model_path, lr=0.25)
        assert again.hparams.lr == 0.25 and again.hparams.betas == (0.9, 0.99)


def test_names_that_are_not_arguments_are_refused() -> None:
    class Named(Classifier):
        def __init__(self, names: Any, width: int = 3) -> None:
            super().__init__("test_vit", 3, **ARGUMENTS)
            self.save_hyperparameters(*names)

    assert Named(["width"]).hparams.width == 3
    with pytest.raises(ValueError, match="'widht'\\): there is no such argument; did you mean 'w"):
        Named(["widht"])
    with pytest.raises(TypeError, match="got 3, expected names"):
        Named([3, "width"])


def test_a_run_is_not_resumed_by_another_optimizer_or_schedule(tmp_path: Path) -> None:
    def module(optimizer: str, schedule: str | None) -> Classifier:
        class Net(Classifier):
            def configure_optimizers(self):
                made = getattr(vitc.optim, optimizer)(self.parameters(), lr=1e-3)
                if schedule is None:
                    return made
                kinds = vitc.optim.lr_scheduler
                return [made], [getattr(kinds, schedule)(made, 3)]

        return Net("test_vit", 3, **ARGUMENTS)

    run = trainer(tmp_path, max_epochs=1)
    run.fit(module("AdamW", "StepLR"), Batches(1))
    path = run.checkpoint_callback.best_model_path
    for other, words in (
        (("Lion", "StepLR"), "was trained with 'AdamW', this run has Lion"),
        (("AdamW", None), "trained with the schedule 'StepLR', this run has none"),
        (("AdamW", "CosineAnnealingLR"), "schedule 'StepLR', this run has CosineAnnealingLR"),
    ):
        with pytest.raises(ValueError, match=words):
            trainer(tmp_path, max_epochs=2).fit(module(*other), Batches(1), ckpt_path=path)


def test_a_head_of_other_classes_is_left_out_if_asked_for(tmp_path: Path) -> None:
    run = trainer(tmp_path, max_epochs=1)
    run.fit(Classifier("test_vit", 3, **ARGUMENTS), Batches(1))
    path = run.checkpoint_callback.best_model_path
    with pytest.raises(ValueError, match=r"(?s)model 'model': .*head"):
        Classifier.load_from_checkpoint(path, num_classes=5)
    with pytest.warns(UserWarning, match=r"left out: head\.bias, head\.weight"):
        other = Classifier.load_from_checkpoint(path, num_classes=5, strict=False)
    assert other.model.num_classes == 5
    trunk = run.module.model.state_dict()["patch_embed.proj.weight"]
    assert np.array_equal(other.model.state_dict()["patch_embed.proj.weight"], trunk)
    hparams = tmp_path / "h.yaml"
    hparams.write_text(json.dumps({**other.hparams, "num_classes": 3, "lr": 0.125}))
    again = Classifier.load_from_checkpoint(path, map_location="cpu", hparams_file=hparams)
    assert again.hparams.lr == 0.125
    with pytest.warns(UserWarning, match="map_location='cuda': vitc computes on the CPU"):
        Classifier.load_from_checkpoint(path, map_location="cuda", weights_only=True)


def test_a_run_of_fewer_steps_than_rows_says_so(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="log_every_n_steps is 50, but the run has 2 steps"):
        trainer(tmp_path, max_epochs=1, log_every_n_steps=None).fit(
            Classifier("test_vit", 3, **ARGUMENTS), Batches(2)
        )
