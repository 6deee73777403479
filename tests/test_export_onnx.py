"""ONNX files against vitc itself, in three runtimes: ONNX Runtime, OpenVINO and onnx's own
ReferenceEvaluator, which is written in NumPy and is the definition of the operators.

They agree if the largest difference is at most 1e-4 of the largest |output|. Parameters are
redrawn as in `oracle`. ReferenceEvaluator is slow: it runs the reduced models, at batch 1 and 2.
By default the pairs of (family, opset, runtime, batch) are covered, every combination is run
by `pytest -m long`, whose figures are in benchmarks/results/onnx_agreement.md.
"""

import functools
import inspect
import io
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import torch
from numpy.random import randn
from onnx.reference import ReferenceEvaluator

import vitc
from oracle import families, images, redrawn
from vitc import _vitc, export
from vitc.cli import main
from vitc.export import emitters
from vitc.export.properties import weights_sha256
from vitc.models.architectures import ARCHITECTURES
from vitc.models.init import Entry, normal
from vitc.models.model import Model
from vitc.models.timm_folder import write_folder
from vitc.program import Builder, Program

TOLERANCE = 1e-4
OPSETS = (13, 17, 20, 23)
BATCHES = (1, 2, 7, 32)
FAMILIES = families()

# Operators that read, or depend on, the shape of a tensor at run time.
SHAPE_OPERATORS = {
    "ConstantOfShape",
    "Expand",
    "Gather",
    "If",
    "Loop",
    "NonZero",
    "Range",
    "Resize",
    "Shape",
    "Size",
    "Tile",
}

Run = Callable[[np.ndarray], np.ndarray]


def onnx_runtime(file: Path) -> Run:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {session.get_inputs()[0].name: x})[0]


def open_vino(file: Path) -> Run:
    # Processors with bfloat16 would use it without being told.
    compiled = openvino.compile_model(str(file), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda x: compiled(x)[0]


def reference(file: Path) -> Run:
    evaluator = ReferenceEvaluator(str(file))
    return lambda x: evaluator.run(None, {evaluator.input_names[0]: x})[0]


ENGINES = (onnx_runtime, open_vino, reference)


def create(name: str, **arguments: Any) -> Model:
    model = vitc.create_model(name, **arguments).eval()
    model.load_state_dict(redrawn(model.shapes, "float32"))
    return model


@functools.cache
def reduced(name: str) -> Model:
    """An architecture with two narrow blocks, over 4 x 3 patches of its own size."""
    own = ARCHITECTURES[name].arguments
    patch, heads = own.get("patch_size", 16), 2 + own["num_heads"] % 2
    size = (4 * patch, 3 * patch)
    grouped = dict(num_kv_heads=(heads, 1)) if "num_kv_heads" in own else {}
    sizes = dict(depth=2, embed_dim=16 * heads, num_heads=heads, img_size=size, num_classes=10)
    return create(name, **sizes, **grouped)


@functools.cache
def answers(model: Model) -> tuple[np.ndarray, np.ndarray]:
    """32 images and what vitc says; its answer to an image is the same in any batch."""
    x = images(max(BATCHES), model)
    with vitc.no_grad():
        return x, np.asarray(model(x))


def difference(model: Model, run: Run, batch: int) -> float:
    """max|theirs - ours| / max|ours| on the first images."""
    x, ours = answers(model)
    theirs = run(x[:batch])
    assert theirs.shape == ours[:batch].shape and theirs.dtype == np.float32
    return float(np.abs(theirs - ours[:batch]).max() / np.abs(ours[:batch]).max())


def operators(file: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(file).graph.node)


# ------------------------------------------------------------------------------- agreement


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_agrees(name: str, tmp_path: Path) -> None:
    """One runtime and one batch at every opset: over the families, every pair occurs."""
    model, start = reduced(name), FAMILIES.index(name)
    for i, opset in enumerate(OPSETS, start):
        file = export.onnx(model, tmp_path / "model.onnx", opset=opset)
        engine, batch = ENGINES[i % len(ENGINES)], BATCHES[i % len(BATCHES)]
        if engine is reference and batch > 2:
            assert difference(model, engine(file), batch % 2 + 1) <= TOLERANCE
            engine = onnx_runtime
        assert difference(model, engine(file), batch) <= TOLERANCE, (opset, engine, batch)


@pytest.mark.parametrize("opset", OPSETS)
def test_a_full_tiny_model_agrees(opset: int, tmp_path: Path) -> None:
    model = full("vit_tiny_patch16_224")
    file = export.onnx(model, tmp_path / "model.onnx", opset=opset)
    small, large = BATCHES[OPSETS.index(opset) % 2], BATCHES[2 + OPSETS.index(opset) % 2]
    assert difference(model, onnx_runtime(file), small) <= TOLERANCE
    assert difference(model, open_vino(file), large) <= TOLERANCE


def test_a_full_base_model_agrees(tmp_path: Path) -> None:
    model = full("vit_base_patch16_224")
    file = export.onnx(model, tmp_path / "model.onnx")
    for engine, batches in ((open_vino, (1, 7)), (onnx_runtime, (2, 32))):
        run = engine(file)
        for batch in batches:
            assert difference(model, run, batch) <= TOLERANCE, (engine, batch)


@functools.cache
def full(name: str) -> Model:
    return create(name)


@pytest.mark.long
@pytest.mark.parametrize("opset", OPSETS)
def test_every_combination_agrees(opset: int, tmp_path: Path) -> None:
    """Prints the worst difference of each model, as the log holds it."""
    models = [(name, reduced(name), ENGINES) for name in FAMILIES]
    for name in ("vit_tiny_patch16_224", "vit_base_patch16_224"):
        models.append((f"{name}, full", full(name), ENGINES[:2]))
    for name, model, engines in models:
        file = export.onnx(model, tmp_path / "model.onnx", opset=opset)
        for engine in engines:
            run = engine(file)
            batches = BATCHES[:2] if engine is reference else BATCHES
            worst = max(difference(model, run, batch) for batch in batches)
            print(f"| {name} | {opset} | {engine.__name__} | {worst:.1e} |")
            assert worst <= TOLERANCE


# ------------------------------------------------------------------------------- the graph


@pytest.mark.parametrize("opset", export.onnx_file.OPSETS)
def test_every_opset_is_its_own(opset: int, tmp_path: Path) -> None:
    """The versions in the file, the operators that the opset has, and that ONNX Runtime runs it."""
    model = reduced("test_vit")
    file = export.onnx(model, tmp_path / "model.onnx", opset=opset)
    proto = onnx.load(file)
    assert [(o.domain, o.version) for o in proto.opset_import] == [("", opset)]
    first_with_ir = {13: 7, 15: 8, 19: 9, 21: 10, 23: 11}
    assert proto.ir_version == first_with_ir[max(o for o in first_with_ir if o <= opset)]
    found = operators(file)
    assert not SHAPE_OPERATORS & set(found)
    assert found["LayerNormalization"] == (5 if opset >= 17 else 0)
    assert found["Gelu"] == (2 if opset >= 20 else 0) and found["Erf"] == 2 - found["Gelu"]
    # Per block q, k, v, two of the attention, its projection, two of the mlp; and the head.
    whole = 2 if opset >= 23 else 0
    assert found["Conv"] == 1 and found["MatMul"] == 2 * 8 + 1 - 2 * whole
    assert found["Attention"] == whole and found["Softmax"] == 2 - whole
    assert difference(model, onnx_runtime(file), 2) <= TOLERANCE


def test_only_the_batch_is_open(tmp_path: Path) -> None:
    graph = onnx.load(export.onnx(reduced("test_vit"), tmp_path / "model.onnx", opset=20)).graph
    for value, shape in ((graph.input[0], [64, 48]), (graph.output[0], [10])):
        batch, *rest = value.type.tensor_type.shape.dim
        assert batch.dim_param == "batch" and [d.dim_value for d in rest][-len(shape) :] == shape
    # The factor of the attention is in the weights, and no constant holds a size of the batch.
    assert not {"Mul", "Div", "Sqrt"} & {node.op_type for node in graph.node}
    sizes = [
        onnx.numpy_helper.to_array(tensor)
        for tensor in graph.initializer
        if tensor.name in {node.input[1] for node in graph.node if node.op_type == "Reshape"}
    ]
    assert sizes and all(size[0] == 0 for size in sizes)


@pytest.mark.parametrize("opset", [13, 17, 20])
def test_runtimes_recognise_norms_and_gelus(opset: int, tmp_path: Path) -> None:
    model = reduced("vit_tiny_patch16_224")  # 5 norms, 2 blocks
    file = export.onnx(model, tmp_path / "model.onnx", opset=opset)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    found = operators(tmp_path / "optimised.onnx")
    norms = sum(n for kind, n in found.items() if "LayerNormalization" in kind)
    assert norms == 5 and found["Gelu"] + found["BiasGelu"] + found["QuickGelu"] == 2
    compiled = openvino.compile_model(str(file), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    layers = Counter(
        op.get_rt_info()["layerType"].astype(str) for op in compiled.get_runtime_model().get_ops()
    )
    assert layers["MVN"] == 5 and not {"Erf", "Div", "Pow", "Sqrt", "Math"} & set(layers)


def test_properties_say_what_the_model_is(tmp_path: Path) -> None:
    model = reduced("test_vit")
    names = [f"Klasse {i} ü" for i in range(10)]
    proto = onnx.load(export.onnx(model, tmp_path / "model.onnx", labels=names))
    found = {item.key: item.value for item in proto.metadata_props}
    assert json.loads(found.pop("labels")) == names
    assert json.loads(found.pop("mean")) == json.loads(found.pop("std")) == [0.5, 0.5, 0.5]
    assert found == {
        "architecture": "test_vit",
        "precision": "fp32",
        "interpolation": "bicubic",
        "crop_pct": "0.95",
        "crop_mode": "center",
        "weights_sha256": weights_sha256(model),
        "vitc_version": vitc.__version__,
    }
    assert proto.producer_name == "vitc" and proto.graph.name == "test_vit"
    assert "labels" not in onnx.load(export.onnx(model, tmp_path / "b.onnx")).metadata_props


def test_the_same_model_gives_the_same_file(tmp_path: Path) -> None:
    files = [export.onnx(reduced("test_vit"), tmp_path / f"{i}.onnx") for i in range(2)]
    assert files[0].read_bytes() == files[1].read_bytes()


# ------------------------------------------------------------------------------- variants


@pytest.mark.parametrize(
    "arguments",
    [
        dict(num_classes=0),
        dict(in_chans=1),
        # A rest at the border that no patch covers.
        dict(in_chans=5, img_size=(50, 37), dynamic_img_size=False),
        dict(qkv_bias=False),
        dict(global_pool="avgmax"),
        dict(patch_size=(8, 16), img_size=32),
        dict(num_heads=1, embed_dim=12, mlp_ratio=1.5),  # a factor that is no power of two
    ],
    ids=str,
)
@pytest.mark.parametrize("opset", [13, 23])
def test_arguments_of_the_model(arguments: dict[str, Any], opset: int, tmp_path: Path) -> None:
    model = create("test_vit", **{"depth": 1, "img_size": 48, "num_classes": 4, **arguments})
    file = export.onnx(model, tmp_path / "model.onnx", opset=opset)
    for engine in ENGINES:
        assert difference(model, engine(file), 2) <= TOLERANCE, engine


def test_a_model_in_training_exports_its_evaluation(tmp_path: Path) -> None:
    """No dropout, and of two heads the mean; the model stays as it is."""
    model = create("deit_tiny_distilled_patch16_224", depth=1, img_size=32, num_classes=6)
    expected, model = (
        answers(model),
        vitc.create_model(
            "deit_tiny_distilled_patch16_224",
            depth=1,
            img_size=32,
            num_classes=6,
            drop_rate=0.3,
            drop_path_rate=0.3,
            proj_drop_rate=0.3,
        ),
    )
    model.load_state_dict(redrawn(model.shapes, "float32"))
    model.set_distilled_training()
    run = onnx_runtime(export.onnx(model, tmp_path / "model.onnx"))
    assert model.training and len(model(expected[0])) == 2
    assert np.abs(run(expected[0]) - expected[1]).max() <= TOLERANCE * np.abs(expected[1]).max()


class Own(Model):
    """A model whose forward pass is any program."""

    def __init__(
        self,
        build: Callable[[Builder], Program],
        dtype: str = "float32",
        **shapes: tuple[int, ...],
    ) -> None:
        entries = [
            Entry(name.replace("__", "."), shape, normal(0.5)) for name, shape in shapes.items()
        ]
        super().__init__(entries, dtype)
        self._build = build

    def forward(self, x: Any) -> Any:
        outputs = self._run(self._forward_program(False), x)
        return outputs[0] if len(outputs) == 1 else outputs

    def _forward_program(self, training: bool) -> Program:
        return self._program((), lambda: self._build(Builder(self.shapes)))


def patches(b: Builder) -> Program:
    x = b.patchify(b.input((2, 7, 9)), (3, 2))
    return b.finish(b.gelu(b.tokens(x)))


def packed(b: Builder) -> Program:
    x = b.input((5, 24))
    return b.finish(b.add(b.attention(b.scale(x, 0.5), 2), b.linear(x, "fc")))


def looked_at(b: Builder) -> Program:
    qkv = b.linear(b.input((5, 8)), "fc")
    return b.finish(b.attention_probs(qkv, 2))


def kept(b: Builder) -> Program:
    qkv = b.linear(b.input((5, 8)), "fc")
    return b.finish(b.attention(qkv, 2), qkv)


def resampled(b: Builder) -> Program:
    """Positions with and without a prefix, to a larger and to a smaller grid."""
    x = b.input((6, 8))
    larger = b.resample(x, 2, (2, 2), (3, 5))
    return b.finish(larger, b.resample(x, 0, (2, 3), (1, 2)))


def turned(b: Builder) -> Program:
    """Pairs of both kinds, by a table of places in either order."""
    x = b.input((7, 24))
    table = b.rope_table(1, (2, 3), 4, 10.0, (-0.5, 1.0), (0.5, 0.25))
    other = b.rope_table(0, (1, 7), 8, 100.0, (0.0, 1.0), (0.5, 1.5), swapped=True)
    return b.finish(b.rope(x, table, 2, halves=True), b.rope(x, other, 1))


def turned_by_parameters(b: Builder) -> Program:
    x, frequencies = b.input((7, 24)), b.parameter("rope.freqs")
    first = b.rope_mixed(frequencies, 1, (2, 3), 2, 1)
    second = b.rope_mixed(frequencies, 1, (2, 3), 2, 0, swapped=True)
    return b.finish(b.rope(x, first, 2), b.rope(x, second, 2, halves=True))


def biased(b: Builder) -> Program:
    """A table that is a parameter, with rows for the token before the patches."""
    qkv, table = b.linear(b.input((7, 8)), "fc"), b.parameter("table")
    return b.finish(
        b.biased_attention(qkv, table, 2, (2, 3)),
        b.biased_attention_probs(b.scale(qkv, 0.5), table, 2, (2, 3)),
    )


def biased_by_layers(b: Builder) -> Program:
    """One that is computed, without them; and none before the patches."""
    qkv, x = b.linear(b.input((7, 8)), "fc"), b.relative_coordinates((3, 2))
    table = b.linear(b.activation(b.linear(x, "a"), "relu"), "b")
    return b.finish(
        b.biased_attention(qkv, table, 2, (3, 2), maps=2),
        b.biased_attention(b.select(qkv, 1, 6), table, 2, (3, 2)),
    )


def normed(b: Builder) -> Program:
    return b.finish(b.norm(b.input((5, 8)), "norm", eps=0.5))


@pytest.mark.parametrize(
    "build, shape, weights",
    [
        (normed, (5, 8), dict(norm__weight=(8,), norm__bias=(8,))),
        (patches, (2, 7, 9), dict(pos_embed=(1, 9, 12), dist_token=(1, 1, 12))),
        (patches, (2, 7, 9), dict(cls_token=(1, 1, 12))),
        (patches, (2, 7, 9), dict(pos_embed=(1, 8, 12))),
        (packed, (5, 24), dict(fc__weight=(8, 24))),
        (resampled, (6, 8), dict(unused=(1,))),
        (biased, (7, 8), dict(fc__weight=(24, 8), table=(18, 2))),
        (
            biased_by_layers,
            (7, 8),
            dict(fc__weight=(24, 8), a__weight=(5, 2), a__bias=(5,), b__weight=(2, 5)),
        ),
        (turned, (7, 24), dict(unused=(1,))),
        (turned_by_parameters, (7, 24), dict(rope__freqs=(2, 3, 2, 2))),
        (looked_at, (5, 8), dict(fc__weight=(24, 8), fc__bias=(24,))),
        (kept, (5, 8), dict(fc__weight=(24, 8))),
    ],
)
@pytest.mark.parametrize("opset", [13, 20])
def test_operations_in_other_company(
    build: Callable[[Builder], Program],
    shape: tuple[int, ...],
    weights: dict[str, tuple[int, ...]],
    opset: int,
    tmp_path: Path,
) -> None:
    """What is written together in a Vision Transformer also stands alone."""
    model = Own(build, **weights)
    outputs = ["a", "b"][: len(model.program().outputs)]
    file = export.onnx(model, tmp_path / "a.onnx", opset=opset, output_names=outputs)
    x = np.random.default_rng(0).standard_normal((3, *shape)).astype(np.float32)
    with vitc.no_grad():
        expected = model(x) if len(outputs) == 2 else (model(x),)
    found = ReferenceEvaluator(str(file)).run(None, {"input": x})
    for ours, theirs in zip(expected, found, strict=True):
        assert np.abs(theirs - np.asarray(ours)).max() <= TOLERANCE * np.abs(ours).max()
    for ours, theirs in zip(expected, _session(file).run(None, {"input": x}), strict=True):
        assert np.abs(theirs - np.asarray(ours)).max() <= TOLERANCE * np.abs(ours).max()


def _session(file: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])


def test_a_layer_of_its_own(tmp_path: Path) -> None:
    layer = vitc.nn.Linear(6, 3)
    x = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)
    run = onnx_runtime(export.onnx(layer, tmp_path / "layer.onnx"))
    np.testing.assert_allclose(run(x), np.asarray(layer(x)), rtol=1e-5, atol=1e-6)


def test_the_table_of_emitters_is_that_of_the_core() -> None:
    """But for what acts in training only."""
    known = {row["name"] for row in _vitc.operation_table()}
    without = {"dropout", "drop_path", "patch_drop"}
    assert set(emitters.EMITTERS) == known - without and without < known


# ------------------------------------------------------------------------------- torch's signature


def test_the_call_of_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last lines of a script for torch, with only the import changed."""
    from vitc import onnx as torch_onnx

    monkeypatch.chdir(tmp_path)
    model = create("test_vit", img_size=32, depth=1)
    torch_onnx.export(
        model,
        randn(1, 3, 32, 32),
        "vit_model.onnx",
        export_params=True,
        do_constant_folding=True,
        input_names=["input"],
        output_names=["output"],
        dynamic_axes={"input": {0: "batch_size"}, "output": {0: "batch_size"}},
        opset_version=13,
    )
    proto = onnx.load("vit_model.onnx")
    assert proto.opset_import[0].version == 13
    for value in (proto.graph.input[0], proto.graph.output[0]):
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch_size"
    assert difference(model, onnx_runtime(Path("vit_model.onnx")), 7) <= TOLERANCE


def test_torchs_other_arguments_at_their_defaults(tmp_path: Path) -> None:
    """All of its signature, whose defaults mean nothing here; and a file that is open."""
    model = create("test_vit", img_size=32, depth=1)
    given = inspect.signature(torch.onnx.export).parameters
    own = ("model", "args", "f", "input_names", "output_names", "dynamic_axes", "opset_version")
    defaults = {name: p.default for name, p in given.items() if name not in own}
    file = vitc.onnx.export(model, randn(1, 3, 32, 32), tmp_path / "a.onnx", **defaults)
    stream = io.BytesIO()
    assert vitc.onnx.export(model, randn(1, 3, 32, 32), stream, training=None) is None
    assert stream.getvalue() == file.read_bytes()


def test_without_dynamic_axes_the_batch_is_that_of_the_images(tmp_path: Path) -> None:
    model = create("test_vit", img_size=32, depth=1)
    file = vitc.onnx.export(model, (randn(3, 3, 32, 32),), tmp_path / "m.onnx", input_names=["x"])
    shape = onnx.load(file).graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_value for d in shape] == [3, 3, 32, 32]
    run = onnx_runtime(file)
    assert difference(model, run, 3) <= TOLERANCE
    with pytest.raises(Exception, match="Got: 2 Expected: 3"):
        run(answers(model)[0][:2])
    listed = vitc.onnx.export(model, randn(1, 3, 32, 32), file, dynamic_axes={"input": [0]})
    assert onnx.load(listed).graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


@pytest.mark.parametrize(
    "options, error, words",
    [
        (dict(dynamic_axes={"input": {2: "height"}}), ValueError, "axis 2 of 'input'"),
        (dict(dynamic_axes={"inputs": {0: "b"}}), ValueError, "did you mean 'input'"),
        (dict(dynamic_axes={"input": {0: "a"}, "output": {0: "b"}}), ValueError, "one axis"),
        (dict(dynamic_axis={}), TypeError, "'dynamic_axis'.*did you mean 'dynamic_axes'"),
        (dict(export_params=False), ValueError, "export_params is False"),
        (dict(dynamic_shapes={"x": {0: "b"}}), ValueError, "dynamic_shapes is .*by dynamic_axes"),
        (dict(kwargs={"masked": 1}), ValueError, "kwargs is"),
        (dict(training=torch.onnx.TrainingMode.TRAINING), ValueError, "training is"),
        (dict(f=3), TypeError, "f is 3, expected a path"),
        (dict(opset_version=12), ValueError, "opset is 12, expected 13 to 23"),
        (dict(args=randn(1, 3, 32, 31)), ValueError, r"\(1, 3, 32, 31\).*\(batch, 3, 32, 32\)"),
        (dict(args=randn(3, 32, 32)), ValueError, r"\(batch, 3, 32, 32\)"),
        (dict(args=randn(0, 3, 32, 32)), ValueError, r"\(batch, 3, 32, 32\)"),
        (dict(args=()), ValueError, "holds 0 inputs"),
        (dict(input_names=["a", "b"]), ValueError, "input_names"),
        (dict(input_names=["same"], output_names=["same"]), ValueError, "'same'"),
        (dict(input_names=["norm.weight"]), ValueError, "'norm.weight'"),
        (dict(input_names=["integers_0"]), ValueError, "'integers_0'"),
        (dict(output_names=["blocks.0.attn/Softmax"]), ValueError, "attn/Softmax'"),
        (dict(model=3), TypeError, "expected a vitc model, got a int"),
    ],
)
def test_bad_calls_leave_nothing(
    options: dict[str, Any], error: type[Exception], words: str, tmp_path: Path
) -> None:
    good = dict(model=create("test_vit", img_size=32, depth=1), args=randn(1, 3, 32, 32))
    with pytest.raises(error, match=words):
        vitc.onnx.export(**{**good, "f": tmp_path / "m.onnx", **options})
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("opset", [12, 24, -1, True, "17", 17.0, np.int64(24)])
def test_an_unknown_opset_is_refused(opset: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"opset is .*, expected 13 to 23"):
        export.onnx(reduced("test_vit"), tmp_path / "m.onnx", opset=opset)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_exported_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dropping(b: Builder) -> Program:
        return b.finish(b.dropout(b.input((2, 3)), 0.5, "site"))

    with pytest.raises(ValueError, match="'dropout' has no form in ONNX"):
        export.onnx(Own(dropping), tmp_path / "m.onnx")

    def attending(b: Builder) -> Program:
        return b.finish(b.attention(b.input((2, 3)), 1, rate=0.5, site="site"))

    with pytest.raises(ValueError, match="'attention' with dropout has no form in ONNX"):
        export.onnx(Own(attending), tmp_path / "m.onnx")
    monkeypatch.setattr(emitters, "_ACTIVATIONS", {})
    with pytest.raises(ValueError, match="activation 'gelu' has no form in ONNX"):
        export.onnx(reduced("test_vit"), tmp_path / "m.onnx")
    with pytest.raises(ValueError, match="dtype float64.*float32"):
        export.onnx(vitc.create_model("test_vit", dtype="float64"), tmp_path / "m.onnx")
    with pytest.raises(ValueError, match="3 labels, the model has 10 classes"):
        export.onnx(reduced("test_vit"), tmp_path / "m.onnx", labels=["a", "b", "c"])
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = reduced("test_vit")
    with pytest.raises(FileNotFoundError, match="there is no directory"):
        export.onnx(model, tmp_path / "none" / "m.onnx")
    with pytest.raises(OSError):
        export.onnx(model, "/proc/m.onnx")  # where nobody may write, not even root
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        export.onnx(model, tmp_path / "folder")
    file = tmp_path / "m.onnx"
    file.write_bytes(b"as it was")

    def fails(*_: Any, **__: Any) -> None:
        raise onnx.checker.ValidationError("no")

    monkeypatch.setattr(onnx.checker, "check_model", fails)
    with pytest.raises(onnx.checker.ValidationError):
        export.onnx(model, file)
    assert file.read_bytes() == b"as it was"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "m.onnx"]


def test_onnx_is_loaded_by_an_export_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code = (
        "import sys, vitc, vitc.export; from vitc import onnx; vitc.create_model('test_vit');"
        "sys.exit('onnx' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r'pip install "vitc\[export\]"'):
        export.onnx(reduced("test_vit"), tmp_path / "m.onnx")


# ------------------------------------------------------------------------------- the command line


def test_the_command_writes_a_model_by_name(tmp_path: Path, capsys) -> None:
    file = tmp_path / "m.onnx"
    assert main(["export", "onnx", "test_vit", str(file), "--opset", "20"]) == 0
    assert "opset 20" in capsys.readouterr().out and operators(file)["Gelu"] == 6
    assert main(["export", "onnx", "test_vitt", str(file)]) == 1
    assert "did you mean 'test_vit'" in capsys.readouterr().err
    assert main(["export", "onnx", "test_vit", str(file), "--opset", "3"]) == 1
    assert "opset is 3, expected 13 to 23" in capsys.readouterr().err


def test_the_command_writes_a_checkpoint(tmp_path: Path, capsys) -> None:
    """Its labels and the preparation of its images come along; a damaged one is refused."""
    model = create("test_vit", img_size=32, depth=1, num_classes=2, in_chans=1)
    model.pretrained_cfg |= {"mean": (0.25,), "crop_pct": 1.0}
    (tmp_path / "c").mkdir()
    write_folder(tmp_path / "c", model, ["good", "bad"])
    file = tmp_path / "m.onnx"
    assert main(["export", "onnx", str(tmp_path / "c"), str(file)]) == 0
    assert difference(model, onnx_runtime(file), 2) <= TOLERANCE
    found = {item.key: item.value for item in onnx.load(file).metadata_props}
    assert json.loads(found["labels"]) == ["good", "bad"]
    assert json.loads(found["mean"]) == [0.25] and found["crop_pct"] == "1.0"
    capsys.readouterr()
    for text, words in (("{}", "describes no model"), ("[", "damaged"), ("3", "damaged")):
        (tmp_path / "c" / "config.json").write_text(text)
        assert main(["export", "onnx", str(tmp_path / "c"), str(tmp_path / "n.onnx")]) == 1
        assert words in capsys.readouterr().err
    (tmp_path / "c" / "config.json").unlink()
    assert main(["export", "onnx", str(tmp_path / "c"), str(tmp_path / "n.onnx")]) == 1
    assert "there is no config.json in it" in capsys.readouterr().err
    assert not (tmp_path / "n.onnx").exists()
