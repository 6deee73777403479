"""What is observed of layers, the images it is observed on, and the files that keep it.

The oracle of what layers read is torch: timm's model with hooks.
"""

import json
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vitc
from oracle import redrawn, timm
from vitc.data import ArrayDataset, DataLoader, create_transform, resolve_data_config
from vitc.models.model import Model
from vitc.program import blocks_of, with_observed
from vitc.quantization.calibration import Calibration, weights_hash
from vitc.quantization.images import Images, calibration_images, spread
from vitc.quantization.methods import Method
from vitc.quantization.observe import layer_inputs, watch
from vitc.quantization.tensorrt import read_cache, write_cache
from vitc.tape import no_grad

SMALL = dict(num_classes=5, img_size=32, depth=3)


def drawn(**arguments) -> Model:
    model = vitc.create_model("test_vit", **{**SMALL, **arguments}).eval()
    model.load_state_dict(redrawn(model.shapes, "float32"))
    return model


def prepared(count: int, seed: int = 0, channels: int = 3) -> np.ndarray:
    """Images as test_vit takes them, from -1 to 1, from black to white."""
    generator = np.random.default_rng(seed)
    x = generator.uniform(-1, 1, (count, channels, 32, 32)).astype(np.float32)
    x[:, :, 0, 0], x[:, :, 0, 1] = -1, 1
    return x


@pytest.fixture(autouse=True)
def few_images_are_enough():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "[0-9]+ images to calibrate with are few")
        yield


def images(model: Model, x: np.ndarray) -> Images:
    return calibration_images(model, x)


# ------------------------------------------------------------------------------- observers


def hooked(model: Model, x: np.ndarray) -> dict[str, np.ndarray]:
    """What timm's linear layers of these names read, in float64."""
    twin = timm.create_model("test_vit", **SMALL).double().eval()
    state = {k: torch.tensor(np.asarray(v, np.float64)) for k, v in model.state_dict().items()}
    twin.load_state_dict(state)
    found: dict[str, np.ndarray] = {}
    for name, layer in twin.named_modules():
        if isinstance(layer, torch.nn.Linear):
            layer.register_forward_hook(
                lambda _, given, __, name=name: found.update({f"{name}.weight": given[0].numpy()})
            )
    with torch.no_grad():
        twin(torch.tensor(x, dtype=torch.float64))
    return found


def test_layers_read_what_timms_do() -> None:
    model, x = drawn(), prepared(33)
    expected = hooked(model, x)
    names = model.int8_weights()
    assert len(names) == 4 * 3
    parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for inputs in layer_inputs(model, names, images(model, x)):
        for name, value in inputs:
            parts[name].append(value)
    for name in names:
        found = np.concatenate(parts[name])
        assert np.abs(found - expected[name]).max() <= 1e-5 * np.abs(expected[name]).max()


def test_an_observer_sees_each_value_once_and_knows_its_readers() -> None:
    """Queries, keys and values of EVA-02 are three layers that read one norm."""
    model = vitc.create_model("eva02_base_patch14_448", img_size=28, depth=2, num_classes=3).eval()
    table = model.params.names
    wanted = [i for i, n in enumerate(table) if n.endswith(("q_proj.weight", "k_proj.weight"))]
    made = with_observed(model.program(), wanted)
    assert len(made.program.outputs) == 2 and len(wanted) == 4
    assert [sorted(readers) for readers in made.readers] == [wanted[:2], wanted[2:]]
    assert "linear" in {op.kind for op in made.program.operations}  # of the first block
    with pytest.raises(ValueError, match="no linear layer has one of these"):
        with_observed(model.program(), [0])


def test_the_blocks_of_a_program_make_the_whole() -> None:
    for name in ("test_vit", "eva02_tiny_patch14_224", "vit_relpos_medium_patch16_224"):
        size = 28 if "14" in name else 32
        model = vitc.create_model(name, img_size=size, depth=2, num_classes=3, drop_path_rate=0.2)
        model.load_state_dict(redrawn(model.shapes, "float32"))
        x = np.random.default_rng(0).standard_normal((2, 3, size, size)).astype(np.float32)
        with no_grad():
            steps = model.eval().forward_intermediates(
                x, output_fmt="NLC", return_prefix_tokens=True, intermediates_only=True
            )
            tokens = [
                np.concatenate([step[1], step[0]], axis=1) if isinstance(step, tuple) else step
                for step in steps
            ]
            (_, second) = blocks_of(model.program())
            assert np.array_equal(model._run(second, tokens[0])[0], tokens[1])


def test_ranges_do_not_depend_on_batches(monkeypatch) -> None:
    model, x = drawn(), prepared(40)
    names = model.int8_weights()
    for method in ("minmax", "percentile", "moving_average"):
        found = []
        for size in (1 << 28, 1 << 16):
            monkeypatch.setattr("vitc.quantization.observe._BYTES", size)
            seen = watch(model, names, images(model, x), Method.of(method, 99.0))
            found.append({name: w.range for name, w in seen.items()})
        assert found[0] == found[1] and list(found[0]) == names
    backwards = watch(model, names, images(model, x[::-1]), Method.of("moving_average"))
    assert {name: w.range for name, w in backwards.items()} != found[0]


def test_layers_that_read_what_is_not_finite_are_named() -> None:
    model = drawn()
    with model.edit() as weights:
        weights["blocks.1.norm2.weight"][3] = 3e38
        weights["blocks.1.norm2.bias"][3] = 3e38
    said = "of image 0 these layers read NaN or infinite values: blocks.1.mlp.fc1, blocks.1.mlp.fc2"
    with pytest.raises(ValueError, match=said):
        watch(model, model.int8_weights(), images(model, prepared(32)), Method())


# ------------------------------------------------------------------------------- images


def test_images_come_from_everywhere(tmp_path: Path) -> None:
    """A folder, a dataset, a loader and an array of the same photographs are the same images."""
    generator = np.random.default_rng(0)
    model = drawn(img_size=32)
    pixels = generator.integers(0, 256, (40, 40, 44, 3), np.uint8)
    for i, image in enumerate(pixels):
        folder = tmp_path / "photos" / ("b" if i % 2 else "a")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{i:02}.png")
    transform = create_transform(**resolve_data_config(model=model))
    order = [*range(0, 40, 2), *range(1, 40, 2)]
    dataset = ArrayDataset(pixels[order], np.zeros(40, int), transform)
    expected = np.stack([dataset[i][0] for i in range(40)])
    np.save(tmp_path / "calibration_data.npy", expected)
    torch_like = [(torch.tensor(expected[:25]), None), (torch.tensor(expected[25:]), None)]
    for source in (
        tmp_path / "photos",
        str(tmp_path / "calibration_data.npy"),
        dataset,
        DataLoader(dataset, 7),
        torch_like,
        (x for x in (expected[:30], expected[30:])),
        expected,
        expected.astype(np.float64),
    ):
        found = calibration_images(model, source)
        assert len(found) == 40
        for _ in range(2):
            parts = list(found.batches(16))
            assert [len(part) for part in parts] == [16, 16, 8]
            assert all(part.dtype == np.float32 for part in parts)
            assert np.array_equal(np.concatenate(parts), expected)


def test_a_part_of_the_images_is_spread_over_all_of_them(tmp_path: Path) -> None:
    assert spread(10, 4) == [0, 2, 5, 7] and spread(3, 8) == [0, 1, 2]
    model, x = drawn(), prepared(70)
    few = calibration_images(model, x, samples=35)
    assert np.array_equal(np.concatenate(list(few.batches(9))), x[::2])
    assert np.array_equal(np.concatenate(list(few.first(5).batches(9))), x[::14])
    # of a loader, the first
    first = calibration_images(model, [x[:33], x[33:]], samples=40)
    assert np.array_equal(np.concatenate(list(first.batches(64))), x[:40])


def test_few_images_are_refused_or_warned_of() -> None:
    model = drawn()
    with pytest.raises(ValueError, match="there are 31 images to calibrate with, expected 32"):
        calibration_images(model, prepared(31))
    with pytest.warns(UserWarning, match="299 images to calibrate with are few; 300 or more"):
        calibration_images(model, prepared(299))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        calibration_images(model, prepared(300))


def pixels(count: int = 40) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 3, 32, 32)).astype(np.float32)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (pixels(), "from 0 to 255, as pixels from 0 to 255 have: divide by 255 and normalise"),
        (pixels() / 255, "from 0 to 1, as pixels that are not normalised have"),
        (
            (pixels() / 255 - [[[0.485]], [[0.456]], [[0.406]]])
            / np.array([[[0.229]], [[0.224]], [[0.225]]]),
            "from -2.12 to 2.64, as those of mean 0.485, 0.456, 0.406 and std 0.229.*was made for "
            "mean 0.5 and std 0.5, which give -1 to 1",
        ),
    ],
)
def test_images_of_another_preparation_are_named(x: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        calibration_images(drawn(), x.astype(np.float32))


def test_images_beyond_black_and_white_are_warned_of() -> None:
    with pytest.warns(UserWarning, match="values from -3 to 3; the model was made for mean 0.5"):
        calibration_images(drawn(), 3 * prepared(40))


NAN = prepared(40)
NAN[3, 0, 0, 0] = np.nan


@pytest.mark.parametrize(
    ("source", "error", "words"),
    [
        (NAN, ValueError, "hold NaN"),
        (prepared(40)[:, :1], ValueError, r"shape \(1, 32, 32\), the model takes \(3, 32, 32\)"),
        (prepared(40)[0], ValueError, r"has shape \(3, 32, 32\), expected \(N, C, H, W\)"),
        (np.zeros((40, 32, 32, 3), np.uint8), ValueError, "dtype uint8.*or give the folder"),
        ([np.zeros((3, 32, 32), np.float32)] * 40, ValueError, r"expected \(batch, C, H, W\)"),
        ([], ValueError, "the loader has no batches"),
        (7, TypeError, "calibration is 7, expected a folder of images"),
        ("nowhere", FileNotFoundError, "nowhere: there is no such file or folder"),
        (__file__, ValueError, "expected a folder of images, a .npy file"),
    ],
)
def test_other_sources_are_refused(source, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        calibration_images(drawn(), source)


def test_files_that_hold_no_images_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there are no image files in this folder"):
        calibration_images(drawn(), tmp_path)
    path = tmp_path / "calibration_data.npy"
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="calibration_data.npy: not an array of numbers"):
        calibration_images(drawn(), path)
    np.save(path, np.array([{}]), allow_pickle=True)
    with pytest.raises(ValueError, match="calibration_data.npy: not an array of numbers"):
        calibration_images(drawn(), path)
    np.save(path, prepared(40)[0])
    with pytest.raises(ValueError, match=r"calibration_data.npy has shape \(3, 32, 32\)"):
        calibration_images(drawn(), path)


# ------------------------------------------------------------------------------- files


def example(model: Model) -> Calibration:
    generator = np.random.default_rng(0)
    names = model.int8_weights()
    return Calibration(
        weights_hash(model),
        Method.of("percentile", 99.5),
        40,
        {name: (-generator.random(), generator.random()) for name in names},
        {names[0]: generator.random(64).astype(np.float32)},
        {names[0].replace("weight", "bias"): generator.standard_normal(192).astype(np.float32)},
    )


def test_a_calibration_comes_back_from_its_file(tmp_path: Path) -> None:
    model = drawn()
    made, path = example(model), tmp_path / "calibration.json"
    made.save(path)
    again = Calibration.load(path)
    assert (again.weights, again.method, again.images) == (made.weights, made.method, 40)
    assert again.ranges == made.ranges
    for one, other in ((made.smooth, again.smooth), (made.correction, again.correction)):
        assert one.keys() == other.keys()
        assert all(np.array_equal(one[k], other[k]) for k in one)
    again.check(model, model.int8_weights())
    made.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()


def test_a_calibration_is_of_one_model() -> None:
    model, other = drawn(), drawn()
    made = example(model)
    made.check(other, ())
    with other.edit() as weights:
        weights["head.bias"][0] = np.nextafter(weights["head.bias"][0], np.float32(9))
    with pytest.raises(ValueError, match="the calibration is of another model: the SHA-256"):
        made.check(other, ())
    with pytest.raises(ValueError, match="no range of head.weight"):
        made.check(model, [*model.int8_weights(), "head.weight"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.update(format="2"), "expected a table whose format is 'vitc calibration 1'"),
        (lambda c: c.update(more=1), "missing or unknown: more"),
        (lambda c: c.pop("smooth"), "missing or unknown: smooth"),
        (lambda c: c["method"].update(name="kl"), "method is 'kl'"),
        (lambda c: c.update(method=[]), "the method is"),
        (lambda c: c.update(images=True), "images is True"),
        (lambda c: c.update(ranges=[]), "ranges is"),
        (lambda c: c["ranges"].update(x=[1, 2]), "the range of 'x' is 1.0 to 2.0"),
        (lambda c: c["ranges"].update(x=[-1, float("inf")]), "the range of 'x' is -1.0 to inf"),
        (lambda c: c["ranges"].update(x=["a", 2]), "the range of x"),
        (lambda c: c["ranges"].update(x=3), "the range of x"),
        (lambda c: c["smooth"].update(x=[0.0]), "'x' holds factors that are not above 0"),
        (lambda c: c["smooth"].update(x=["1"]), "'x' is no list of numbers"),
        (lambda c: c["correction"].update(x=[float("nan")]), "'x' holds NaN"),
        (lambda c: c["correction"].update(x=[True]), "'x' is no list of numbers"),
        (lambda c: c.update(weights_sha256=3), "weights_sha256 is not a text"),
    ],
)
def test_a_damaged_calibration_is_refused(tmp_path: Path, change, words: str) -> None:
    path = tmp_path / "calibration.json"
    example(drawn()).save(path)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"calibration.json: not a calibration.*{words}"):
        Calibration.load(path)


def test_a_calibration_is_json(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    for text in ("", "[" * 100_000, "\ud800".encode("utf-8", "surrogatepass")):
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(ValueError, match="calibration.json: not a JSON file"):
            Calibration.load(path)


# ------------------------------------------------------------------------------- TensorRT


def test_a_cache_of_tensorrt_is_read(tmp_path: Path) -> None:
    """Two lines as TensorRT 7 and 8 wrote them: 2.0083382, 0.02079..., none; names with blanks."""
    path = tmp_path / "calibration.cache"
    path.write_text(
        "TRT-8401-EntropyCalibration2\ndata_0: 4000889d\ninput: 3caa54fc\n"
        "(Unnamed Layer* 64) [Shuffle]_output: 0\nONNX::MatMul:0: 3f800000\n"
    )
    found = read_cache(path)
    assert list(found) == ["data_0", "input", "ONNX::MatMul:0"]
    assert found["ONNX::MatMul:0"] == (-127, 127)
    assert found["data_0"][1] == pytest.approx(127 * 2.008338)
    (scale,) = struct.unpack("<f", struct.pack("<I", 0x3CAA54FC))
    assert found["input"] == (-127 * scale, 127 * scale)


def test_a_cache_of_tensorrt_is_written(tmp_path: Path) -> None:
    path = tmp_path / "calibration.cache"
    write_cache(path, {"a/b": (-3, 127.0), "c": (-254, 1), "empty": (0, 0)})
    assert path.read_text() == (
        "TRT-101401-EntropyCalibration2\na/b: 3f800000\nc: 40000000\nempty: 00000000\n"
    )
    assert read_cache(path) == {"a/b": (-127, 127), "c": (-254, 254)}
    for version, number in (("8.4.1", 8401), ("10.3.0", 100300), ("7.1.3", 7103)):
        write_cache(path, {}, version=version, calibrator="MinMaxCalibration")
        assert path.read_text() == f"TRT-{number}-MinMaxCalibration\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "its first line is ''"),
        ("data_0: 4000889d\n", "its first line is 'data_0: 4000889d'"),
        ("TRT-8401-EntropyCalibration2\ndata_0 2.0\n", "line 2: 'data_0 2.0', expected NAME:"),
        ("TRT-8401-EntropyCalibration2\n\nx: 7f800000\n", "line 3: 'x: 7f800000'"),
        ("TRT-8401-EntropyCalibration2\nx: bf800000\n", "line 2: 'x: bf800000'"),
        ("TRT-8401-EntropyCalibration2\n: 3f800000\n", "line 2: ': 3f800000'"),
        ("TRT-8401-EntropyCalibration2\nx: 3f8000001\n", "line 2: 'x: 3f8000001'"),
    ],
)
def test_other_texts_are_no_cache(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "calibration.cache"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"calibration.cache.*{words}"):
        read_cache(path)


def test_what_a_cache_cannot_hold_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "calibration.cache"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="it is no text"):
        read_cache(path)
    path.unlink()
    for ranges, options, words in (
        ({"a\nb": (0, 1)}, {}, "cannot name a tensor"),
        ({"a": (0, np.inf)}, {}, "expected finite ends"),
        ({}, dict(version="10.14"), "version is '10.14', expected one such as"),
        ({}, dict(calibrator="Legacy"), "calibrator is 'Legacy'"),
    ):
        with pytest.raises(ValueError, match=words):
            write_cache(path, ranges, **options)
        assert not path.exists()
