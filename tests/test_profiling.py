"""vitc.profile: the clock of a run, the work of each step, and the table of both."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vitc
from vitc import _vitc
from vitc.cli import main
from vitc.profiling import Peaks, Profile, Row, _Passing
from vitc.profiling.names import layer_names, pattern
from vitc.tape import clock

BF16 = [True, False] if _vitc.config()["bf16"] else [False]


def model(name: str = "test_vit", **options: Any) -> Any:
    return vitc.create_model(name, img_size=64, num_classes=5, **options).eval()


def images(made: Any, batch: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((batch, 3, 64, 64)).astype(made.params.dtype)


@cache
def profiled(*, train: bool = False, precision: str = "float32", batch: int = 2) -> Profile:
    made = vitc.quantize(model()) if precision == "int8" else model()
    if precision == "bf16":
        made.precision = "bf16"
    return vitc.profile(made, batch, train=train, seconds=0)


# ------------------------------------------------------------------------------- the clock


def passed(run: Any, x: np.ndarray, training: bool, params: Any) -> list[np.ndarray]:
    """Everything that a pass gives: outputs, and gradients of all parameters."""
    found = list(run.forward([x], seed=3))
    if training:
        params.zero_gradients()
        run.backward([np.ones_like(y) for y in found])
        found += [np.array(params.gradient(i)) for i in range(len(params))]
    return found


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("bf16", BF16)
@pytest.mark.parametrize("training", [False, True])
def test_a_profile_changes_no_bit(training: bool, bf16: bool, threads: int) -> None:
    made = model(drop_path_rate=0.2)
    program = made.program(training=training)
    plan = _vitc.Plan(program.core, made.params, training=training, bf16=bf16)
    run, x = _vitc.Run(plan, 3, threads), images(made, 3)
    before = passed(run, x, training, made.params)
    run.profile()
    during = passed(run, x, training, made.params)
    assert len(before) == len(during) > 0
    for a, b in zip(before, during, strict=True):
        assert a.tobytes() == b.tobytes()


def test_times_are_counted_from_zero_and_not_without_being_asked() -> None:
    made = model()
    plan = _vitc.Plan(made.program().core, made.params)
    run, x = _vitc.Run(plan, 2, 2), images(made, 2)
    run.forward([x])
    steps, phases = run.times()
    assert len(steps) == len(plan.steps) and {*steps, *phases} == {(0, 0.0)}
    run.profile()
    run.forward([x])
    run.forward([x])
    twice = [count for count, _ in run.times()[0]]
    run.profile()
    run.forward([x])
    once = [count for count, _ in run.times()[0]]
    assert twice == [2 * count for count in once]
    for step, count in zip(plan.steps, once, strict=True):
        assert (count == 0) == (step["pass"] == "pack")  # the first pass has packed


@pytest.mark.parametrize("threads", [1, 2])
def test_every_task_counts_once(threads: int) -> None:
    made = model()
    plan = _vitc.Plan(made.program().core, made.params, tile_rows=1)
    run = _vitc.Run(plan, 3, threads)
    run.profile()
    run.forward([images(made, 3)])
    steps, phases = run.times()
    for step, (count, seconds) in zip(plan.steps, steps, strict=True):
        heads = made.blocks[0].attn.num_heads if step["lane"] == "parts" else 1
        assert count == (1 if step["pass"] == "pack" else 3 * heads)  # 17 rows are one strip
        assert seconds > 0
    for number in {step["phase"] for step in plan.steps}:
        busy = sum(t for s, (_, t) in zip(plan.steps, steps, strict=True) if s["phase"] == number)
        assert phases[number][0] == 1 and 0 < busy <= threads * phases[number][1]


def test_a_run_in_use_is_not_profiled() -> None:
    from threading import Thread

    made = model()
    plan = _vitc.Plan(made.program().core, made.params)
    run, x = _vitc.Run(plan, 64, 1), images(made, 64)
    refused = []
    thread = Thread(target=lambda: [run.forward([x]) for _ in range(20)])
    thread.start()
    while thread.is_alive():
        try:
            run.profile()
        except vitc.VitcError as error:
            refused.append(str(error))
            break
    thread.join()
    assert refused == ["this run is in use by another thread"]


@pytest.mark.parametrize("n", [1, 2])
def test_without_memory_there_is_no_profile(n: int) -> None:
    made = model()
    run = _vitc.Run(_vitc.Plan(made.program().core, made.params), 1, 1)
    _vitc.fail_allocation(n)
    try:
        if n == 1:
            with pytest.raises(MemoryError):
                run.profile()
        else:
            run.profile()  # one allocation is all it takes
    finally:
        _vitc.fail_allocation(0)
    run.profile()


# ------------------------------------------------------------------------------- work


def steps_of(**options: Any) -> dict[tuple[str, str, str], dict[str, Any]]:
    """By kind, way and layer, of test_vit with a frozen patch embedding."""
    made = model()
    made.patch_embed.requires_grad_(False)
    plan = _vitc.Plan(made.program().core, made.params, **options)
    layers = layer_names(made.program().core.lower(training=plan.training), made.params.names)
    total = sum(s["flops"] for s in plan.steps)
    assert total == plan.forward_flops + plan.backward_flops > 0
    return {(s["kind"], s["pass"], layers[s["operation"]]): s for s in plan.steps}


def test_the_work_of_a_step() -> None:
    tokens, width, hidden = 17, 64, 192  # of test_vit at 64 pixels
    found = steps_of(training=True, fuse=True)
    product = 2 * tokens * width * hidden
    values, weight = 4 * tokens, 4 * width * hidden
    forward = found["linear", "forward", "blocks.0.mlp.fc1"]
    assert forward["flops"] == product and forward["precision"] == "float32"
    assert forward["image_bytes"][1] == values * hidden  # kept for backward
    read, written = forward["fixed_bytes"]  # a packed weight may be padded
    assert weight + 4 * hidden <= read < 1.2 * weight and written == 0
    backward = found["linear", "backward", "blocks.0.mlp.fc1"]
    assert backward["flops"] == product and backward["fixed_bytes"][1] == 0
    sums = found["linear", "accumulate", "blocks.0.mlp.fc1"]
    assert sums["flops"] == product and sums["image_bytes"] == (values * (hidden + width), 0)
    assert sums["fixed_bytes"] == (0, weight + 4 * hidden)
    attention = found["attention", "forward", "blocks.0.attn"]
    assert attention["flops"] == 2 * 2 * tokens * tokens * width
    assert attention["image_bytes"] == (3 * values * width, values * width)
    assert found["attention", "backward", "blocks.0.attn"]["flops"] == 2.5 * attention["flops"]
    activation = found["activation", "forward", "blocks.0.mlp"]
    assert activation["precision"] is None and activation["flops"] == 0
    assert ("linear", "accumulate", "patch_embed.proj") not in found


def test_what_stays_in_a_strip_is_no_traffic() -> None:
    found = steps_of()
    norm = found["norm", "forward", "blocks.0.norm2"]
    assert norm["image_bytes"] == (0, 0) and norm["fixed_bytes"] == (2 * 4 * 64, 0)


@pytest.mark.skipif(not BF16[0], reason="no products of bfloat16 here")
def test_bfloat16_halves_what_is_kept() -> None:
    narrow, wide = (steps_of(training=True, bf16=b) for b in (True, False))
    key = "linear", "forward", "blocks.0.mlp.fc1"
    assert narrow[key]["precision"] == "bfloat16"
    assert 2 * narrow[key]["image_bytes"][1] == wide[key]["image_bytes"][1]


# ------------------------------------------------------------------------------- names


def test_operations_have_the_names_of_layers() -> None:
    made = model()
    lowered = made.program().core.lower()
    names = layer_names(lowered, made.params.names)
    found = [(op["kind"], name) for op, name in zip(lowered.operations, names, strict=True)]
    assert found[:3] == [("patchify", ""), ("linear", "patch_embed.proj"), ("tokens", "")]
    block = [
        ("norm", "blocks.0.norm1"),
        ("linear", "blocks.0.attn.qkv"),
        ("attention", "blocks.0.attn"),
        ("linear", "blocks.0.attn.proj"),
        ("add", "blocks.0.attn"),
        ("norm", "blocks.0.norm2"),
        ("linear", "blocks.0.mlp.fc1"),
        ("activation", "blocks.0.mlp"),
        ("linear", "blocks.0.mlp.fc2"),
        ("add", "blocks.0.mlp"),
    ]
    assert found[3:13] == block and found[-1] == ("linear", "head")


def test_layers_share_a_name() -> None:
    assert pattern(["blocks.0.fc1", "blocks.11.fc1"]) == "blocks.*.fc1"
    assert pattern(["blocks.3.fc1"] * 2) == "blocks.3.fc1"
    assert pattern(["norm1", "norm1"]) == "norm1" and pattern([""]) == ""


# ------------------------------------------------------------------------------- the result


@pytest.mark.parametrize("precision", ["float32", "int8", *(["bf16"] if BF16[0] else [])])
def test_the_rows_of_a_prediction(precision: str) -> None:
    found = profiled(precision=precision)
    assert (found.model, found.batch, found.train) == ("test_vit", 2, False)
    assert found.precision == ("int8 dynamic" if precision == "int8" else precision)
    assert sum(row.seconds for row in found.steps) == pytest.approx(found.seconds)
    assert sum(row.seconds for row in found.rows) == pytest.approx(found.seconds)
    assert [row.kind for row in found.steps[-2:]] == ["waiting", "outside"]
    assert all(row.seconds >= 0 for row in found.steps)
    assert {row.way for row in found.steps} == {"forward", ""}
    flops = model().run_flops(training=False, mode=False)[0]
    assert sum(row.flops for row in found.rows) == 2 * flops
    assert {row.precision for row in found.rows} - {""} == {*found.peaks.products}
    computed = {"float32": {"float32"}, "bf16": {"bfloat16"}, "int8": {"int8", "float32"}}
    assert {*found.peaks.products} == computed[precision]
    grouped = next(r for r in found.rows if r.layers == "blocks.*.mlp.fc1")
    assert grouped.steps == len(model().blocks) - 1  # of the last one only a row is computed


def test_the_rows_of_a_training_step() -> None:
    found = profiled(train=True)
    ways = [row.way for row in found.steps]
    assert {*ways} - {"pack"} == {"forward", "again", "backward", "accumulate", ""}
    assert ways[-4:] == [""] * 4
    kinds = [row.kind for row in found.steps[-4:]]
    assert kinds == ["cross_entropy", "adamw", "waiting", "outside"]
    assert sum(row.seconds for row in found.steps) == pytest.approx(found.seconds)
    flops = model().run_flops(training=True, mode=True)
    assert sum(row.flops for row in found.steps) == 2 * sum(flops)
    adamw = next(row for row in found.steps if row.kind == "adamw")
    assert adamw.read == 4 * 4 * sum(p.numel() for p in model().parameters())
    assert 4 * adamw.written == 3 * adamw.read
    assert "a training step of 2 images" in found.table()


def test_training_is_that_of_the_model() -> None:
    made = model(drop_path_rate=0.2)
    made.set_grad_checkpointing()
    rows = vitc.profile(made, train=True, seconds=0).rows
    assert ("drop_path", "forward") in {(row.kind, row.way) for row in rows}
    assert ("linear", "again") in {(row.kind, row.way) for row in rows}
    assert ("linear", "again") not in {(row.kind, row.way) for row in profiled(train=True).rows}
    pair = vitc.create_model("deit_tiny_distilled_patch16_224", img_size=32, depth=1).eval()
    pair.set_distilled_training()
    assert len(pair.program(training=True).outputs) == 2 > len(pair.program().outputs)
    rows = vitc.profile(pair, train=True, seconds=0).rows
    assert {"head", "head_dist"} <= {row.layers for row in rows if row.way == "accumulate"}


def test_busy_and_waiting_are_the_time_of_all_threads(monkeypatch: Any) -> None:
    now = iter([100.0, 200.0])
    passing = _Passing(model(), 2)
    passing.once()
    monkeypatch.setattr("vitc.profiling.perf_counter", lambda: next(now))
    *steps, waiting, outside = passing.profiled()
    counted, phases = passing.run.times()
    inside = sum(seconds for _, seconds in phases)
    busy = sum(seconds for _, seconds in counted)
    assert passing.threads * waiting + busy == pytest.approx(passing.threads * inside)
    assert sum(steps) == pytest.approx(busy / passing.threads) and waiting >= 0
    assert outside == pytest.approx(100 - inside)


def test_a_profile_leaves_nothing_behind() -> None:
    made = model().train()
    before = {name: np.array(value) for name, value in made.state_dict().items()}
    tick, allocated = clock.tick(), None
    for train in (False, True, False, True):
        vitc.profile(made, train=train, seconds=0)
        now = _vitc.memory()["bytes"]
        if train:
            assert allocated in (None, now)
            allocated = now
    assert made.training and all(p.grad is None for p in made.parameters())
    for name, value in made.state_dict().items():
        assert value.tobytes() == before[name].tobytes()
    after = clock.tick()
    assert after["step"] == tick["step"] and after["forward"] == tick["forward"] + 1


def made_up() -> Profile:
    """Ten milliseconds of a model that does not exist, on a processor of round numbers."""
    peaks = Peaks({"float32": 1e9}, 1e9)
    rows = [
        Row("linear", "forward", "blocks.0.fc", "4x8", "float32", 1, 2, 3e-3, 1e6),
        Row("linear", "forward", "blocks.1.fc", "4x8", "float32", 1, 2, 2e-3, 1e6),
        Row("add", "forward", "blocks.1", "4x8", read=1e6, seconds=1.5e-3),
        Row("activation", "forward", "blocks.1", "4x8", seconds=1e-3),
        Row("select", "forward", "norm", "4x8", seconds=1e-5),
        Row("pool", "forward", "norm", "4x8", seconds=1e-5),
        Row("waiting", seconds=2.45e-3),
        Row("outside", seconds=3e-5),
    ]
    return Profile("made_up", "float32", 1, 2, False, 1, 10e-3, peaks, [*map(peaks.compared, rows)])


def test_the_table() -> None:
    found = made_up()
    lines = found.table().splitlines()
    assert lines[:2] == [
        "made_up, float32: a prediction of 1 image on 2 threads takes 10.0 ms",
        "peak here: 1 GFLOP/s in float32, 1.0 GB/s from memory",
    ]
    assert [line.split()[0] for line in lines[4:11]] == [
        *("linear", "add", "activation", "others", "waiting", "outside", "total"),
    ]
    assert " ".join(lines[4].split()) == "linear blocks.*.fc 4x8 2 5.00 50.0 % 0 40.0 % 3.00"
    assert " ".join(lines[7].split()) == "others 2 rows below 0.5 % 2 0.02 0.2 % 0.02"
    assert " ".join(lines[10].split()) == "total 10.0 100.0 % 0 20.0 % 1.00 7.00"
    assert lines[-4:] == [
        "most is lost in",
        *(f"  {i}. {s}" for i, s in enumerate(found.losses, 1)),
    ]
    one_by_one = found.table(layers=True).splitlines()
    assert [line.split()[1] for line in one_by_one[4:6]] == ["blocks.0.fc", "blocks.1.fc"]
    assert str(found) == found.table() and len(one_by_one) == len(lines) + 2


def test_losses_in_words() -> None:
    found = made_up()
    assert found.losses == [
        "linear blocks.*.fc: 3.00 ms, 30.0 % of the pass: at 40.0 % of the peak of 1 GFLOP/s in "
        "float32",
        "waiting: 2.45 ms, 24.5 % of the pass: threads without a task before the end of a phase",
        "activation blocks.1: 1.00 ms, 10.0 % of the pass: it multiplies no matrices, and nothing "
        "of it has to go to memory",
    ]
    add = found._replace(steps=[row for row in found.steps if row.kind == "add"])
    assert add.losses == [
        "add blocks.1: 0.50 ms, 5.0 % of the pass: its 1.0 MB would take 1.00 ms at 1.0 GB/s"
    ]
    slow = found.peaks.compared(found.steps[0]._replace(written=2e6))
    (told,) = found._replace(steps=[slow]).losses
    assert told.endswith("its 2.0 MB would take 2.00 ms at 1.0 GB/s")
    fine = found._replace(steps=[found.steps[0]._replace(lost=0.0)])
    assert fine.losses == [] and "most is lost" not in fine.table()


def test_what_is_beyond_the_peaks_is_no_loss() -> None:
    peaks = Peaks({"float32": 2e9}, 1e9)
    row = peaks.compared(Row("linear", precision="float32", flops=4e9, read=1e9, seconds=1.0))
    assert (row.multiplying, row.least, row.lost) == (2.0, 2.0, 0.0)
    row = peaks.compared(Row("linear", precision="float32", flops=1e9, read=2e9, written=1e9))
    assert (row.multiplying, row.least) == (0.5, 3.0)


def test_the_plain_form() -> None:
    found = profiled()
    plain = json.loads(json.dumps(found.as_dict()))
    assert plain["seconds"] == found.seconds and plain["losses"] == found.losses
    assert plain["rows"] == [row._asdict() for row in found.rows]
    assert plain["steps"] == [row._asdict() for row in found.steps]
    assert plain["peaks"] == {"products": found.peaks.products, "memory": found.peaks.memory}


def test_refusals() -> None:
    made = model()
    with pytest.raises(TypeError, match="expected a model, got 'test_vit'"):
        vitc.profile("test_vit")  # type: ignore[arg-type]
    for arguments, words in (
        (dict(batch=0), "batch is 0, expected 1 or more"),
        (dict(seconds=-1), "seconds is -1, expected 0 or more"),
    ):
        with pytest.raises(ValueError, match=words):
            vitc.profile(made, **arguments)  # type: ignore[arg-type]
    for bad, words in (
        (vitc.quantize(made), "a quantised model is not trained"),
        (model().requires_grad_(False), "no parameter of the model requires a gradient"),
        (vitc.create_model("test_vit", num_classes=0, global_pool=""), "gives no logits"),
    ):
        with pytest.raises(ValueError, match=words):
            vitc.profile(bad, train=True)


# ------------------------------------------------------------------------------- the command


def test_the_command(tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "profile.json"
    words = ["profile", "test_vit", "--img-size", "64", "--batch", "3", "--seconds", "0"]
    before = vitc.get_num_threads()
    try:
        assert main([*words, "--threads", "1", "--json", str(file)]) == 0
    finally:
        vitc.set_num_threads(before)
    out = capsys.readouterr().out
    assert out.startswith("test_vit, float32: a prediction of 3 images on 1 thread takes ")
    found = json.loads(file.read_text())
    assert out.endswith(f"{file}: {len(found['rows'])} rows, {len(found['steps'])} steps\n")
    assert (found["batch"], found["threads"], found["train"]) == (3, 1, False)
    assert "blocks.*.mlp.fc1" in out and "blocks.0.mlp.fc1" not in out
    assert main([*words, "--layers", "--train"]) == 0
    out = capsys.readouterr().out
    assert "a training step of 3 images" in out and "blocks.0.mlp.fc1" in out


def test_the_command_and_precisions(tmp_path: Path, capsys: Any) -> None:
    words = ["--img-size", "64", "--seconds", "0"]
    file = tmp_path / "small.safetensors"
    vitc.quantize(model()).save(file)
    for source, precision, said in (
        ("test_vit", ["--precision", "int8"], "int8 dynamic"),
        (str(file), [], "int8 dynamic"),
        (str(file), ["--precision", "int8"], "int8 dynamic"),
        *([("test_vit", ["--precision", "bfloat16"], "bf16")] if BF16[0] else []),
        *([(str(file), ["--precision", "bfloat16"], "int8 dynamic and bf16")] if BF16[0] else []),
    ):
        assert main(["profile", source, *words, *precision]) == 0
        assert capsys.readouterr().out.startswith(f"test_vit, {said}: a prediction of 1 image ")


def test_the_command_refuses_early(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("vitc.cli.common.stored_model", lambda options: pytest.fail("too late"))
    for words, said in (
        (["--batch-size", "0"], "--batch-size is 0, expected 1 or more"),
        (["--seconds", "nan"], "--seconds is nan, expected a finite number"),
        (["--json", str(tmp_path / "none/x.json")], "there is no directory"),
        (["--train", "--precision", "int8"], "a quantised model is not trained"),
        (["--threads", "0"], "the number of threads is 0"),
    ):
        assert main(["profile", "test_vit", *words]) == 1
        assert said in capsys.readouterr().err


# ------------------------------------------------------------------------------- peaks


def test_peaks_are_measured() -> None:
    for precision in ("float32", "bfloat16", "int8", "float64"):
        assert _vitc.peak_products(precision, 1, 0.01) > 1e6
    assert _vitc.peak_memory(2, 0.01) > 1e6
    for arguments in ((0, 0.1), (1025, 0.1), (1, 0.0), (1, 61.0), (1, float("nan"))):
        with pytest.raises(ValueError, match="1 to 1024 threads for up to 60 seconds"):
            _vitc.peak_memory(*arguments)
        with pytest.raises(ValueError, match="1 to 1024 threads for up to 60 seconds"):
            _vitc.peak_products("float32", *arguments)
    with pytest.raises(ValueError, match="precision 'fp8' is unknown"):
        _vitc.peak_products("fp8", 1, 0.1)
