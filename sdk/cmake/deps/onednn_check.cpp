// SPDX-License-Identifier: Apache-2.0
// Proves that the oneDNN just built links into a shared object without undefined symbols (the recipe deletes what only
// primitives need) and that its micro-kernels multiply right.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

#include <oneapi/dnnl/dnnl.hpp>
#include <oneapi/dnnl/dnnl_ukernel.hpp>

namespace {

using dnnl::memory;

// Multiples of 1/4 from -1.5 to 1.5: exact in bf16, and so is every sum of their products in f32.
float value(memory::dim i) { return static_cast<float>(i % 13 - 6) / 4.0F; }

// Rows of such values, in the type the kernel reads.
std::vector<uint8_t> values(memory::dim count, memory::dim step, bool bf16) {
  const size_t size = bf16 ? 2 : 4;
  std::vector<uint8_t> out(static_cast<size_t>(count) * size);
  for (memory::dim i = 0; i < count; ++i) {
    const float v = value(i * step);
    uint32_t bits;
    std::memcpy(&bits, &v, sizeof bits);
    if (bf16) bits >>= 16;
    std::memcpy(&out[static_cast<size_t>(i) * size], &bits, size);
  }
  return out;
}

// `created` counts the kernels that this CPU has; for others creation says `unimplemented`.
bool check_product(bool bf16, memory::dim m, int& created) {
  const memory::dim k = 64, n = 32;
  const memory::data_type type = bf16 ? memory::data_type::bf16 : memory::data_type::f32;
  try {
    dnnl::ukernel::brgemm kernel(m, n, k, 1, k, n, n, type, type, memory::data_type::f32);
    kernel.finalize();
    const auto layout = kernel.get_B_pack_type();
    const std::vector<uint8_t> a = values(m * k, 5, bf16);
    std::vector<uint8_t> b = values(k * n, 7, bf16);
    if (layout != dnnl::ukernel::pack_type::no_trans) {
      std::vector<uint8_t> packed(b.size());
      dnnl::ukernel::transform pack(k, n, dnnl::ukernel::pack_type::no_trans, n, n, type, type);
      pack.generate();
      pack.execute(b.data(), packed.data());
      b.swap(packed);
    }
    kernel.generate();
    std::vector<float> c(static_cast<size_t>(m * n), -1.0F);
    std::vector<uint8_t> scratch(kernel.get_scratchpad_size() + 64);
    kernel.set_hw_context();
    kernel.execute(a.data(), b.data(), {{0, 0}}, c.data(), scratch.data());
    dnnl::ukernel::brgemm::release_hw_context();
    for (memory::dim i = 0; i < m; ++i) {
      for (memory::dim j = 0; j < n; ++j) {
        float want = 0;
        for (memory::dim x = 0; x < k; ++x) want += value((i * k + x) * 5) * value((x * n + j) * 7);
        const float got = c[static_cast<size_t>(i * n + j)];
        if (got != want) {
          std::printf("%s, %d rows: [%d,%d] is %g, should be %g\n", bf16 ? "bf16" : "f32", int(m), int(i), int(j),
                      double(got), double(want));
          return false;
        }
      }
    }
    ++created;
  } catch (const dnnl::error& error) {
    if (error.status != dnnl_unimplemented) throw;
  }
  return true;
}

}  // namespace

__attribute__((visibility("default"))) int merritt_check() {
  const auto isa = static_cast<uint32_t>(dnnl::get_effective_cpu_isa());
  for (const bool bf16 : {false, true}) {
    int created = 0;
    for (const memory::dim m : {1, 4, 33}) {
      if (!check_product(bf16, m, created)) return 1;
    }
    // From AVX2 on f32; bf16 only where AVX-512 has it.
    const auto needs = static_cast<uint32_t>(bf16 ? dnnl::cpu_isa::avx512_core_bf16 : dnnl::cpu_isa::avx2);
    const bool has = (isa & needs) == needs;
    std::printf("%s: %d of 3 micro-kernels%s\n", bf16 ? "bf16" : "f32", created, has ? "" : ", none is expected here");
    if (has && created != 3) return 1;
  }
  return 0;
}

#ifdef CHECK_MAIN
int main() { return merritt_check(); }
#endif
