"""State dicts and `.safetensors` files: what fits is read, what does not is named."""

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from oracle import images, pair, timm
from vitc.models import create_model
from vitc.models.model import Model


@pytest.fixture
def model() -> Model:
    return create_model("test_vit", num_classes=4, depth=1).eval()


def _values(model: Model) -> dict[str, np.ndarray]:
    return {name: np.array(value) for name, value in model.state_dict().items()}


def _unchanged(model: Model, before: dict[str, np.ndarray]) -> bool:
    return all(np.array_equal(value, before[name]) for name, value in model.state_dict().items())


# ------------------------------------------------------------------------------- state dicts


def test_state_dict_is_read_only_and_current(model) -> None:
    state = model.state_dict()
    with pytest.raises(ValueError, match="read-only"):
        state["norm.bias"][0] = 1
    with model.edit() as weights:
        weights["norm.bias"][0] = 7
    assert state["norm.bias"][0] == 7


def test_missing_unexpected_and_misshapen_keys_are_named_and_nothing_is_written(model) -> None:
    before = _values(model)
    state = {**before, "norm.weight": np.ones(3), "norm.wieght": np.ones(64)}
    state["blocks.0.mlp.fc1.bias"] = np.zeros(192, np.int64)
    state["cls_token"] = state["cls_token"] + 1
    del state["head.bias"], state["pos_embed"]
    with pytest.raises(ValueError) as caught:
        model.load_state_dict(state)
    for words in (
        "missing: pos_embed",
        "missing: head.bias",
        "unexpected: norm.wieght",
        "norm.weight: shape (3,), expected (64,)",
        "blocks.0.mlp.fc1.bias: dtype int64",
    ):
        assert words in str(caught.value)
    assert _unchanged(model, before)


def test_not_strict_passes_over_keys_but_not_over_shapes(model) -> None:
    keys = model.load_state_dict({"norm.bias": np.ones(64), "extra": np.ones(2)}, strict=False)
    assert keys.unexpected_keys == ["extra"]
    assert len(keys.missing_keys) == len(model.state_dict()) - 1
    assert np.all(model.norm.bias.data == 1)
    with pytest.raises(ValueError, match=r"norm\.bias: shape \(65,\)"):
        model.load_state_dict({"norm.bias": np.ones(65)}, strict=False)


def test_values_that_are_no_numbers_are_refused_with_their_count(model) -> None:
    state = _values(model)
    state["norm.bias"][[3, 5]] = np.nan, np.inf
    with pytest.raises(ValueError, match=r"norm\.bias: 2 of 64 values .*allow_nonfinite"):
        model.load_state_dict(state)
    model.load_state_dict(state, allow_nonfinite=True)
    assert np.isnan(model.norm.bias.data[3])


def test_torch_tensors_and_other_precisions_are_converted(model) -> None:
    before = _values(model)
    for convert in (torch.tensor, np.float64, lambda v: v.astype(np.float32)):
        model.load_state_dict({k: convert(v) for k, v in before.items()})
        assert _unchanged(model, before)


def test_an_edit_that_fails_writes_nothing(model) -> None:
    before = _values(model)
    with pytest.raises(ZeroDivisionError), model.edit() as weights:
        weights["norm.bias"][:] = 3
        raise ZeroDivisionError
    with pytest.raises(ValueError, match=r"norm\.bias"), model.edit() as weights:
        weights["norm.weight"][:] = 3
        weights["norm.bias"] = np.zeros(3)
    assert _unchanged(model, before)


def test_an_edit_changes_the_next_forward(model) -> None:
    x = images(1, model)
    model(x)
    with model.edit() as weights:
        for value in weights.values():
            value *= 1.5
    fresh = create_model("test_vit", num_classes=4, depth=1).eval()
    fresh.load_state_dict(model.state_dict())
    assert np.array_equal(model(x), fresh(x))  # no packed copy is stale


# ------------------------------------------------------------------------------- files


def test_a_file_goes_out_and_comes_in(model, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    model.save(path)
    other = create_model("test_vit", num_classes=4, depth=1, checkpoint_path=path)
    assert _unchanged(other, _values(model))
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


def test_timm_reads_our_files_and_we_read_timms(tmp_path: Path) -> None:
    ours, theirs = pair("test_vit", num_classes=4)
    ours.save(tmp_path / "ours.safetensors")
    reader = timm.create_model(
        "test_vit", num_classes=4, checkpoint_path=str(tmp_path / "ours.safetensors")
    )
    for name, value in reader.state_dict().items():
        assert np.array_equal(value.numpy(), ours.state_dict()[name])
    reader = timm.create_model("test_vit", num_classes=4)
    safetensors.torch.save_file(reader.state_dict(), tmp_path / "timm.safetensors")
    ours.load(tmp_path / "timm.safetensors")
    assert _unchanged(ours, {k: v.numpy() for k, v in reader.state_dict().items()})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_files_of_other_precisions_are_read(model, tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = {k: torch.tensor(v).to(dtype) for k, v in model.state_dict().items()}
    safetensors.torch.save_file(tensors, tmp_path / "m.safetensors")
    model.load(tmp_path / "m.safetensors")
    assert _unchanged(model, {k: v.float().numpy() for k, v in tensors.items()})


def test_bad_files_are_named(model, tmp_path: Path) -> None:
    path, before = tmp_path / "m.safetensors", _values(model)
    with pytest.raises(FileNotFoundError, match=r"m\.safetensors"):
        model.load(path)
    model.save(path)
    content = path.read_bytes()
    for damaged in (content[:-100], content[:50], b"", b"\xff" * 200):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"m\.safetensors is not a readable .*safetensors"):
            model.load(path)
    create_model("test_vit", num_classes=5, depth=1).save(path)
    with pytest.raises(ValueError, match=r"m\.safetensors.*\n.*head\.weight: shape \(5, 64\)"):
        model.load(path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        model.save(tmp_path / "nowhere" / "m.safetensors")
    assert _unchanged(model, before)


def test_an_interrupted_write_leaves_the_old_file(model, tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "m.safetensors"
    model.save(path)
    content = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        model.save(path)
    assert path.read_bytes() == content
    assert [item.name for item in tmp_path.iterdir()] == [path.name]
