"""Memory of the core: known before it is used, still while training, given back after failure.

The oracle is the counter of the core's only allocator, `_vitc.memory()`, compared to the byte.
"""

import gc
import pickle
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

import vitc
import vitc.export
from oracle.static import static
from vitc import _vitc
from vitc import functional as F
from vitc.models.model import Model
from vitc.models.vision_transformer import Config
from vitc.program import file as program_file
from vitc.tape import clock

SIZES = dict(num_classes=5, img_size=48, depth=2, drop_rate=0.1, drop_path_rate=0.2)


@pytest.fixture(autouse=True)
def _start() -> Iterator[None]:
    gc.collect()
    gc.freeze()  # what other tests keep is not looked through at every count
    clock.seed = 0
    clock.begin(0)
    yield
    _vitc.fail_allocation(0)
    gc.unfreeze()


def alive() -> tuple[int, int]:
    """(bytes, blocks) that the core holds."""
    gc.collect()
    now = _vitc.memory()
    return now["bytes"], now["blocks"]


def make() -> Model:
    return vitc.create_model("test_vit", **SIZES)


def batch(size: int) -> np.ndarray:
    return np.random.default_rng(size).standard_normal((size, 3, 48, 48)).astype(np.float32)


class Loop:
    """Forward, loss, backward and AdamW by hand."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.moments = [model.params.new_buffer() for _ in range(2)]
        self.steps = 0

    def step(self, size: int) -> None:
        params = self.model.params
        self.model.zero_grad()
        F.cross_entropy(self.model(batch(size)), np.arange(size)).backward()
        self.steps += 1
        _vitc.adamw_step(
            params,
            *self.moments,
            range(len(params)),
            step=self.steps,
            lr=1e-3,
            betas=(0.9, 0.999),
            eps=1e-8,
            weight_decay=0.01,
            l2=0.0,
            threads=2,
        )


# ---------------------------------------------------------------------------------------- known


def test_the_counter_stands_still_from_step_three_on() -> None:
    loop = Loop(make())
    for size in (4, 4):
        loop.step(size)
    before = _vitc.memory()
    for size in (4, 4, 3, 1, 4):  # a smaller batch uses the memory of the larger
        loop.step(size)
        assert _vitc.memory() == before


def program_of(model: Model) -> _vitc.Program:
    return model._build("forward", True, model.config.img_size).core


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("capacity", "threads"), [(1, 1), (3, 2), (16, 8)])
def test_a_run_holds_what_the_plan_says(training: bool, capacity: int, threads: int) -> None:
    model = make()
    plan = _vitc.Plan(program_of(model), model.params, training=training, input_gradients=training)
    before, _ = alive()
    run = _vitc.Run(plan, capacity, threads)
    assert alive()[0] - before == run.nbytes == plan.nbytes(capacity, threads)
    run.forward([batch(min(capacity, 3))])
    assert alive()[0] - before == run.nbytes


def test_all_of_training_is_the_parts_the_user_is_told() -> None:
    """Values, gradients and two moments have one layout; besides them there is only the run."""
    model = make()
    params = model.params
    values = params.nbytes
    rows = sum(4 * np.prod(shape) for shape in params.shapes)
    assert rows <= values <= rows + 64 * len(params)
    plan = _vitc.Plan(program_of(model), params, training=True)
    before, _ = alive()
    run, moments = _vitc.Run(plan, 4, 2), [params.new_buffer() for _ in range(2)]
    assert [m.nbytes for m in moments] == [values, values]
    (logits,) = run.forward([batch(4)])
    run.backward([np.ones_like(logits)])
    assert params.nbytes == 2 * values  # gradients are there since the first backward
    assert alive()[0] - before == plan.nbytes(4, 2) + 3 * values
    del run, moments
    assert alive()[0] - before == values


def kept_by(c: Config, tokens: int) -> int:
    """Bytes that backward needs of one image: per block the two residual streams, qkv, the output
    of attention and the hidden layer before GELU. Norms and GELU are computed again."""
    return 4 * tokens * c.depth * (2 * c.embed_dim + 3 * c.embed_dim + c.embed_dim + c.hidden)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_small_patch16_224"])
def test_no_array_of_tokens_by_tokens_exists(name: str) -> None:
    model = vitc.create_model(name, num_classes=10)
    c = model.config
    tokens = c.num_patches + 1
    plan = _vitc.Plan(
        model._build("forward", False, model.config.img_size).core, model.params, training=True
    )
    image, hidden = 4 * 3 * 224 * 224, 4 * tokens * c.hidden
    # What is kept, the image, and in backward two gradients as wide as the hidden layer.
    bound = kept_by(c, tokens) + image + 2.1 * hidden
    assert plan.image_bytes <= bound
    one_layer = 4 * c.num_heads * tokens**2
    assert bound - plan.image_bytes < one_layer  # there is no room for the scores of a single layer


def test_memory_grows_with_the_tokens_not_with_their_square() -> None:
    per_token = []
    for size in (224, 448, 896):
        model = vitc.create_model("vit_tiny_patch16_224", num_classes=10, img_size=size, depth=2)
        program = model._build("forward", False, model.config.img_size).core
        plan = _vitc.Plan(program, model.params, training=True)
        per_token.append(plan.image_bytes / (model.config.num_patches + 1))
    assert max(per_token) < 1.02 * min(per_token)


# ---------------------------------------------------------------------------------------- failing


def size_of(model: Model) -> int:
    """Bytes of its weights that are packed: those of its linear layers."""
    return sum(4 * model.state_dict()[name].size for name in model.linear_weights())


PACKS = _vitc.config()["onednn"] != "none" and _vitc.config()["isa"] != "ref"
packs = pytest.mark.skipif(not PACKS, reason="nothing packs here")
WAYS = {
    "float32": lambda model: model,
    "dynamic": vitc.quantize,
    "static": lambda model: static(model, reach=4),
}


@pytest.mark.parametrize("way", WAYS)
def test_programs_of_one_model_share_their_packed_weights(way: str) -> None:
    options = dict(dynamic_img_size=True, num_classes=7, img_size=32)
    model = WAYS[way](vitc.create_model("test_vit", **options).eval())
    x = np.random.default_rng(0).standard_normal((1, 3, 32, 32)).astype(np.float32)
    assert model.params.packed_bytes == 0
    calls = (model.forward_features, model.forward_intermediates, model.attention_maps)
    with vitc.no_grad():
        before = np.array(model(x))
        once = model.params.packed_bytes
        assert once < 1.1 * size_of(model) + 100_000 and (once > 0 or not PACKS)
        for call in (*calls, model):
            call(x)
        for size in (48, 64, 80, 96):
            model(np.zeros((2, 3, size, size), np.float32))
        assert model.params.packed_bytes == once
        # All of them see new values.
        features = np.array(model.forward_features(x))
        model.load_state_dict(model.state_dict() | {"head.bias": np.ones(7, np.float32)})
        name = "blocks.3.mlp.fc1.weight"
        model.load_state_dict(model.state_dict() | {name: -model.state_dict()[name]})
        again = np.array(model.forward_features(x))
        assert np.abs(again - features).max() > 1e-3
        fresh = deepcopy(model)
        assert np.array_equal(fresh.forward_features(x), again)
        assert np.array_equal(fresh(x), model(x)) and not np.array_equal(model(x), before)
    model._pool._plans.clear()
    gc.collect()
    assert model.params.packed_bytes == 0


def test_other_products_have_packed_weights_of_their_own() -> None:
    """A program in another precision, or one that pairs a weight with another bias."""
    entries = [("w", (64, 64)), ("b", (64,)), ("c", (64,))]
    params, x = _vitc.Params(entries), np.ones((1, 3, 64), np.float32)
    params.write(0, np.eye(64, dtype=np.float32) * np.float32(1.01))
    params.write(2, np.ones(64, np.float32))
    shapes = [shape for _, shape in entries]
    made = [
        _vitc.Program([(3, 64)], shapes, [("linear", (0,), (0, bias), {})], [1]) for bias in (1, 2)
    ]
    plans = [_vitc.Plan(program, params) for program in (*made, made[0])]
    first, second, third = (_vitc.Run(plan, 1, 1).forward([x])[0] for plan in plans)
    assert np.array_equal(first, third) and np.array_equal(second, first + 1)
    held = params.packed_bytes
    assert held == 2 * plans[0].fixed_bytes
    if _vitc.config()["bf16"]:
        plans.append(_vitc.Plan(made[0], params, bf16=True))
        rounded = _vitc.Run(plans[-1], 1, 1).forward([x])[0]
        assert params.packed_bytes > held and not np.array_equal(rounded, first)
        assert np.array_equal(_vitc.Run(plans[0], 1, 1).forward([x])[0], first)
    plans.clear()
    assert params.packed_bytes == 0


# ------------------------------------------------------------------------------- what rests


def rested(way: str = "float32", **options: Any) -> tuple[Model, dict[str, bytes]]:
    """A model whose packed weights have been used, and the values that it was given."""
    vitc.seed_everything(5)
    source = vitc.create_model("test_vit", num_classes=7, img_size=32, **options).eval()
    model = WAYS[way](source)
    state = {name: np.array(value) for name, value in model.state_dict().items()}
    model = deepcopy(model)  # whose values nobody has seen
    with vitc.no_grad():
        model(pictures())
    return model, {name: value.tobytes() for name, value in state.items()}


def pictures(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((2, 3, 32, 32)).astype(np.float32)


def bytes_of(model: Model) -> dict[str, bytes]:
    return {name: value.tobytes() for name, value in model.state_dict().items()}


@packs
@pytest.mark.parametrize("way", WAYS)
def test_what_is_packed_rests_and_comes_back(way: str) -> None:
    model, given = rested(way)
    assert model.params.resting_bytes > 0.8 * sum(
        len(given[name]) for name in model.linear_weights() if len(given[name]) >= 1 << 14
    )
    with vitc.no_grad():
        before = np.array(model(pictures()))
        assert bytes_of(model) == given and model.params.resting_bytes == 0
        assert np.array_equal(model(pictures()), before)
        # Arrays that somebody has hold what they held, whatever is packed again.
        views = model.state_dict()
        model.load_state_dict(model.state_dict() | {"head.bias": np.ones(7, np.float32)})
        model(pictures())
        assert model.params.resting_bytes == 0
        assert {n: v.tobytes() for n, v in views.items() if n != "head.bias"} == {
            n: v for n, v in given.items() if n != "head.bias"
        }


@packs
def test_plans_that_read_the_values_themselves_find_them() -> None:
    """Training, another precision, a plan that goes with the packed copies."""
    model, given = rested()
    x = pictures()
    F.cross_entropy(model(x), [0, 1]).backward()
    assert model.params.resting_bytes == 0
    vitc.optim.SGD(model.parameters(), lr=0.0).step()
    assert bytes_of(model) == given
    with vitc.no_grad():
        model(x)
    assert model.params.resting_bytes == 0  # a table that is trained keeps its values

    model, given = rested()
    model._pool._plans.clear()
    gc.collect()
    assert model.params.packed_bytes == model.params.resting_bytes == 0
    assert bytes_of(model) == given

    model, given = rested()
    if _vitc.config()["bf16"]:
        model.precision = "bf16"
        with vitc.no_grad():
            rounded = np.array(model(x))
        assert model.params.resting_bytes == 0  # rounded weights do not come back
        model.precision = "float32"
        fresh = deepcopy(model)
        assert bytes_of(model) == given
        fresh.precision = "bf16"
        with vitc.no_grad():
            assert np.array_equal(fresh(x), rounded)


@packs
@pytest.mark.parametrize("way", WAYS)
def test_what_rests_is_written_saved_averaged_and_copied(way: str, tmp_path: Path) -> None:
    model, given = rested(way)
    again = pickle.loads(pickle.dumps(model))
    assert bytes_of(again) == given
    model, given = rested(way)
    model.save(tmp_path / "m.safetensors")
    again = vitc.create_model("test_vit", num_classes=7, img_size=32,
                              checkpoint_path=tmp_path / "m.safetensors")  # fmt: skip
    assert bytes_of(again) == given
    model, given = rested(way)
    file = vitc.export.program(model, tmp_path / "m.vitc")
    loaded = program_file.load(file).params
    assert [loaded.view(i).tobytes() for i in range(len(loaded))] == list(given.values())
    assert model.params.resting_bytes == 0 and bytes_of(model) == given
    model, given = rested(way)
    name = "blocks.0.mlp.fc1.weight"
    values = np.zeros(model.shapes[name], model._parameters[name].dtype)
    model.params.write(model.params.names.index(name), values)
    assert bytes_of(model) == given | {name: values.tobytes()}
    (mean, given), (other, _) = rested(way), rested(way)
    _vitc.average(mean.params, other.params, 0.5)
    assert bytes_of(mean) == bytes_of(other) == given


@packs
def test_a_gradient_that_is_given_wakes_the_values() -> None:
    model, given = rested()
    for parameter in model.parameters():
        parameter.grad = np.zeros(parameter.shape, np.float32)
    assert model.params.resting_bytes == 0
    vitc.optim.SGD(model.parameters(), lr=1.0).step()
    with vitc.no_grad():
        model(pictures())
    assert model.params.resting_bytes == 0  # a table that is trained keeps its values
    assert bytes_of(model) == given


@packs
def test_threads_that_look_while_others_predict_see_the_values() -> None:
    model, given = rested()
    with vitc.no_grad():
        expected = np.array(model(pictures()))
    assert model.params.resting_bytes > 0
    wrong = []

    def look() -> None:
        for i in range(len(model.params)):
            wrong.extend(
                name
                for name in [model.params.names[i]]
                if model.params.view(i).tobytes() != given[name]
            )

    def predict() -> None:
        with vitc.no_grad():
            for _ in range(5):
                model.params.write(len(model.params) - 1, np.frombuffer(given["head.bias"], "f4"))
                wrong.extend([1] if not np.array_equal(model(pictures()), expected) else [])

    threads = [Thread(target=target) for target in (look, predict, predict)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and bytes_of(model) == given


def fail_each_allocation(work: Callable[[], None]) -> int:
    """Lets the n-th allocation of work fail, n = 1, 2, ... until there is none left; how many."""
    work()  # the products it opens stay in their cache
    before = alive()
    for n in range(1, 10_000):
        _vitc.fail_allocation(n)
        failed = False
        try:
            work()
        except MemoryError:
            failed = True  # what the exception holds on to goes with it
        _vitc.fail_allocation(0)
        assert alive() == before, f"allocation {n}"
        if not failed:
            return n - 1
    raise AssertionError("no end")


def test_every_allocation_of_the_core_may_fail() -> None:
    """From parameters to an optimizer step, with the objects of the core."""
    rows = [("w", (3, 4)), ("b", (3,)), ("g", (3,)), ("h", (3,))]
    operations = [("linear", (0,), (0, 1), {}), ("norm", (1,), (2, 3), {"eps": 1e-6})]

    def work() -> None:
        params = _vitc.Params(rows)
        program = _vitc.Program([(2, 4)], [shape for _, shape in rows], operations, [2])
        plan = _vitc.Plan(program, params, training=True, input_gradients=True)
        run = _vitc.Run(plan, 2, 2)
        (y,) = run.forward([np.ones((2, 2, 4), np.float32)])
        run.backward([y])
        m, v = params.new_buffer(), params.new_buffer()
        options = dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, l2=0.0)
        _vitc.adamw_step(params, m, v, range(4), step=1, threads=1, **options)
        _vitc.Run(_vitc.Plan(program.lower(), params), 1, 1).forward(
            [np.ones((1, 2, 4), np.float32)]
        )

    assert fail_each_allocation(work) > 40


def test_every_allocation_of_a_model_may_fail() -> None:
    def work() -> None:
        loop = Loop(make())
        loop.step(2)
        loop.step(3)

    assert fail_each_allocation(work) > 60


def test_a_model_is_usable_after_each_failure() -> None:
    """The step that failed, tried again, gives the bits that it gives without a failure."""
    expected: dict[str, np.ndarray] = {}
    n = 0
    while True:
        n += 1
        model = make()
        clock.begin(0)
        _vitc.fail_allocation(n)
        failed = False
        try:
            Loop(model).step(2)
        except MemoryError:
            failed = True
        _vitc.fail_allocation(0)
        if failed:
            assert not model._pool._live
            clock.begin(0)
            Loop(model).step(2)
        state = {name: np.array(value) for name, value in model.state_dict().items()}
        expected = expected or state if failed else state
        if not failed:
            break
        assert all(np.array_equal(state[name], expected[name]) for name in state), n
    assert n > 20
