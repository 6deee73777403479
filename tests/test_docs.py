"""README.md and docs/: their programs run, their commands parse, and what they link to exists.

A page is run from top to bottom in a folder with the inputs that docs/README.md describes: its
```python blocks share one namespace, and the `vitc` lines of its ```sh blocks run in between.
"""

import argparse
import builtins
import glob
import importlib
import io
import re
import shlex
import tarfile
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from functools import reduce
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vitc
from vitc.cli import COMMANDS, _parser, main

ROOT = Path(__file__).parents[1]
README, DOCS = ROOT / "README.md", ROOT / "docs"
PAGES = [README, *sorted(DOCS.glob("*.md"))]
TEXTS = {path.name if path == README else f"docs/{path.name}": path.read_text() for path in PAGES}

# Commands that need the network; and one that test_cli.py runs, with fewer epochs.
NOT_RUN = ("vitc models", "vitc demo")
# What a run takes in place of the documented values, to be short.
SHORT = {"fit": ["--model=test_vit", "--img-size=32", "--epochs=1", "--batch-size=4"]}
LONGEST_ROW, LONGEST_CELL = 140, 100


# ------------------------------------------------------------------------------- the inputs


def photograph(generator: np.random.Generator, level: int) -> Image.Image:
    pixels = generator.normal(level, 40, (48, 60, 3)).clip(0, 255).astype(np.uint8)
    return Image.fromarray(pixels)


def make_inputs(folder: Path, per_class: int) -> None:
    """`photos/` with a folder per class, `photos.csv` that lists it, `image.jpg`, `unlabelled/`."""
    generator = np.random.default_rng(0)
    rows = ["image,label,split,group,weight"]
    for name, level in (("crack", 60), ("good", 180)):
        (folder / "photos" / name).mkdir(parents=True)
        for i in range(per_class):
            path = f"photos/{name}/{i}.jpg"
            photograph(generator, level).save(folder / path)
            split = "val" if i % 3 == 2 else "train"
            rows.append(f"{path},{name},{split},{name} {split} {i // 2},{1 + i}")
    (folder / "photos.csv").write_text("\n".join(rows) + "\n")
    photograph(generator, 100).save(folder / "image.jpg")
    (folder / "unlabelled").mkdir()
    for i in range(40):
        photograph(generator, 40 + 4 * i).save(folder / f"unlabelled/{i}.jpg")


def make_archives(folder: Path) -> None:
    """`medmnist.npz`, `shards/train-{000..001}.tar`, `scans/` of DICOM, and `weights/`."""
    generator = np.random.default_rng(0)
    parts = {
        f"{split}_{what}": values
        for split in ("train", "val", "test")
        for what, values in (
            ("images", generator.integers(0, 256, (6, 28, 28, 3), dtype=np.uint8)),
            ("labels", np.arange(6).reshape(6, 1) % 2),
        )
    }
    np.savez(folder / "medmnist.npz", **parts)
    (folder / "shards").mkdir()
    for shard in range(2):
        with tarfile.open(folder / f"shards/train-{shard:03}.tar", "w") as tar:
            for i in range(3):
                picture = io.BytesIO()
                photograph(generator, 100).save(picture, "jpeg")
                for ending, data in (("jpg", picture.getvalue()), ("cls", b"%d" % (i % 2))):
                    member = tarfile.TarInfo(f"{i:04}.{ending}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
    make_scans(folder / "scans", generator)
    vitc.save_for_timm(vitc.create_model("test_vit", num_classes=3), folder / "weights")


def make_scans(folder: Path, generator: np.random.Generator) -> None:
    from test_data_decoding_dicom import dicom

    for name in ("nodule", "normal"):
        (folder / name).mkdir(parents=True)
        for i in range(4):
            stored = generator.integers(-1024, 2000, (32, 40)).astype(np.int16)
            data = dicom(stored, PatientID=f"{name} {i // 2}", RescaleIntercept=0, RescaleSlope=1)
            (folder / name / f"{i}.dcm").write_bytes(data)


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch, fresh_clock) -> Iterator[Path]:
    """An empty current folder; the number of threads is as before afterwards."""
    monkeypatch.setattr("vitc.runtime._threads", None)
    monkeypatch.chdir(tmp_path)
    yield tmp_path


# ------------------------------------------------------------------------------- programs


def blocks(text: str) -> list[tuple[str, str]]:
    """(language, content) of every fenced block."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.S | re.M)


def commands(block: str) -> Iterator[list[str]]:
    """The words of every `vitc` command in a block of shell lines, with patterns such as *.ckpt
    filled in when it is its turn."""
    for line in block.replace("\\\n", " ").splitlines():
        for part in line.split("&&"):
            program, *words = shlex.split(part, comments=True) or [""]
            if program == "vitc":
                yield [found for word in words for found in sorted(glob.glob(word)) or [word]]


def run_page(name: str, capsys) -> None:
    """Runs a page; a comment behind a print() is one of the lines that its block prints."""
    namespace = {"__name__": "docs"}
    capsys.readouterr()
    for language, content in blocks(TEXTS[name]):
        if language == "python":
            exec(compile(content, f"{name}: {content[:40]!r}", "exec"), namespace)
            printed = capsys.readouterr().out.splitlines()
            for expected in re.findall(r"^print\(.*\)  # (.*)$", content, re.M):
                assert expected in printed
        for words in commands(content) if language == "sh" else ():
            if not " ".join(["vitc", *words]).startswith(NOT_RUN):
                assert main([*words, *SHORT.get(words[0], [])]) == 0, words


@pytest.mark.parametrize("name", [name for name in TEXTS if name.startswith("docs/")])
def test_a_page_runs(name: str, workplace: Path, capsys) -> None:
    make_inputs(workplace, per_class=6)
    make_archives(workplace)
    run_page(name, capsys)


def test_the_fifteen_lines_run(workplace: Path, capsys) -> None:
    make_inputs(workplace, per_class=2)
    (program,) = [
        content for language, content in blocks(TEXTS["README.md"]) if language == "python"
    ]
    assert len([line for line in program.splitlines() if line.strip()]) <= 20
    run_page("README.md", capsys)
    (checkpoint,) = Path("lightning_logs/version_0/checkpoints").iterdir()
    assert checkpoint.name == "epoch=9-step=10.ckpt"


# ------------------------------------------------------------------------------- commands


@pytest.mark.parametrize("name", TEXTS)
def test_commands_parse(name: str) -> None:
    for language, content in blocks(TEXTS[name]):
        for words in commands(content) if language == "sh" else ():
            _parser(words).parse_args(words)  # exits where there is no such option


@pytest.mark.parametrize("name", TEXTS)
def test_programs_of_the_repository_exist(name: str) -> None:
    for path in re.findall(r"\bpython ([\w/]+\.py)\b", TEXTS[name]):
        assert (ROOT / path).is_file(), path


def test_every_command_has_a_section_with_its_options() -> None:
    sections = re.split(r"^## ", TEXTS["docs/command-line.md"], flags=re.M)[1:]
    found = {section.split("\n")[0].removeprefix("vitc "): section for section in sections}
    assert set(found) >= set(COMMANDS)
    for command in COMMANDS:
        shell = [content for language, content in blocks(found[command]) if language == "sh"]
        assert f"vitc {command} " in "".join(shell)
        known = options(_parser([command]), only=command)
        assert set(re.findall(r"`(--[a-z-]+)", found[command])) <= known, command


def options(parser: argparse.ArgumentParser, only: str | None = None) -> set[str]:
    """All options of a parser and of those below it, or only of the one of this name."""
    found = set(parser._option_string_actions)
    for action in parser._actions:
        for name, below in action.choices.items() if isinstance(action.choices, dict) else ():
            if only in (None, name) and isinstance(below, argparse.ArgumentParser):
                found |= options(below)
    return found


def test_commands_in_a_sentence_exist() -> None:
    said = [span for text in TEXTS.values() for span in spans(text)]
    found = {name for span in said for name in re.findall(r"^vitc ([a-z][a-z-]*)", span)}
    assert found <= set(COMMANDS)


# ------------------------------------------------------------------------------- names

SHORT_NAMES = {"F": vitc.functional, "T": vitc.data.transforms, "data": vitc.data}
PUBLIC = (vitc, vitc.data, vitc.data.transforms, vitc.optim, vitc.optim.lr_scheduler)
PUBLIC += (vitc.callbacks, vitc.loggers, vitc.losses, vitc.metrics, vitc.nn, vitc.scheduler)
PUBLIC += (vitc.utils, builtins)


@pytest.mark.parametrize("name", TEXTS)
def test_names_exist(name: str) -> None:
    """`vitc.data.ImageFolder`, `data.ImageFolder` and `ImageFolder` can be had, and models have the
    names that they are made by."""
    for path in set(re.findall(r"(?<![\w/])vitc(?:\.[A-Za-z_]\w*)+", TEXTS[name])):
        assert exists(path), path
    for model in re.findall(r"create_model\(\s*[\"']([\w.]+)[\"']", TEXTS[name]):
        vitc.get_pretrained_cfg(model)
    for span in spans(TEXTS[name]):
        for module, attribute in re.findall(r"^(F|T|data)\.([A-Za-z_]\w*)", span):
            assert hasattr(SHORT_NAMES[module], attribute), span
        if re.fullmatch(r"(?:[A-Z]+[a-z0-9]+){2,}\w*", span):
            assert any(hasattr(module, span) for module in PUBLIC), span


@pytest.mark.parametrize("name", TEXTS)
def test_variables_of_the_environment_exist(name: str) -> None:
    files = [ROOT / "setup.py", *(ROOT / "csrc").rglob("*.c"), *(ROOT / "vitc").rglob("*.py")]
    source = "".join(path.read_text() for path in files)
    for variable in set(re.findall(r"\bVITC_\w+", TEXTS[name])):
        assert f'"{variable}"' in source, variable


def test_extras_exist() -> None:
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    asked = {extra for text in TEXTS.values() for extra in re.findall(r'"\.\[(\w+)\]"', text)}
    (table,) = re.findall(r"^## Extras\n(.*?)^## ", TEXTS["docs/platforms.md"], re.S | re.M)
    listed = {extra for row in rows(table)[2:] for extra in spans(row)[:1]}
    assert asked == {"demo", "test"} and asked <= listed <= set(known)


def spans(text: str) -> list[str]:
    """What a page puts in backquotes in its sentences."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.S | re.M))


def exists(path: str) -> bool:
    try:
        reduce(getattr, path.split(".")[1:], vitc)
    except AttributeError:
        with suppress(ImportError):  # a module that nobody has imported yet
            importlib.import_module(path)
            return True
        return False
    return True


# ------------------------------------------------------------------------------- links and tables


def anchors(text: str) -> set[str]:
    """Of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", text, flags=re.S | re.M), re.M)
    return {re.sub(r"[^\w -]", "", h).strip().lower().replace(" ", "-") for h in headings}


@pytest.mark.parametrize("name", TEXTS)
def test_links_and_pictures_exist(name: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", TEXTS[name]):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / name).parent / path if path else ROOT / name
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file.read_text()), target


def rows(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("|")]


@pytest.mark.parametrize("name", TEXTS)
def test_tables_are_narrow(name: str) -> None:
    for row in rows(TEXTS[name]):
        cells = re.split(r"(?<!\\)\|", row)
        assert len(row) <= LONGEST_ROW and max(map(len, cells)) <= LONGEST_CELL + 2, row


def test_every_row_of_what_works_has_a_page_and_every_page_is_listed() -> None:
    (section,) = re.findall(r"^## What works\n(.*?)^## ", TEXTS["README.md"], re.S | re.M)
    linked = [re.findall(r"\]\(docs/([\w-]+\.md)\)", row) for row in rows(section)[2:]]
    assert linked and all(linked)
    pages = {path.name for path in DOCS.glob("*.md")} - {"README.md"}
    assert pages == set(re.findall(r"\]\(([\w-]+\.md)\)", TEXTS["docs/README.md"]))
