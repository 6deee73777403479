"""Building, installing and shipping.

By default what takes seconds: the installed extension's search path and needs, and the sentences of
a build that cannot be. `pytest -m packaging` builds the sdist and the wheel and installs them in
fresh environments (minutes, and the network); with VITC_RECORD=FILE it writes its figures there.
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from vitc import _vitc

ROOT = Path(__file__).parents[1]
INSTALLED = Path(_vitc.__file__).parent
ONEDNN = _vitc.config()["onednn"] != "none"
WHEEL_LIMIT = 20e6
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads ELF files")


def readelf(option: str, path: Path) -> str:
    return subprocess.check_output(["readelf", "-W", option, path], text=True)


def needed(path: Path) -> set[str]:
    return set(re.findall(r"\(NEEDED\).*\[(.+)\]", readelf("-d", path)))


def glibc_floor(path: Path) -> tuple[int, ...]:
    """The newest version of glibc that a symbol is asked for in."""
    versions = re.findall(r"Name: GLIBC_([\d.]+)", readelf("-V", path))
    return max(tuple(map(int, version.split("."))) for version in versions)


# ---------------------------------------------------------------------------------------- at once


@linux
def test_the_extension_finds_its_own_libraries_first() -> None:
    (runpath,) = re.findall(r"\(RUNPATH\).*\[(.+)\]", readelf("-d", Path(_vitc.__file__)))
    assert runpath == "$ORIGIN/_lib"
    assert "(RPATH)" not in readelf("-d", Path(_vitc.__file__))


@linux
def test_the_extension_needs_what_is_bundled_or_on_every_system() -> None:
    bundled = {path.name for path in (INSTALLED / "_lib").glob("*.so*")}
    system = {"libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2"}
    loader = {name for name in needed(Path(_vitc.__file__)) if name.startswith("ld-linux")}
    assert bundled >= {"libgomp.so.1"} | ({"libvdnn.so.3"} if ONEDNN else set())
    for path in (Path(_vitc.__file__), *(INSTALLED / "_lib").glob("*.so*")):
        needs = needed(path) - system - loader
        if path.name == "libvdnn.so.3":
            needs -= {"libstdc++.so.6", "libgcc_s.so.1", *loader, "ld-linux-x86-64.so.2"}
        assert needs <= bundled, path.name
    assert "libdnnl.so.3" not in needed(Path(_vitc.__file__))  # another's may be loaded already


@linux
def test_the_extension_carries_no_debug_sections() -> None:
    assert ".debug_info" not in readelf("-S", Path(_vitc.__file__))


@linux
def test_the_extension_is_hardened() -> None:
    """Buffers are guarded, copies checked, and no address can be changed once it is loaded."""
    extension = Path(_vitc.__file__)
    assert "BIND_NOW" in readelf("-d", extension) and "GNU_RELRO" in readelf("-l", extension)
    assert re.search(r"GNU_STACK.* RW ", readelf("-l", extension))  # and not executable
    symbols = readelf("--dyn-syms", extension)
    assert "__stack_chk_fail" in symbols and "_chk@" in symbols.replace("__stack_chk_fail", "")


@pytest.mark.skipif(not ONEDNN, reason="built without oneDNN")
def test_the_licences_of_onednn_lie_beside_it() -> None:
    assert "Apache License" in (INSTALLED / "_lib/LICENSE").read_text()
    assert "oneDNN" in (INSTALLED / "_lib/THIRD-PARTY-PROGRAMS").read_text()
    assert "oneDNN" in (ROOT / "NOTICE").read_text()


def refusal(tmp_path: Path, **environment: str) -> str:
    """The one line with which a build gives up."""
    command = [sys.executable, "setup.py", "-q", "build_ext"]
    done = subprocess.run(
        [*command, "--build-lib", tmp_path / "lib", "--build-temp", tmp_path / "temp"],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    return line


def test_no_compiler_is_one_sentence(tmp_path: Path) -> None:
    line = refusal(tmp_path, CC="no-such-compiler -m64")
    assert line == (
        "vitc: the build needs a C compiler and 'no-such-compiler' was not found; install gcc, or "
        "set CC to another one"
    )


VERSION = "#define DNNL_VERSION_MAJOR {}\n#define DNNL_VERSION_MINOR {}\n"
OMP = "#define DNNL_CPU_RUNTIME DNNL_RUNTIME_OMP\n"
ROOTS = {  # what lies below VITC_ONEDNN_ROOT, and what is said of it
    "nothing": (None, "", "", "has no lib/libdnnl.so.3"),
    "no headers": (b"", None, None, "has no headers of oneDNN >= 3.2"),
    "too old": (b"", VERSION.format(3, 1), OMP, "is oneDNN 3.1, expected 3.2 or a later 3.x"),
    "another API": (b"", VERSION.format(2, 7), OMP, "is oneDNN 2.7, expected 3.2"),
    "a later API": (b"", VERSION.format(4, 0), OMP, "is oneDNN 4.0, expected 3.2"),
    "no version": (b"", "", OMP, "has no headers of oneDNN >= 3.2"),
    "SYCL": (
        b"",
        VERSION.format(3, 9),
        "#define DNNL_CPU_RUNTIME DNNL_RUNTIME_SYCL\n",
        "is built without OpenMP",
    ),
    "no library": (b"not an ELF file", VERSION.format(3, 2), OMP, "names libdnnl.so.3 0 times"),
}


@pytest.mark.parametrize("case", ROOTS)
def test_an_unusable_onednn_root_is_one_sentence(tmp_path: Path, case: str) -> None:
    library, version, config, words = ROOTS[case]
    root = tmp_path / "root"
    headers = root / "include/oneapi/dnnl"
    headers.mkdir(parents=True)
    (root / "lib").mkdir()
    if library is not None:
        (root / "lib/libdnnl.so.3").write_bytes(library)
    for name, text in (("dnnl_version.h", version), ("dnnl_config.h", config)):
        if text is not None:
            (headers / name).write_text(text)
    line = refusal(tmp_path, VITC_ONEDNN_ROOT=str(root), VITC_ONEDNN="1")
    assert line.startswith("vitc: ") and words in line and str(root) in line


# ---------------------------------------------------------------------------------------- at length

Figures = list[str]


@pytest.fixture(scope="module")
def figures() -> Iterator[Figures]:
    """Lines for the record."""
    lines: Figures = ["pytest -m packaging, on two processors and with a warm cache of pip:", ""]
    yield lines
    if path := os.environ.get("VITC_RECORD"):
        Path(path).write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources, so that a build leaves no trace in them."""
    folder = tmp_path_factory.mktemp("source") / "vitc"
    built = shutil.ignore_patterns(
        ".*cache", ".git", "__pycache__", "build", "dist", "*.so", "*.egg-info", "_lib"
    )
    shutil.copytree(ROOT, folder, ignore=built)
    return folder


@pytest.fixture(scope="module")
def built(source: Path, tmp_path_factory: pytest.TempPathFactory, figures: Figures) -> Path:
    """The folder with an sdist and the wheel that was built from it."""
    folder, start = tmp_path_factory.mktemp("dist"), time.monotonic()
    command = [sys.executable, "-m", "build", "--outdir", folder, source]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    figures.append(f"python -m build, sdist and wheel: {time.monotonic() - start:.0f} s")
    return folder


def wheel_in(folder: Path) -> Path:
    (wheel,) = folder.glob("vitc-*.whl")
    return wheel


def fresh(folder: Path) -> Path:
    """The python of a new environment without anything in it."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    return folder / "bin/python"


def install(
    python: Path, *what: str | Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, "-m", "pip", "install", *what],
        cwd=python.parent,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


def smoke(python: Path) -> str:
    """Runs the smoke test with nothing in PATH but the environment itself, from elsewhere."""
    done = subprocess.run(
        [python, ROOT / "tests/smoke.py"],
        cwd="/",
        env={"PATH": str(python.parent), "HOME": os.environ.get("HOME", "/")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "tensors trains" in done.stdout
    return done.stdout


@pytest.mark.packaging
def test_the_wheel_is_small_and_complete(built: Path, figures: Figures) -> None:
    wheel = wheel_in(built)
    size = wheel.stat().st_size
    figures.append(f"wheel: {size / 1e6:.1f} MB, limit {WHEEL_LIMIT / 1e6:.0f} MB")
    assert size <= WHEEL_LIMIT
    names = {
        re.sub(r"^vitc-[^/]+?(?=\.dist)", "vitc-X", name)
        for name in zipfile.ZipFile(wheel).namelist()
    }
    assert names >= {
        "vitc/__init__.py",
        "vitc/_vitc.pyi",
        "vitc/models/__init__.py",
        "vitc/_lib/LICENSE",
        "vitc/_lib/THIRD-PARTY-PROGRAMS",
        "vitc/_lib/libgomp.so.1",
        "vitc/_lib/libtriton_vitc.so",
        "vitc/_lib/libvdnn.so.3",
        "vitc-X.dist-info/licenses/LICENSE",
        "vitc-X.dist-info/licenses/NOTICE",
        "vitc-X.dist-info/entry_points.txt",
    }
    assert any(re.fullmatch(r"vitc/_vitc\.cpython-\w+(-\w+)*\.so", name) for name in names)
    outside = {name for name in names if not name.startswith(("vitc/", "vitc-X.dist-info/"))}
    assert not outside and not [name for name in names if name.endswith((".c", ".h"))]


@pytest.mark.packaging
def test_the_sdist_has_sources_and_nothing_built(built: Path, figures: Figures) -> None:
    (sdist,) = built.glob("vitc-*.tar.gz")
    figures.append(f"sdist: {sdist.stat().st_size / 1e6:.2f} MB")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    sources = {
        str(p.relative_to(ROOT)) for p in (ROOT / "csrc").rglob("*") if p.suffix in (".c", ".h")
    }
    assert names >= sources | {"setup.py", "LICENSE", "NOTICE", "tests/test_packaging.py"}
    assert not [name for name in names if re.search(r"\.so(\.|$)|\.o$|_lib/", name)]


@pytest.mark.packaging
@linux
def test_the_libraries_run_on_old_systems(built: Path, tmp_path: Path, figures: Figures) -> None:
    """What the wheel is tagged with on manylinux_2_28 is what its libraries ask for there; here the
    extension may ask for this system's glibc, but what is only copied must not ask for more."""
    zipfile.ZipFile(wheel_in(built)).extractall(tmp_path)
    (extension,) = (tmp_path / "vitc").glob("_vitc*.so")
    for path in (
        extension,
        tmp_path / "vitc/_lib/libvdnn.so.3",
        tmp_path / "vitc/_lib/libgomp.so.1",
    ):
        floor = ".".join(map(str, glibc_floor(path)))
        name = path.name.partition(".cpython")[0]
        figures.append(f"{name}: {path.stat().st_size / 1e6:.2f} MB, glibc >= {floor}")
    assert glibc_floor(tmp_path / "vitc/_lib/libvdnn.so.3") <= (2, 28)


@pytest.mark.packaging
def test_the_wheel_runs_without_compiler_and_build_packages(
    built: Path, tmp_path: Path, figures: Figures
) -> None:
    python, start = fresh(tmp_path / "venv"), time.monotonic()
    done = install(python, wheel_in(built), PATH=str(tmp_path / "venv/bin"))
    assert done.returncode == 0, done.stderr
    figures.append(
        f"pip install of the wheel with its dependencies: {time.monotonic() - start:.0f} s"
    )
    listed = subprocess.check_output([python, "-m", "pip", "list", "--format=freeze"], text=True)
    assert "vitc==" in listed and "onednn" not in listed and "torch" not in listed
    assert "3.2.0 (OpenMP)" in smoke(python)
    command = subprocess.run([tmp_path / "venv/bin/vitc", "--help"], capture_output=True, text=True)
    assert command.returncode == 0 and "demo" in command.stdout


@pytest.mark.packaging
def test_pip_install_from_the_sources(source: Path, tmp_path: Path, figures: Figures) -> None:
    python, start = fresh(tmp_path / "venv"), time.monotonic()
    done = install(python, source)
    assert done.returncode == 0, done.stderr[-3000:]
    figures.append(f"pip install of the sources, all built: {time.monotonic() - start:.0f} s")
    assert "3.2.0 (OpenMP)" in smoke(python)


@pytest.mark.packaging
def test_an_editable_install_works(source: Path, tmp_path: Path) -> None:
    copy = tmp_path / "vitc"
    shutil.copytree(source, copy)
    python = fresh(tmp_path / "venv")
    done = install(python, "-e", copy)
    assert done.returncode == 0, done.stderr[-3000:]
    smoke(python)
    (copy / "vitc/errors.py").write_text((copy / "vitc/errors.py").read_text() + "\nEDITED = 7\n")
    program = "from vitc.errors import EDITED; print(EDITED)"
    assert subprocess.check_output([python, "-c", program], cwd="/", text=True) == "7\n"


@pytest.mark.packaging
def test_a_build_without_onednn_runs(source: Path, tmp_path: Path) -> None:
    python = fresh(tmp_path / "venv")
    done = install(python, source, VITC_ONEDNN="0")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "none: plain C products, slow but correct" in smoke(python)


@pytest.mark.packaging
def test_pip_shows_the_sentences(source: Path, tmp_path: Path) -> None:
    """Among what pip has to say itself, the reason stands on a line of its own."""
    python = fresh(tmp_path / "venv")
    done = install(python, source, PATH=str(tmp_path / "venv/bin"))
    assert done.returncode == 1
    told = re.sub(r"\s+", " ", done.stdout + done.stderr)
    assert "vitc: the build needs a C compiler and" in told and "was not found; install gcc" in told
    done = install(python, source, VITC_ONEDNN_ROOT=str(tmp_path))
    assert done.returncode == 1
    told = re.sub(r"\s+", " ", done.stdout + done.stderr)
    assert f"vitc: VITC_ONEDNN_ROOT={tmp_path} has no lib/libdnnl.so.3" in told
