"""vitc.training: the loop against one written by hand, resuming, stopping, logging, errors."""

import csv
import gc
import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import vitc
import vitc.functional as F
from training_kit import ARGUMENTS, SIZE, Batches, classifier, digest, trainer
from vitc import _vitc, nn
from vitc.optim import AdamW, cosine
from vitc.tape import clock
from vitc.training import checkpoint
from vitc.training.callbacks import Callback
from vitc.training.loggers import CSVLogger
from vitc.training.tools.classifier import Classifier

pytestmark = pytest.mark.usefixtures("fresh_clock")


# ------------------------------------------------------------------------------- the loop


def test_fit_is_the_loop_that_one_would_write(tmp_path: Path) -> None:
    module, twin = classifier(), classifier()
    trainer(tmp_path, max_epochs=2, gradient_clip_val=0.5).fit(module, Batches())
    optimizer, _ = twin.configure_optimizers()
    schedule, loader, step = cosine(warmup_t=0.05, warmup_prefix=True), Batches(), 0
    clock.begin(0)
    for epoch in range(2):
        loader.set_epoch(epoch)
        for x, y in loader:
            for group in optimizer.param_groups:
                group["lr"] = schedule(5e-4, step, 10)
            loss = F.cross_entropy(twin.model(x), y, label_smoothing=0.1)
            loss.backward()
            gradients = [p.grad for p in twin.parameters()]
            norm = np.sqrt(sum(float(np.sum(g.astype(np.float64) ** 2)) for g in gradients))
            assert norm > 0.5  # so that clipping acts
            twin.model.window.close()
            twin.model.params.scale_gradients(0.5 / (twin.model.params.gradient_norm() + 1e-6))
            optimizer.step()
            optimizer.zero_grad()
            step += 1
    for name, value in twin.state_dict().items():
        assert np.array_equal(module.state_dict()[name], value), name


def test_accumulated_batches_are_one_batch_to_the_bit(tmp_path: Path) -> None:
    """Also with dropout: a mask is keyed by the row in the window, not in the batch."""
    whole, cut = classifier(), classifier()
    batches = list(Batches(6, 4))
    joined = [
        tuple(np.concatenate([batches[i + j][k] for j in range(3)]) for k in range(2))
        for i in (0, 3)
    ]
    trainer(tmp_path, max_epochs=1).fit(whole, joined)
    trainer(tmp_path, max_epochs=1, accumulate_grad_batches=3).fit(cut, batches)
    assert digest(whole) == digest(cut)


def test_the_last_window_of_an_epoch_may_be_short(tmp_path: Path) -> None:
    module = classifier()
    run = trainer(tmp_path, max_epochs=2, accumulate_grad_batches=3)
    run.fit(module, Batches(5))
    assert run.global_step == 4 == run.estimated_stepping_batches


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        (dict(max_steps=7), 7),
        (dict(max_epochs=3, max_steps=100), 15),
        (dict(max_epochs=2, limit_train_batches=2), 4),
        (dict(max_epochs=2, limit_train_batches=0.3), 2),  # int(0.3 * 5), as in Lightning
        (dict(max_epochs=0), 0),
    ],
)
def test_training_ends_where_it_is_told(tmp_path: Path, options, steps: int) -> None:
    run = trainer(tmp_path, **options)
    run.fit(classifier(), Batches())
    assert run.global_step == steps


def test_a_callback_may_stop_it(tmp_path: Path) -> None:
    class Stop(Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
            trainer.should_stop = trainer.global_step == 3

    run = trainer(tmp_path, max_epochs=5, callbacks=Stop())
    run.fit(classifier(), Batches())
    assert run.global_step == 3 and not run.interrupted


def test_a_frozen_teacher_stays_in_evaluation_mode_and_unchanged(tmp_path: Path) -> None:
    class Student(vitc.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.teacher = vitc.create_model("test_vit", num_classes=3, **ARGUMENTS).eval()
            self.teacher.requires_grad_(False)
            self.model = vitc.create_model("test_vit", num_classes=0, **ARGUMENTS)
            self.head = nn.Linear(24, 3)

        def training_step(self, batch, batch_idx):
            x, y = batch
            assert not self.teacher.training and self.model.training
            logits, target = self.head(self.model(x)), F.softmax(self.teacher(x))
            return 0.5 * F.kl_div(F.log_softmax(logits), target) + 0.5 * F.cross_entropy(logits, y)

        def validation_step(self, batch, batch_idx):
            assert not self.model.training and not vitc.tape.grad_enabled()

        def configure_optimizers(self):
            return AdamW(self.parameters(), lr=1e-3)

    module = Student()
    before = {k: np.array(v) for k, v in module.state_dict().items()}
    trainer(tmp_path, max_epochs=1).fit(module, Batches(2), Batches(1))
    changed = {k.split(".")[0] for k, v in module.state_dict().items() if np.any(v != before[k])}
    assert changed == {"model", "head"}
    assert module.model.training and not module.teacher.training


# ------------------------------------------------------------------------------- logging


def test_the_csv_holds_steps_and_epochs(tmp_path: Path) -> None:
    module = classifier(drop_path_rate=0.0)
    run = trainer(tmp_path, max_epochs=2, log_every_n_steps=2)
    run.fit(module, Batches(4), Batches(3, batch_size=2))
    assert run.log_dir == tmp_path / "lightning_logs" / "version_0"
    rows = list(csv.DictReader((run.log_dir / "metrics.csv").open()))
    steps = [(r["epoch"], r["step"]) for r in rows if r["train_loss_step"]]
    assert steps == [("0", "1"), ("0", "3"), ("1", "5"), ("1", "7")]
    epochs = [r for r in rows if r["val_acc"]]
    assert [r["epoch"] for r in epochs] == ["0", "1"]
    assert float(epochs[-1]["val_loss"]) == run.callback_metrics["val_loss"]
    assert json.loads((run.log_dir / "hparams.yaml").read_text())["img_size"] == SIZE
    assert CSVLogger(tmp_path).version == 1


def test_means_are_weighted_by_samples(tmp_path: Path) -> None:
    class Log(Classifier):
        def validation_step(self, batch, batch_idx) -> None:
            self.log("size", float(len(batch[0])))
            self.log("given", float(batch_idx), batch_size=[1, 3][batch_idx])

    x = np.zeros((8, 3, SIZE, SIZE), np.float32)
    batches = [(x[:6], np.zeros(6, int)), (x[:2], np.zeros(2, int))]
    run = trainer(tmp_path)
    found = run.validate(Log("test_vit", 3, **ARGUMENTS), batches)
    assert found == [{"size": (6 * 6 + 2 * 2) / 8, "given": 3 / 4}]


def test_a_value_that_is_no_number_is_named(tmp_path: Path) -> None:
    class Log(Classifier):
        def validation_step(self, batch, batch_idx) -> None:
            self.log("many", np.zeros(3))

    with pytest.raises(TypeError, match=r"'many'.*\(3,\)"):
        trainer(tmp_path).validate(Log("test_vit", 3, **ARGUMENTS), Batches(1))


def test_predict_gives_probabilities_for_every_batch(tmp_path: Path) -> None:
    module = classifier()
    found = trainer(tmp_path).predict(module, Batches(3))
    assert [p.shape for p in found] == [(4, 3)] * 3
    np.testing.assert_allclose(found[0].sum(axis=1), 1, rtol=1e-6)
    with vitc.no_grad():
        expected = F.softmax(module.eval().model(next(iter(Batches()))[0]))
    assert np.array_equal(found[0], expected)


def test_the_progress_line_tells_epoch_metrics_and_time(tmp_path: Path, capsys) -> None:
    run = vitc.Trainer(max_epochs=2, default_root_dir=tmp_path)
    run.fit(classifier(), Batches(2), Batches(1))
    out, err = capsys.readouterr()
    assert "model: VisionTransformer(test_vit, input 3 x 32 x 32, 3 classes" in out
    assert out.splitlines()[1].startswith("memory: ")
    # Another library's warning may stand between them.
    first, second = (line for line in err.splitlines() if line.startswith("epoch "))
    assert first.startswith("epoch 1/2: train_loss_step=") and first.endswith(" left")
    assert "val_acc=" in second and second.endswith("00:00 left")


# ------------------------------------------------------------------------------- stopping


SCRIPT = """
import sys
sys.path[:0] = [{tests!r}]
from training_kit import *
from vitc.training.callbacks import Callback
class Tell(Callback):
    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        print("step", trainer.global_step, flush=True)
run = vitc.Trainer(max_epochs=1000, default_root_dir=sys.argv[1], callbacks=Tell(),
                   enable_progress_bar=False)
try:
    run.fit(classifier(depth=12, embed_dim=96), Batches(1000))
    print("goes on")
finally:
    print("done", run.global_step, run.interrupted)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_signal_ends_the_run_within_a_step_with_a_checkpoint(tmp_path: Path, number) -> None:
    script = SCRIPT.format(tests=str(Path(__file__).parent))
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        steps = 0
        for line in process.stdout:
            steps += line.startswith("step")
            if steps == 3:
                process.send_signal(number)
                break
        rest = process.stdout.read()
    assert process.returncode == (143 if number == signal.SIGTERM else -signal.SIGINT)
    done = int(rest.split("done ")[1].split()[0])
    assert 3 <= done <= 5 and "True" in rest and "goes on" not in rest
    state = checkpoint.read(tmp_path / "lightning_logs/version_0/checkpoints/last.ckpt").state
    assert state["progress"]["step"] == done


def test_a_run_in_a_thread_works_and_leaves_the_signals_alone(tmp_path: Path) -> None:
    before, module = signal.getsignal(signal.SIGINT), classifier()
    thread = threading.Thread(target=trainer(tmp_path, max_epochs=1).fit, args=(module, Batches(2)))
    thread.start()
    thread.join(60)
    assert module.trainer.global_step == 2
    trainer(tmp_path, max_epochs=1).fit(classifier(), Batches(1))
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupted_kernel_leaves_a_checkpoint(tmp_path: Path) -> None:
    """What a notebook's stop button does: the cell ends without an error, and `last` goes on."""
    from jupyter_client.manager import start_new_kernel

    code = SCRIPT.format(tests=str(Path(__file__).parent)).replace(
        "sys.argv[1]", repr(str(tmp_path))
    )
    manager, client = start_new_kernel(kernel_name="python3")
    try:
        request = client.execute(code)
        texts, errors, interrupted = "", [], False
        while True:
            message = client.get_iopub_msg(timeout=60)
            kind, content = message["msg_type"], message["content"]
            texts += content.get("text", "") if kind == "stream" else ""
            errors += [content] if kind == "error" else []
            if "step 3" in texts and not interrupted:
                manager.interrupt_kernel()
                interrupted = True
            ours = message["parent_header"].get("msg_id") == request
            if ours and kind == "status" and content["execution_state"] == "idle":
                break
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert not errors and "True" in texts.split("done ")[1] and "goes on" in texts
    done = int(texts.split("done ")[1].split()[0])
    assert 3 <= done <= 6
    state = checkpoint.read(tmp_path / "lightning_logs/version_0/checkpoints/last.ckpt").state
    assert state["progress"]["step"] == done


# ------------------------------------------------------------------------------- memory


def test_allocations_stand_still_from_the_third_step_and_equal_the_plan(tmp_path: Path) -> None:
    seen = []

    class Count(Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
            seen.append(_vitc.memory())

    module = classifier()
    gc.collect()  # of trainers of other tests
    before = _vitc.memory()["bytes"]
    run = trainer(tmp_path, max_epochs=1, callbacks=Count(), enable_checkpointing=False)
    run.fit(module, Batches(8))
    assert seen[2]["allocations"] == seen[-1]["allocations"]
    assert seen[2]["bytes"] == seen[-1]["bytes"]
    params = module.model.params
    plan = next(iter(module.model._pool._plans.values())).plan
    held = plan.nbytes(4, vitc.get_num_threads()) + 3 * params.new_buffer().nbytes
    overhead = seen[-1]["bytes"] - before - held
    assert 0 <= overhead < 200_000, overhead  # the plan itself and its generated products


FLAT = """
import resource, sys
sys.path[:0] = [{tests!r}]
from training_kit import *
from vitc.training.callbacks import LambdaCallback
seen = []
def note(trainer, module, outputs, batch, batch_idx):
    if trainer.global_step in (100, 500):
        pages = int(open("/proc/self/statm").read().split()[1])
        seen.append(pages * resource.getpagesize())
note = LambdaCallback(on_train_batch_end=note)
run = trainer(sys.argv[1], max_steps=500, log_every_n_steps=1, callbacks=note)
run.fit(classifier(), Batches(50), Batches(1))
print(seen[1] - seen[0])
"""


def test_the_process_does_not_grow_over_500_steps(tmp_path: Path) -> None:
    """With logs, validations and checkpoints in the background: less than 2 MB after step 100."""
    script = FLAT.format(tests=str(Path(__file__).parent))
    command = [sys.executable, "-c", script, str(tmp_path)]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    grown = int(out.splitlines()[-1])
    assert grown < 2_000_000, grown


RSS = """
import resource, sys, numpy as np, vitc
from vitc.training.tools.classifier import Classifier
def rss():
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * resource.getpagesize()
class Same:
    batch_size = 16
    def __init__(self):
        g = np.random.default_rng(0)
        self.batch = g.standard_normal((16, 3, 224, 224)).astype(np.float32), g.integers(0, 5, 16)
    def __len__(self): return 4
    def __iter__(self): return iter([self.batch] * 4)
module, loader = Classifier("vit_small_patch16_224", 5), Same()
options = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False)
run = vitc.Trainer(max_epochs=1, **options)
before = rss()
run.fit(module, loader)
print(rss() - before, run.memory_estimate().growth)
"""


def test_the_printed_memory_is_what_the_process_grows_by() -> None:
    """vit_small, batch 16: within 10 % and 40 MB of the estimate."""
    out = subprocess.run([sys.executable, "-c", RSS], capture_output=True, text=True, check=True)
    grown, estimated = map(int, out.stdout.splitlines()[-1].split())
    assert abs(grown - estimated) <= 0.1 * estimated + 40e6, (grown, estimated)


# ------------------------------------------------------------------------------- errors


def test_bad_arguments_are_named(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="'max_epoch'; did you mean 'max_epochs'"):
        vitc.Trainer(max_epoch=3)
    with pytest.raises(ValueError, match="accumulate_grad_batches is 0, expected 1 or more"):
        vitc.Trainer(accumulate_grad_batches=0)
    with pytest.raises(ValueError, match="'bf16-true': weights are kept in float32"):
        vitc.Trainer(precision="bf16-true")
    with pytest.raises(ValueError, match="precision is 'bf61'; did you mean 'bf16'"):
        vitc.Trainer(precision="bf61")
    with pytest.raises(ValueError, match="devices is 0, expected an integer >= 1"):
        vitc.Trainer(devices=0)
    with pytest.raises(ValueError, match="strategy is 'fsdp': every process holds the whole"):
        vitc.Trainer(strategy="fsdp")
    with pytest.raises(TypeError, match="plugins is not supported"):
        vitc.Trainer(plugins=[])
    with pytest.raises(ValueError, match="the time is '12h', expected 'DD:HH:MM:SS'"):
        vitc.Trainer(max_time="12h")
    with pytest.raises(TypeError, match=r"vitc\.LightningModule, got VisionTransformer"):
        trainer(tmp_path).fit(vitc.create_model("test_vit"), [])
    with pytest.raises(ValueError, match="no batch"):
        trainer(tmp_path, max_epochs=1).fit(classifier(), [])
    with pytest.raises(ValueError, match="num_classes is 2, and class_names has 3"):
        Classifier("test_vit", 2, class_names=["a", "b", "c"])


def test_wrong_returns_are_named(tmp_path: Path) -> None:
    class Wrong(Classifier):
        def training_step(self, batch, batch_idx):
            return 3.0

    class NoOptimizer(Classifier):
        def configure_optimizers(self):
            return None

    with pytest.raises(TypeError, match=r"training_step\(\) returned float, expected a loss"):
        trainer(tmp_path, max_epochs=1).fit(Wrong("test_vit", 3, **ARGUMENTS), Batches(1))
    with pytest.raises(TypeError, match=r"configure_optimizers\(\) returned NoneType"):
        trainer(tmp_path, max_epochs=1).fit(NoOptimizer("test_vit", 3, **ARGUMENTS), Batches(1))


def test_a_label_out_of_range_is_named_with_its_value(tmp_path: Path) -> None:
    x = np.zeros((2, 3, SIZE, SIZE), np.float32)
    with pytest.raises(ValueError, match="label 3 of sample 1 is out of range: expected 0 to 2"):
        trainer(tmp_path, max_epochs=1).fit(classifier(), [(x, np.array([0, 3]))])


def test_log_without_a_trainer_warns() -> None:
    with pytest.warns(UserWarning, match="without a trainer"):
        classifier().log("a", 1.0)


def test_hyperparameters_of_subclasses_are_collected() -> None:
    class Base(vitc.LightningModule):
        def __init__(self, a, *, b=2, **rest) -> None:
            super().__init__()
            self.save_hyperparameters(ignore="secret")

    class Derived(Base):
        def __init__(self, c=3, secret=None) -> None:
            super().__init__(1, d=4)

    assert Derived().hparams == {"a": 1, "b": 2, "d": 4, "c": 3}
    assert Derived(c=5).hparams.c == 5
    with pytest.raises(AttributeError, match="'nothing'"):
        _ = Derived().hparams.nothing


def test_the_trainer_adds_little_to_a_step(tmp_path: Path) -> None:
    """No figure here (see benchmarks/): only that 300 steps of a tiny head are not seconds."""

    class Head(vitc.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = nn.Linear(4, 2)

        def training_step(self, batch, batch_idx):
            return F.cross_entropy(self.model(batch[0]), batch[1])

        def configure_optimizers(self):
            return AdamW(self.parameters())

    batch = (np.ones((2, 4), np.float32), np.array([0, 1]))
    run = trainer(tmp_path, max_steps=300, logger=False, enable_checkpointing=False)
    start = time.perf_counter()
    run.fit(Head(), [batch] * 300)
    print(f"{(time.perf_counter() - start) / 300 * 1e6:.0f} us per step")
    assert run.global_step == 300


# ------------------------------------------------------------------------------- gradients


def test_a_gradient_that_is_set_is_used() -> None:
    """As in torch: after a backward pass, in place of it, and taken away."""
    import torch

    x, y = np.arange(12, dtype=np.float32).reshape(3, 4) / 10, np.array([0, 1, 1])
    model, theirs = vitc.nn.Linear(4, 2), torch.nn.Linear(4, 2)
    model.load_state_dict({k: v.detach().numpy() for k, v in theirs.state_dict().items()})
    ours, other = (
        vitc.optim.SGD(model.parameters(), lr=0.5),
        torch.optim.SGD(theirs.parameters(), 0.5),
    )
    weight, bias = dict(model.named_parameters()).values()
    given = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)

    def step(change) -> None:
        ours.zero_grad()
        other.zero_grad()
        F.cross_entropy(model(x), y).backward()
        torch.nn.functional.cross_entropy(
            theirs(torch.from_numpy(x)), torch.from_numpy(y)
        ).backward()
        change()
        ours.step()
        other.step()
        for name, value in theirs.state_dict().items():
            assert model.state_dict()[name] == pytest.approx(value.numpy(), abs=1e-6), name

    def halved() -> None:
        weight.grad = 0.5 * weight.grad
        theirs.weight.grad *= 0.5

    def replaced() -> None:
        weight.grad = given
        theirs.weight.grad = torch.from_numpy(given)
        bias.grad = None
        theirs.bias.grad = None

    step(halved)
    step(replaced)
    assert bias.grad is None and np.array_equal(weight.grad, given)
    before = {k: v.copy() for k, v in model.state_dict().items()}
    for wrong, words in ((np.zeros((2, 3)), r"shape \(2, 3\), expected \(2, 4\)"), (3, "shape")):
        with pytest.raises(ValueError, match=f"the gradient of weight: {words}"):
            weight.grad = wrong
    with pytest.raises(ValueError, match="dtype int64, expected floating point"):
        weight.grad = np.zeros((2, 4), np.int64)
    assert np.array_equal(weight.grad, given)
    ours.zero_grad()
    weight.grad = given  # without a backward pass
    ours.step()
    assert model.state_dict()["weight"] == pytest.approx(before["weight"] - 0.5 * given, abs=1e-6)
    assert np.array_equal(model.state_dict()["bias"], before["bias"])


def test_a_backward_pass_does_not_add_to_a_gradient_that_was_set() -> None:
    """It is undivided, the other a mean: nothing is added, until all are zeroed."""
    x, y = np.ones((2, 4), np.float32), np.array([0, 1])
    model = vitc.nn.Linear(4, 2)
    weight, bias = model.parameters()
    F.cross_entropy(model(x), y).backward()
    own = weight.grad.copy()
    for parameter, given in ((weight, np.zeros_like(own)), (bias, None)):
        parameter.grad = given
        before = weight.grad.copy()
        with pytest.raises(vitc.VitcError, match=r"set by hand.*zero_grad\(\)"):
            F.cross_entropy(model(x), y).backward()
        assert np.array_equal(weight.grad, before)
    model.zero_grad()
    F.cross_entropy(model(x), y).backward()
    assert np.array_equal(weight.grad, own)
