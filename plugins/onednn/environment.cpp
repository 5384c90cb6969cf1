// SPDX-License-Identifier: Apache-2.0
// The library reads variables such as ONEDNN_VERBOSE, which prints to the host's standard output, and
// ONEDNN_MAX_CPU_ISA, which changes results. The environment belongs to the host, not to us: the linker sends every
// getenv of this plugin here (--wrap in plugins/CMakeLists.txt, which gives the symbols their names), and no variable
// is set.

extern "C" {
char* no_variable(const char* name) noexcept __asm__("__wrap_getenv");
char* no_secure_variable(const char* name) noexcept __asm__("__wrap_secure_getenv");

char* no_variable(const char*) noexcept { return nullptr; }
char* no_secure_variable(const char*) noexcept { return nullptr; }
}
