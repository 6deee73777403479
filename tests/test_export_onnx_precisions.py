"""ONNX files in half precision and in 8 bits, and their options: against vitc, in ONNX Runtime,
OpenVINO and onnx's reference; which fusions fire; and the file itself.

Classes are those of a classifier whose head was fitted to images of ten kinds, so that they have
margins, as those of trained models do.
"""

import json
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from PIL import Image
from test_export_onnx import BATCHES, ENGINES, OPSETS, onnx_runtime, open_vino, operators, reference

import vitc
from oracle import images, redrawn
from oracle.static import static
from vitc import export
from vitc.cli import main
from vitc.data.transforms import Compose, Normalize, ToTensor
from vitc.export import onnx_writer
from vitc.export.onnx_options import OPTIONS, Options
from vitc.models.model import Model

NEAR = {"fp32": 1e-4, "fp16": 1e-2}
AGREEMENT = 0.99


@cache
def classifier(name: str = "test_vit", **arguments: Any) -> Model:
    """Random blocks, and a head by least squares over kinds of images."""
    model = vitc.create_model(name, **{"num_classes": 10, **arguments}).eval()
    model.load_state_dict(redrawn(model.shapes, "float32"))
    x, labels = kinds(model, 20)
    with vitc.no_grad():
        features = np.asarray(model.forward_head(model.forward_features(x), pre_logits=True))
    rows = np.concatenate([features, np.ones((len(features), 1), np.float32)], axis=1)
    targets = 4 * np.eye(10, dtype=np.float32)[labels]
    ridge = np.eye(rows.shape[1]) * 1e-1 * len(rows)
    solved = np.linalg.solve(rows.T @ rows + ridge, rows.T @ targets).astype(np.float32)
    model.head.weight.data = np.ascontiguousarray(solved[:-1].T)
    model.head.bias.data = solved[-1]
    return model


def kinds(model: Model, each: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images of ten kinds, a pattern with noise, and their numbers."""
    patterns = images(10, model, seed=7)
    noise = images(10 * each, model, seed=100 + seed)
    labels = np.tile(np.arange(10), each)
    return patterns[labels] + np.float32(0.4) * noise, labels


def models() -> dict[str, Model]:
    model = classifier(img_size=48, depth=2)
    return {"fp32": model, "fp16": model, "dynamic": vitc.quantize(model), "static": static(model)}


def written(model: Model, path: Path, precision: str, **options: Any) -> Path:
    given = {} if model.quantized else {"precision": precision}
    return export.onnx(model, path, **given, **options)


def answer(model: Model, x: np.ndarray) -> np.ndarray:
    with vitc.no_grad():
        return np.asarray(model(x))


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    assert found.shape == expected.shape and found.dtype == np.float32
    return float(np.abs(found - expected).max() / np.abs(expected).max())


# ------------------------------------------------------------------------------- agreement


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("precision", ["fp16", "dynamic", "static"])
def test_every_precision_agrees(precision: str, opset: int, tmp_path: Path) -> None:
    """The runtimes in turn, all batches; the reference on two images."""
    model = models()[precision]
    x, _ = kinds(model, 20, seed=1)
    expected = answer(model, x)
    file = written(model, tmp_path / "m.onnx", precision, opset=opset)
    for i, engine in enumerate(ENGINES):
        if engine is reference and precision == "static" and opset < 19:
            continue  # it knows QuantizeLinear from 19 on
        run = engine(file)
        count = 2 if engine is reference else BATCHES[(OPSETS.index(opset) + i) % 4]
        if precision == "fp16":
            assert relative(run(x[:count]), expected[:count]) <= NEAR[precision], engine
            continue
        size = 20 if engine is reference else len(x)
        found = np.concatenate([run(x[j : j + count]) for j in range(0, size, count)])
        same = found.argmax(axis=1) == expected[:size].argmax(axis=1)
        assert same.mean() >= AGREEMENT, engine
        assert relative(found, expected[:size]) < (2e-2 if precision == "static" else 5e-2)


@pytest.mark.long
@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_base_patch16_224"])
def test_large_models_agree(name: str, tmp_path: Path) -> None:
    model = classifier(name)
    x, _ = kinds(model, 20, seed=1)
    plain = answer(model, x)
    for precision, own in (
        ("fp16", model),
        ("dynamic", vitc.quantize(model)),
        ("static", static(model)),
    ):
        expected = answer(own, x)
        for opset in OPSETS:
            file = written(own, tmp_path / "m.onnx", precision, opset=opset)
            for engine in (onnx_runtime, open_vino):
                run = engine(file)
                found = np.concatenate([run(x[j : j + 32]) for j in range(0, len(x), 32)])
                same = float((found.argmax(axis=1) == expected.argmax(axis=1)).mean())
                float32 = float((found.argmax(axis=1) == plain.argmax(axis=1)).mean())
                near = relative(found, expected)
                print(
                    f"| {name} | {precision} | {opset} | {engine.__name__} | {near:.1e} | "
                    f"{same:.3f} | {float32:.3f} |"
                )
                assert same >= AGREEMENT
                assert precision != "fp16" or near <= NEAR["fp16"]


def test_dynamic_layers_are_as_onnx_defines_them(tmp_path: Path) -> None:
    """ONNX Runtime and the reference, whose products are exact, differ by float noise only: the
    weights are vitc's, to the bit."""
    model = models()["dynamic"]
    file = export.onnx(model, tmp_path / "m.onnx")
    x, _ = kinds(model, 1)
    assert relative(onnx_runtime(file)(x[:2]), reference(file)(x[:2])) < 1e-2
    arrays = {t.name: numpy_helper.to_array(t) for t in onnx.load(file).graph.initializer}
    state = model.state_dict()
    key = arrays["blocks.0.attn.qkv.k.weight.T"]
    np.testing.assert_array_equal(key, np.split(state["blocks.0.attn.qkv.weight"], 3)[1].T)
    assert key.dtype == np.int8
    found = operators(file)
    assert found["MatMulInteger"] == 2 * 6 and found["DynamicQuantizeLinear"] == 2 * 4


def test_half_precision_holds_large_values(tmp_path: Path) -> None:
    """A channel of 300, whose square no half holds: statistics of norms are in float32."""
    model = vitc.create_model("test_vit", img_size=32, depth=1, num_classes=5).eval()
    state = redrawn(model.shapes, "float32")
    state["pos_embed"][..., 3] += 300
    model.load_state_dict(state)
    x = images(2, model)
    for opset in OPSETS:
        file = export.onnx(model, tmp_path / "m.onnx", opset=opset, precision="fp16")
        graph = onnx.load(file).graph
        kinds = {t.data_type for t in graph.initializer if t.dims and t.data_type != 7}
        assert onnx.TensorProto.FLOAT16 in kinds
        run = reference if opset == 13 else onnx_runtime  # later the former squares in half
        assert relative(run(file)(x), answer(model, x)) <= 2e-2, opset


def test_an_overflow_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    model = vitc.create_model("test_vit", img_size=32, depth=1, num_classes=5).eval()
    state = redrawn(model.shapes, "float32")
    state["head.weight"] *= 1e5
    model.load_state_dict(state)
    with pytest.raises(ValueError, match="output differs by .*overflows in this precision"):
        export.onnx(model, tmp_path / "m.onnx", precision="fp16")
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------- fusions


def optimised(file: Path, level: str = "ORT_ENABLE_ALL") -> Counter[str]:
    """The operators that ONNX Runtime makes of a file."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(file.with_name("optimised.onnx"))
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.log_severity_level = 4
    onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return operators(file.with_name("optimised.onnx"))


def test_integer_products_fire_in_onnx_runtime(tmp_path: Path) -> None:
    """12 layers of two blocks, q, k and v apart; nothing stays a product of floats but the two of
    each attention, and the head."""
    dynamic = optimised(export.onnx(models()["dynamic"], tmp_path / "m.onnx"))
    integer = dynamic["MatMulIntegerToFloat"] + dynamic["DynamicQuantizeMatMul"]
    assert integer == 12 and not dynamic["MatMulInteger"]
    fixed = optimised(export.onnx(models()["static"], tmp_path / "s.onnx"))
    assert fixed["MatMulIntegerToFloat"] == 12 and not fixed["DequantizeLinear"]
    assert dynamic["MatMul"] + dynamic["FusedMatMul"] + dynamic["Gemm"] == 2 * 2 + 1


def test_integer_products_fire_in_openvino(tmp_path: Path) -> None:
    import openvino

    file = export.onnx(models()["static"], tmp_path / "s.onnx", target="openvino", opset=23)
    compiled = openvino.compile_model(str(file), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    types = Counter(
        (info["layerType"].astype(str), info["runtimePrecision"].astype(str))
        for info in (op.get_rt_info() for op in compiled.get_runtime_model().get_ops())
    )
    assert types["FullyConnected", "u8"] == 12


def test_the_optimizer_for_gpus_fuses_attention(tmp_path: Path) -> None:
    from onnxruntime.transformers import optimizer

    model = vitc.create_model("vit_tiny_patch16_224", depth=4, img_size=32, num_classes=5)
    counts = {}
    for target in ("generic", "ort"):
        file = export.onnx(model, tmp_path / f"{target}.onnx", target=target)
        fused = optimizer.optimize_model(
            str(file), model_type="vit", num_heads=3, hidden_size=192, opt_level=0
        )
        found = fused.get_fused_operator_statistics()
        counts[target] = found["Attention"] + found["MultiHeadAttention"]
    assert counts["generic"] == 0 and counts["ort"] >= 3


@pytest.mark.parametrize(
    "arguments",
    [
        dict(),
        dict(global_pool="avg", class_token=False),
        dict(qk_norm=True, norm_layer="rmsnorm"),
    ],
    ids=str,
)
def test_opset_23_writes_whole_attention_and_rms_norms(
    arguments: dict[str, Any], tmp_path: Path
) -> None:
    model = vitc.create_model("test_vit", img_size=32, depth=2, num_classes=5, **arguments).eval()
    model.load_state_dict(redrawn(model.shapes, "float32"))
    file = export.onnx(model, tmp_path / "m.onnx", opset=23)
    found = operators(file)
    assert found["Attention"] == 2 and not found["Softmax"]
    assert bool(found["RMSNormalization"]) == ("norm_layer" in arguments) and not found["Pow"]
    assert operators(export.onnx(model, file, opset=23, target="openvino"))["Softmax"] == 2
    x = images(2, model)
    for target in ("generic", "ort", "openvino"):
        export.onnx(model, file, opset=23, target=target)
        for engine in ENGINES:
            assert relative(engine(file)(x), answer(model, x)) <= NEAR["fp32"]


# ------------------------------------------------------------------------------- TensorRT's rules


@pytest.mark.parametrize("opset", OPSETS)
def test_what_tensorrt_documents_of_quantised_files(opset: int, tmp_path: Path) -> None:
    """Activations are int8, of one scale per tensor and a zero point of 0; weights int8, of one
    scale per output channel, along the axis of these; pairs stand at the inputs of products only,
    whose result, the bias added, is float; and no operator is one that it does not know."""
    model = static(classifier(img_size=48, depth=2))
    file = export.onnx(model, tmp_path / "m.onnx", target="tensorrt", opset=opset)
    graph = onnx.load(file).graph
    arrays = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    found = Counter(node.op_type for node in graph.node)
    assert found["QuantizeLinear"] == 2 * 4 and found["DequantizeLinear"] == 2 * 4 + 2 * 6
    assert not {"MatMulInteger", "DynamicQuantizeLinear", "QLinearMatMul", "ConvInteger"} & {*found}
    for node in graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        scale, zero = (arrays[name] for name in node.input[1:])
        assert zero.dtype == np.int8 and not zero.any() and (scale > 0).all()
        if node.input[0] in arrays:  # a weight (K, M)
            weight = arrays[node.input[0]]
            (axis,) = (a.i for a in node.attribute if a.name == "axis")
            assert axis == 1 and weight.dtype == np.int8 and scale.shape == weight.shape[1:]
        else:
            assert scale.shape == ()
        if node.op_type == "QuantizeLinear":
            (reader,) = readers[node.output[0]]
            assert reader.op_type == "DequantizeLinear" and list(reader.input[1:]) == list(
                node.input[1:]
            )
        else:
            assert {n.op_type for n in readers[node.output[0]]} == {"MatMul"}
    for node in graph.node:
        if node.op_type != "MatMul" or node.input[1] not in makers:
            continue
        if makers[node.input[1]].op_type == "DequantizeLinear":
            assert makers[node.input[0]].op_type == "DequantizeLinear"
            (after,) = readers[node.output[0]]
            assert after.op_type == "Add"
    x, _ = kinds(model, 20)
    same = onnx_runtime(file)(x).argmax(axis=1) == answer(model, x).argmax(axis=1)
    assert same.mean() >= AGREEMENT


# ------------------------------------------------------------------------------- options


def test_pixels_go_in_and_probabilities_come_out(tmp_path: Path) -> None:
    """uint8 (batch, H, W, C), prepared as vitc's transform does it without resizing."""
    model = classifier(img_size=(48, 32), depth=2)
    model.pretrained_cfg |= {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.25, 0.3)}
    pixels = np.random.default_rng(0).integers(0, 256, (7, 48, 32, 3)).astype(np.uint8)
    mean, std = model.default_cfg["mean"], model.default_cfg["std"]
    transform = Compose([ToTensor(), Normalize(mean, std)])
    x = np.stack([transform(Image.fromarray(image)) for image in pixels])
    logits = answer(model, x)
    with vitc.no_grad():
        features = model.forward_head(model.forward_features(x), pre_logits=True)
    scores = {
        "softmax": vitc.functional.softmax(logits),
        "sigmoid": 1 / (1 + np.exp(-logits)),
    }
    for kind, expected in scores.items():
        for precision, near in (("fp32", 1e-5), ("fp16", 2e-2)):
            options: dict[str, Any] = {kind: True, "precision": precision}
            file = export.onnx(
                model,
                tmp_path / "m.onnx",
                preprocess=True,
                features=True,
                input_names=["pixels"],
                output_names=["scores", "vectors"],
                **options,
            )
            session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
            found = session.run(["scores", "vectors"], {"pixels": pixels})
            assert np.abs(found[0] - expected).max() < near
            assert relative(found[1], np.asarray(features)) < max(near, 1e-4)
    said = {p.key: p.value for p in onnx.load(file).metadata_props}
    assert said["sigmoid"] == "true" and said["input"].startswith("uint8 (batch, H, W, C)")
    assert said["precision"] == "fp16"


def test_smoothing_evens_out_ranges_and_keeps_the_function(tmp_path: Path) -> None:
    model = vitc.create_model("test_vit", img_size=48, depth=2, num_classes=5).eval()
    state = redrawn(model.shapes, "float32")
    state["blocks.0.norm1.weight"][5] *= 30
    state["blocks.0.attn.qkv.weight"][:, 5] /= 30
    model.load_state_dict(state)
    x = images(4, model)
    ends = []
    for smooth in (False, True):
        file = export.onnx(model, tmp_path / "m.onnx", smooth=smooth)
        assert relative(onnx_runtime(file)(x), answer(model, x)) <= NEAR["fp32"]
        arrays = {t.name: numpy_helper.to_array(t) for t in onnx.load(file).graph.initializer}
        gain = np.abs(arrays["blocks.0.norm1.weight"])
        ends.append(gain.max() / np.median(gain))
    assert ends[1] < ends[0] / 3


def test_properties_say_how_it_was_quantised(tmp_path: Path) -> None:
    def said(precision: str, **options: Any) -> dict[str, str]:
        file = written(models()[precision], tmp_path / "m.onnx", precision, **options)
        return {p.key: p.value for p in onnx.load(file).metadata_props}

    assert said("fp16")["precision"] == "fp16" and "quantization" not in said("fp16")
    dynamic, fixed = said("dynamic"), said("static", qdq_profile="trt")
    assert dynamic["precision"] == fixed["precision"] == "int8"
    assert json.loads(dynamic["quantization"]) == {"mode": "dynamic", "weights": "int8 per channel"}
    assert json.loads(fixed["quantization"])["activations"] == "int8"
    assert json.loads(said("static")["quantization"])["activations"] == "uint8"
    assert dynamic["weights_sha256"] != fixed["weights_sha256"]


@pytest.mark.parametrize(
    "options, error, words",
    [
        (dict(batch=0), ValueError, "batch is 0, expected 1 or more"),
        (dict(batch=-1), ValueError, "batch is -1"),
        (dict(batch=""), ValueError, "batch is '', expected a name"),
        (dict(batch=None), ValueError, "batch is None, expected a name"),
        (dict(batch=2.5), TypeError, "batch is 2.5, expected an integer"),
        (dict(batch=True), TypeError, "batch is True"),
        (dict(precision="fp8"), ValueError, "precision is 'fp8', expected one of fp32, fp16, int8"),
        (dict(target="gpu"), ValueError, "target is 'gpu', expected one of generic, ort"),
        (dict(softmax=True, sigmoid=True), ValueError, "exclude each other"),
        (dict(softmax=1), TypeError, "softmax is 1, expected True or False"),
        (dict(qdq_profile="trt"), ValueError, "qdq_profile is 'trt', which is for static"),
        (dict(precision="int8", target="tensorrt"), ValueError, "static 8-bit layers only"),
        (dict(model="static", precision="fp16"), ValueError, "the model has 8-bit weights"),
        (dict(model="static", smooth=True), ValueError, "smooth is for models of float32"),
        (dict(features=True, output_names=["a"]), ValueError, "expected a list of 2"),
        (dict(model=vitc.nn.Linear(4, 2), softmax=True), ValueError, "the model has no classes"),
        (dict(model=vitc.nn.Linear(4, 2), preprocess=True), ValueError, "no mean and std"),
        (dict(labels=["a"]), ValueError, "1 labels, the model has 10 classes"),
    ],
)
def test_bad_options_leave_nothing(
    options: dict[str, Any], error: type[Exception], words: str, tmp_path: Path
) -> None:
    given = {"model": "fp32", **options}
    model = given.pop("model")
    model = models()[model] if isinstance(model, str) else model
    with pytest.raises(error, match=words):
        export.onnx(model, tmp_path / "m.onnx", **given)
    assert not list(tmp_path.iterdir())


def test_integers_of_numpy_are_integers(tmp_path: Path) -> None:
    model = models()["fp32"]
    file = export.onnx(model, tmp_path / "m.onnx", batch=np.int64(3), opset=np.int64(18))
    proto = onnx.load(file)
    assert proto.opset_import[0].version == 18
    assert proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 3


def test_one_table_of_options() -> None:
    """Python's signature, the defaults, and the command line have the same."""
    import inspect

    given = inspect.signature(export.onnx).parameters
    for name, default in Options()._asdict().items():
        assert given[name].default == default
    assert {*OPTIONS} == {*Options._fields} - {"input_names", "output_names"}


def test_the_command_has_the_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = classifier(img_size=48, depth=2)
    model.save(tmp_path / "m.safetensors")
    small = ["quantize", str(tmp_path / "m.safetensors"), "--output", str(tmp_path / "small")]
    assert main(small) == 0
    file = tmp_path / "m.onnx"
    words = ["--opset", "20", "--batch", "4", "--preprocess", "--softmax", "--features"]
    words += ["--input-name", "pixel_values", "--output-name", "probs", "--output-name", "vectors"]
    assert main(["export", "onnx", str(tmp_path / "m.safetensors"), str(file), *words]) == 0
    graph = onnx.load(file).graph
    assert [x.name for x in (*graph.input, *graph.output)] == ["pixel_values", "probs", "vectors"]
    assert [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim] == [4, 48, 48, 3]
    assert main(["export", "onnx", str(tmp_path / "small"), str(file)]) == 0
    assert operators(file)["MatMulInteger"] == 12
    half = [str(tmp_path / "m.safetensors"), str(file), "--precision", "fp16"]
    assert main(["export", "onnx", *half]) == 0
    capsys.readouterr()
    assert main(["export", "onnx", str(tmp_path / "small"), str(file), "--precision", "fp16"]) == 1
    assert "the model has 8-bit weights" in capsys.readouterr().err


# ------------------------------------------------------------------------------- the file


def test_large_weights_are_in_a_second_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the beginnings of pages; all runtimes find them, and a new export replaces both."""
    model = models()["fp32"]
    whole = export.onnx(model, tmp_path / "whole.onnx")
    monkeypatch.setattr(onnx_writer, "_LARGEST", 1000)
    for _ in range(2):
        file = export.onnx(model, tmp_path / "m.onnx")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.onnx", "m.onnx.data", "whole.onnx"]
    proto = onnx.load(file, load_external_data=False)
    for tensor in proto.graph.initializer:
        place = {item.key: item.value for item in tensor.external_data}
        assert not place or (
            place["location"] == "m.onnx.data" and int(place["offset"]) % 4096 == 0
        )
    assert sum(bool(tensor.external_data) for tensor in proto.graph.initializer) > 10
    onnx.checker.check_model(file, full_check=True)
    both = [
        {t.name: numpy_helper.to_array(t) for t in onnx.load(f).graph.initializer}
        for f in (file, whole)
    ]
    assert both[0].keys() == both[1].keys()
    assert all(np.array_equal(both[0][name], both[1][name]) for name in both[0])
    x, _ = kinds(model, 1)
    for engine in ENGINES:
        assert relative(engine(file)(x[:2]), answer(model, x[:2])) <= NEAR["fp32"]


def test_the_whole_file_passes_the_checker(tmp_path: Path) -> None:
    """What was checked before it was written is the message without its arrays."""
    for precision, model in models().items():
        file = written(model, tmp_path / "m.onnx", precision)
        onnx.checker.check_model(file, full_check=True)
        again = onnx.load(file).SerializeToString()
        assert len(again) == file.stat().st_size


def test_an_export_takes_three_times_the_weights_at_most(tmp_path: Path) -> None:
    """Of memory, in a process of its own, above what an export of a small model takes."""
    code = (
        "import re, sys, vitc, vitc.export\n"
        "def peak():\n"
        "    return int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])\n"
        "vitc.set_num_threads(1)\n"
        "vitc.export.onnx(vitc.create_model('test_vit'), sys.argv[1])\n"
        "before = peak()\n"
        "model = vitc.create_model('vit_small_patch16_224', depth=12)\n"
        "vitc.export.onnx(model, sys.argv[1])\n"
        "print((peak() - before) * 1024 / sum(v.nbytes for v in model.state_dict().values()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "m.onnx")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) <= 3


def test_a_fault_in_the_file_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By ONNX Runtime's answers; without it the file is written as it is."""
    from vitc.export import emitters

    model = models()["fp32"]
    monkeypatch.setitem(emitters._ACTIVATIONS, "gelu", emitters.relu)
    with pytest.raises(ValueError, match="in ONNX Runtime output differs by"):
        export.onnx(model, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert export.onnx(model, tmp_path / "m.onnx").exists()
