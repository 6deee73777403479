"""Static 8-bit models from images: smoothing, bias correction, accuracy control and reports.

Oracles are double precision, definitions, and exact enumeration.
"""

import json
import math
import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from test_quantization import inject
from test_quantization_calibration import drawn, prepared

import vitc
from oracle import redrawn, relative
from vitc.data import ArrayDataset, DataLoader
from vitc.models.int8 import beside
from vitc.models.model import Model
from vitc.quantization import Calibration, calibrate, quantize, report
from vitc.quantization.comparison import compare, mcnemar, paired_difference, share
from vitc.quantization.control import by_effect, within
from vitc.quantization.correction import corrections, in_8_bits
from vitc.quantization.images import calibration_images
from vitc.quantization.layers import input_range, layer_table
from vitc.quantization.methods import Method
from vitc.quantization.observe import watch
from vitc.quantization.smooth import Changed, expected_activation, factors, norm_pairs, smoothed
from vitc.quantization.validation import Validation
from vitc.tape import no_grad


@pytest.fixture(autouse=True)
def few_images_are_enough():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "[0-9]+ images to calibrate with are few")
        yield


@pytest.fixture(scope="module")
def calibrated() -> tuple[Model, np.ndarray, Calibration]:
    model, x = inject(drawn()), prepared(40)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model, x, calibrate(model, x)


# ------------------------------------------------------------------------------- smoothing


def test_pairs_are_norms_and_all_that_reads_them() -> None:
    eva = vitc.create_model("eva02_base_patch14_448", img_size=28, depth=1, num_classes=3)
    pairs = norm_pairs(eva.program(), eva.params.names)
    (first, *_) = pairs
    names = ("q_proj", "k_proj", "v_proj")
    assert first.weights == tuple(f"blocks.0.attn.{name}.weight" for name in names)
    assert (first.norm_weight, first.norm_bias) == ("blocks.0.norm1.weight", "blocks.0.norm1.bias")
    for name in ("test_vit", "vit_base_patch16_rope_mixed_224", "vit_7b_patch16_dinov3"):
        shape = dict(img_size=32, depth=1, embed_dim=64, num_heads=2, num_classes=2)
        model = vitc.create_model(name, **shape).eval()
        model.load_state_dict(redrawn(model.shapes, "float32"))
        pairs = norm_pairs(model.program(), model.params.names)
        x = np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32)
        even = vitc.create_model(name, **shape).eval()
        even.load_state_dict(smoothed(model.state_dict(), pairs))
        changed = [k for k, v in model.state_dict().items() if np.any(even.state_dict()[k] != v)]
        expected = {n for p in pairs for n in (p.norm_weight, p.norm_bias, *p.weights) if n}
        assert set(changed) == expected
        with no_grad():
            assert relative(even(x), model(x)) <= 1e-5


@pytest.mark.parametrize("strength", [0.0, 0.3, 0.5, 1.0])
def test_factors_are_those_of_smoothquant(strength: float) -> None:
    model = drawn()
    state = dict(model.state_dict())
    pair = norm_pairs(model.program(), model.params.names)[0]
    weight = np.abs(state[pair.weights[0]].astype(float)).max(axis=0)
    activation = np.random.default_rng(0).uniform(0.1, 30, len(weight))
    found = factors(state, pair, activation, strength)
    assert np.allclose(found, activation**strength / weight ** (1 - strength), rtol=1e-6)
    # a channel that carries nothing, or goes nowhere, stays as it is
    activation[3], state[pair.weights[0]] = 0, state[pair.weights[0]].copy()
    state[pair.weights[0]][:, 5] = 0
    assert np.all(factors(state, pair, activation, strength)[[3, 5]] == 1)
    assert np.all(expected_activation(state, pair) >= 4 * np.abs(state[pair.norm_weight]))


def test_the_search_finds_a_strength_for_each_block(calibrated) -> None:
    """On clean images without bias correction: nearer than the rule that knows no data, and much
    nearer than without smoothing."""
    model, x, made = calibrated
    pairs = norm_pairs(model.program(), model.params.names)
    assert set(made.smooth) <= {name for pair in pairs for name in pair.weights}
    unseen = prepared(16, seed=1)
    plain, blind = (
        calibrate(model, x, smooth=False, bias_correction=False),
        calibrate(even(model), x, smooth=False, bias_correction=False),
    )
    found = calibrate(model, x, bias_correction=False)
    with no_grad():
        exact = np.array(model(unseen))
        errors = [
            relative(quantize(m, "static", calibration=c)(unseen), exact)
            for m, c in ((model, plain), (even(model), blind), (model, found))
        ]
    assert errors[2] < 1.1 * errors[1] and errors[2] < 0.3 * errors[0]
    assert errors[2] <= 0.03


def even(model: Model) -> Model:
    """Smoothed without data."""
    made = drawn()
    made.load_state_dict(
        smoothed(model.state_dict(), norm_pairs(model.program(), model.params.names))
    )
    return made


def test_each_block_got_the_strength_of_the_least_error(calibrated, monkeypatch) -> None:
    """Tried again by hand: of the first block, with the others in float."""
    from vitc.program import blocks_of
    from vitc.quantization import search

    model, x, _ = calibrated
    tried: list[tuple[dict, float]] = []
    run = search._run

    def noted(program, twin, tokens):
        out = run(program, twin, tokens)
        if twin is not model:
            tried.append((dict(program=program), float(np.sum(out, dtype=float))))
        return out

    monkeypatch.setattr(search, "_run", noted)
    found = calibrate(model, x, bias_correction=False)
    assert len(tried) == (len(search.STRENGTHS) + 2) * model.config.depth
    monkeypatch.undo()
    # The block alone in 8 bits with what was chosen, and with each strength.
    first = [
        p for p in norm_pairs(model.program(), model.params.names) if "blocks.0." in p.weights[0]
    ]
    names = [n for n in model.int8_weights() if n.startswith("blocks.0.")]
    known, unseen = calibration_images(model, x).halves()
    seen = watch(model, model.int8_weights(), known, Method("minmax"))
    others = np.concatenate([*unseen.first(16).batches(16)])
    assert all((x[1::2] == image).all(axis=(1, 2, 3)).any() for image in others)
    tokens = search._run(search._before_blocks(model.program()), model, others)
    exact = blocks_of(model.program())[0]
    behind = search._run(exact, model, tokens)
    errors = []
    state = model.state_dict()
    for strength in (None, "rule", *search.STRENGTHS):
        smooth = {}
        for pair in first if strength is not None else ():
            activation = seen[pair.weights[0]].largest
            if strength == "rule":
                activation = expected_activation(state, pair)
            by = 0.5 if strength == "rule" else strength
            smooth[pair.weights[0]] = factors(state, pair, activation, by)
        ranges = {n: search.smoothed_range(seen[n], smooth.get(n)) for n in names}
        twin = vitc.quantization.int8_model(
            model, names, ranges, Changed(model.state_dict(), first, smooth)
        )
        out = search._run(blocks_of(twin.program())[0], twin, tokens)
        errors.append((float(np.mean((out - behind) ** 2)), smooth))
    best = min(errors, key=lambda pair: pair[0])[1]
    for pair in first:
        name = pair.weights[0]
        chosen = found.smooth.get(name, np.ones(64, np.float32))
        assert np.allclose(chosen, best.get(name, np.ones(64)), rtol=1e-5)


# ------------------------------------------------------------------------------- bias correction


def test_bias_correction_takes_the_mean_error_out() -> None:
    """In double precision, and as the model computes it."""
    model, x = drawn(), prepared(40)
    names = model.int8_weights()
    images = calibration_images(model, x)
    ranges = {n: w.range for n, w in watch(model, names, images, Method()).items()}
    found = corrections(model, ranges, images)
    weights_only = corrections(model, dict.fromkeys(names), images)
    assert set(found) == {name.replace("weight", "bias") for name in names}
    name = "blocks.0.attn.qkv.weight"
    tokens = inputs_of(model, name, x).astype(float).reshape(-1, 64)
    low, high = ranges[name]
    step = np.float32((min(high, 1e9) - low) / 255)
    zero = np.rint(-low / float(step))
    kept = (np.clip(np.rint(tokens / step) + zero, 0, 255) - zero) * step
    weight = model.state_dict()[name].astype(float)
    scale = np.abs(weight).max(axis=1, keepdims=True) / 127
    rounded = np.rint(weight / scale) * scale
    expected = (tokens @ weight.T - kept @ rounded.T).mean(axis=0)
    assert np.abs(found["blocks.0.attn.qkv.bias"] - expected).max() <= 2e-3 * np.abs(expected).max()
    dynamic = (tokens @ (weight - rounded).T).mean(axis=0)
    error = np.abs(weights_only["blocks.0.attn.qkv.bias"] - dynamic).max()
    assert error <= 2e-3 * np.abs(dynamic).max()
    # The first layer sees what it was calibrated with, so that nothing is left in the mean.
    made, plain = (
        vitc.quantization.int8_model(
            model, [name], {name: ranges[name]}, Changed(model.state_dict(), [], {}, c)
        )
        for c in ({"blocks.0.attn.qkv.bias": found["blocks.0.attn.qkv.bias"]}, {})
    )
    errors = [np.abs(mean_error(model, m, name, x)).max() for m in (made, plain)]
    assert errors[0] <= 0.02 * errors[1]


def inputs_of(model: Model, name: str, x: np.ndarray) -> np.ndarray:
    from vitc.quantization.observe import layer_inputs

    parts = layer_inputs(model, [name], calibration_images(model, x))
    return np.concatenate([value for inputs in parts for _, value in inputs])


def mean_error(model: Model, changed: Model, name: str, x: np.ndarray) -> np.ndarray:
    from vitc.program import with_layer_outputs

    outs = []
    for m in (model, changed):
        program = with_layer_outputs(m.program(), [m.params.names.index(name)])
        with no_grad():
            outs.append(np.asarray(m._run(program, x)[0]).astype(float))
    return (outs[0] - outs[1]).mean(axis=(0, 1))


def test_values_outside_of_a_range_are_cut_off() -> None:
    x = np.array([-9, -1, -0.004, 0, 0.5, 1.55, 9], np.float32)
    assert np.allclose(in_8_bits(x, (-1, 1.55)), [-1, -1, 0, 0, 0.5, 1.55, 1.55], atol=1e-6)


# ------------------------------------------------------------------------------- quantize


def test_a_static_model_is_near_and_saves_and_loads(calibrated, tmp_path: Path) -> None:
    model, _, made = calibrated
    unseen = prepared(8, seed=2)
    small = quantize(model, "static", calibration=made)
    assert small.quantized == "static" and not model.quantized and not small.training
    made.save(tmp_path / "calibration.json")
    again = quantize(model, "static", calibration=tmp_path / "calibration.json")
    small.save(tmp_path / "small.safetensors")
    read = drawn()
    read.load(tmp_path / "small.safetensors")
    with no_grad():
        found = np.array(small(unseen))
        assert relative(found, model(unseen)) <= 0.03
        assert np.array_equal(again(unseen), found) and np.array_equal(read.eval()(unseen), found)
    for name in model.int8_weights():
        low, high = input_range(small, name)
        assert low == pytest.approx(made.ranges[name][0], abs=(high - low) / 255)
        assert high == pytest.approx(made.ranges[name][1], abs=(high - low) / 255)


def test_a_dynamic_model_may_be_calibrated_too(calibrated) -> None:
    model, x, _ = calibrated
    unseen = prepared(64, seed=2)
    with no_grad():
        exact = np.array(model(unseen))
        rough = vitc.quantization.int8_model(model, model.int8_weights())
        without = relative(rough(unseen), exact)
        small = quantize(model, "dynamic", calibration=x)
        assert small.quantized == "dynamic"
        assert relative(small(unseen), exact) <= 0.5 * without
        own, other = (calibrate(model, x, mode=mode) for mode in ("dynamic", "static"))
        assert own.mode == "dynamic" and own.correction and not own.ranges
        assert np.array_equal(quantize(model, calibration=own)(unseen), small(unseen))
        # what corrects fixed ranges is not taken where there are none
        bias = quantize(model, calibration=other).state_dict()["blocks.0.attn.qkv.bias"]
        assert np.array_equal(bias, model.state_dict()["blocks.0.attn.qkv.bias"])
        assert np.any(small.state_dict()["blocks.0.attn.qkv.bias"] != bias)


def test_layers_stay_in_float_by_pattern(calibrated) -> None:
    model, _, made = calibrated
    small = quantize(model, "static", calibration=made, exclude=["blocks.0.*", "*.mlp.fc2"])
    kinds = {name: value.dtype.name for name, value in small.state_dict().items()}
    for name in model.int8_weights():
        out = name.startswith("blocks.0.") or name.endswith("fc2.weight")
        assert kinds[name] == ("float32" if out else "int8")
        if out:  # nothing about it was changed
            for each in (name, beside(name, "bias")):
                assert np.array_equal(small.state_dict()[each], model.state_dict()[each])
    assert np.array_equal(
        small.state_dict()["blocks.0.norm1.weight"], model.state_dict()["blocks.0.norm1.weight"]
    )
    one = quantize(model, exclude="blocks.*")
    assert not one.quantized


REFUSED = [
    (dict(mode="int4"), ValueError, "mode is 'int4', expected one of dynamic, static"),
    (dict(mode="static"), ValueError, "mode 'static' needs calibration: images like those"),
    (dict(method="mse"), ValueError, "method is 'mse', but there are no images"),
    (dict(calibration=prepared(40), method="kl"), ValueError, "method is 'kl', expected one of"),
    (dict(exclude="block.*"), ValueError, "exclude: 'block.*' fits no layer"),
    (dict(exclude=[3]), TypeError, "exclude has 3, expected names or patterns"),
    (dict(max_drop=0.01), ValueError, "max_drop and validation belong together"),
    (dict(max_drop=-1, validation=len), ValueError, "max_drop is -1"),
    (
        dict(max_drop=0.1, validation=lambda m: "x"),
        TypeError,
        "the validation function returned 'x'",
    ),
    (dict(max_drop=0.1, validation=lambda m: math.nan), ValueError, "returned is nan"),
    (dict(max_drop=0.1, validation=3), TypeError, "validation is 3, expected a folder"),
]


@pytest.mark.parametrize(("arguments", "error", "words"), REFUSED)
def test_other_arguments_are_refused(arguments: dict, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        quantize(drawn(), **arguments)


def test_what_is_no_model_is_named() -> None:
    trunk = vitc.create_model("test_vit", features_only=True)
    for other in (trunk, 3):
        with pytest.raises(TypeError, match="expected a vitc model, got .*pass its .model"):
            quantize(other)
    with pytest.raises(TypeError, match="expected a vitc model"):
        calibrate(trunk, prepared(40))


def test_a_calibration_of_another_model_is_refused(calibrated) -> None:
    _, _, made = calibrated
    with pytest.raises(ValueError, match="the calibration is of another model"):
        quantize(drawn(), "static", calibration=made)
    model, x, _ = calibrated
    smoothing = calibrate(model, x, mode="dynamic")
    with pytest.raises(ValueError, match="no range of blocks.0.attn.qkv.weight"):
        quantize(model, "static", calibration=smoothing)


# ------------------------------------------------------------------------------- control


class Counted:
    """A model that loses what its layers in 8 bits cost; None marks one in float."""

    def __init__(self, costs: dict[str, float]) -> None:
        self.costs, self.made = costs, 0

    def make(self, names):
        return tuple(names)

    def drop(self, names) -> float:
        self.made += 1
        return sum(self.costs[name] for name in names)


@pytest.mark.parametrize("most", [0, 0.5, 3, 9.9, 20, 55, 1000])
@pytest.mark.parametrize("count", [1, 2, 10, 48])
def test_as_few_layers_as_possible_stay_in_float(count: int, most: float) -> None:
    costs = {f"{i}": float(i) for i in range(count)}
    counted = Counted(costs)
    ranked = sorted(costs, key=lambda name: -costs[name])
    kept = within(counted.make, list(costs), lambda: ranked, counted.drop, most)
    assert counted.drop(kept) <= most
    left = [name for name in ranked if name not in kept]
    if left:  # the next one less would have cost too much
        assert sum(costs[name] for name in (*kept, left[-1])) > most
    assert counted.made <= 4 + 2 * math.log2(count)


def test_layers_are_ranked_by_what_they_change_alone() -> None:
    effect = {"a": 1.0, "b": 5.0, "c": 2.0}
    logits = lambda names: np.array([[sum(effect[name] for name in names)]])  # noqa: E731
    assert by_effect(tuple, list(effect), logits) == ["b", "c", "a"]


def labelled(model: Model, count: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Images with the classes that the model gives them."""
    x = prepared(count, seed=3)
    with no_grad():
        return x, np.asarray(model(x)).argmax(axis=1)


def test_max_drop_returns_the_worst_layers_to_float(calibrated) -> None:
    """Three layers are spoiled: ranges that are far too small."""
    model, _, made = calibrated
    spoiled = ["blocks.0.mlp.fc2.weight", "blocks.1.mlp.fc1.weight", "blocks.2.attn.proj.weight"]
    ranges = {**made.ranges, **dict.fromkeys(spoiled, (-1e-3, 1e-3))}
    bad = Calibration(made.weights, made.method, 40, ranges, made.smooth)
    x, y = labelled(model)

    def accuracy(m: Model) -> float:
        with no_grad():
            return float(np.mean(np.asarray(m(x)).argmax(axis=1) == y))

    assert accuracy(quantize(model, "static", calibration=bad)) < 0.9
    for validation in (accuracy, (x, y), DataLoader(ArrayDataset(x, y), 20)):
        small = quantize(model, "static", calibration=bad, max_drop=0.02, validation=validation)
        assert accuracy(small) >= 0.98
        in_float = [n for n in model.int8_weights() if small.state_dict()[n].dtype != np.int8]
        assert in_float and set(in_float) <= set(spoiled)
    whole = quantize(model, "static", calibration=made, max_drop=0.05, validation=(x, y))
    assert all(whole.state_dict()[name].dtype == np.int8 for name in model.int8_weights())


def test_labels_are_checked() -> None:
    model = drawn()
    x = prepared(8)
    cases = [
        ((x, np.arange(8)), "labels are from 0 to 7, the model has 5 classes"),
        ((x, np.zeros((8, 5), np.float32)), "expected one whole number per image"),
        ([], "there are no images to validate with"),
    ]
    for source, words in cases:
        with pytest.raises(ValueError, match=words):
            Validation(model, source).logits(model)
    model.pretrained_cfg["label_names"] = ["e", "d", "c", "b", "a"]
    named = Validation(model, ArrayDataset(x, np.arange(8) % 3, classes=["a", "b", "c"]))
    named.logits(model)
    assert named.labels.tolist() == [4, 3, 2, 4, 3, 2, 4, 3]
    with pytest.raises(ValueError, match="the model has the classes e, d.*, the images also z"):
        Validation(model, ArrayDataset(x, np.arange(8) % 2, classes=["a", "z"]))
    shuffled = Validation(drawn(), DataLoader(ArrayDataset(x, np.arange(8) % 5), 4, shuffle=True))
    shuffled.logits(model)
    with pytest.raises(ValueError, match="in another order in every pass: shuffle=False"):
        shuffled.logits(model)


# ------------------------------------------------------------------------------- figures


@pytest.mark.parametrize(("count", "total"), [(0, 5), (5, 5), (3, 7), (970, 1000), (1, 10_000)])
def test_shares_have_wilsons_interval(count: int, total: int) -> None:
    expected = stats.binomtest(count, total).proportion_ci(0.95, "wilson")
    found = share(count, total)
    assert found.value == count / total
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_flips_have_mcnemars_probability() -> None:
    for lost, won in ((0, 0), (3, 0), (1, 9), (40, 25), (700, 600)):
        expected = stats.binomtest(lost, lost + won).pvalue if lost + won else 1
        assert mcnemar(lost, won) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("lose", "win"), [(0.05, 0.05), (0.1, 0.02), (0.02, 0.01)])
def test_the_interval_of_a_paired_difference_holds_as_often_as_it_says(lose, win) -> None:
    """Over all outcomes of 60 pairs, weighted by how likely they are."""
    pairs, covered = 60, 0.0
    for lost in range(16):
        for won in range(16):
            likely = stats.multinomial.pmf(
                [lost, won, pairs - lost - won], pairs, [lose, win, 1 - lose - win]
            )
            found = paired_difference(lost, won, pairs)
            covered += likely * (found.low <= lose - win <= found.high)
    assert 0.93 < covered <= 1.0


def test_the_paired_difference_by_hand() -> None:
    """Agresti and Min's formula in fractions: 12 and 4 of 98 pairs, half of one in each cell."""
    found = paired_difference(12, 4, 98)
    middle = Fraction(25, 2) - Fraction(9, 2)
    variance = (Fraction(25, 2) + Fraction(9, 2) - middle**2 / 100) / 100**2
    half = stats.norm.ppf(0.975) * math.sqrt(variance)
    assert found.value == 8 / 98
    assert (found.low, found.high) == pytest.approx((0.08 - half, 0.08 + half))
    still = paired_difference(0, 0, 1000)
    assert still.value == 0 and 0.001 < still.high == -still.low < 0.003


def test_models_are_compared_image_by_image() -> None:
    before = np.eye(4)[[0, 1, 2, 3, 0, 1]]
    after = np.eye(4)[[0, 2, 2, 0, 1, 1]]
    found = compare(before, after, np.array([0, 1, 0, 0, 1, 1]))
    assert found[:2] == (6, 3) and found[3:] == (3, 4, 1, 2)
    assert found.error == pytest.approx(math.sqrt(6) / math.sqrt(6))
    assert found.agreement.value == 0.5 and found.accuracy.value == 4 / 6
    assert found.drop.value == -1 / 6
    assert json.loads(json.dumps(found.as_dict()))["drop"]["value"] == -1 / 6
    plain = compare(before, after)
    assert plain.drop is None and plain.accuracy is None and "drop" not in plain.as_dict()


# ------------------------------------------------------------------------------- report


def test_layers_are_compared_in_double_precision(calibrated) -> None:
    model, x, made = calibrated
    small = quantize(model, "static", calibration=made, exclude="blocks.2.*")
    table = layer_table(model, small, calibration_images(model, x))
    assert [row.name for row in table] == [
        n.removesuffix(".weight") for n in model.linear_weights()
    ]
    by_name = {row.name: row for row in table}
    assert by_name["patch_embed.proj"].sqnr == math.inf and by_name["patch_embed.proj"].cosine == 1
    assert by_name["head"].precision == by_name["blocks.2.mlp.fc1"].precision == "float32"
    with no_grad():
        exact, found = (np.asarray(m(x)).astype(float) for m in (model, small))
    head = by_name["head"]
    noise = 10 * np.log10(np.sum(exact**2) / np.sum((exact - found) ** 2))
    assert head.sqnr == pytest.approx(noise, abs=1e-4) and head.range is None
    both = np.sum(exact * found) / np.sqrt(np.sum(exact**2) * np.sum(found**2))
    assert head.cosine == pytest.approx(both, abs=1e-9)
    first = by_name["blocks.0.attn.qkv"]
    assert first.precision == "int8" and first.range[0] < 0 < first.range[1]


def test_a_report_is_a_page_and_a_table_for_programs(calibrated, tmp_path: Path) -> None:
    model, x, made = calibrated
    small = quantize(model, "static", calibration=made, exclude="blocks.0.mlp.fc1")
    found = report(model, small, x, labelled(model))
    assert found.in_float == ["patch_embed.proj", "blocks.0.mlp.fc1", "head"]
    page, figures = found.save(tmp_path / "report.md")
    text, content = page.read_text(), json.loads(figures.read_text())
    assert text.startswith("# test_vit, int8 static\n")
    assert "right answers became wrong" in text and "Wilson's for shares" in text
    assert text.count("| int8 |") == 11 and text.count("| float32 |") == 3
    assert content["comparison"]["right_before"] == 64 and len(content["layers"]) == 14
    assert content["layers"][0]["sqnr"] is None  # infinite
    assert content["comparison"]["drop"]["high"] > 0
    unlabelled = report(model, small, x)
    assert unlabelled.comparison.images == 40 and "flips" not in unlabelled.markdown()
    with pytest.raises(ValueError, match="expected a path in .md"):
        found.save(tmp_path / "report.txt")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.json", "report.md"]
