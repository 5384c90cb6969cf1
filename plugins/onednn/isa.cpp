// SPDX-License-Identifier: Apache-2.0
#include "onednn/isa.hpp"

#include <cpuid.h>

#include <algorithm>

#include "oneapi/dnnl/dnnl.h"
#include "support/os/amx.hpp"

namespace merritt::onednn {
namespace {

struct Registers {
  uint32_t a = 0, b = 0, c = 0, d = 0;
};
Registers cpuid(uint32_t leaf, uint32_t sub) noexcept {
  Registers r;
  if (__get_cpuid_count(leaf, sub, &r.a, &r.b, &r.c, &r.d) == 0) return {};
  return r;
}
bool has(uint32_t word, uint32_t bits) noexcept { return (word & bits) == bits; }
constexpr uint32_t bit(uint32_t n) noexcept { return 1u << n; }

// State that the kernel saves on a context switch (XCR0).
uint64_t saved_state() noexcept {
  uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<uint64_t>(high) << 32) | low;
}

bool is_intel() noexcept {
  const Registers r = cpuid(0, 0);
  return r.b == signature_INTEL_ebx && r.d == signature_INTEL_edx && r.c == signature_INTEL_ecx;
}

bool is_zen5_or_later() noexcept {
  const Registers maker = cpuid(0, 0), one = cpuid(1, 0);
  const uint32_t base = one.a >> 8 & 0xf, extended = one.a >> 20 & 0xff;  // which counts where the base is 15
  constexpr uint32_t kZen5 = 0x1a;
  return maker.b == signature_AMD_ebx && maker.d == signature_AMD_edx && maker.c == signature_AMD_ecx && base == 0xf &&
         base + extended >= kZen5;
}

const Kernels* kernels_vnni_here() noexcept {
  return is_intel() ? kernels_vnni_four_ahead() : is_zen5_or_later() ? kernels_vnni_ahead() : kernels_vnni();
}

dnnl_cpu_isa_t library_isa(uint32_t level) noexcept {
  switch (level) {
    case MRT_ISA_AVX2: return dnnl_cpu_isa_avx2;
    case MRT_ISA_AVX512: return dnnl_cpu_isa_avx512_core;
    case MRT_ISA_VNNI: return dnnl_cpu_isa_avx512_core_bf16;
    default: return dnnl_cpu_isa_avx512_core_amx;
  }
}

}  // namespace

uint32_t cpu_level() noexcept {
  const Registers one = cpuid(1, 0), seven = cpuid(7, 0), seven_one = cpuid(7, 1);
  if (!has(one.c, bit(12) | bit(27) | bit(28) | bit(29))) return MRT_ISA_ANY;  // fma, osxsave, avx, f16c
  const uint64_t saved = saved_state();
  if ((saved & 0x6) != 0x6 || !has(seven.b, bit(5) | bit(8))) return MRT_ISA_ANY;  // avx2, bmi2
  if ((saved & 0xe6) != 0xe6 || !has(seven.b, bit(16) | bit(17) | bit(30) | bit(31))) return MRT_ISA_AVX2;
  if (!has(seven.c, bit(1) | bit(11)) || !has(seven_one.a, bit(5))) return MRT_ISA_AVX512;    // vbmi, vnni; bf16
  if ((saved & 0x60000) != 0x60000 || !has(seven.d, bit(22) | bit(24))) return MRT_ISA_VNNI;  // amx-bf16, amx-tile
  return MRT_ISA_AMX;
}

const Kernels* kernels_of(uint32_t level) noexcept {
  switch (level) {
    case MRT_ISA_AVX2: return kernels_avx2();
    case MRT_ISA_AVX512: return kernels_avx512();
    case MRT_ISA_VNNI: return kernels_vnni_here();
    case MRT_ISA_AMX: return kernels_amx();
    default: return nullptr;
  }
}

int32_t choose_isa(const plugin::Host& host, IsaChoice* out, mrt_error* err) {
  const uint32_t machine = cpu_level();
  uint32_t level = host.isa_max() == MRT_ISA_ANY ? machine : std::min(machine, host.isa_max());
  if (level < MRT_ISA_AVX2) {
    return plugin::fail_call(err, MRT_UNSUPPORTED,
                             "this plugin needs AVX2, FMA and F16C; the CPU offers level %u: use the reference plugin",
                             machine);
  }
  if (level == MRT_ISA_AMX && !plugin::os::request_amx()) {
    host.log(2, "onednn: the kernel refused the AMX permission; running on AVX-512");
    level = MRT_ISA_VNNI;
  }
  // The library takes its limit once per process, before its first use; a later, lower cap makes do with own kernels.
  const dnnl_cpu_isa_t want = library_isa(level);
  if (level < machine) (void)dnnl_set_max_cpu_isa(want);
  const auto effective = static_cast<uint32_t>(dnnl_get_effective_cpu_isa());
  out->library = level == machine || (effective & ~static_cast<uint32_t>(want)) == 0;
  constexpr uint32_t kBf16 = dnnl_cpu_isa_avx512_core_bf16;
  out->library_bf16 = out->library && level >= MRT_ISA_VNNI && (effective & kBf16) == kBf16;
  if (!out->library) host.log(1, "onednn: the library runs uncapped in this process; own matrix kernels are used");
  out->level = level;
  out->kernels = kernels_of(level);
  return MRT_OK;
}

}  // namespace merritt::onednn
