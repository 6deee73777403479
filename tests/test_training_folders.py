"""What is not a checkpoint of this run is never touched: user data under every name, other runs,
forged states; and folders that take each other's place while a process dies, a disk fails, another
run writes, or somebody reads."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from disk_faults import content, digest, number_of, put_user_data, write

from training_kit import Batches, classifier, trainer
from vitc.files import exchange
from vitc.training import checkpoint, folders, state_file
from vitc.training.callbacks import ModelCheckpoint
from vitc.training.loggers import CSVLogger

pytestmark = pytest.mark.usefixtures("fresh_clock")
TESTS = Path(__file__).parent
RESULTS = TESTS.parent / "benchmarks" / "results"


def ignored(*_: object) -> bool:
    return True


def script(name: str, *arguments: object, **environment: str) -> dict[str, int]:
    """What a program beside this file has counted."""
    command = [sys.executable, str(TESTS / name), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(TESTS), **environment}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def note(title: str, counts: dict[str, int]) -> None:
    """Adds a line per count to the log of the long proofs."""
    file = RESULTS / "checkpoint_folders.md"
    before = file.read_text() if file.exists() else "# Checkpoint folders: `pytest -m long`\n"
    before = re.sub(rf"\n## {re.escape(title)}\n(?:\n[^#].*)*\n?", "", before)
    lines = "\n".join(f"- {name}: {count}" for name, count in counts.items())
    file.write_text(f"{before.rstrip()}\n\n## {title}\n\n{lines}\n")


def keeper(folder: Path, **options: Any) -> ModelCheckpoint:
    return ModelCheckpoint(folder, every_n_train_steps=1, **options)


# ------------------------------------------------------------------------------- user data


def test_a_folder_of_the_users_is_never_replaced(tmp_path: Path) -> None:
    """Nor a file, a link, an empty folder, or a checkpoint in which the user keeps something."""
    run = trainer(tmp_path / "run", max_epochs=1)
    run.fit(classifier(), Batches(1))
    user = tmp_path / "user"
    user.mkdir()
    put_user_data(user)
    (user / "empty").mkdir()
    run.save_checkpoint(user / "mine.ckpt")
    (user / "mine.ckpt" / "thesis.txt").write_text("three years")
    before = digest(user)
    for path in user.iterdir():
        if path.name.startswith("."):
            continue
        with pytest.raises(FileExistsError, match=re.escape(str(path))):
            run.save_checkpoint(path)
        assert digest(user) == before
    for name in ("c.ckpt", "d.ckpt"):  # whose hidden names are the user's
        with pytest.raises(FileExistsError, match=re.escape(f".{name}")):
            run.save_checkpoint(user / name)
        assert digest(user) == before
    run.save_checkpoint(user / "f")
    run.save_checkpoint(user / "f")


@pytest.mark.parametrize("kind", ["file", "folder", "link", "dangling link", "loop"])
def test_a_run_counts_on_past_what_has_its_names(tmp_path: Path, kind: str) -> None:
    """As Lightning does; also after it was resumed."""
    makers: dict[str, Callable[[Path], object]] = {
        "file": lambda path: path.write_bytes(b"of Lightning"),
        "folder": lambda path: (path / "deep").mkdir(parents=True),
        "link": lambda path: path.symlink_to(tmp_path / "elsewhere"),
        "dangling link": lambda path: path.symlink_to("nowhere"),
        "loop": lambda path: path.symlink_to(path.name),
    }
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "photo.jpg").write_bytes(b"photo")
    folder = tmp_path / "ck"
    folder.mkdir()
    hidden = [f".last-v1.ckpt.{ending}" for ending in ("tmp", "old", "lock-vitc")]
    mine = ["last.ckpt", "best.ckpt", "best-v1.ckpt", *hidden]
    for name in mine:
        makers[kind](folder / name)
    options = dict(filename="best", save_last=True)
    first = keeper(folder, **options)
    trainer(tmp_path, max_epochs=1, callbacks=first).fit(classifier(), Batches(3))
    before = digest(tmp_path / "elsewhere"), digest(folder, ("last-v2.ckpt", "best-v2.ckpt"))
    for name in (first.best_model_path, first.last_model_path):
        assert checkpoint.read(name).state["progress"]["step"] == 3
    assert sorted(p.name for p in folder.iterdir()) == sorted(
        [*mine, "best-v2.ckpt", "last-v2.ckpt"]
    )
    second = keeper(folder, **options)
    run = trainer(tmp_path, max_epochs=2, callbacks=second)
    run.fit(classifier(), Batches(3), ckpt_path=first.last_model_path)
    assert run.global_step == 6 and second.last_model_path == first.last_model_path
    assert before == (
        digest(tmp_path / "elsewhere"),
        digest(folder, ("last-v2.ckpt", "best-v2.ckpt")),
    )


def test_pruning_and_settling_leave_what_is_not_theirs(tmp_path: Path) -> None:
    """A checkpoint that became the user's, by a file in it or by a link in its place."""
    folder = tmp_path / "ck"
    scores = iter([4.0, 3.0, 2.0, 1.0])

    class Mine(ModelCheckpoint):
        def _score(self, trainer: Any) -> float:
            names = sorted(path.name for path in folder.glob("*.ckpt"))
            if names == ["step=1.ckpt"]:
                (folder / names[0] / "notes.txt").write_text("keep")
            if names == ["step=1.ckpt", "step=2.ckpt"]:
                (folder / names[1]).rename(tmp_path / "moved")
                (folder / names[1]).symlink_to(tmp_path / "moved")
            return next(scores)

    own = Mine(folder, "{step}", monitor="train_loss", every_n_train_steps=1)
    trainer(tmp_path, max_epochs=1, callbacks=own).fit(classifier(), Batches(4))
    assert sorted(path.name for path in folder.iterdir()) == [
        f"step={step}.ckpt" for step in (1, 2, 4)
    ]
    assert (folder / "step=1.ckpt" / "notes.txt").read_text() == "keep"
    assert checkpoint.read(folder / "step=1.ckpt").state["progress"]["step"] == 1
    assert checkpoint.read(tmp_path / "moved").state["progress"]["step"] == 2


def test_where_nothing_can_be_written_is_known_before_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    run = trainer(tmp_path, max_epochs=1, callbacks=ModelCheckpoint(tmp_path / "file" / "ck"))
    with pytest.raises(NotADirectoryError, match=r"file.* is not a directory"):
        run.fit(classifier(), Batches(1))
    assert run.global_step == 0


# ------------------------------------------------------------------------------- other folders


def finished(root: Path, **options: Any) -> Path:
    """The best checkpoint of a run of one epoch."""
    run = trainer(root, max_epochs=1, log_every_n_steps=1, **options)
    run.fit(classifier(), Batches(3))
    return Path(run.checkpoint_callback.best_model_path)


def test_a_run_that_goes_on_elsewhere_leaves_the_one_it_comes_from_alone(tmp_path: Path) -> None:
    """Also where a folder of the same version is another run's: its log is not cut."""
    path = finished(tmp_path / "a")
    finished(tmp_path / "b")
    before = digest(tmp_path)
    run = trainer(tmp_path / "b", max_epochs=2, log_every_n_steps=1)
    run.fit(classifier(), Batches(3), ckpt_path=path)
    assert run.log_dir == tmp_path / "b" / "lightning_logs" / "version_1"
    best = Path(run.checkpoint_callback.best_model_path)
    assert best.parent == run.log_dir / "checkpoints" and best.exists()
    shutil.rmtree(run.log_dir)
    assert digest(tmp_path) == before


def test_a_copy_goes_on_within_itself(tmp_path: Path) -> None:
    """It prunes its own checkpoints, and goes on in its own log."""
    place = finished(tmp_path / "a").relative_to(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    before = digest(tmp_path / "a")
    run = trainer(tmp_path / "copy", max_epochs=2, log_every_n_steps=1)
    run.fit(classifier(), Batches(3), ckpt_path=tmp_path / "copy" / place)
    assert digest(tmp_path / "a") == before
    checkpoints = tmp_path / "copy" / place.parent
    assert [path.name for path in checkpoints.iterdir()] == ["epoch=1-step=6.ckpt"]
    assert len((checkpoints.parent / "metrics.csv").read_text().splitlines()) == 9
    assert sorted(path.name for path in checkpoints.parents[1].iterdir()) == ["version_0"]


def test_a_state_knows_no_path(tmp_path: Path) -> None:
    path = finished(tmp_path / "a", callbacks=keeper(tmp_path / "ck", save_last=True))
    for folder in path.parent.iterdir():
        assert str(tmp_path) not in (folder / "state.json").read_text()


def test_another_runs_checkpoints_in_the_folder_stay(tmp_path: Path) -> None:
    """Also when a run is resumed that would write the same names."""
    folder = tmp_path / "ck"
    finished(tmp_path, callbacks=keeper(folder, filename="{step}", save_last=True))
    theirs = digest(folder)
    own = keeper(folder, filename="{step}", save_last=True)
    run = trainer(tmp_path, max_steps=2, callbacks=own)
    run.fit(classifier(), Batches(3))
    assert Path(own.last_model_path).name == "last-v1.ckpt"
    own = keeper(folder, filename="{step}", save_last=True)
    run = trainer(tmp_path, max_epochs=1, callbacks=own)
    run.fit(classifier(), Batches(3), ckpt_path=folder / "last-v1.ckpt")
    assert Path(own.best_model_path).name == "step=3-v1.ckpt"
    assert digest(folder, ("last-v1.ckpt", "step=3-v1.ckpt")) == theirs


def test_two_callbacks_of_a_run_do_not_take_each_others_names(tmp_path: Path) -> None:
    first = keeper(tmp_path / "ck", filename="same", save_last=True)
    second = ModelCheckpoint(tmp_path / "ck", filename="same", save_last=True)
    run = trainer(tmp_path, max_epochs=2, callbacks=[first, second])
    run.fit(classifier(), Batches(2))
    names = [Path(c.best_model_path).name for c in (first, second)]
    assert names == ["same.ckpt", "same-v1.ckpt"]
    assert sorted(path.name for path in (tmp_path / "ck").iterdir()) == [
        "last-v1.ckpt",
        "last.ckpt",
        "same-v1.ckpt",
        "same.ckpt",
    ]


# ------------------------------------------------------------------------------- forged states

# What a forged state holds; V stands for a folder outside, C for a checkpoint of the same run in
# it. Each is refused or without effect.
CALLBACK, LOGGER = "callback", "logger"
FORGED: list[tuple[str | None, str, Any]] = [
    *[(CALLBACK, "dropped", x) for x in (["V"], ["C"], ["../../V"], ["../../C"], [".."], [""])],
    *[(CALLBACK, "dropped", x) for x in ("V", [5], [None], [["V"]], {"V": 1}, None, ["a\0b"])],
    *[(CALLBACK, "best_k_models", x) for x in ({"V": 1.0}, {"C": 1.0}, {"../../C": 9.0}, ["C"])],
    *[(CALLBACK, "best_k_models", x) for x in ({"a": "x"}, {"": 1}, {"a": None}, {"a": 10**400})],
    *[(CALLBACK, "last_model_path", x) for x in ("C", "../../C", 5, ["C"], {"C": 1})],
    *[(CALLBACK, "saved_step", x) for x in ("x", None, [], {})],
    *[(LOGGER, "version", x) for x in ("../../V", "V", "..", "", 5.5, None, ["V"], 1, "version_1")],
    *[(LOGGER, "identity", x) for x in ("", None, 7)],
    *[(LOGGER, "rows", x) for x in (-1, "x", None, [3])],
    *[(None, "models", x) for x in ({"model": "V/model.safetensors"}, {"model": 5}, [], None)],
    *[(None, "models", x) for x in ({"model": "../../C/model.safetensors"}, {"model": "x"})],
    *[(None, "files", x) for x in ({"../../C/model.safetensors": "0"}, {"/etc/passwd": "0"}, [])],
    *[(None, "callbacks", x) for x in ([], {"x": []}, {"x": "V"}, None)],
    *[(None, "loggers", x) for x in ({}, ["V"], [["V"]], None)],
    *[(None, "progress", x) for x in ({"step": -3}, {"step": "x"}, "x", [])],
    *[(None, "run", x) for x in (5, None, ["x"])],
    *[(None, "schema", x) for x in ("3", None, [], "x" * 10_000_000, 2)],
    *[(None, "hparams", x) for x in ([], "V", None)],
]


def forge(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Writes another state, with the hash that it should have."""
    state = json.loads((path / "state.json").read_text())
    del state["sha256"]
    change(state)
    state_file.write_state(path, state)


def pointing(value: Any, places: dict[str, str]) -> Any:
    """With the paths that its letters stand for."""
    if isinstance(value, str):
        for letter, place in places.items():
            value = re.sub(rf"(^|/){letter}(?=$|/)", lambda m, p=place: m[1] + p, value)
        return value.replace("../../" + "/", "../../")
    if isinstance(value, list):
        return [pointing(item, places) for item in value]
    if isinstance(value, dict):
        return {pointing(k, places): pointing(v, places) for k, v in value.items()}
    return value


def test_a_forged_state_reaches_nothing(tmp_path: Path) -> None:
    """Oracle: every byte outside of the folder of the run that reads it."""
    origin = finished(tmp_path / "origin", callbacks=ModelCheckpoint(save_last=True))
    finished(tmp_path / "runs")
    victim = tmp_path / "victim"
    shutil.copytree(origin, victim / "same.ckpt")
    for other in (victim, tmp_path / "runs" / "lightning_logs" / "version_1"):
        other.mkdir(exist_ok=True)
        (other / "metrics.csv").write_text("a,step\n" + "1,2\n" * 100)
    before, refused = digest(tmp_path), 0
    for owner, name, value in FORGED:
        for absolute in {True, not re.search(r"\b[VC]\b", repr(value))}:
            root = tmp_path / "runs"
            up = "" if absolute else "../../../../"
            place = str(victim) if absolute else "victim"
            bad = pointing(value, {"V": up + place, "C": f"{up}{place}/same.ckpt"})
            path = root / "forged" / "x.ckpt"
            shutil.copytree(origin, path)
            forge(path, lambda state, o=owner, n=name, b=bad: part(state, o).update({n: b}))
            run = trainer(root, max_epochs=2, callbacks=ModelCheckpoint(save_last=True))
            try:
                run.fit(classifier(), Batches(3), ckpt_path=path)
            except ValueError as error:
                refused += 1
                assert "x.ckpt" in str(error) and len(str(error)) < 500
            shutil.rmtree(path.parent)
            if run.log_dir.name != "version_0":
                assert run.log_dir.parent == root / "lightning_logs"
                assert run.log_dir.name != "version_1"
                shutil.rmtree(run.log_dir)
            assert digest(tmp_path) == before, (owner, name, bad)
    assert refused > 0.8 * len(FORGED)


def part(state: dict[str, Any], owner: str | None) -> dict[str, Any]:
    """What the state keeps of a callback, of the logger, or all of it."""
    if owner == CALLBACK:
        return next(kept for key, kept in state["callbacks"].items() if "ModelCheckpoint" in key)
    return state["loggers"][0] if owner == LOGGER else state


@pytest.mark.parametrize("up", ["", "../"], ids=["absolute", "relative"])
def test_files_elsewhere_are_not_read_though_their_hash_is_right(tmp_path: Path, up: str) -> None:
    write(tmp_path / "other.ckpt", 1)
    write(tmp_path / "a.ckpt", 2)
    name = f"{up or tmp_path}/other.ckpt/model.safetensors".replace("//", "/")
    assert (tmp_path / "a.ckpt" / name).is_file()
    digest = checkpoint.read(tmp_path / "other.ckpt").state["files"]["model.safetensors"]
    for change in ({"files": {name: digest}, "models": {"model": name}}, {"files": {name: digest}}):
        forge(tmp_path / "a.ckpt", lambda state, c=change: state.update({"models": {}} | c))
        with pytest.raises(ValueError, match="names files outside of the checkpoint"):
            checkpoint.read(tmp_path / "a.ckpt")


def test_a_state_that_is_nested_without_end_is_damaged(tmp_path: Path) -> None:
    path = finished(tmp_path)
    for text in ("[" * 100_000, '{"a":' * 100_000, "1" * 10_000, "null", '"x"', "\udcff"):
        (path / "state.json").write_text(text, errors="surrogateescape")
        with pytest.raises(ValueError, match="is damaged"):
            checkpoint.read(path)
        assert not state_file.is_checkpoint(path) and state_file.step_of(path) == -1


# ------------------------------------------------------------------------------- at once


def test_a_living_writers_folder_is_left_alone(tmp_path: Path) -> None:
    """Its lock says so; names and numbers of processes do not matter."""
    path = tmp_path / "a.ckpt"
    with folders.claim(path) as place, place.filling() as unfinished:
        folders.settle(tmp_path)
        assert unfinished.is_dir() and folders.claim_free(path, ignored) is None
        waiting = threading.Thread(target=write, args=(path, 3))
        waiting.start()
        checkpoint._fill(unfinished, content(2))
    waiting.join()
    assert number_of(path) == 3
    assert [p.name for p in tmp_path.iterdir()] == ["a.ckpt"]


def test_names_are_given_back_when_a_snapshot_cannot_be_taken(tmp_path: Path) -> None:
    class Odd(ModelCheckpoint):
        def on_save_checkpoint(self, trainer: Any, module: Any, state: dict[str, Any]) -> None:
            raise RuntimeError("not now")

    own = Odd(tmp_path / "ck", save_last=True)
    with pytest.raises(RuntimeError, match="not now"):
        trainer(tmp_path, max_epochs=1, callbacks=own).fit(classifier(), Batches(1))
    assert list((tmp_path / "ck").iterdir()) == []


def test_names_are_given_back_when_the_disk_fails(tmp_path: Path, monkeypatch) -> None:
    def fail(_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(folders.Claim, "_mark", fail)
    run = trainer(tmp_path, max_epochs=1, callbacks=keeper(tmp_path / "ck", save_last=True))
    with pytest.raises(OSError, match=r"Input/output error.*\.ckpt"):
        run.fit(classifier(), Batches(1))
    assert list((tmp_path / "ck").iterdir()) == []


@pytest.mark.parametrize("exchanges", [True, False], ids=["exchanged", "moved aside"])
def test_a_reader_sees_whole_checkpoints_only(tmp_path: Path, monkeypatch, exchanges) -> None:
    """While it is replaced without a pause; numbers in its files and its state are the same."""
    if not exchanges:
        monkeypatch.setattr(folders, "exchange", lambda *_: False)
    reads, writes = poll(tmp_path / "last.ckpt", writes=40)
    assert reads > 20 and writes == 40


def poll(path: Path, writes: int) -> tuple[int, int]:
    """How often a checkpoint was read while another thread replaced it so many times."""
    write(path, 0)
    done = []

    def replace() -> None:
        for number in range(1, writes + 1):
            write(path, number)
            done.append(number)

    thread = threading.Thread(target=replace, daemon=True)
    thread.start()
    reads, latest = 0, 0
    while thread.is_alive():
        number = number_of(path)
        assert number >= latest
        reads, latest = reads + 1, number
    thread.join()
    assert number_of(path) == writes
    return reads, len(done)


def test_a_reader_waits_while_the_folder_is_aside(tmp_path: Path, monkeypatch) -> None:
    """Where folders cannot be exchanged there is a moment in which none has the name."""
    path, rename, aside = tmp_path / "a.ckpt", os.rename, threading.Event()
    write(path, 1)

    def slow(source: Path, target: Path) -> None:
        rename(source, target)
        if target.suffix == ".old":
            aside.set()
            threading.Event().wait(0.2)

    monkeypatch.setattr(folders, "exchange", lambda *_: False)
    monkeypatch.setattr(os, "rename", slow)
    writer = threading.Thread(target=write, args=(path, 2))
    writer.start()
    aside.wait()
    assert not path.exists() and number_of(path) == 2
    writer.join()


@pytest.mark.parametrize("files", [1, 2])
def test_a_reader_looks_again_if_the_folder_went_meanwhile(tmp_path, monkeypatch, files) -> None:
    """Also if the new one has not all files of the old one."""
    path, read_state, numbers = tmp_path / "a.ckpt", checkpoint.read_state, iter((2, 3))
    write(path, 1)

    def write_other(number: int) -> None:
        new = content(number)
        with folders.claim(path) as place:
            checkpoint.write([place], new._replace(tensors=dict([*new.tensors.items()][:files])))

    def slow(folder: Path) -> dict[str, Any]:
        state = read_state(folder)
        for number in numbers:
            write_other(number)
            break
        return state

    monkeypatch.setattr(checkpoint, "read_state", slow)
    assert number_of(path) == 3
    monkeypatch.setattr(folders, "_TRIES", 3)
    monkeypatch.setattr(checkpoint, "read_state", lambda f: (write(path, 4), read_state(f))[1])
    with pytest.raises(OSError, match=r"a\.ckpt is replaced faster than it can be read"):
        number_of(path)


def test_the_file_system_of_the_tests_exchanges(tmp_path: Path) -> None:
    """Else the tests above would prove less than they say."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b" / "in b").mkdir(parents=True)
    assert exchange(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a" / "in b").is_dir()
    with pytest.raises(FileNotFoundError, match="nowhere"):
        exchange(tmp_path / "a", tmp_path / "nowhere")


def test_what_was_read_stays_when_the_folder_goes(tmp_path: Path) -> None:
    write(tmp_path / "a.ckpt", 5)
    found = checkpoint.read(tmp_path / "a.ckpt")
    write(tmp_path / "a.ckpt", 6)
    shutil.rmtree(tmp_path / "a.ckpt")
    assert np.all(found.weights("model")["w"] == 5) and np.all(found.tensors("other")["b"] == 5)


def test_two_runs_share_a_folder(tmp_path: Path) -> None:
    told = script("two_runs.py", tmp_path, 2)
    assert told["pairs"] == 2 and told["whole checkpoints read"] > 30


def test_every_trainer_has_a_folder_of_its_own(tmp_path: Path, monkeypatch) -> None:
    """Also if all ask at once; the loggers of one run share theirs."""
    found: list[Path] = []
    gate = threading.Barrier(16)

    def ask() -> None:
        logger = CSVLogger(tmp_path)
        gate.wait()
        found.append(logger.log_dir)

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = {f"version_{number}" for number in range(16)}
    assert {path.name for path in found} == names == {p.name for p in found[0].parent.iterdir()}
    both = trainer(tmp_path, logger=[CSVLogger(tmp_path), CSVLogger(tmp_path)])
    assert {logger.log_dir.name for logger in both.loggers} == {"version_16"}
    (tmp_path / "lightning_logs" / "version_²").mkdir()  # a digit, and no number
    assert CSVLogger(tmp_path).version == 17
    monkeypatch.setattr(Path, "glob", lambda *_: [])  # as if the others had come since
    assert CSVLogger(tmp_path).version == 18


def test_a_log_under_a_given_version_is_cut_only_if_it_is_the_runs_own(tmp_path: Path) -> None:
    for root in ("a", "b"):
        logger = CSVLogger(tmp_path / root, version="mine")
        path = finished(tmp_path / root, logger=logger)
    log = tmp_path / "a" / "lightning_logs" / "mine" / "metrics.csv"
    log.write_text(log.read_text() * 2)
    before = log.read_text()
    options = dict(max_epochs=2, log_every_n_steps=1, callbacks=ModelCheckpoint(tmp_path / "ck"))
    run = trainer(tmp_path, logger=CSVLogger(tmp_path / "a", version="mine"), **options)
    run.fit(classifier(), Batches(3), ckpt_path=path)
    assert log.read_text().startswith(before) and len(log.read_text()) > len(before)


# ------------------------------------------------------------------------------- deaths


def faults(folder: Path, every: int) -> dict[str, int]:
    """Builds the library that is preloaded, and runs disk_faults.py."""
    library = folder / "faults.so"
    flags = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC"]
    source = str(TESTS / "disk_faults.c")
    subprocess.run(["cc", *flags, source, "-o", str(library), "-ldl"], check=True)
    (folder / "run").mkdir()
    return script(
        "disk_faults.py",
        folder / "run",
        every,
        LD_PRELOAD=str(library),
        VITC_FAULTS_UNDER=str(folder / "run"),
    )


def test_a_death_or_an_error_at_any_call_leaves_whole_checkpoints(tmp_path: Path) -> None:
    """Oracle: what reads back, and the user's files; also when another process has the number of
    the dead one, where the system lets a test choose it."""
    told = faults(tmp_path, 14)
    print(told)
    assert all(count >= 3 for name, count in told.items() if name != "number alive again")
    if os.access("/proc/sys/kernel/ns_last_pid", os.W_OK):
        assert told["number alive again"] > 0


@pytest.mark.long
def test_the_same_at_each_call(tmp_path: Path) -> None:
    told = faults(tmp_path, 1)
    assert all(count >= 40 for name, count in told.items() if name != "number alive again")
    note("A death or an error at each call that changes the disk", told)


@pytest.mark.long
def test_many_runs_share_a_folder(tmp_path: Path) -> None:
    told = script("two_runs.py", tmp_path, 40)
    assert told["pairs"] == 40
    note("Two runs at once in one folder, and a reader of last.ckpt", told)


@pytest.mark.long
def test_a_reader_polls_for_long(tmp_path: Path, monkeypatch) -> None:
    told: dict[str, int] = {}
    for name, exchanges in (("exchanged", True), ("moved aside", False)):
        with monkeypatch.context() as patch:
            if not exchanges:
                patch.setattr(folders, "exchange", lambda *_: False)
            reads, writes = poll(tmp_path / f"{name}.ckpt", writes=2000)
            told |= {f"{name}: replaced": writes, f"{name}: whole when read": reads}
    note("A reader of a checkpoint that is replaced without a pause", told)


# ------------------------------------------------------------------------------- modes


@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077])
def test_files_have_the_permissions_of_the_process(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        run = trainer(tmp_path, max_epochs=1)
        run.fit(classifier(), Batches(1))
        run.save_checkpoint(tmp_path / "a.ckpt")
    finally:
        os.umask(before)
    files = list(tmp_path.rglob("*"))
    assert len(files) > 8
    for path in files:
        expected = (0o777 if path.is_dir() else 0o666) & ~mask
        assert stat.S_IMODE(path.stat().st_mode) == expected, path
