// SPDX-License-Identifier: Apache-2.0
// The library reads variables such as ONEDNN_VERBOSE, which prints to the host's standard output, and
// ONEDNN_MAX_CPU_ISA, which changes results. The environment belongs to the host, not to us: the linker sends every
// getenv of this plugin here (--wrap in plugins/CMakeLists.txt), and no variable is set.

extern "C" {
// NOLINTBEGIN(bugprone-reserved-identifier,readability-identifier-naming): the names that the linker's --wrap gives
char* __wrap_getenv(const char* name) noexcept;
char* __wrap_secure_getenv(const char* name) noexcept;

char* __wrap_getenv(const char*) noexcept { return nullptr; }
char* __wrap_secure_getenv(const char*) noexcept { return nullptr; }
// NOLINTEND(bugprone-reserved-identifier,readability-identifier-naming)
}
