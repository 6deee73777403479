"""Builds the extension vitc._vitc and takes oneDNN into the package. Metadata: pyproject.toml.

Environment:
    VITC_ONEDNN=0       build without oneDNN: plain C products, slow but correct
    VITC_ONEDNN_ROOT    directory with include/ and lib/ of another oneDNN >= 3.2 with OpenMP
    VITC_OPENMP=0       build without threads (for ThreadSanitizer)
    VITC_WERROR=1       warnings are errors
    VITC_SANITIZE       e.g. address,undefined
"""

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.modified import newer_group

ONEDNN = os.environ.get("VITC_ONEDNN") != "0"
OPENMP = os.environ.get("VITC_OPENMP") != "0"
SANITIZE = os.environ.get("VITC_SANITIZE")

# Private names: a libdnnl.so.3 that is already in the process cannot take the place of ours.
SONAME, PRIVATE_SONAME = "libdnnl.so.3", "libvdnn.so.3"
BACKEND = "libtriton_vitc.so"  # of Triton's server, beside the libraries
DISTRIBUTIONS = ("onednn-cpu-gomp", "onednn-devel-cpu-gomp")
LICENSES = ("LICENSE", "THIRD-PARTY-PROGRAMS")

COMMON = ["-std=gnu11", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wshadow", "-Wconversion"]
ARITHMETIC = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"]
EXACT = [*ARITHMETIC[:-1], "-ffp-contract=off"]  # every product and sum rounded, as in Pillow
AVX2 = ["-mavx2", "-mfma", "-mf16c"]
AVX512 = ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl"]
STRICT = ["-O2", "-ffp-contract=off"]
# Not under the sanitizers, which see more and want the plain functions.
HARDENED = ["-fstack-protector-strong", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2"]
HARDENED_LINK = ["-Wl,-z,relro", "-Wl,-z,now"]
CHECKED = ["-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g"]
# Flags by the name of the source; the first pattern that matches. The rest is STRICT.
FLAGS = {
    r"kernels/isa_avx2\.c|linalg/int8_avx2\.c": [*ARITHMETIC, *AVX2],
    r"kernels/isa_avx512\.c|linalg/panels_(amx|avx512|pack)\.c": [*ARITHMETIC, *AVX2, *AVX512],
    r"kernels/ref_|linalg/plain_": ARITHMETIC,
    r"image/isa_avx2\.c": [*EXACT, *AVX2],
    r"image/isa_avx512\.c": [*EXACT, *AVX2, *AVX512, "-mavx512vbmi", "-mavx512vnni"],
    r"image/": EXACT,
}


def onednn_from_root(root: Path) -> tuple[Path, Path, list[Path]]:
    """Include directory, library and licence files below VITC_ONEDNN_ROOT."""
    libraries = [root / lib / SONAME for lib in ("lib", "lib64") if (root / lib / SONAME).exists()]
    if not libraries:
        raise SystemExit(f"vitc: VITC_ONEDNN_ROOT={root} has no lib/{SONAME}")
    return root / "include", libraries[0], [root / name for name in LICENSES]


def onednn_from_packages() -> tuple[Path, Path, list[Path]]:
    """The same from the PyPI packages of the build environment, wherever pip has put them."""
    try:
        files = [file for name in DISTRIBUTIONS for file in metadata.files(name) or []]
    except metadata.PackageNotFoundError as missing:
        raise SystemExit(
            f"vitc: the build needs oneDNN, and the package {missing.name} is not installed; "
            "install it, or set VITC_ONEDNN_ROOT to a oneDNN >= 3.2, or VITC_ONEDNN=0 to build "
            "without"
        ) from None
    found = {file.as_posix().rpartition("../")[2]: Path(str(file.locate())) for file in files}
    header = found["include/oneapi/dnnl/dnnl.h"]
    library = next(path for path in found.values() if path.name == SONAME)
    licenses = [path for path in found.values() if path.name in LICENSES]
    return header.parents[2], library, licenses


def check_onednn(include: Path) -> None:
    """SystemExit unless the headers are of a oneDNN 3.2 or later with an OpenMP runtime."""
    folder = include / "oneapi" / "dnnl"
    try:
        text = (folder / "dnnl_version.h").read_text() + (folder / "dnnl_config.h").read_text()
        defined = dict(re.findall(r"#define\s+(DNNL_\w+)\s+(\w+)", text))
        major, minor = (int(defined[f"DNNL_VERSION_{part}"]) for part in ("MAJOR", "MINOR"))
    except (OSError, KeyError) as error:
        raise SystemExit(f"vitc: {include} has no headers of oneDNN >= 3.2 ({error})") from None
    if major != 3 or minor < 2:
        raise SystemExit(f"vitc: {include} is oneDNN {major}.{minor}, expected 3.2 or a later 3.x")
    if defined.get("DNNL_CPU_RUNTIME") != "DNNL_RUNTIME_OMP":
        raise SystemExit(f"vitc: the oneDNN in {include} is built without OpenMP")


def copy_renamed(library: Path, target: Path) -> None:
    """Copy oneDNN under its private SONAME: one string in the file, replaced by one as long."""
    old, new = (f"\0{name}\0".encode() for name in (SONAME, PRIVATE_SONAME))
    data = library.read_bytes()
    if data.count(old) != 1:
        raise SystemExit(f"vitc: {library} names {SONAME} {data.count(old)} times, expected once")
    target.write_bytes(data.replace(old, new))


def compiler_file(compiler: list[str], name: str) -> Path | None:
    """A file of the compiler's run-time libraries, or None."""
    answer = subprocess.run([*compiler, f"-print-file-name={name}"], capture_output=True, text=True)
    path = Path(answer.stdout.strip())
    return path if path.is_absolute() and path.exists() else None


def stage_onednn(folder: Path) -> list[str]:
    """Put oneDNN and its licences into `folder`; returns the flags that find its headers."""
    root = os.environ.get("VITC_ONEDNN_ROOT")
    include, library, licenses = onednn_from_root(Path(root)) if root else onednn_from_packages()
    check_onednn(include)
    copy_renamed(library, folder / PRIVATE_SONAME)
    for path in filter(Path.exists, licenses):
        shutil.copy(path, folder / path.name)
    return ["-isystem", str(include)]


def stage_libraries(folder: Path, compiler: list[str]) -> list[str]:
    """Fill `folder` with what goes into vitc/_lib; returns the flags that find the headers.

    libgomp is taken along under its own SONAME, as torch does: slim images lack it, and where
    another copy is loaded already the loader uses that one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if OPENMP and (gomp := compiler_file(compiler, "libgomp.so.1")):
        shutil.copy(gomp.resolve(), folder / "libgomp.so.1")
    return stage_onednn(folder) if ONEDNN else []


def library_flags(folder: Path) -> list[str]:
    """What is linked with, besides the system's; `folder` is that of stage_libraries."""
    return [str(folder / PRIVATE_SONAME)] if ONEDNN else []


def common_flags() -> list[str]:
    """Flags of every source."""
    import numpy  # a build requirement; reading the metadata does without

    flags = [*COMMON, f"-DVT_ONEDNN={int(ONEDNN)}", "-isystem", numpy.get_include()]
    flags += ["-Werror"] if os.environ.get("VITC_WERROR") == "1" else []
    return flags + ([] if SANITIZE else HARDENED) + link_flags()


def link_flags() -> list[str]:
    """Flags of compiling and linking alike."""
    flags = ["-fopenmp"] if OPENMP else []
    return flags + ([f"-fsanitize={SANITIZE}", *CHECKED] if SANITIZE else [])


def extension_flags() -> list[str]:
    """Flags of linking what is shipped: no debug sections; all addresses settled when it is loaded,
    and read-only from then on."""
    return [] if SANITIZE else ["-Wl,-S", *(HARDENED_LINK if sys.platform == "linux" else [])]


def source_flags(source: str) -> list[str]:
    return next((flags for name, flags in FLAGS.items() if re.search(name, source)), STRICT)


def target_flags(flags: list[str], compiler: list[str]) -> list[str]:
    """Without the -m flags where the compiler's target is not x86: the stubs are empty there."""
    target = subprocess.run([*compiler, "-dumpmachine"], capture_output=True, text=True).stdout
    return flags if target.startswith("x86_64") else [f for f in flags if not f.startswith("-m")]


def replace_file(source: str, target: str) -> None:
    """Copy to a new file: the old one may be in use, and must not change under its users."""
    Path(target).unlink(missing_ok=True)
    shutil.copy2(source, target)


class BuildExt(build_ext):
    """Compiles the sources in parallel, each with its flags, and puts the libraries beside."""

    def run(self) -> None:
        super().run()
        package = Path(self.get_ext_fullpath("vitc._vitc")).parent
        shutil.copytree(
            self.staged(), package / "_lib", dirs_exist_ok=True, copy_function=replace_file
        )

    def staged(self) -> Path:
        return Path(self.build_temp) / "_lib"

    def build_extension(self, ext: Extension) -> None:
        compiler = shlex.split(os.environ.get("CC", "")) or list(self.compiler.compiler[:1])
        if shutil.which(compiler[0]) is None:
            raise SystemExit(
                f"vitc: the build needs a C compiler and {compiler[0]!r} was not found; install "
                f"gcc, or set CC to another one"
            )
        flags = [*common_flags(), *stage_libraries(self.staged(), compiler)]
        libraries = [*library_flags(self.staged()), "-Wl,-rpath,$ORIGIN/_lib"]
        # Python may have been linked with search paths of this machine, which come before ours.
        linker = self.compiler.linker_so
        self.compiler.linker_so = [f for f in linker if not f.startswith("-Wl,-rpath")]
        objects = self.compile_all(ext, ext.sources, compiler, flags)
        closing = [*link_flags(), *extension_flags(), "-lm"]
        self.compiler.link_shared_object(
            objects, self.get_ext_fullpath(ext.name), extra_postargs=[*libraries, *closing]
        )
        if sys.platform == "linux":
            own = self.compile_all(ext, core_files(".c", rooms=("triton",)), compiler, flags)
            core = [o for o, s in zip(objects, ext.sources, strict=True) if "/py/" not in s]
            libraries = [*library_flags(self.staged()), "-Wl,-rpath,$ORIGIN"]
            self.compiler.link_shared_object(
                [*core, *own], str(self.staged() / BACKEND), extra_postargs=[*libraries, *closing]
            )

    def compile_all(
        self, ext: Extension, sources: list[str], compiler: list[str], flags: list[str]
    ) -> list[str]:
        """Objects of the sources; those older than a source or a header are rebuilt."""
        # A folder per set of flags: a build with other ones must not take these objects.
        folder = Path(self.build_temp) / hashlib.sha256(repr(flags).encode()).hexdigest()[:12]

        def compile_one(source: str) -> str:
            target = str(folder / source.replace("/", ".")) + ".o"
            if self.force or newer_group([source, *ext.depends], target):
                own = target_flags(source_flags(source), compiler)
                made = self.compiler.compile(
                    [source], str(folder), include_dirs=["csrc"], extra_postargs=[*flags, *own]
                )
                os.replace(made[0], target)
            return target

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(pool.map(compile_one, sources))


def core_files(*suffixes: str, rooms: tuple[str, ...] = ()) -> list[str]:
    """Of the given rooms of csrc/, or of all that the extension is made of."""
    return sorted(
        path.as_posix()
        for path in Path("csrc").rglob("*")
        if path.suffix in suffixes
        and (path.parts[1] in rooms if rooms else path.parts[1] not in ("tools", "triton"))
    )


if __name__ == "__main__":  # csrc/tools/build.py reads the flags above
    setup(
        ext_modules=[
            Extension(
                "vitc._vitc",
                core_files(".c"),
                depends=[
                    "setup.py",
                    *core_files(".h", ".inc"),
                    *core_files(".h", rooms=("triton",)),
                ],
            )
        ],
        cmdclass={"build_ext": BuildExt},
    )
