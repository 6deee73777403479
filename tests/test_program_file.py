"""Programs in files: what is saved is loaded again, and nothing else is.

That C runs them without Python, and what hostile bytes do there, is in `test_core` (run_file,
test_file).
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vitc
import vitc.export
from oracle import redrawn
from oracle.static import static
from vitc import _vitc
from vitc.cli import main
from vitc.program import Builder, Program, load, save

SMALL = dict(img_size=64, num_classes=5)


def small(**options: Any) -> Any:
    model = vitc.create_model("test_vit", **{**SMALL, **options}).eval()
    model.load_state_dict(redrawn(model.shapes, model.params.dtype))
    return model


MODELS = {
    "float32": small,
    "float64": lambda: small(dtype="float64"),
    "int8": lambda: vitc.quantize(small()),
    "int8 static": lambda: static(small()),
    "features": lambda: small(num_classes=0),
    "drops": lambda: small(drop_rate=0.1, proj_drop_rate=0.1, drop_path_rate=0.2),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_comes_back(name: str, tmp_path: Path) -> None:
    model = MODELS[name]()
    path = vitc.export.program(model, tmp_path / "model.vitc")
    program, params, notes = load(path)
    assert program[1:] == model.program()[1:] and program.operations == model.program().operations
    assert program.core.borders == model.program().core.borders
    assert (params.names, params.shapes, params.dtypes) == (
        model.params.names,
        model.params.shapes,
        model.params.dtypes,
    )
    for i in range(len(params)):
        assert params.view(i).tobytes() == model.params.view(i).tobytes()
    assert notes["architecture"] == "test_vit" and "vectors" not in notes
    x = np.random.default_rng(1).normal(size=(2, 3, 64, 64)).astype(params.dtype)
    plan = _vitc.Plan(program.core, params)
    (output,) = _vitc.Run(plan, 2, 1).forward([x])
    assert output.reshape(2, -1).tobytes() == np.asarray(model(x)).tobytes()
    assert save(tmp_path / "again", program, params, notes).read_bytes() == path.read_bytes()


def test_vectors_and_several_values_come_back(tmp_path: Path) -> None:
    rows = {"fc.weight": (4, 3), "fc.bias": (4,)}
    b = Builder(rows)
    x, y = b.input((1, 3), vector=True), b.input((1, 4))
    program = b.finish(b.add(b.linear(x, "fc"), y), vector=True)
    params = _vitc.Params(list(rows.items()))
    loaded = load(save(tmp_path / "p", program, params, {"ü": "a = b\n", "": ""}))
    assert loaded.program[1:] == program[1:]
    assert [port.outer for port in loaded.program.inputs] == [(3,), (1, 4)]
    assert loaded.notes == {"ü": "a = b\n", "": ""}


def test_what_cannot_be_saved_is_refused(tmp_path: Path) -> None:
    model, path = small(), tmp_path / "p"
    other = _vitc.Params([("w", (3,))])
    for call, error, words in (
        (lambda: save(path, model.program(), other), ValueError, "the table 1 entries"),
        (lambda: save(path, model.program(), model.params, {"vectors": ""}), ValueError, "taken"),
        (lambda: save(path, model.program(), model.params, {"a": "\0"}), ValueError, "NUL"),
        (lambda: save(path, model.program(), model.params, {"a": 1}), TypeError, "a note is a int"),
        (lambda: vitc.export.program(object(), path), TypeError, "expected a vitc model"),
        (lambda: vitc.export.program(model, path, labels=["a"]), ValueError, "has 5 classes"),
        (lambda: vitc.export.program(model, tmp_path / "no" / "p"), FileNotFoundError, "no"),
    ):
        with pytest.raises(error, match=words):
            call()
        assert list(tmp_path.iterdir()) == []


def test_what_is_not_a_program_is_refused(tmp_path: Path) -> None:
    good = vitc.export.program(small(), tmp_path / "good").read_bytes()
    bad = tmp_path / "bad"
    newer = good[:8] + b"\2" + good[9:]
    for data, words in (
        (b"", "not a program of vitc"),
        (good.replace(b"\r\n", b"\n", 1), "not a program of vitc"),
        (newer, "version 2, expected 1"),
        (good[:-64], "bytes, [0-9]+ were written"),
        (good[:100] + b"\xff" + good[101:], "damaged"),
    ):
        bad.write_bytes(data)
        with pytest.raises(ValueError, match=f"^{bad}: .*{words}"):
            load(bad)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none")
    with pytest.raises(TypeError, match="expected bytes, got a bytearray"):
        _vitc.read_file(bytearray(good))


def vectors(value: str) -> Any:
    def change(program: Program, params: _vitc.Params) -> bytes:
        return _vitc.write_file(program.core, params, ("vectors", value))

    return change


def twins(program: Program, params: _vitc.Params) -> bytes:
    rows = [("same", shape, None) for shape in params.shapes]
    return _vitc.write_file(program.core, _vitc.Params(rows), ())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (vectors("1"), "the note 'vectors' names '1', which is not there"),
        (vectors("0"), "a vector is one row"),
        (twins, "two parameters have one name"),
    ],
)
def test_what_c_lets_through_is_checked(change: Any, words: str, tmp_path: Path) -> None:
    model = small()
    (tmp_path / "p").write_bytes(change(model.program(), model.params))
    with pytest.raises(ValueError, match=words):
        load(tmp_path / "p")


def test_any_changed_byte_is_seen(tmp_path: Path) -> None:
    data = vitc.export.program(small(), tmp_path / "p").read_bytes()
    draws = np.random.default_rng(5)
    for _ in range(300):
        at, bit = int(draws.integers(len(data))), int(draws.integers(8))
        changed = data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]
        with pytest.raises(ValueError):
            _vitc.read_file(changed)


def test_the_command_writes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "program", "test_vit", str(tmp_path / "m.vitc")]) == 0
    assert "m.vitc" in capsys.readouterr().out
    assert load(tmp_path / "m.vitc").notes["architecture"] == "test_vit"
