"""`Module.to_onnx`, Lightning's name: what forward() does, in ONNX Runtime against vitc."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import vitc
from training_kit import ARGUMENTS, classifier
from vitc import functional as F

SHAPE = (3, 32, 32)


def images(count: int) -> Any:
    return np.random.default_rng(0).standard_normal((count, *SHAPE), np.float32)


def given_by_file(path: Path, x: Any) -> Any:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def batch_of(path: Path) -> int | str:
    axis = onnx.load(path).graph.input[0].type.tensor_type.shape.dim[0]
    return axis.dim_param or axis.dim_value


class Two(vitc.LightningModule):
    """A teacher of larger images, and what forward() is."""

    def __init__(self) -> None:
        super().__init__()
        self.teacher = vitc.create_model("test_vit", num_classes=3, **{**ARGUMENTS, "img_size": 64})
        self.net = vitc.create_model("test_vit", num_classes=3, **ARGUMENTS)
        self.twin = vitc.create_model("test_vit", num_classes=3, **ARGUMENTS)
        self.twin.load_state_dict({name: 2 * x for name, x in self.net.state_dict().items()})

    def forward(self, x: Any) -> Any:
        return self.twin(x)


class Probabilities(Two):
    def forward(self, x: Any) -> Any:
        return F.softmax(self.net(x))


def test_a_classifier_is_written_with_its_labels_and_an_open_batch(tmp_path: Path) -> None:
    module, x = classifier(), images(3)
    path = module.to_onnx(tmp_path / "m.onnx", opset_version=18, output_names=["logits"])
    assert module.training and module.model.training
    proto = onnx.load(path)
    assert proto.opset_import[0].version == 18 and proto.graph.output[0].name == "logits"
    assert {p.key: p.value for p in proto.metadata_props}["labels"] == '["a", "b", "c"]'
    assert batch_of(path) == "batch"
    np.testing.assert_allclose(given_by_file(path, x), module.eval()(x), rtol=1e-4, atol=1e-5)


def test_a_sample_says_how_large_the_batch_is(tmp_path: Path) -> None:
    module = classifier()
    assert batch_of(module.to_onnx(tmp_path / "m.onnx", np.zeros((2, *SHAPE)))) == 2
    module.example_input_array = images(5)
    assert batch_of(module.to_onnx(tmp_path / "m.onnx")) == 5
    open_batch = {"dynamic_axes": {"input": {0: "n"}, "output": {0: "n"}}}
    assert batch_of(module.to_onnx(tmp_path / "m.onnx", **open_batch)) == "n"


def test_the_model_that_forward_is_is_found(tmp_path: Path) -> None:
    module, x = Two(), images(2)
    module.example_input_array = x
    path = module.to_onnx(tmp_path / "m.onnx")
    np.testing.assert_allclose(given_by_file(path, x), module.eval()(x), rtol=1e-4, atol=1e-5)
    assert not np.allclose(module(x), module.net(x))


@pytest.mark.parametrize(
    ("module", "sample", "words"),
    [
        (Two, None, "3 models: give to_onnx.. an input_sample, or set example_input_array"),
        (Probabilities, images(1), r"forward\(\) is not one of its models alone .teacher, net"),
    ],
)
def test_what_a_file_cannot_hold_is_refused(
    module: Any, sample: Any, words: str, tmp_path: Path
) -> None:
    made = module()
    with pytest.raises(ValueError, match=words):
        made.to_onnx(tmp_path / "m.onnx", sample)
    assert made.training and not list(tmp_path.iterdir())
