// SPDX-License-Identifier: Apache-2.0
// Proves that the oneDNN just built links into a shared object without undefined symbols (the recipe deletes sources
// of primitives Merritt never uses) and multiplies matrices right, through the primitive and through the micro-kernel.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

#include <oneapi/dnnl/dnnl.hpp>
#include <oneapi/dnnl/dnnl_threadpool.hpp>
#include <oneapi/dnnl/dnnl_ukernel.hpp>

namespace {

using dnnl::memory;

struct SerialPool final : dnnl::threadpool_interop::threadpool_iface {
  int get_num_threads() const override { return 1; }
  bool get_in_parallel() const override { return false; }
  void parallel_for(int n, const std::function<void(int, int)>& fn) override {
    for (int i = 0; i < n; ++i) fn(i, n);
  }
  uint64_t get_flags() const override { return 0; }
};

float bf16_value(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float out;
  std::memcpy(&out, &wide, sizeof out);
  return out;
}

bool check_matmul(memory::data_type type, memory::dim m) {
  const memory::dim k = 64, n = 48;
  dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  SerialPool pool;
  auto stream = dnnl::threadpool_interop::make_stream(engine, &pool);
  const bool bf16 = type == memory::data_type::bf16;
  memory::desc a_md({m, k}, type, memory::format_tag::ab), b_md({k, n}, type, memory::format_tag::ab);
  memory::desc b_any({k, n}, type, memory::format_tag::any),
      c_md({m, n}, memory::data_type::f32, memory::format_tag::ab);
  memory a(a_md, engine), b(b_md, engine), c(c_md, engine);
  std::vector<float> av(static_cast<size_t>(m * k)), bv(static_cast<size_t>(k * n));
  const auto fill = [bf16](memory& mem, std::vector<float>& values, int step) {
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = static_cast<float>(static_cast<int>(i * static_cast<size_t>(step)) % 13 - 6) / 4.0F;  // exact in bf16
      uint32_t bits;
      std::memcpy(&bits, &values[i], sizeof bits);
      if (bf16) {
        static_cast<uint16_t*>(mem.get_data_handle())[i] = static_cast<uint16_t>(bits >> 16);
      } else {
        static_cast<float*>(mem.get_data_handle())[i] = values[i];
      }
    }
  };
  fill(a, av, 5);
  fill(b, bv, 7);
  dnnl::matmul::primitive_desc pd(engine, a_md, b_any, c_md);
  memory packed(pd.weights_desc(), engine);
  dnnl::reorder(b, packed).execute(stream, b, packed);
  dnnl::matmul(pd).execute(stream, {{DNNL_ARG_SRC, a}, {DNNL_ARG_WEIGHTS, packed}, {DNNL_ARG_DST, c}});
  stream.wait();
  const float* out = static_cast<const float*>(c.get_data_handle());
  for (memory::dim i = 0; i < m; ++i) {
    for (memory::dim j = 0; j < n; ++j) {
      float want = 0;
      for (memory::dim x = 0; x < k; ++x)
        want += av[static_cast<size_t>(i * k + x)] * bv[static_cast<size_t>(x * n + j)];
      if (std::fabs(want - out[i * n + j]) > 1e-3F) {
        std::printf("matmul %s: [%d,%d] is %g, should be %g\n", pd.impl_info_str(), int(i), int(j),
                    double(out[i * n + j]), double(want));
        return false;
      }
    }
  }
  std::printf("matmul %s ok\n", pd.impl_info_str());
  return true;
}

bool check_other_primitives() {
  dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  memory::desc md({8, 32}, memory::data_type::f32, memory::format_tag::ab);
  dnnl::eltwise_forward::primitive_desc gelu(engine, dnnl::prop_kind::forward_inference,
                                             dnnl::algorithm::eltwise_gelu_tanh, md, md);
  dnnl::binary::primitive_desc add(engine, dnnl::algorithm::binary_add, md, md, md);
  dnnl::softmax_forward::primitive_desc soft(engine, dnnl::prop_kind::forward_inference,
                                             dnnl::algorithm::softmax_accurate, md, md, 1);
  dnnl::layer_normalization_forward::primitive_desc norm(engine, dnnl::prop_kind::forward_inference, md, md, 1e-5F,
                                                         dnnl::normalization_flags::none);
  dnnl::eltwise_forward make_gelu(gelu);
  dnnl::binary make_add(add);
  dnnl::softmax_forward make_soft(soft);
  dnnl::layer_normalization_forward make_norm(norm);
  std::printf("%s | %s | %s | %s\n", gelu.impl_info_str(), add.impl_info_str(), soft.impl_info_str(),
              norm.impl_info_str());
  return true;
}

// The micro-kernel exists from AVX2-VNNI/AVX-512 up; where it does not, creation says `unimplemented`.
bool check_ukernel() {
  const memory::dim m = 4, n = 32, k = 32;
  try {
    dnnl::ukernel::brgemm kernel(m, n, k, 1, k, n, n, memory::data_type::bf16, memory::data_type::bf16,
                                 memory::data_type::f32);
    kernel.finalize();
    const auto layout = kernel.get_B_pack_type();
    if (layout != dnnl::ukernel::pack_type::pack32) {
      std::printf("ukernel packs B otherwise on this CPU; not run\n");
      return true;
    }
    std::vector<uint16_t> a(static_cast<size_t>(m * k), 0x3F80), b(static_cast<size_t>(k * n), 0x4000),
        packed(b.size());
    dnnl::ukernel::transform pack(k, n, dnnl::ukernel::pack_type::no_trans, n, n, memory::data_type::bf16,
                                  memory::data_type::bf16);
    pack.generate();
    pack.execute(b.data(), packed.data());
    kernel.generate();
    std::vector<float> c(static_cast<size_t>(m * n), -1.0F);
    std::vector<uint8_t> scratch(kernel.get_scratchpad_size() + 64);
    kernel.set_hw_context();
    kernel.execute(a.data(), packed.data(), {{0, 0}}, c.data(), scratch.data());
    dnnl::ukernel::brgemm::release_hw_context();
    const float want = static_cast<float>(k) * bf16_value(0x3F80) * bf16_value(0x4000);
    for (float got : c) {
      if (got != want) {
        std::printf("ukernel: %g, should be %g\n", double(got), double(want));
        return false;
      }
    }
    std::printf("ukernel ok\n");
  } catch (const dnnl::error& error) {
    if (error.status != dnnl_unimplemented) throw;
    std::printf("ukernel not available on this CPU\n");
  }
  return true;
}

}  // namespace

__attribute__((visibility("default"))) int merritt_check() {
  bool ok = check_matmul(memory::data_type::f32, 1) && check_matmul(memory::data_type::f32, 33);
  if (ok && dnnl::get_effective_cpu_isa() >= dnnl::cpu_isa::avx512_core) {
    ok = check_matmul(memory::data_type::bf16, 1) && check_matmul(memory::data_type::bf16, 33);
  }
  return ok && check_other_primitives() && check_ukernel() ? 0 : 1;
}

#ifdef CHECK_MAIN
int main() { return merritt_check(); }
#endif
