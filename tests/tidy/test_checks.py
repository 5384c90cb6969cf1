# SPDX-License-Identifier: Apache-2.0
"""The checks find what they are for: each is run on a small tree or object with one planted fault."""
from __future__ import annotations

import pathlib
import shutil
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT / "sdk" / "cmake"), str(HERE)]

import binary_lint  # noqa: E402
import check_docs  # noqa: E402
from dev import abi, totals, util  # noqa: E402

SPDX = "// SPDX-License-Identifier: Apache-2.0\n"


@pytest.fixture
def small_tree(tmp_path: pathlib.Path) -> pathlib.Path:
    shutil.copytree(HERE, tmp_path / "tests" / "tidy", ignore=shutil.ignore_patterns("__pycache__", "test_*"))
    (tmp_path / "sdk/src").mkdir(parents=True)
    (tmp_path / "sdk/src/layers.txt").write_text("base:\nkv: base\n")
    (tmp_path / ".gitignore").write_text("__pycache__/\n")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    return tmp_path


def put(tree: pathlib.Path, name: str, text: str) -> None:
    path = tree / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def run(tree: pathlib.Path, check: str, *words: str) -> tuple[int, str]:
    done = subprocess.run([sys.executable, tree / "tests/tidy" / f"{check}.py", *words], capture_output=True, text=True,
                          env={"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"})
    return done.returncode, done.stdout + done.stderr


CLEAN = SPDX + "#pragma once\n#include \"base/a.hpp\"\ninline int b() { return 1; }\n"


@pytest.mark.parametrize("check", ["check_layers", "check_words", "check_tree"])
def test_a_clean_tree_passes(small_tree: pathlib.Path, check: str) -> None:
    put(small_tree, "sdk/src/kv/b.hpp", CLEAN)
    code, text = run(small_tree, check)
    assert code == 0, text


def test_a_header_that_passed_is_compiled_again_when_what_it_includes_changes(small_tree: pathlib.Path) -> None:
    put(small_tree, "abi/include/merritt/a.h", "#include <merritt/b.h>\ntypedef merritt_b merritt_a;\n")
    put(small_tree, "abi/include/merritt/b.h", "typedef int merritt_b;\n")
    cache = f"--cache={small_tree / 'seen'}"
    for _ in range(2):
        code, text = run(small_tree, "check_headers", cache)
        assert code == 0, text
    put(small_tree, "abi/include/merritt/b.h", "typedef int merritt_c;\n")
    code, text = run(small_tree, "check_headers", cache)
    assert code == 1 and "abi/include/merritt/a.h as C11 (gcc)" in text, text


def test_versions_that_differ_are_found(small_tree: pathlib.Path) -> None:
    put(small_tree, "abi/include/merritt/base.h",
        "#define MERRITT_VERSION_MAJOR 0\n#define MERRITT_VERSION_MINOR 3\n#define MERRITT_VERSION_PATCH 1\n")
    put(small_tree, "CMakeLists.txt", "project(merritt VERSION 0.3.1 LANGUAGES C)\n")
    put(small_tree, "python/pyproject.toml", '[project]\nversion = "0.3.1"\n')
    put(small_tree, "conan/conanfile.py", 'class X:\n    version = "0.3.1"\n')
    put(small_tree, "CHANGELOG.md", "## Unreleased\n\n## 0.3.1, unreleased\n\n## 0.2.0, 2026-01-31, commit 0123abc\n")
    code, text = run(small_tree, "check_versions")
    assert code == 0, text
    put(small_tree, "conan/conanfile.py", 'class X:\n    version = "0.3.0"\n')
    code, text = run(small_tree, "check_versions")
    assert code == 1 and "conan/conanfile.py: 0.3.0, but" in text, text


@pytest.mark.parametrize(("check", "name", "text", "finding"), [
    ("check_layers", "sdk/src/base/a.hpp", '#include "kv/b.hpp"\n', "layer base may not include kv/b.hpp"),
    ("check_layers", "sdk/src/other/a.hpp", '#include "base/b.hpp"\n', "is no layer"),
    ("check_layers", "plugins/x/a.cpp", '#include "base/b.hpp"\n', "a plugin may include only"),
    ("check_layers", "plugins/x/a.cpp", '#include "y/b.hpp"\n', "a plugin may include only"),
    ("check_layers", "plugins/x/a.cpp", '#include "../../sdk/src/base/b.hpp"\n', "a plugin may include only"),
    ("check_layers", "plugins/x/a.cpp", "#include <spdlog/spdlog.h>\n", "a plugin may include only"),
    ("check_layers", "sdk/include/merritt/a.hpp", '#include "base/b.hpp"\n', "a public header may not"),
    ("check_layers", "abi/include/merritt/a.h", "#include <stdio.h>\n", "an ABI header includes only"),
    ("check_words", "docs/a.md", "TO" "DO: more\n", "unfinished work"),
    ("check_words", "sdk/src/base/a.cpp", "void f() { th" "row 1; }\n", "throw"),
    ("check_words", "plugins/x/a.cpp", "void f() { std::abort(); }\n", "abort"),
    ("check_words", "sdk/src/base/a.cpp", 'void f() { printf("x"); }\n', "print"),
    ("check_words", "sdk/src/base/a.cpp", 'auto p = getenv("X");\n', "environment"),
    ("check_tree", "other/a.txt", "x\n", "not one of the top-level folders"),
    ("check_tree", "sdk/src/base/a.cpp", "int a;\n", "no line"),
    ("check_tree", "sdk/src/base/a.hpp", SPDX, "no #pragma once"),
    ("check_tree", "sdk/src/base/a.cpp", SPDX + "\n" * 600, "600 is the limit"),
    ("check_tree", "sdk/src/base/BadName.cpp", SPDX, "snake_case"),
])
def test_a_planted_fault_is_found(small_tree: pathlib.Path, check: str, name: str, text: str, finding: str) -> None:
    put(small_tree, name, text)
    code, output = run(small_tree, check)
    assert code == 1 and finding in output and name in output, output


def test_a_marked_line_is_allowed(small_tree: pathlib.Path) -> None:
    put(small_tree, "sdk/src/base/a.cpp", "// lint: allow environment: asked for by the option\nauto p = getenv(x);\n")
    assert run(small_tree, "check_words")[0] == 0


def compile_c(folder: pathlib.Path, text: str, *flags: str, out: str = "lib.so") -> pathlib.Path:
    (folder / "a.c").write_text(text)
    subprocess.run(["gcc", "-O2", str(folder / "a.c"), "-o", str(folder / out), *flags], check=True)
    return folder / out


SHARED = ("-shared", "-fPIC")


@pytest.mark.parametrize(("text", "flags", "finding"), [
    ("int f(void) { return 1; }", ("-Wl,-z,execstack",), "executable stack"),
    ("int f(void) { return 1; }", ("-Wl,-rpath,/opt/x",), "RUNPATH"),
    ("int f(void) { return 1; }", ("-Wl,-z,norelro",), "relro"),
    ("__thread int x __attribute__((tls_model(\"initial-exec\"))); int f(void) { return x; }", (), "static TLS"),
    ("int f(void) { return 1; }", ("-Wl,--no-as-needed", "-l:libcrypt.so.1"), "needs libcrypt.so.1"),
])
def test_a_library_that_loads_badly_is_found(tmp_path: pathlib.Path, text: str, flags: tuple[str, ...],
                                             finding: str) -> None:
    assert any(finding in problem for problem in binary_lint.check_loading(compile_c(tmp_path, text, *SHARED, *flags)))


def test_a_sound_library_has_no_finding(tmp_path: pathlib.Path) -> None:
    assert binary_lint.check_loading(compile_c(tmp_path, "int f(void) { return 1; }", *SHARED)) == []


def test_a_plugin_exports_one_symbol(tmp_path: pathlib.Path) -> None:
    good = compile_c(tmp_path, "int merritt_backend_v1(void) { return 1; }", *SHARED, out="good.so")
    bad = compile_c(tmp_path, "int merritt_backend_v1(void) { return 1; } int extra;", *SHARED, out="bad.so")
    assert binary_lint.check_plugin(good) == []
    assert "extra" in binary_lint.check_plugin(bad)[0]


@pytest.mark.parametrize(("name", "flags", "finding"), [
    ("kernels.cpp.o", "-mavx512f", "%zmm"), ("kernels.cpp.o", "-mavx2", "%ymm"), ("kernels_avx2.cpp.o", "-mavx512f", "%zmm"),
    ("kernels_avx512.cpp.o", "-mavx512f", ""), ("kernels_avx2.cpp.o", "-mavx2", ""), ("kernels.cpp.o", "-msse2", ""),
])
def test_wide_registers_only_in_isa_files(tmp_path: pathlib.Path, name: str, flags: str, finding: str) -> None:
    text = "void f(float *a) { for (int i = 0; i < 1024; ++i) a[i] += 1; }"
    path = compile_c(tmp_path, text, "-c", "-O3", flags, "-mprefer-vector-width=512", out=name)
    found = binary_lint.check_object(path)
    assert (finding in found[0]) if finding else found == []


def test_struct_parser_reads_what_the_headers_use() -> None:
    body = "uint32_t a, b[4]; const char *const *c; int (*f)(int x, int y); union { int64_t i; double d; } v;"
    assert abi.struct_fields(body) == [
        ("a", "uint32_t a"), ("b", "uint32_t b[4]"), ("c", "const char*const*c"), ("f", "int(*f)(int x,int y)"),
        ("v", "union{int64_t i;double d;}v"), ("v.i", "int64_t i"), ("v.d", "double d")]


# A plugin's table: its slots are what abidiff never sees, because no library exports them.
HEADER = """#include <stdint.h>
typedef struct m_thing *m_handle;
typedef struct m_table {
    uint32_t struct_size;
    int32_t (*run)(void *self, int32_t rows, float scale);
} m_table;
MERRITT_API int32_t merritt_run(m_handle handle, uint32_t rows);
"""


def layout_of(folder: pathlib.Path, text: str) -> str:
    put(folder, "merritt/a.h", "#define MERRITT_API\n" + text)
    return abi.layout(folder)


@pytest.mark.parametrize(("before", "after", "finding"), [
    ("int32_t rows, float scale", "int32_t rows", "field m_table.run"),
    ("self, int32_t rows", "self, float rows", "field m_table.run"),
    ("int32_t (*run)", "int64_t (*run)", "field m_table.run"),
    ("uint32_t struct_size", "float struct_size", "field m_table.struct_size"),
    ("handle, uint32_t rows", "handle, int32_t rows", "function merritt_run"),
    ("MERRITT_API int32_t merritt_run(m_handle handle, uint32_t rows);", "", "function merritt_run is gone"),
    ("struct m_thing *m_handle", "const struct m_thing *m_handle", "typedef m_handle"),
])
def test_a_changed_declaration_is_a_break(tmp_path: pathlib.Path, before: str, after: str, finding: str) -> None:
    assert before in HEADER
    old, new = layout_of(tmp_path, HEADER), layout_of(tmp_path, HEADER.replace(before, after))
    breaks, _ = abi.compare_layout(old, new)
    assert any(finding in line for line in breaks), breaks


def test_new_fields_functions_and_other_blanks_are_none(tmp_path: pathlib.Path) -> None:
    grown = HEADER.replace("scale);\n}", "scale);\n    void  *(*more)( void );  /* new */\n}").replace("*self", "* self")
    breaks, additions = abi.compare_layout(layout_of(tmp_path, HEADER),
                                           layout_of(tmp_path, grown + "MERRITT_API void merritt_more(void);\n"))
    assert breaks == []
    assert any("field m_table.more" in line for line in additions)
    assert any("function merritt_more" in line for line in additions)


# The whole check, on a library, headers and a baseline of its own.
@pytest.fixture
def small_abi(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    put(tmp_path, "include/merritt/merritt.h", "#define MERRITT_API\n" + HEADER)
    compile_c(tmp_path, "int merritt_run(void *h, unsigned n) { return h != 0 && n; } int merritt_other(void) { return 1; }",
              *SHARED, "-g", out="libmerritt.so.1")
    put(tmp_path, "CHANGELOG.md", "## 0.1.0, unreleased\n")
    monkeypatch.setattr(abi.util, "ROOT", tmp_path)
    monkeypatch.setattr(abi, "HEADERS", tmp_path / "include")
    monkeypatch.setattr(abi, "BASELINE", tmp_path / "baseline")
    monkeypatch.setattr(abi, "LIBRARY", tmp_path / "libmerritt.so.1")
    assert abi.abi_check(["--update"]) == 0
    assert abi.check() == ([], [])
    return tmp_path


def test_a_missing_baseline_is_a_failure(small_abi: pathlib.Path) -> None:
    (small_abi / "baseline/symbols.txt").unlink()
    with pytest.raises(util.DevError, match="no baseline"):
        abi.check()


def test_a_missing_tool_is_a_failure(small_abi: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, *_: None if name == "abidiff" else f"/usr/bin/{name}")
    with pytest.raises(util.DevError, match="abidiff"):
        abi.check()


def test_a_removed_symbol_is_a_break(small_abi: pathlib.Path) -> None:
    compile_c(small_abi, "int merritt_run(void *h, unsigned n) { return h != 0 && n; }", *SHARED, "-g",
              out="libmerritt.so.1")
    assert any("merritt_other is gone" in line for line in abi.check()[0])


def test_a_changed_slot_fails_the_whole_check(small_abi: pathlib.Path) -> None:
    put(small_abi, "include/merritt/merritt.h", "#define MERRITT_API\n" + HEADER.replace("float scale", "int32_t scale"))
    assert any("m_table.run" in line for line in abi.check()[0])
    assert abi.abi_check([]) == 1


def test_a_released_baseline_is_final(small_abi: pathlib.Path) -> None:
    put(small_abi, "CHANGELOG.md", "## 0.2.0, unreleased\n\n## 0.1.0, 2026-01-31, commit 0123abc\n")
    with pytest.raises(util.DevError, match="final"):
        abi.abi_check(["--update"])
    assert abi.abi_check(["--update", "--force-new"]) == 0
    put(small_abi, "CHANGELOG.md", "## 0.1.0, unreleased\n\n## 0.0.9, 2026-01-31, commit 0123abc\n")
    assert abi.abi_check(["--update"]) == 0


@pytest.mark.parametrize(("line", "finding"), [
    ("MERRITT_API bool merritt_f(void);", "bool"),
    ("MERRITT_API int32_t merritt_f(enum kind k);", "enum"),
    ("MERRITT_API int32_t merritt_f(unsigned long n);", "long"),
    ("MERRITT_API int merritt_f(void);", "int has no fixed width"),
    ("typedef struct merritt_x { uint32_t a : 3; } merritt_x;", "bit-field"),
    ("typedef struct merritt_x { uint32_t a; } merritt_x;\nMERRITT_API int32_t merritt_f(merritt_x x);", "by value"),
    ("typedef struct merritt_x { uint32_t a; } merritt_x;\nMERRITT_API merritt_x merritt_f(void);", "by value"),
    ("typedef struct merritt_x { uint32_t a; } merritt_x;\ntypedef int32_t (*merritt_f)(void *u, merritt_x x);", "by value"),
    ("MERRITT_API int32_t merritt_f(const char *format, ...);", "variable argument list"),
])
def test_a_signature_that_does_not_bind_is_found(small_tree: pathlib.Path, line: str, finding: str) -> None:
    put(small_tree, "abi/include/merritt/a.h", f"#include <stdint.h>\n{line}\n")
    code, output = run(small_tree, "check_signatures")
    assert code == 1 and finding in output and "abi/include/merritt/a.h:" in output, output


def test_signatures_of_pointers_and_constants_pass(small_tree: pathlib.Path) -> None:
    put(small_tree, "abi/include/merritt/a.h", "/* bool, long: words of a comment */\nenum { MERRITT_A = 1 };\n"
        "typedef struct merritt_x { uint32_t a; union { int64_t i; double f; } v; } merritt_x;\n"
        "MERRITT_API int32_t merritt_f(const merritt_x *x, merritt_x *const *list, void (*done)(void *user));\n")
    assert run(small_tree, "check_signatures")[0] == 0


@pytest.mark.parametrize(("name", "text", "finding"), [
    ("abi/include/merritt/a.h", "#include <sys/mman.h>\n", "as C11 (x86_64-w64-mingw32-gcc)"),
    ("examples/c/a.c", "#include <sys/mman.h>\nint main(void) { return 0; }\n", "for Windows"),
    ("abi/include/merritt/a.h", "typedef struct s { int32_t new; } s;\n", "as C++17"),
    ("abi/include/merritt/a.h", "static inline int f(void) { for (auto x = 1; x;) return x; return 0; }\n", "as C11 (gcc)"),
])
def test_a_header_that_does_not_compile_everywhere_is_found(small_tree: pathlib.Path, name: str, text: str,
                                                            finding: str) -> None:
    put(small_tree, name, text)
    code, output = run(small_tree, "check_headers")
    assert code == 1 and finding in output and name in output, output


def test_layout_may_only_grow() -> None:
    old = "sizeof s 8 align 4\noffset s.struct_size 0 size 4\noffset s.x 4 size 4\nconstant C 1\n"
    grown = "sizeof s 12 align 4\noffset s.struct_size 0 size 4\noffset s.x 4 size 4\noffset s.y 8 size 4\nconstant C 1\n"
    assert abi.compare_layout(old, old) == ([], [])
    assert abi.compare_layout(old, grown)[0] == []
    assert abi.compare_layout(old, old.replace("C 1", "C 2"))[0]
    assert abi.compare_layout(old, old.replace("s.x 4", "s.x 6"))[0]
    assert abi.compare_layout(old, old.replace("constant C 1\n", ""))[0]
    frozen = old.replace("struct_size", "first")
    assert abi.compare_layout(frozen, grown.replace("struct_size", "first"))[0]


def test_a_crash_and_a_skip_are_counted(tmp_path: pathlib.Path) -> None:
    log = tmp_path / "log"
    log.write_text("[ RUN      ] A.Skip\na.cpp:4: Skipped\nno shared/\n\n[  SKIPPED ] A.Skip (0 ms)\n")
    report = tmp_path / "report.json"
    report.write_text('{"testsuites": [{"name": "A", "testsuite": [{"name": "Skip", "status": "RUN", "result": "SKIPPED"},'
                      '{"name": "Ok", "status": "RUN", "result": "COMPLETED"}]}]}')
    counted = totals.Totals()
    counted.add_gtest("test_x", report, 0, log)
    counted.add_gtest("test_y", tmp_path / "absent", -6, log)
    assert counted.counts() == (1, 1, 1) and counted.unexpected_skips() == ["test_x:A.Skip"]
    counted.add_gtest("test_z", tmp_path / "absent", 0, log)
    assert counted.failed[-1] == "test_z:whole-program", "it ran nothing"
    assert counted.close() == 1


@pytest.fixture
def docs(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.setattr(check_docs, "ROOT", tmp_path)
    put(tmp_path, "sdk/src/base/limits.hpp", "inline constexpr uint32_t kAMax = 1u << 4;\ninline constexpr size_t kBMax = size_t{3};\n")
    put(tmp_path, "docs/reference/limits.md", "| a | `kAMax` | 16 |\n| b | `kBMax` | 3 |\n")
    return tmp_path


def test_limits_are_compared_both_ways(docs: pathlib.Path) -> None:
    assert check_docs.limit_problems() == []
    put(docs, "docs/reference/limits.md", "| a | `kAMax` | 17 |\n| c | `kCMax` | 3 |\n")
    found = check_docs.limit_problems()
    assert len(found) == 3 and any("kAMax is 17" in text for text in found)
    assert any("kCMax" in text for text in found) and any("says nothing of kBMax = 3" in text for text in found)


def test_every_default_of_the_page_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_docs.default_problems() == []
    page = (ROOT / check_docs.LIMITS).read_text()
    real = check_docs.read
    for option, value in {"sequences_max": "32", "prompt_bytes_max": "1 MiB", "kv_bytes": "4 sequences"}.items():
        wrong = "".join(line.replace(value, "77 things") if option in line else line for line in page.splitlines(True))
        monkeypatch.setattr(check_docs, "read", lambda name, text=wrong: text if name == check_docs.LIMITS else real(name))
        assert any(option in text for text in check_docs.default_problems()), option


def test_dead_links_and_citations_are_found(docs: pathlib.Path) -> None:
    put(docs, "docs/a.md", "[here](b.md) [there](https://x.y/z.md) [part](a.md#x)\n")
    put(docs, "SECURITY.md", "[gone](docs/gone.md)\n")
    put(docs, "sdk/src/a.cpp", "// See docs/adr/9999.md and docs/a.md.\n")
    assert check_docs.link_problems() == [
        "SECURITY.md: no such file: docs/gone.md", "docs/a.md: no such file: b.md",
        "sdk/src/a.cpp: cites docs/adr/9999.md, which is not there"]


def test_a_dependency_names_tests_that_exist(docs: pathlib.Path) -> None:
    put(docs, "tests/tools/test_x.py", "def test_y() -> None: ...\n")
    put(docs, "tests/a_test.cpp", "TEST_F(Suite, Case) {}\n")
    put(docs, "sdk/cmake/dev/lint.py", '"check:tidy"\n')
    rows = "| a | x | `tests/tools/test_x.py::test_y`, `Suite.Case`, `check:tidy` |\n"
    put(docs, check_docs.DEPENDENCIES, "| Dependency | for | fails |\n|---|---|---|\n" + rows)
    assert check_docs.dependency_problems() == []
    put(docs, check_docs.DEPENDENCIES, rows + "| b | x | `Suite.Other`, `tests/tools/test_x.py::test_z`, `check:z` |\n| c | x | none |\n")
    assert len(check_docs.dependency_problems()) == 4


@pytest.mark.parametrize(("language", "code"), [
    ("python", "def (:\n"), ("json", "{\n"), ("c", "#include <merritt/merritt.h>\nint x = MERRITT_NO_SUCH;\n"),
])
def test_a_block_that_does_not_parse_is_found(docs: pathlib.Path, language: str, code: str) -> None:
    (docs / "abi").symlink_to(ROOT / "abi")
    put(docs, "docs/a.md", f"```{language}\n{code}```\n")
    assert len(check_docs.block_problems()) == 1
    good = {"python": "x = 1\n", "json": "{}\n", "c": "#include <merritt/merritt.h>\nint x = MERRITT_OK;\n"}[language]
    put(docs, "docs/a.md", f"```{language}\n{good}```\n")
    assert check_docs.block_problems() == []
