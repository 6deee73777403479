"""8-bit and bfloat16 inference: exact products, bounded error, and files that come back.

The oracle of a product is integer arithmetic in NumPy; of a model, the model in float32.
"""

import os
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest

import vitc
from oracle import images, redrawn, relative
from oracle.static import ranges_of, static
from vitc import VitcError, _vitc, nn
from vitc import functional as F
from vitc.models.model import Model
from vitc.models.weights import Weights
from vitc.quantization.convert import int8_model, scale_of
from vitc.quantization.smooth import norm_pairs, smoothed
from vitc.quantization.weights import quantize_weight
from vitc.tape import no_grad

EXACT = """
import numpy as np
from vitc import _vitc

def product(x, weight):
    "Both ways to quantise; they are the same here."
    rows = [("w", weight.shape, "int8"), ("s", weight.shape[:1]), ("b", weight.shape[:1])]
    rows += [("x", (1,)), ("z", (1,))]
    params = _vitc.Params(rows)
    params.write(0, weight)
    for i, value in (1, 1), (3, 1):
        params.write(i, np.full(rows[i][1], value, np.float32))
    shapes = [shape for _, shape, *_ in rows]
    ops = [("linear_int8", [0], [0, 1, 2], {})], [("linear_int8_static", [0], [0, 1, 2, 3, 4], {})]
    plans = [_vitc.Plan(_vitc.Program([x.shape[1:]], shapes, op, [1]), params) for op in ops]
    dynamic, static = (_vitc.Run(plan, len(x), 2).forward([x])[0] for plan in plans)
    assert np.array_equal(dynamic, static)
    return static

def exact(x, weight):
    "The row holds 0 and 255, so its scale is 1 and its zero point 0: quantised, it is itself."
    return x.astype(np.int64) @ weight.astype(np.int64).T

generator = np.random.default_rng(0)
for rows, k, m in ((1, 2, 1), (3, 7, 5), (65, 64, 48), (130, 129, 33), (197, 512, 70)):
    x = generator.integers(0, 256, (2, rows, k)).astype(np.float32)
    x[..., 0], x[..., 1] = 0, 255
    weight = generator.integers(-127, 128, (m, k)).astype(np.int8)
    assert np.array_equal(product(x, weight), exact(x, weight)), (rows, k, m)
# Two such products do not fit into 16 bits, where processors without VNNI add them up.
x, weight = np.full((1, 70, 512), 255, np.float32), np.full((40, 512), 127, np.int8)
for sign in (1, -1):
    assert np.array_equal(product(x, sign * weight), exact(x, sign * weight))
print("exact")
"""

LEVELS = _vitc.config()["isas"]


@pytest.mark.parametrize("isa", LEVELS)
def test_products_are_exact_at_every_level(isa: str) -> None:
    out = subprocess.run(
        [sys.executable, "-c", EXACT],
        env={**os.environ, "VITC_ISA": isa},
        capture_output=True,
        text=True,
    )
    assert out.stdout.strip() == "exact", out.stderr


def test_an_activation_is_quantised_by_row_as_onnx_does_it_by_tensor() -> None:
    """DynamicQuantizeLinear's formula, applied to each row, in NumPy."""
    generator = np.random.default_rng(1)
    x = (generator.standard_normal((1, 9, 33)) * 10 ** generator.uniform(-3, 3, (1, 9, 1))).astype(
        np.float32
    )
    x[0, 0] = 0
    x[0, 1] = np.abs(x[0, 1])
    x[0, 2] = -np.abs(x[0, 2])
    weight = generator.integers(-127, 128, (5, 33)).astype(np.int8)
    scale, bias = generator.uniform(0.1, 1, (2, 5)).astype(np.float32)
    low, high = np.minimum(x.min(axis=2), 0), np.maximum(x.max(axis=2), 0)
    step = np.where(high > low, (high - low) / 255, 1).astype(np.float32)[..., None]
    zero = np.rint(-low[..., None] / step)
    q = np.clip(np.rint(x / step) + zero, 0, 255)
    expected = step * scale * ((q - zero) @ weight.T.astype(np.float64)) + bias

    params = _vitc.Params([("w", (5, 33), "int8"), ("s", (5,)), ("b", (5,))])
    for i, value in enumerate((weight, scale, bias)):
        params.write(i, value)
    shapes = [(5, 33), (5,), (5,)]
    program = _vitc.Program([(9, 33)], shapes, [("linear_int8", [0], [0, 1, 2], {})], [1])
    found = _vitc.Run(_vitc.Plan(program, params), 1, 1).forward([x])[0]
    # A value half way between two steps may go to either: the quotient is a product here.
    error = np.abs(found - expected).max(axis=2)
    assert np.all(error <= 1e-4 * np.abs(expected).max(axis=2) + 1.01 * 127 * step[..., 0])
    assert np.mean(error <= 1e-5 * np.abs(expected).max(axis=2) + 1e-6) >= 0.8


def test_what_is_not_finite_stays_so() -> None:
    model = vitc.create_model("test_vit", num_classes=3, img_size=32, depth=2).eval()
    x = images(3, model)
    x[1, 0, 4, 4] = np.nan
    for quantise in (vitc.quantize, static):
        with no_grad():
            logits = np.array(quantise(model)(x))
        assert np.all(np.isnan(logits[1])) and np.all(np.isfinite(logits[[0, 2]]))


def test_weights_are_symmetric_by_channel() -> None:
    weight = np.random.default_rng(0).standard_normal((6, 3, 2, 2)).astype(np.float32)
    weight[2] = 0
    whole, scale = quantize_weight(weight)
    assert whole.dtype == np.int8 and whole.shape == weight.shape
    assert np.all(np.abs(whole).reshape(6, -1).max(axis=1) == [127, 127, 0, 127, 127, 127])
    error = np.abs(whole * scale.reshape(-1, 1, 1, 1) - weight)
    assert np.all(error <= 0.5001 * scale.reshape(-1, 1, 1, 1)) and scale[2] == 1


def static_product(
    x: np.ndarray, weight: np.ndarray, scales: np.ndarray, bias: np.ndarray, step: float, zero: int
) -> np.ndarray:
    rows = [("w", weight.shape, "int8"), ("s", scales.shape), ("b", bias.shape)]
    params = _vitc.Params([*rows, ("x", (1,)), ("z", (1,))])
    values = (weight, scales, bias, np.float32([step]), np.float32([zero]))
    for i, value in enumerate(values):
        params.write(i, value)
    shapes = [value.shape for value in values]
    operations = [("linear_int8_static", [0], [0, 1, 2, 3, 4], {})]
    program = _vitc.Program([x.shape[1:]], shapes, operations, [1])
    return _vitc.Run(_vitc.Plan(program, params), len(x), 2).forward([x])[0]


def test_a_static_layer_is_the_formula_with_constants() -> None:
    """QuantizeLinear, an exact product and scales, in NumPy."""
    generator = np.random.default_rng(2)
    x = generator.standard_normal((2, 70, 33)).astype(np.float32)
    x[1, 3] *= 100  # far out of the range, on both sides
    weight = generator.integers(-127, 128, (19, 33)).astype(np.int8)
    scales, bias = generator.uniform(0.1, 1, (2, 19)).astype(np.float32)
    for low, high in ((-2.5, 3.0), (0.0, 3.0), (-1.0, 0.0)):
        step, zero = scale_of(low, high)
        q = np.clip(np.rint(x * (np.float32(1) / np.float32(step))) + zero, 0, 255)
        exact = (q.astype(np.int64) - zero) @ weight.T.astype(np.int64)
        expected = np.float64(step) * scales * exact + bias
        found = static_product(x, weight, scales, bias, step, zero)
        assert np.all(np.abs(found - expected) <= 1e-6 * np.abs(expected).max())
    # Whole numbers are kept as they are, so nothing is rounded before the scales.
    whole = generator.integers(0, 256, (1, 9, 33)).astype(np.float32)
    one, none = np.ones(19, np.float32), np.zeros(19, np.float32)
    found = static_product(whole, weight, one, none, 1.0, 0)
    assert np.array_equal(found, whole @ weight.T.astype(np.float32))


def test_a_static_layer_tells_what_is_not_finite_and_takes_any_zero_point() -> None:
    weight, one = np.ones((3, 40), np.int8), np.ones(3, np.float32)
    for strange in (np.nan, np.inf, -np.inf):
        x = np.ones((1, 70, 40), np.float32)
        x[0, 66, 39] = strange
        found = static_product(x, weight, one, one, 1.0, 7)
        assert np.isnan(found[0, 66]).all() and np.all(np.delete(found[0], 66, 0) == 41)
    for zero, used in ((-3, 0), (np.nan, 0), (1e30, 255), (-np.inf, 0)):
        found = static_product(np.ones((1, 2, 40), np.float32), weight, one, one, 1.0, zero)
        assert np.all(found == 1 + 40 * min(1, 255 - used))


def test_a_range_gives_scale_and_zero_point() -> None:
    for low, high in ((-1.0, 3.0), (0.5, 3.0), (-4.0, -2.0), (-1e30, 1e-30), (-0.1, 25.4)):
        step, zero = scale_of(low, high)
        assert 0 <= zero <= 255 and isinstance(zero, int)
        assert (0 - zero) * step <= min(low, 0) + step / 2
        assert (255 - zero) * step >= max(high, 0) - 0.501 * step
    assert scale_of(0, 0) == scale_of(0, 1e-40) == (1.0, 0)
    for low, high in ((1.0, -1.0), (np.nan, 1.0), (0.0, np.inf)):
        with pytest.raises(ValueError, match="expected two finite numbers in rising order"):
            scale_of(low, high)
    with pytest.raises(ValueError, match="too wide"):
        scale_of(-1e300, 1e300)


# ------------------------------------------------------------------------------- models


def drawn(name: str, **arguments) -> Model:
    model = vitc.create_model(name, num_classes=10, **arguments).eval()
    model.load_state_dict(redrawn(model.shapes, "float32"))
    return model


CASES = {
    "test_vit": dict(),
    "vit_tiny_patch16_224": dict(img_size=112),
    "deit_tiny_distilled_patch16_224": dict(img_size=96, depth=4),
    "vit_small_patch32_224": dict(depth=3, qkv_bias=False),
}


WAYS = {"dynamic": vitc.quantize, "static": static}
KINDS = {"dynamic": "linear_int8", "static": "linear_int8_static"}


@pytest.mark.parametrize("mode", WAYS)
@pytest.mark.parametrize("name", CASES)
def test_a_quantised_model_is_near_the_float_one(name: str, mode: str) -> None:
    model = drawn(name, **CASES[name])
    x = images(4, model)
    quantised = WAYS[mode](model)
    most = 0.04 if mode == "dynamic" else 0.12  # a range of all tokens is wider than that of one
    with no_grad():
        assert relative(quantised(x), model(x)) <= most
        tokens = relative(quantised.forward_features(x), model.forward_features(x))
    assert tokens <= most
    kinds = [op.kind for op in quantised.program().operations]
    assert kinds.count(KINDS[mode]) == 4 * model.config.depth
    assert kinds.count("linear") == 1 + len(model.heads)
    assert not model.quantized and quantised.quantized == mode


@pytest.mark.parametrize("mode", WAYS)
def test_the_bits_depend_on_the_image_alone(mode: str) -> None:
    model = WAYS[mode](drawn("test_vit"))
    x, threads = images(5, model), vitc.get_num_threads()
    with no_grad():
        whole = np.array(model(x))
        assert np.array_equal(model(x[3:4])[0], whole[3])
        try:
            for count in (1, 2, 3, 8):
                vitc.set_num_threads(count)
                assert np.array_equal(model(x), whole)
        finally:
            vitc.set_num_threads(threads)


def inject(model: Model, factor: float = 30.0) -> Model:
    """A channel of every norm that a linear layer follows scaled up, the next weights down: the
    same function, and what a trained transformer's outliers look like."""
    pairs = norm_pairs(model.program(), model.params.names)
    with model.edit() as weights:
        for channel, pair in enumerate(pairs):
            place = 3 * channel % model.embed_dim
            weights[pair.norm_weight][place] *= factor
            weights[pair.norm_bias][place] *= factor
            weights[pair.weights[0]].reshape(len(weights[pair.weights[0]]), -1)[:, place] /= factor
    return model


def test_smoothing_changes_no_function_and_undoes_outliers() -> None:
    model, spoiled = drawn("test_vit"), inject(drawn("test_vit"))
    x = images(2, model)
    pairs = norm_pairs(model.program(), model.params.names)
    assert len(pairs) == 2 * 6
    with no_grad():
        expected = np.array(model(x))
        assert relative(spoiled(x), expected) <= 1e-5
        even = drawn("test_vit")
        even.load_state_dict(smoothed(spoiled.state_dict(), pairs))
        assert relative(even(x), expected) <= 1e-5
        clean, dirty = (relative(vitc.quantize(m)(x), expected) for m in (model, spoiled))
        assert dirty <= 1.5 * clean
        # and without it they would have cost a lot
        rough = int8_model(spoiled, spoiled.int8_weights())
        assert relative(rough(x), expected) > 2 * clean


@pytest.fixture(scope="module")
def digits():
    """A model trained for a minute at most on digits of 64 pixels, and all 1,797 of them."""
    from sklearn.datasets import load_digits

    from vitc.data import ArrayDataset, DataLoader
    from vitc.data import transforms as T
    from vitc.training.tools.classifier import Classifier

    source = load_digits()
    pixels = (source.images * 255 / 16).astype(np.uint8)
    transform = T.Compose([T.Resize(64), T.ToTensor(), T.Normalize((0.3,), (0.35,))])
    data = ArrayDataset(pixels, source.target, transform, mode="L")
    vitc.seed_everything(0)
    arguments = dict(img_size=64, patch_size=16, in_chans=1, depth=4, embed_dim=64, num_heads=4)
    module = Classifier("test_vit", 10, lr=2e-3, **arguments)
    options = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer = vitc.Trainer(max_epochs=12, enable_model_summary=False, **options)
    trainer.fit(module, DataLoader(data, 32, shuffle=True))
    x = np.stack([data[i][0] for i in range(len(data))])
    vitc.seed_everything(0)
    return module.model.eval(), x, source.target


@pytest.mark.parametrize("outliers", [False, True], ids=["as trained", "with outliers"])
@pytest.mark.parametrize("kind", ["int8", "bf16"])
def test_at_most_one_digit_in_a_hundred_changes_its_class(digits, outliers, kind) -> None:
    trained, x, labels = digits
    model = deepcopy(trained)
    if outliers:
        inject(model)
    with no_grad():
        expected = np.array(model(x)).argmax(axis=1)
        assert np.mean(expected == labels) > 0.95
        if kind == "int8":
            found = np.array(vitc.quantize(model)(x)).argmax(axis=1)
        else:
            if not _vitc.config()["bf16"]:
                pytest.skip("this processor has no bfloat16")
            model.precision = "bf16"
            found = np.array(model(x)).argmax(axis=1)
    assert np.mean(found != expected) <= 0.01


# ------------------------------------------------------------------------------- bfloat16


needs_bf16 = pytest.mark.skipif(not _vitc.config()["bf16"], reason="the processor has no bfloat16")


@needs_bf16
@pytest.mark.parametrize("name", CASES)
def test_bf16_is_near_float32(name: str) -> None:
    model = drawn(name, **CASES[name])
    x = images(3, model)
    with no_grad():
        expected = np.array(model(x))
        model.precision = "bf16"
        found = np.array(model(x))
    assert 1e-4 < relative(found, expected) <= 0.012  # 8 bits of mantissa, through 12 blocks
    assert relative(model(x), expected) <= 0.012  # recorded passes round what they keep, too


def test_precisions_are_checked() -> None:
    model = vitc.create_model("test_vit", num_classes=2, img_size=32)
    with pytest.raises(ValueError, match="'fp8', expected one of float32, bf16"):
        model.precision = "fp8"
    wide = vitc.create_model("test_vit", num_classes=2, img_size=32, dtype="float64")
    with pytest.raises(ValueError, match="float32"):
        wide.precision = "bf16"
    with pytest.raises(ValueError, match="float32"):
        vitc.quantize(wide)
    with pytest.raises(ValueError, match="'int4'.*dynamic, static"):
        vitc.quantize(model, mode="int4")
    with pytest.raises(ValueError, match="quantised already"):
        vitc.quantize(vitc.quantize(model))


def test_without_the_instruction_a_warning_says_so() -> None:
    script = (
        "import warnings, vitc\n"
        "with warnings.catch_warnings(record=True) as seen:\n"
        "    warnings.simplefilter('always')\n"
        "    model = vitc.create_model('test_vit', precision='bf16')\n"
        "print(model.precision, len(seen), seen[0].message)\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "VITC_ISA": "ref"},
        capture_output=True,
        text=True,
    )
    assert out.stdout.startswith("float32 1 this processor (or VITC_ISA) has no bfloat16")


# ------------------------------------------------------------------------------- files


@pytest.mark.parametrize("kind", ["dynamic", "static", pytest.param("bf16", marks=needs_bf16)])
def test_a_file_makes_the_same_model_again(tmp_path: Path, kind: str) -> None:
    model = drawn("test_vit", depth=2)
    if kind in WAYS:
        model = WAYS[kind](model)
    else:
        model.precision = "bf16"
    path = tmp_path / "model.safetensors"
    model.save(path)
    full = sum(p.numel() * 4 for p in drawn("test_vit", depth=2).parameters())
    assert path.stat().st_size < 0.6 * full
    again = vitc.create_model("test_vit", num_classes=10, depth=2, checkpoint_path=path).eval()
    assert again.quantized == (kind if kind in WAYS else "")
    assert again.precision == ("bf16" if kind == "bf16" else "float32")
    x = images(2, model)
    with no_grad():
        if kind in WAYS:
            assert np.array_equal(again(x), model(x))
        else:
            # The patch embedding, norms and biases were rounded once more.
            assert relative(again(x), model(x)) <= 0.012


def test_the_names_of_a_static_layer() -> None:
    model = static(tiny())
    names = [n.removeprefix("blocks.0.mlp.fc1.") for n in model.shapes if "mlp.fc1" in n]
    assert names == ["weight", "weight_scale", "input_scale", "input_zero_point", "bias"]
    scale, zero = (model.params.view(model.params.names.index(f"blocks.0.mlp.fc1.input_{what}"))
                   for what in ("scale", "zero_point"))  # fmt: skip
    assert scale.shape == zero.shape == (1,) and scale.dtype == zero.dtype == np.float32
    assert scale > 0 and 0 < zero < 255 and zero == np.rint(zero)


def test_what_a_file_quantises_is_what_the_model_does(tmp_path: Path) -> None:
    """Which layers, and how: whatever the model was before."""
    source = drawn("test_vit", depth=2)
    some, every = source.int8_weights()[1:5], source.linear_weights()
    assert every[0] == "patch_embed.proj.weight" and every[-1] == "head.weight"
    ranges = dict.fromkeys(every, (-4.0, 4.0))
    made = {
        "some": int8_model(source, some),
        "some static": int8_model(source, some, {n: ranges[n] for n in some}),
        "all": int8_model(source, every),
        "all static": int8_model(source, every, ranges),
    }
    x = images(2, source)
    for name, model in made.items():
        model.save(tmp_path / name)
        before = vitc.create_model("test_vit", num_classes=10, depth=2).eval()
        for again in (before, vitc.quantize(before), static(before), made["some static"]):
            again = deepcopy(again)
            again.load(tmp_path / name)
            assert again.quantized == model.quantized
            assert list(again.shapes) == list(model.shapes) and again.shapes == model.shapes
            assert np.array_equal(again(x), model(x))
            assert [p.dtype for p in again.parameters()] == [p.dtype for p in model.parameters()]


def test_scales_that_cannot_be_are_refused(tmp_path: Path) -> None:
    model = static(tiny())
    layer = "blocks.0.attn.qkv."
    before = {k: v.tobytes() for k, v in model.state_dict().items()}
    for name, bad in {
        "weight_scale": -1.0,
        "input_scale": 0.0,
        "input_zero_point": 0.5,
    }.items():
        state = dict(model.state_dict())
        state[layer + name] = np.full_like(state[layer + name], bad)
        with pytest.raises(ValueError, match=f"{layer}{name} holds {bad:g}, expected"):
            model.load_state_dict(state)
    for bad in (-1, 256):
        with pytest.raises(ValueError, match="whole numbers from 0 to 255"):
            model.load_state_dict({layer + "input_zero_point": np.float32([bad])}, strict=False)
    assert {k: v.tobytes() for k, v in model.state_dict().items()} == before
    with pytest.raises(ValueError, match="quantization is 'int4', expected one of dynamic, static"):
        weights = Weights(dict(model.state_dict()), {"quantization": "int4"})
        model._load("it", weights)


def test_what_cannot_be_quantised_is_named() -> None:
    model = tiny()
    names = model.int8_weights()
    ranges = dict.fromkeys(names, (-1.0, 1.0))
    for wrong in ("blocks.0.norm1.weight", "blocks.7.mlp.fc1.weight", "blocks.0.mlp.fc1.bias"):
        with pytest.raises(ValueError, match=f"'{wrong}' is not the weight of a linear layer"):
            int8_model(model, [*names, wrong])
    with pytest.raises(ValueError, match="'blocks.0.attn.proj.weight' has no range"):
        int8_model(model, names, {n: r for n, r in ranges.items() if "attn.proj" not in n})
    with pytest.raises(ValueError, match="'head.weight' has a range, but is not quantised"):
        int8_model(model, names, ranges | {"head.weight": (0.0, 1.0)})
    with pytest.raises(ValueError, match="range of blocks.0.mlp.fc1.weight: from nan to 1.0"):
        int8_model(model, names, ranges | {"blocks.0.mlp.fc1.weight": (np.nan, 1.0)})
    assert not model.quantized and ranges_of(model).keys() == {*names}


def test_a_quantised_model_is_independent_of_its_source() -> None:
    model = drawn("test_vit", depth=1)
    for quantise in WAYS.values():
        other = quantise(model)
        for name, value in other.state_dict().items():
            if name in model.shapes:
                assert not np.shares_memory(value, model.state_dict()[name])
        assert other.config == model.config and other.default_cfg is not model.default_cfg


def tiny() -> Model:
    return vitc.create_model("test_vit", num_classes=2, img_size=32, depth=1)


def test_a_quantised_model_predicts_in_gradient_mode_too(tmp_path: Path) -> None:
    model = vitc.quantize(tiny())
    x = images(2, model)
    with no_grad():
        expected = np.array(model(x))
    model.save(tmp_path / "q.safetensors")
    again = tiny()
    again.load(tmp_path / "q.safetensors")
    for each in (model, deepcopy(model), again.eval()):
        assert np.array_equal(each(x), expected) and each(x).edge is None


def test_a_quantised_model_is_not_trained_and_says_why() -> None:
    model = vitc.quantize(tiny())
    x = images(2, model)
    with pytest.raises(VitcError, match="is not trained: train the one it was made from"):
        F.cross_entropy(model(x), [0, 1]).backward()
    with pytest.raises(ValueError, match="quantised and cannot be trained"):
        model.blocks[0].attn.qkv.weight.requires_grad = True
    model.blocks[0].norm1.weight.requires_grad = True
    with pytest.raises(ValueError, match="linear_int8 has no gradient: freeze .* no_grad"):
        model(x)


def test_the_head_behind_quantised_layers_can_be_trained() -> None:
    model = vitc.quantize(tiny())
    model.head.requires_grad_()
    F.cross_entropy(model(images(2, model)), [0, 1]).backward()
    assert [n for n, p in model.named_parameters() if p.grad is not None] == [
        "head.weight",
        "head.bias",
    ]


def test_dtypes_of_rows_are_checked() -> None:
    rows = [("w", (4, 4)), ("s", (4,))]
    program = _vitc.Program([(2, 4)], [(4, 4), (4,)], [("linear_int8", [0], [0, 1], {})], [1])
    with pytest.raises(ValueError, match="w has dtype float32, operation linear_int8 expects int8"):
        _vitc.Plan(program, _vitc.Params(rows))
    program = _vitc.Program([(2, 4)], [(4, 4), (4,)], [("linear", [0], [0, 1], {})], [1])
    with pytest.raises(ValueError, match="w has dtype int8, operation linear expects float32"):
        _vitc.Plan(program, _vitc.Params([("w", (4, 4), "int8"), ("s", (4,))]))
    with pytest.raises(ValueError, match="'int4'"):
        _vitc.Params([("w", (4, 4), "int4")])
    with pytest.raises(ValueError, match="float32"):
        _vitc.Plan(program, _vitc.Params(rows, "float64"), bf16=True)
    layer = nn.Linear(3, 2)
    with pytest.raises(ValueError, match="expected int8"):
        quantised = vitc.quantize(vitc.create_model("test_vit", num_classes=2, depth=1))
        name = "blocks.0.attn.qkv.weight"
        quantised.load_state_dict({**quantised.state_dict(), name: np.zeros((192, 64), np.float32)})
    assert layer.weight.dtype == np.float32
