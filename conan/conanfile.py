# SPDX-License-Identifier: Apache-2.0
"""Conan 2 recipe: `conan create conan` from the repository root. oneDNN and Cap'n Proto are the pinned builds that
`./dev setup` makes (static, position independent, hidden); the other libraries are the system's."""
import os

from conan import ConanFile
from conan.errors import ConanInvalidConfiguration
from conan.tools.cmake import CMake, CMakeDeps, CMakeToolchain, cmake_layout
from conan.tools.files import copy
from conan.tools.system.package_manager import Apt

required_conan_version = ">=2.0"


class MerrittConan(ConanFile):
    name = "merritt"
    version = "0.2.0"
    license = "Apache-2.0"
    description = "Language models in your process, for many tenants"
    topics = ("llm", "inference", "gguf", "multi-tenant")
    package_type = "shared-library"
    settings = "os", "arch", "compiler", "build_type"
    options = {"deps_dir": ["ANY"]}
    default_options = {"deps_dir": ""}

    def export_sources(self):
        root = os.path.dirname(self.recipe_folder)
        for pattern in ("CMakeLists.txt", "LICENSE", "abi/*", "sdk/*", "plugins/*"):
            copy(self, pattern, src=root, dst=self.export_sources_folder)

    def validate(self):
        if self.settings.os != "Linux" or self.settings.arch != "x86_64":
            raise ConanInvalidConfiguration("merritt runs on Linux, x86-64")

    def system_requirements(self):
        Apt(self).install(["libboost1.81-dev", "libspdlog-dev", "libfmt-dev", "libssl-dev", "nlohmann-json3-dev",
                           "libcli11-dev", "libutf8proc-dev", "capnproto"])

    def layout(self):
        cmake_layout(self)

    def generate(self):
        toolchain = CMakeToolchain(self)
        toolchain.variables["MERRITT_TESTS"] = False
        toolchain.variables["MERRITT_BENCH"] = False
        if self.options.deps_dir:
            toolchain.variables["MERRITT_DEPS_DIR"] = str(self.options.deps_dir)
        toolchain.generate()
        CMakeDeps(self).generate()

    def build(self):
        cmake = CMake(self)
        cmake.configure()
        cmake.build()

    def package(self):
        CMake(self).install()

    def package_info(self):
        self.cpp_info.set_property("cmake_file_name", "Merritt")
        self.cpp_info.set_property("pkg_config_name", "merritt")
        self.cpp_info.components["core"].libs = ["merritt"]
        self.cpp_info.components["core"].set_property("cmake_target_name", "Merritt::core")
        self.cpp_info.components["cpp"].requires = ["core"]
        self.cpp_info.components["cpp"].set_property("cmake_target_name", "Merritt::cpp")
        self.runenv_info.append_path("PATH", os.path.join(self.package_folder, "bin"))
