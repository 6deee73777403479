"""No bit of a gradient depends on how a batch is cut, in any architecture.

Reduced to two narrow blocks (`oracle.reduced`), each option kept, parameters redrawn. By
default one architecture of each set of operations; `pytest -m long -s` takes all distinct programs
and prints its lines of benchmarks/results/cuts.md.
"""

from itertools import accumulate, pairwise

import numpy as np
import pytest

from oracle import images, redrawn, reduced
from vitc import _vitc
from vitc import functional as F
from vitc.models import create_model, list_models
from vitc.models.model import Model
from vitc.tape import clock

CUTS = {6: [(2, 4), (1,) * 6], 5: [(2, 3)]}
PRECISIONS = ["float32", "bf16"] if _vitc.config()["bf16"] else ["float32"]


def built(name: str) -> Model:
    model = create_model(name, **reduced(name))
    model.load_state_dict(redrawn(model.shapes, "float32"))
    return model


def program(name: str) -> list[dict]:
    return built(name)._forward_program(True).core.operations


def kinds(name: str) -> str:
    return repr(sorted({op["kind"] for op in program(name)}))


def first_of_each(key) -> list[str]:
    """The first architecture of each value of the key."""
    return list({key(name): name for name in reversed(list_models())}.values())


def gradients(model: Model, x: np.ndarray, cut: tuple[int, ...]) -> dict[str, bytes]:
    model.zero_grad()
    for start, end in pairwise(accumulate(cut, initial=0)):
        labels = np.arange(start, end) % model.num_classes
        clock.begin(0, row=start)  # some architectures drop values by default
        F.cross_entropy(model(x[start:end]), labels).backward()
    return {name: p.grad.tobytes() for name, p in model.named_parameters()}


def assert_cuts_change_nothing(name: str, precision: str) -> None:
    model = built(name)
    model.precision = precision
    for batch, cuts in CUTS.items():
        x = images(batch, model)
        whole = gradients(model, x, (batch,))
        for cut in cuts:
            parts = gradients(model, x, cut)
            differ = [key for key in whole if parts[key] != whole[key]]
            assert not differ, (name, precision, cut, differ)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", first_of_each(kinds))
def test_no_gradient_depends_on_the_cut(name: str, precision: str) -> None:
    assert_cuts_change_nothing(name, precision)


def test_the_comparison_sees_another_batch() -> None:
    model = built("test_vit2")
    x = images(2, model)
    assert gradients(model, x, (2,)) != gradients(model, x[::-1], (2,))


@pytest.mark.long
def test_no_gradient_of_any_architecture_depends_on_the_cut() -> None:
    distinct = first_of_each(lambda name: repr(program(name)))
    assert len(distinct) > 60
    for precision in PRECISIONS:
        for name in distinct:
            assert_cuts_change_nothing(name, precision)
        cuts = ", ".join("+".join(map(str, cut)) for cuts in CUTS.values() for cut in cuts)
        print(
            f"| {len(distinct)} of {len(list_models())} | {precision} | {cuts} | all bits equal |"
        )
