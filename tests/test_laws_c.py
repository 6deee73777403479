"""The laws of csrc/: which room may include or use which, and what each may ask of the outside.

Includes are read in the text. Calls are not: the objects are asked for the names they use, so that
a prototype of one's own, a pointer to a function or a macro changes nothing. Each law is shown to
fail on sources made up for that, and then applied to every file that is there.
"""

import platform
import re
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest

from core_objects import ONEDNN, Names, compiled, core, names
from layout import PYTHON, ROOT, C, Law, breaches

# Rooms of csrc/, each of which may use those before it; tools/ stands outside.
ROOMS = (
    *("base", "kernels", "linalg", "ops", "params", "optim", "program", "plan", "run"),
    *("image", "py", "triton"),
)
CALLERS = ("py", "triton")  # which have the door only
# The doors: headers outside the rooms, which declare what callers of the core use.
DOORS = ("vitc.h", "vitc_image.h")
# But: of base/, the arithmetic knows types, random words, which CPU this is and how its tables are
# made; image/ knows nothing but base/; and who stands outside has only the door.
NARROWER = {
    "base": ("base/",),
    "kernels": ("kernels/", "base/dtype.", "base/rng.", "base/cpu.", "base/slots."),
    "image": ("image/", "base/", "vitc_image.h"),
    "py": ("py/", "vitc.h"),
    "triton": ("triton/", "vitc.h"),
    "tools/test_api.c": ("vitc.h", "tools/check.h"),
    "vitc.h": (
        *("base/cpu.h", "base/dtype.h", "base/machine.h", "base/memory.h", "base/parallel.h"),
        *("base/rng.h", "base/status.h", "kernels/api.h", "vitc_image.h"),
    ),
    "vitc_image.h": ("base/status.h",),
}
# Headers that only one room or file may include.
FOREIGN_HEADERS = {
    r"Python\.h": "py/",
    r"numpy/": "py/array.c",
    r".*dnnl": "linalg/onednn.c",
    r"omp\.h": "base/parallel.c",
    r"(malloc|alloca)\.h": "",
}

# What a room, or one file of it, uses that csrc/ does not define. Nothing here ends the process or
# prints; one file allocates, one speaks OpenMP, one oneDNN.
OUTSIDE = {
    "base/cpu.c": "__cpu_* strcat strcmp syscall",
    "base/lock.c": """pthread_atfork pthread_cond_broadcast pthread_cond_destroy pthread_cond_wait
        pthread_mutex_destroy pthread_mutex_lock pthread_mutex_unlock""",
    "base/machine.c": "fclose feof ferror fgets fopen fscanf snprintf strchr strcmp strlen",
    "base/memory.c": "calloc free madvise mmap munmap sysconf",
    "base/parallel.c": """GOMP_* omp_* __sched_cpucount sched_getaffinity sysconf
        pthread_atfork pthread_create pthread_join pthread_mutex_lock pthread_mutex_unlock
        pthread_sigmask sigdelset sigfillset fegetenv fesetenv
        atoi fclose fopen fscanf getenv""",
    "base/scratch.c": "pthread_key_create pthread_once pthread_setspecific",
    "base/status.c": "vsnprintf",
    "kernels": """erfc erfcf exp expf expm1 fabs fabsf fmax fmaxf log log1p pow rint rintf sqrt
        sqrtf""",
    "linalg": "pthread_atfork snprintf",
    "linalg/onednn.c": "dnnl_* pthread_once strncmp",
    "ops": "cos exp fabs log1p pow sin snprintf sqrt strcmp",
    "params": "sqrt strcpy strlen",
    "optim": "sqrt",
    "program/file.c": "memchr strcmp strlen",
    "plan": "log2 qsort snprintf strcmp",
    "run/profile.c": "clock_gettime",
    "image": "ceil cos exp exp2 fabs floor fmax fmin fmod pow rint rintf sin sqrt sqrtf strcmp",
    "image/image.c": "strstr",
    "py": """PyArg_ParseTuple PyArg_ParseTupleAndKeywords PyBool_FromLong Py_BuildValue
        PyBytes_AsString PyBytes_FromStringAndSize PyBytes_Size PyDict_New PyDict_SetItem
        PyDict_SetItemString PyErr_Clear PyErr_ExceptionMatches PyErr_Format PyErr_NoMemory
        PyErr_Occurred PyErr_SetString PyEval_RestoreThread PyEval_SaveThread
        PyExc_KeyError PyExc_TypeError PyExc_ValueError PyFloat_AsDouble PyFloat_FromDouble
        PyList_Append PyList_AsTuple PyList_New PyLong_AsLong PyLong_AsLongLong PyLong_AsSsize_t
        PyLong_FromDouble PyLong_FromLong PyLong_FromLongLong PyLong_FromSize_t
        PyLong_FromUnsignedLongLong PyMapping_GetItemString PyMapping_Size PyMem_Calloc PyMem_Free
        PyModule_GetState PyObject_IsTrue PySequence_GetItem PySequence_Size PySequence_Tuple
        PyTuple_New PyTuple_Type PyType_GenericAlloc PyType_GetModuleByDef PyUnicode_AsUTF8
        PyUnicode_AsUTF8AndSize PyUnicode_FromString _Py_Dealloc _Py_FalseStruct _Py_NoneStruct
        _Py_TrueStruct pow snprintf strcmp strlen""",
    "py/module.c": """PyErr_NewExceptionWithDoc PyExc_IndexError PyExc_MemoryError PyExc_OSError
        PyModuleDef_Init PyModule_AddFunctions PyModule_AddObjectRef PyModule_AddType
        PyType_FromModuleAndSpec PyType_GetSlot getenv""",
    "triton": """TRITONBACKEND_* TRITONSERVER_* clock_gettime fclose fopen fread fseek ftell getenv
        snprintf strcmp""",
}
# What headers and the compiler bring along, more or less of it from version to version: copies of
# structs, checks in Python's inline functions, and what NumPy does when it is imported.
BROUGHT = {
    "": "memcmp memcpy memmove memset _GLOBAL_OFFSET_TABLE_",
    "py": "__assert_fail",
    "py/array.c": """PyCapsule_* PyErr_Print PyExc_ImportError PyExc_ModuleNotFoundError
        PyExc_RuntimeError PyImport_ImportModule PyObject_GetAttrString PyType_IsSubtype""",
}

# Of what the compiler does by itself, without a name that an object would show.
BUILTINS = {
    "base/cpu.c": {"__builtin_cpu_init", "__builtin_cpu_supports"},
    "image/across_avx2.inc": {"__builtin_memcpy"},
    "linalg/panels.h": {"__builtin_prefetch"},
    "linalg/panels_amx.c": {"__asm__"},
}


def place(path: str) -> str:
    return path.removeprefix("csrc/")


def room(path: str) -> str:
    return place(path).split("/")[0]


STRING = r'"(?:\\.|[^"\\\n])*"'
CORE = [path for path in C if room(path) != "tools"]


# ---------------------------------------------------------------------------------------- text


def code(text: str) -> str:
    """Without comments, and with each line in one piece."""
    text = text.replace("\\\n", "")
    return re.sub(rf"({STRING})|/\*.*?\*/|//[^\n]*", r"\1 ", text, flags=re.DOTALL)


def bare(text: str) -> str:
    """Without comments and strings."""
    return re.sub(STRING, " ", code(text))


def includes(text: str) -> list[str]:
    """What stands behind each #include: in brackets, in quotes, or bare."""
    pattern = r"^\s*(?:#|%:)\s*(?:include|include_next|import)\b\s*(.*?)\s*$"
    return re.findall(pattern, code(text), flags=re.MULTILINE)


def may_use(path: str, other: str) -> bool:
    own = room(path)
    narrower = NARROWER.get(place(path)) or NARROWER.get(own)
    if narrower or own == "tools":
        return place(other).startswith(narrower or "")
    above = tuple(f"{name}/" for name in ROOMS[: ROOMS.index(own) + 1])
    return place(other).startswith((*above, *DOORS))


@cache
def public() -> set[str]:
    """What the door and the headers it includes name."""
    headers = ("vitc.h", *NARROWER["vitc.h"])
    return {name for header in headers for name in identifiers(code(text_of(f"csrc/{header}")))}


def text_of(path: str) -> str:
    return (ROOT / path).read_text()


def directions(path: str, text: str) -> Iterator[str]:
    """What is included stands in this room or one above, and is named by its path from csrc/."""
    for written in includes(text):
        header = written.strip('<>"')
        parts = header.split("/")
        known = parts[0] in (*ROOMS, "tools", *DOORS)
        if written == header:
            yield f"{path} includes {written}: a macro, behind which anything may stand"
        elif {"", ".", ".."} & {*parts} or not (known or written[0] == "<" or "dnnl" in header):
            yield f"{path} includes {header}: paths start at csrc/"
        elif known and not may_use(path, header):
            yield f"{path} includes {header}, which is not above it"


def foreign_headers(path: str, text: str) -> Iterator[str]:
    for header in (written.strip('<>"') for written in includes(text)):
        for pattern, where in FOREIGN_HEADERS.items():
            if re.match(pattern, header) and not (where and place(path).startswith(where)):
                yield f"{path} includes {header}, which is for {where or 'nobody'}"


def pragmas(path: str, text: str) -> Iterator[str]:
    """`omp simd` and `omp atomic` leave no name in an object."""
    if place(path) != "base/parallel.c":
        for pragma in re.findall(r'#\s*pragma\s+omp|_Pragma\s*\(\s*(?!"GCC)', code(text)):
            yield f"{path} has a pragma of OpenMP, or a hidden one: {pragma}"


def builtins(path: str, text: str) -> Iterator[str]:
    """Neither assembler nor what the compiler puts in its place, but for a few."""
    for name in re.findall(r"\b(?:__builtin\w*|__asm__|__asm|asm)\b", bare(text)):
        if name not in BUILTINS.get(place(path), ()):
            yield f"{path} uses {name}, of which objects show nothing"


# ---------------------------------------------------------------------------------------- comments


def identifiers(text: str) -> set[str]:
    return set(re.findall(r"[A-Za-z_]\w*", text))


@cache
def named(own: str) -> set[str]:
    """What the code of a room names, in strings too; of all of csrc/ and vitc/ if own is ""."""
    texts = [code((ROOT / path).read_text()) for path in C if own in ("", room(path))]
    if not own:
        texts += [(ROOT / path).read_text() for path in PYTHON if path.startswith("vitc/")]
    return {name for text in texts for name in identifiers(text)}


def comments(path: str, text: str) -> Iterator[str]:
    """What comments put in backquotes exists: in the code of the room, or as a file or a folder."""
    said, own = text, ""
    if path.endswith((".c", ".h", ".inc")):
        said = " ".join(re.findall(STRING + r"|(/\*.*?\*/|//[^\n]*)", text, re.DOTALL))
        own = room(path)
    for word in re.findall(r"`([^`]+)`", said):
        there = any((ROOT / folder / word).exists() for folder in (".", "csrc"))
        if not there and ("/" in word or not identifiers(word) <= named(own)):
            yield f"{path} speaks of `{word}`, which does not exist"


# ---------------------------------------------------------------------------------------- objects


def rows(path: str) -> tuple[str, ...]:
    """Those that hold for a file: of all, of its room, of its own."""
    return "", room(path), place(path)


def layers(path: str, used: frozenset[str], homes: dict[str, str]) -> Iterator[str]:
    """homes: the file that defines a name."""
    for name in sorted(used & homes.keys()):
        outside_the_door = room(path) in CALLERS and room(homes[name]) != room(path)
        if outside_the_door and name not in public():
            yield f"{path} uses {name} of {homes[name]}, which is not in vitc.h"
        elif not outside_the_door and not may_use(path, homes[name]):
            yield f"{path} uses {name} of {homes[name]}, which is not above it"


def outside(path: str, used: frozenset[str], homes: dict[str, str]) -> Iterator[str]:
    listed = (table.get(row, "") for table in (OUTSIDE, BROUGHT) for row in rows(path))
    allowed = [pattern for row in listed for pattern in row.split()]
    for name in sorted(used - homes.keys()):
        if not any(fnmatchcase(name, pattern) for pattern in allowed):
            yield f"{path} uses {name}, which is not on the list of {room(path)}/"


def stale(objects: dict[str, Names]) -> Iterator[str]:
    """Names on the list that nobody uses."""
    for row, listed in OUTSIDE.items():
        used = {name for path, own in objects.items() if row in rows(path) for name in own.used}
        for pattern in listed.split():
            if not any(fnmatchcase(name, pattern) for name in used):
                yield f"{pattern} is on the list of {row}, where nobody uses it"


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Names]:
    return core(tmp_path_factory.mktemp("objects"))


@pytest.fixture(scope="module")
def homes(objects: dict[str, Names]) -> dict[str, str]:
    return {name: path for path, own in objects.items() for name in own.defined}


# ---------------------------------------------------------------------------------------- proofs

# A law, a path, a source that breaks it, and what is said about it.
BREACHES: list[tuple[Law, str, str, str]] = [
    (directions, "csrc/kernels/a.c", '#include "linalg/matmul.h"', "not above it"),
    (directions, "csrc/kernels/a.c", '#include "../linalg/matmul.h"', "start at csrc/"),
    (directions, "csrc/kernels/a.c", '#include "linalg/../ops/op.h"', "start at csrc/"),
    (directions, "csrc/kernels/a.c", "#include <linalg/matmul.h>", "not above it"),
    (directions, "csrc/kernels/a.c", "#include <./linalg/matmul.h>", "start at csrc/"),
    (directions, "csrc/kernels/a.c", "#include </usr/include/malloc.h>", "start at csrc/"),
    (directions, "csrc/kernels/a.c", '#include /* */ "linalg/matmul.h"', "not above it"),
    (directions, "csrc/kernels/a.c", '#include \\\n"linalg/matmul.h"', "not above it"),
    (directions, "csrc/kernels/a.c", '#include_next "linalg/matmul.h"', "not above it"),
    (directions, "csrc/kernels/a.c", '#define H "ops/op.h"\n#include H', "macro"),
    (directions, "csrc/tools/a.c", "#include H", "macro"),
    (directions, "csrc/kernels/a.c", '%:include "ops/op.h"', "not above it"),
    (directions, "csrc/linalg/a.c", '#include "product.h"', "start at csrc/"),
    (directions, "csrc/base/a.h", '#include "kernels/kernels.h"', "not above it"),
    (directions, "csrc/program/a.c", '#  include "plan/plan.h"', "not above it"),
    (directions, "csrc/ops/a.c", '#include "tools/check.h"', "not above it"),
    (directions, "csrc/image/a.c", '#include "ops/op.h"', "not above it"),
    (directions, "csrc/kernels/a.inc", '#include "base/memory.h"', "not above it"),
    (directions, "csrc/kernels/a.c", '#include "vitc.h"', "not above it"),
    (directions, "csrc/base/a.c", '#include "vitc.h"', "not above it"),
    (directions, "csrc/image/a.c", '#include "vitc.h"', "not above it"),
    (directions, "csrc/py/a.c", '#include "run/run.h"', "not above it"),
    (directions, "csrc/py/a.c", '#include "base/lock.h"', "not above it"),
    (directions, "csrc/vitc.h", '#include "params/params.h"', "not above it"),
    (directions, "csrc/vitc_image.h", '#include "image/image.h"', "not above it"),
    (directions, "csrc/tools/test_api.c", '#include "tools/transformer.h"', "not above it"),
    (foreign_headers, "csrc/program/a.c", "#include <Python.h>", "for py/"),
    (foreign_headers, "csrc/py/module.c", "#include <numpy/arrayobject.h>", "for py/array.c"),
    (foreign_headers, "csrc/ops/a.c", '#include "oneapi/dnnl/dnnl.h"', "for linalg/onednn.c"),
    (foreign_headers, "csrc/py/a.c", "#include <omp.h>", "for base/parallel.c"),
    (foreign_headers, "csrc/base/memory.c", "#include <malloc.h>", "for nobody"),
    (pragmas, "csrc/ops/a.c", "#pragma omp parallel for\n", "OpenMP"),
    (pragmas, "csrc/ops/a.c", '_Pragma("omp simd")', "OpenMP"),
    (pragmas, "csrc/ops/a.c", "_Pragma(TEXT(omp simd))", "hidden"),
    (builtins, "csrc/ops/a.c", "if (x) __builtin_trap();", "__builtin_trap"),
    (builtins, "csrc/base/cpu.c", "__builtin_cpu_init(), __builtin_abort();", "__builtin_abort"),
    (builtins, "csrc/ops/a.c", '__asm__("ud2");', "__asm__"),
    (builtins, "csrc/base/cpu.c", "#define B(x) __builtin_##x\n", "__builtin_"),
    (comments, "csrc/ops/a.h", "/* ends with\n * `accumulated`, see `rows` */", "`accumulated`"),
    (comments, "csrc/ops/a.h", "int64_t x; // of `vt_run`", "`vt_run`"),
    (comments, "csrc/base/a.c", "/* see `base/memory.x` */", "`base/memory.x`"),
    (comments, "csrc/README.md", "`VITC_ISO` says", "`VITC_ISO`"),
]


@pytest.mark.parametrize(("law", "path", "text", "words"), BREACHES)
def test_a_breach_in_the_text_is_seen(law: Law, path: str, text: str, words: str) -> None:
    told = list(law(path, text))
    assert any(words in sentence for sentence in told)
    assert all(path in sentence for sentence in told)


ALLOWED = [
    (directions, "csrc/run/a.c", '#include "plan/plan.h"\n#include "vitc.h"\n'),
    (directions, "csrc/py/a.c", '#include "vitc.h"\n#include "py/array.h"\n#include <stdio.h>\n'),
    (directions, "csrc/tools/test_a.c", '#include "base/cpu.c"\n#include "tools/check.h"\n'),
    (directions, "csrc/kernels/a.c", '/*\n#include "ops/op.h"\n*/ // #include H\n'),
    (directions, "csrc/kernels/a.inc", '#include "base/rng.h"\n#include "kernels/real.h"\n'),
    (pragmas, "csrc/ops/a.c", '#pragma GCC unroll 4\n_Pragma("GCC ivdep") // #pragma omp\n'),
    (
        comments,
        "csrc/ops/a.h",
        'x = "`nothing`"; /* `VT_MAX_INPUTS`, `kernels/real.h`, `linear` */',
    ),
    (comments, "csrc/README.md", "`tests/test_core.py` `ops/` `vitc.show_config()` `VITC_ISA=ref`"),
    (builtins, "csrc/base/cpu.c", 'if (!__builtin_cpu_supports("avx2")) x = "__builtin_trap";'),
]


@pytest.mark.parametrize(("law", "path", "text"), ALLOWED)
def test_a_text_without_a_breach_is_passed(law: Law, path: str, text: str) -> None:
    assert list(law(path, text)) == []


@pytest.mark.parametrize("law", [directions, foreign_headers, pragmas, builtins])
def test_the_text_of_the_core_keeps_the_law(law: Law) -> None:
    assert len(CORE) > 60
    assert breaches(law, C if law is directions else CORE) == []


def test_the_comments_of_the_core_name_what_there_is() -> None:
    assert breaches(comments, [*C, "csrc/README.md"]) == []


# A path, a source, and the sentence about it. An object shows them all, however they are written.
SEEN = [
    ("ops/a.c", "void *vt_a(void) { return malloc(3); }", "malloc"),
    ("ops/a.c", "void *(*vt_a)(size_t) = malloc;", "malloc"),
    ("ops/a.c", "void *vt_a(void) { return __builtin_malloc(3); }", "malloc"),
    ("ops/a.c", "#define M(x) ma##x\nvoid *vt_a(void) { return M(lloc)(3); }", "malloc"),
    ("ops/a.c", 'void *own(size_t) __asm__("malloc");\nvoid *vt_a = own;', "malloc"),
    ("ops/a.c", "void *vt_a(void *p) { return reallocarray(p, 3, 3); }", "reallocarray"),
    ("py/a.c", "void vt_a(void *p) { free (p); }", "free"),
    ("base/cpu.c", "void *vt_a(void) { return malloc(3); }", "malloc"),
    ("base/memory.c", "void vt_a(void) { abort(); }", "abort"),
    ("base/memory.c", "void vt_a(int x) { assert(x > 0); }", "__assert_fail"),
    ("ops/a.c", "void vt_a(void) { exit(1); }", "exit"),
    ("ops/a.c", "void vt_a(void) { _Exit(1); }", "_Exit"),
    ("ops/a.c", "void vt_a(void) { raise(SIGABRT); }", "raise"),
    ("ops/a.c", 'void vt_a(void) { (void)write(2, "x", 1); }', "write"),
    ("ops/a.c", 'void vt_a(void) { printf("%d", 1); }', "printf"),
    ("linalg/a.c", 'void vt_a(FILE *file) { fputs("x", file); }', "fputs"),
    ("linalg/a.c", "void *vt_a = &stderr;", "stderr"),
    ("ops/a.c", "void vt_a(pthread_t *t) { pthread_create(t, 0, 0, 0); }", "pthread_create"),
    ("ops/a.c", "void vt_a(thrd_t *t) { thrd_create(t, 0, 0); }", "thrd_create"),
    ("base/lock.c", "void vt_a(int *x) {\n#pragma omp parallel\n    *x = 1;\n}", "GOMP_parallel"),
    (
        "py/a.c",
        "void omp_set_num_threads(int);\nvoid vt_a(void) { omp_set_num_threads(1); }",
        "omp_",
    ),
    (
        "ops/a.c",
        "int dnnl_version(void);\nint vt_a(void) { return dnnl_version(); }",
        "dnnl_version",
    ),
    ("ops/a.c", "void PyErr_Clear(void);\nvoid vt_a(void) { PyErr_Clear(); }", "PyErr_Clear"),
    ("py/a.c", "void Py_Exit(int);\nvoid vt_a(void) { Py_Exit(1); }", "Py_Exit"),
    ("image/a.c", "double vt_a(double x) { return lgamma(x); }", "lgamma"),
    (
        "ops/a.c",
        'void *dlopen(const char *, int);\nvoid *vt_a(void) { return dlopen("x", 1); }',
        "dl",
    ),
]
PRELUDE = "#define _GNU_SOURCE\n" + "".join(
    f"#include <{header}.h>\n"
    for header in ("assert", "math", "pthread", "signal", "stdio", "stdlib", "threads", "unistd")
)


@pytest.mark.parametrize(("where", "text", "name"), SEEN)
def test_a_name_from_outside_is_seen(
    where: str, text: str, name: str, homes: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "a.c").write_text(PRELUDE + text + "\n")
    path = f"csrc/{where}"
    told = list(outside(path, names(compiled(path, tmp_path / "a.c", tmp_path)).used, homes))
    assert any(sentence.startswith(f"{path} uses {name}") for sentence in told), told
    assert all(f"list of {room(path)}/" in sentence for sentence in told)


BELOW = [
    ("kernels/a.c", "void vt_free(void *);\nvoid vt_a(void *p) { vt_free(p); }", "base/memory.c"),
    ("base/a.c", "extern const void *vt_op_table[];\nvoid *vt_a = &vt_op_table;", "ops/table.c"),
    ("image/a.c", "void vt_op_find(char *);\nvoid *vt_a = vt_op_find;", "ops/table.c"),
    ("params/a.c", "void vt_lamb_run(void);\nvoid *vt_a = vt_lamb_run;", "optim/lamb.c"),
    ("optim/a.c", "int vt_image_find();\nvoid *vt_a = vt_image_find;", "image/table.c"),
    ("ops/a.c", "void vt_raise(void);\nvoid vt_a(void) { vt_raise(); }", "py/module.c"),
]


@pytest.mark.parametrize(("where", "text", "other"), BELOW)
def test_a_name_from_a_room_below_is_seen(
    where: str, text: str, other: str, homes: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "a.c").write_text(text + "\n")
    path = f"csrc/{where}"
    (told,) = layers(path, names(compiled(path, tmp_path / "a.c", tmp_path)).used, homes)
    assert told.startswith(f"{path} uses vt_") and f"of csrc/{other}, which is not above" in told


def test_a_name_that_is_not_in_the_door_is_seen(homes: dict[str, str], tmp_path: Path) -> None:
    text = "int vt_lock_alone(), vt_run_open(), vt_raise();\n"
    (tmp_path / "a.c").write_text(
        text + "int vt_a(void) { return vt_lock_alone() + vt_run_open(); }"
    )
    used = names(compiled("csrc/py/a.c", tmp_path / "a.c", tmp_path)).used
    (told,) = layers("csrc/py/a.c", used, homes)
    assert told == "csrc/py/a.c uses vt_lock_alone of csrc/base/lock.c, which is not in vitc.h"


@pytest.mark.parametrize(
    "text", ["void vt_a(int n) { int x[n]; }", "void *vt_a(int n) { return __builtin_alloca(n); }"]
)
def test_memory_on_the_stack_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text(text + "\n")
    with pytest.raises(AssertionError, match="vla|alloca"):
        compiled("csrc/base/memory.c", tmp_path / "a.c", tmp_path)


@pytest.mark.parametrize("law", [layers, outside])
def test_the_objects_of_the_core_keep_the_law(
    law: Callable[..., Iterator[str]], objects: dict[str, Names], homes: dict[str, str]
) -> None:
    assert len(objects) > 60 and len(homes) > 150
    assert [told for path, own in objects.items() for told in law(path, own.used, homes)] == []


def test_every_name_on_the_list_is_used(
    objects: dict[str, Names], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not ONEDNN or platform.machine() != "x86_64":
        pytest.skip("the list is that of a whole build")
    assert list(stale(objects)) == []
    monkeypatch.setitem(OUTSIDE, "base/status.c", "vsnprintf vsprintf")
    monkeypatch.setitem(OUTSIDE, "base/gone.c", "exp")
    told = [
        f"{name} is on the list of {row}, where nobody uses it"
        for name, row in (("vsprintf", "base/status.c"), ("exp", "base/gone.c"))
    ]
    assert list(stale(objects)) == told


def test_the_rooms_are_those_of_the_readme_in_its_order() -> None:
    text = (ROOT / "csrc/README.md").read_text()
    assert re.findall(r"^\| `(\w+)/` \|", text, flags=re.MULTILINE) == [*ROOMS, "tools"]
    there = {path.name for path in (ROOT / "csrc").iterdir() if path.is_dir()}
    assert there <= {*ROOMS, "tools"}
