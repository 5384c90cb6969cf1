// SPDX-License-Identifier: Apache-2.0
// Counts what a test program allocates. It replaces the program's operator new, so exactly one source of a program
// includes it. Threads: one while it counts.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <new>

namespace {
bool g_counting = false;
uint64_t g_allocations = 0;

void* count_and_allocate(size_t bytes) noexcept {
  if (g_counting) ++g_allocations;
  return std::malloc(bytes == 0 ? 1 : bytes);
}
}  // namespace

// Not inlined: GCC 12 would take new and free for a mismatched pair.
[[gnu::noinline]] void* operator new(size_t bytes) {
  if (void* p = count_and_allocate(bytes)) return p;
  throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(size_t bytes, const std::nothrow_t&) noexcept { return count_and_allocate(bytes); }
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, size_t) noexcept { std::free(p); }
