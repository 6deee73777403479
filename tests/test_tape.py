"""vitc.tape: what keeps a gradient, what does not, and when memory is given back."""

import gc
import warnings

import numpy as np
import pytest
import torch

from vitc import functional as F
from vitc import nn
from vitc.errors import VitcError
from vitc.models import create_model
from vitc.tape import Output, close_window, grad_enabled, no_grad

RNG = np.random.default_rng(0)
X, LABELS = RNG.standard_normal((6, 8)), np.array([0, 1, 2, 0, 1, 2])


@pytest.fixture
def layer() -> nn.Linear:
    return nn.Linear(8, 3, dtype="float64")


def torch_gradient(layer: nn.Linear, x: np.ndarray, labels: np.ndarray, weight=None) -> np.ndarray:
    w = torch.tensor(layer.weight.data, requires_grad=True)
    out = torch.nn.functional.linear(torch.tensor(x), w, torch.tensor(layer.bias.data))
    torch.nn.functional.cross_entropy(out, torch.tensor(labels), weight=weight).backward()
    return w.grad.numpy()


# ------------------------------------------------------------------------------- outputs


def test_slices_and_arithmetic_are_plain_arrays(layer) -> None:
    out = layer(X)
    for plain in (
        out[:2],
        out[0, 0],
        out + 1,
        -out,
        out * out,
        out * np.ones(3),
        np.exp(out),
        2 / out,
        out.mean(),
        out.sum(0),
        out.argmax(1),
    ):
        assert not isinstance(plain, Output)
    for taped in (out * 2, 2 * out, out / 2, out * np.float64(3), out * 2 / 3):
        assert taped.edge is not None
    assert (nn.Linear(8, 3)(X) * np.float64(3)).dtype == np.float32


def test_outputs_are_read_only_and_know_torchs_names(layer) -> None:
    out = layer(X)
    with pytest.raises(ValueError, match="read-only"):
        out *= 2
    assert np.array_equal(out.argmax(dim=1), np.asarray(out).argmax(1))
    np.testing.assert_allclose(out.softmax(dim=1).sum(1), 1)
    assert out.detach().edge is None and np.array_equal(out.detach(), out)
    assert isinstance(layer(X[:1])[0, 0].item(), float)


def test_arithmetic_on_logits_before_a_loss_is_refused(layer) -> None:
    out = layer(X)
    with pytest.raises(VitcError, match="straight from the model"):
        F.cross_entropy(out + 1, LABELS).backward()
    with pytest.raises(VitcError, match="straight from the model"):
        (F.cross_entropy(out[:, :3], LABELS) + F.cross_entropy(out, LABELS)).backward()
    constant = F.cross_entropy(out + 1, LABELS).detach()
    (F.cross_entropy(out, LABELS) + constant).backward()
    np.testing.assert_allclose(layer.weight.grad, torch_gradient(layer, X, LABELS), rtol=1e-12)


def test_no_grad_nests_and_decorates(layer) -> None:
    with no_grad():
        with no_grad():
            pass
        assert not grad_enabled()
        assert layer(X).edge is None
    assert grad_enabled()
    assert no_grad()(layer)(X).edge is None
    with pytest.raises(ZeroDivisionError), no_grad():
        raise ZeroDivisionError
    assert grad_enabled()


def test_a_frozen_model_records_nothing(layer) -> None:
    assert layer.requires_grad_(False)(X).edge is None


# ------------------------------------------------------------------------------- losses


def test_losses_add_and_scale(layer) -> None:
    out = layer(X)
    one, two = F.cross_entropy(out, LABELS), F.cross_entropy(out, LABELS[::-1])
    assert float(sum([one, two])) == pytest.approx(float(one) + float(two))
    assert float(one * 3 - two / 2 + 1) == pytest.approx(3 * float(one) - float(two) / 2 + 1)
    assert f"{one:.3f}" == f"{float(one):.3f}" and one.item() == float(one)
    with pytest.raises(TypeError):
        one * two


def test_losses_of_different_weight_cannot_be_added(layer) -> None:
    out = layer(X)
    with pytest.raises(ValueError, match="weight 6 and 4"):
        F.cross_entropy(out, LABELS) + F.cross_entropy(out, LABELS, weight=[1.0, 0.5, 0.5])


def test_a_second_backward_is_refused(layer) -> None:
    loss = F.cross_entropy(layer(X), LABELS)
    loss.backward()
    before = np.array(layer.weight.grad)
    with pytest.raises(VitcError, match="already used by a backward"):
        loss.backward()
    assert np.array_equal(layer.weight.grad, before)


def test_weights_changed_before_backward_are_refused(layer) -> None:
    loss = F.cross_entropy(layer(X), LABELS)
    with layer.edit() as weights:
        weights["bias"] += 1
    with pytest.raises(VitcError, match="changed between"):
        loss.backward()


def test_gradients_flow_through_a_chain_of_models() -> None:
    first, second = nn.Linear(8, 4, dtype="float64"), nn.Linear(4, 3, dtype="float64")
    F.cross_entropy(second(first(X) * 2.0), LABELS).backward()
    w = torch.tensor(first.weight.data, requires_grad=True)
    hidden = torch.nn.functional.linear(torch.tensor(X), w, torch.tensor(first.bias.data)) * 2
    out = torch.nn.functional.linear(
        hidden, torch.tensor(second.weight.data), torch.tensor(second.bias.data)
    )
    torch.nn.functional.cross_entropy(out, torch.tensor(LABELS)).backward()
    np.testing.assert_allclose(first.weight.grad, w.grad.numpy(), rtol=1e-12)


def test_a_frozen_head_passes_the_gradient_on() -> None:
    first, second = nn.Linear(8, 4, dtype="float64"), nn.Linear(4, 3, dtype="float64")
    second.requires_grad_(False)
    F.cross_entropy(second(first(X)), LABELS).backward()
    assert np.any(first.weight.grad) and second.weight.grad is None


def test_two_forwards_of_one_model_add_up(layer) -> None:
    (F.cross_entropy(layer(X), LABELS) + F.cross_entropy(layer(X * 2), LABELS)).backward()
    expected = torch_gradient(layer, X, LABELS) + torch_gradient(layer, X * 2, LABELS)
    np.testing.assert_allclose(layer.weight.grad, expected, rtol=1e-12)


# ------------------------------------------------------------------------------- windows


def test_a_window_divides_once_by_the_total_weight(layer) -> None:
    """Batches of 4 and 2 accumulate to the mean over 6, whenever it is read or closed."""
    expected = torch_gradient(layer, X, LABELS)
    for cut in (slice(0, 4), slice(4, 6)):
        F.cross_entropy(layer(X[cut]), LABELS[cut]).backward()
    np.testing.assert_allclose(layer.weight.grad, expected, rtol=1e-12)
    for _ in range(2):
        close_window(layer.parameters())
        np.testing.assert_allclose(layer.weight.grad, expected, rtol=1e-12)


def test_a_closed_window_opens_again(layer) -> None:
    F.cross_entropy(layer(X[:4]), LABELS[:4]).backward()
    close_window([layer])
    F.cross_entropy(layer(X[4:]), LABELS[4:]).backward()
    np.testing.assert_allclose(layer.weight.grad, torch_gradient(layer, X, LABELS), rtol=1e-12)


def test_zero_grad_starts_a_new_window(layer) -> None:
    F.cross_entropy(layer(X * 3), LABELS).backward()
    layer.zero_grad()
    assert layer.weight.grad is None
    F.cross_entropy(layer(X[:4]), LABELS[:4]).backward()
    np.testing.assert_allclose(
        layer.weight.grad, torch_gradient(layer, X[:4], LABELS[:4]), rtol=1e-12
    )


def test_class_weights_accumulate_exactly(layer) -> None:
    weight = np.array([1.0, 0.2, 3.0])
    for cut in (slice(0, 1), slice(1, 6)):
        F.cross_entropy(layer(X[cut]), LABELS[cut], weight=weight).backward()
    expected = torch_gradient(layer, X, LABELS, torch.tensor(weight))
    np.testing.assert_allclose(layer.weight.grad, expected, rtol=1e-12)


# ------------------------------------------------------------------------------- memory


def _model():
    return create_model("test_vit", num_classes=3, img_size=32, depth=1)


def test_runs_go_back_when_outputs_die_and_after_backward() -> None:
    model, x = _model(), np.zeros((2, 3, 32, 32), np.float32)
    out = model(x)
    assert len(model._pool._live) == 1
    del out
    gc.collect()
    assert not model._pool._live
    loss = F.cross_entropy(model(x), [0, 1])
    assert len(model._pool._live) == 1
    loss.backward()
    assert not model._pool._live
    homes = model._pool._plans.values()
    assert [len(home.idle) for home in homes] == [1]  # one run served both


def test_a_smaller_batch_reuses_the_larger_run() -> None:
    model = _model().eval()
    with no_grad():
        for batch in (4, 2, 3):
            model(np.zeros((batch, 3, 32, 32), np.float32))
        (home,) = model._pool._plans.values()
        assert [run.capacity for run in home.idle] == [4]
        model(np.zeros((5, 3, 32, 32), np.float32))
    assert [run.capacity for run in home.idle] == [5]


def test_many_live_forwards_warn_and_name_detach() -> None:
    model, x = _model(), np.zeros((1, 3, 32, 32), np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kept = [model(x) for _ in range(4)]
        for i in range(4):
            kept[i] = kept[i].detach()
        kept = [model(x) for _ in range(4)]
    with pytest.warns(UserWarning, match=r"[56] forward passes.*\.detach\(\)") as caught:
        kept += [model(x), model(x)]
    assert caught[0].filename == __file__


def test_plans_are_kept_for_every_mask_in_use_and_dropped_when_old() -> None:
    model, x = _model(), np.zeros((1, 3, 32, 32), np.float32)
    for i in range(12):
        model.requires_grad_(True)
        list(model.parameters())[i].requires_grad = False
        model(x)
    assert len(model._pool._plans) == 8


def test_a_gradient_is_read_only_before_and_after_its_window_is_closed() -> None:
    """Writing into a copy would change nothing, and say nothing."""
    layer = nn.Linear(3, 2)
    loss = F.cross_entropy(layer(np.ones((4, 3), np.float32)), [0, 1, 0, 1])
    loss.backward()
    for _ in range(2):
        with pytest.raises(ValueError, match="read-only"):
            layer.weight.grad[...] = 0
        close_window(layer.parameters())
