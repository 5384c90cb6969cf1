// SPDX-License-Identifier: Apache-2.0
// Deliberately faulty plugins: the reference plugin with one thing spoiled. They prove that a host survives; nothing
// here is an example to follow. All share this object; which fault a plugin has is the constant in its fault.cpp.
#include "faulty.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <thread>

#include "fault/fault.hpp"
#include "reference/plugin.hpp"

namespace {

using merritt::faulty::Fault;
using merritt::faulty::kFault;
using Good = merritt::plugin::reference::Plugin;
using merritt::plugin::fail;
using merritt::plugin::fail_call;
using merritt::plugin::kNoIndex;

std::atomic<uint64_t> g_calls{0}, g_fail_at{0};
std::atomic<bool> g_armed{true}, g_lost{false}, g_broken{false};

bool armed(Fault fault) { return kFault == fault && g_armed; }

// Every byte of the text set, so that a reader who trusts the terminator runs on.
void spoil(mrt_error* err, int32_t code) {
  std::memset(err, 'A', sizeof *err);
  err->code = code;
}

// Counts a call; true when this one has to fail.
bool counted(mrt_error* err) {
  const uint64_t call = ++g_calls;
  if (kFault != Fault::fails_kth_call || call != g_fail_at) return false;
  fail_call(err, MRT_BACKEND, "call %llu fails, as it was told to", static_cast<unsigned long long>(call));
  return true;
}

/// Counts, perhaps fails, else does the right thing.
template <auto Fn>
struct Counted;
template <class... A, int32_t (*Fn)(A...)>
struct Counted<Fn> {
  static int32_t call(A... args) {
    return counted(std::get<sizeof...(A) - 1>(std::tie(args...))) ? int32_t{MRT_BACKEND} : Fn(args...);
  }
};

struct Faulty : Good {
  static int32_t device_describe(uint32_t index, mrt_device_desc* desc, mrt_error* err) {
    const int32_t code = Good::device_describe(kFault == Fault::describe_endless ? 0 : index, desc, err);
    if (kFault == Fault::describe_unterminated && code == MRT_OK) {
      std::memset(desc->id, 'i', sizeof desc->id);
      std::memset(desc->name, 'n', sizeof desc->name);
    }
    if (kFault == Fault::describe_no_slots && code == MRT_OK) desc->slots = 0;
    return code;
  }

  static int32_t device_open(uint32_t index, const mrt_host* host, mrt_device** out, mrt_error* err) {
    if (kFault == Fault::open_throws) throw 42;
    if (kFault == Fault::open_unterminated_error) {
      spoil(err, MRT_BACKEND);
      return MRT_BACKEND;
    }
    return Counted<&Good::device_open>::call(index, host, out, err);
  }

  static int32_t device_status(mrt_device* device, uint32_t* state, mrt_error* err) {
    const int32_t code = Good::device_status(device, state, err);
    if (armed(Fault::status_nonsense)) *state = 77;
    if (g_lost) *state = MRT_STATE_LOST;
    return code;
  }

  static int32_t model_compile(mrt_device* device, const mrt_graph* graph, const mrt_weights* weights, uint32_t flags,
                               const volatile uint32_t* cancel, mrt_model_info* info, mrt_model** out, mrt_error* err) {
    if (kFault == Fault::compile_throws) throw std::runtime_error("thrown out of model_compile");
    if (kFault == Fault::compile_refuses_op) {
      for (uint32_t i = 0; i < graph->n_nodes; ++i) {
        if (graph->nodes[i].op == MRT_OP_GATE) {
          return fail(err, MRT_UNSUPPORTED, MRT_BLAST_CALL, i, "node %u: gate is not known", i);
        }
      }
    }
    if (kFault == Fault::compile_garbage) {
      *out = reinterpret_cast<mrt_model*>(uintptr_t{0x10});
      return fail_call(err, MRT_BACKEND, "the compile fails and leaves garbage where the model would be");
    }
    while (kFault == Fault::compile_waits_for_cancel && !merritt::plugin::cancel_requested(cancel)) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    const int32_t code = Counted<&Good::model_compile>::call(device, graph, weights, flags, cancel, info, out, err);
    if (kFault == Fault::compile_leaks && code == MRT_OK) {
      static_cast<void>(device->host.take(MRT_MEM_SCRATCH, 65536, 64));  // never given back
    }
    if (kFault == Fault::compile_null_model && code == MRT_OK && (flags & MRT_COMPILE_PLAN_ONLY) == 0) {
      delete *out;
      *out = nullptr;
    }
    return code;
  }

  static int32_t kv_spec(mrt_model* model, const mrt_kv_policy* policy, mrt_kv_spec* spec, mrt_error* err) {
    const int32_t code = Counted<&Good::kv_spec>::call(model, policy, spec, err);
    if (kFault == Fault::kv_spec_nonsense && code == MRT_OK) {
      spec->n_groups = 200;
      spec->group[0].plane_bytes = 0;
      spec->group[0].n_planes = UINT32_MAX;
      spec->pool_bytes = UINT64_MAX;
    }
    // Only once the pool's pages are known.
    if (kFault == Fault::kv_spec_late_nonsense && code == MRT_OK && policy->n_pages[0] != 0) spec->n_groups = 200;
    return code;
  }

  static int32_t pool_create(mrt_model* model, const mrt_kv_policy* policy, const mrt_kv_opener* opener, mrt_pool** out,
                             mrt_error* err) {
    if (kFault == Fault::pool_null) return MRT_OK;
    return Counted<&Good::pool_create>::call(model, policy, opener, out, err);
  }

  static int32_t program_create(mrt_model* model, mrt_pool* pool, const mrt_program_policy* policy, mrt_program** out,
                                mrt_error* err) {
    if (kFault == Fault::program_null) return MRT_OK;
    if (g_broken) return fail_call(err, MRT_OUT_OF_MEMORY, "no program can be made any more, as it was told");
    return Counted<&Good::program_create>::call(model, pool, policy, out, err);
  }

  static int32_t program_staging(mrt_program* program, uint32_t slot, mrt_staging* out, mrt_error* err) {
    const int32_t code = Counted<&Good::program_staging>::call(program, slot, out, err);
    if (kFault == Fault::staging_null && code == MRT_OK) {
      out->token = nullptr;
      out->pages[0] = nullptr;
      out->seq_status = nullptr;
    }
    if (kFault == Fault::staging_pages_null && code == MRT_OK) out->pages[0] = nullptr;
    if (kFault == Fault::output_width_lie && code == MRT_OK) out->output[0].width *= 2;
    return code;
  }

  static int32_t step_run(mrt_program* program, uint32_t slot, mrt_error* err) {
    if (armed(Fault::run_throws)) throw std::runtime_error("thrown out of step_run");
    if (armed(Fault::run_nonsense_code)) {
      spoil(err, -12345);
      err->blast = 4242;
      return 987654;
    }
    if (armed(Fault::run_fails_step)) {
      return fail(err, MRT_BACKEND, MRT_BLAST_STEP, kNoIndex, "the step fails, as it was told to");
    }
    if (armed(Fault::run_breaks_program)) {
      g_broken = true;
      return fail(err, MRT_BACKEND, MRT_BLAST_PROGRAM, kNoIndex, "the program is broken beyond repair");
    }
    if (armed(Fault::run_fails_program)) {
      return fail(err, MRT_BACKEND, MRT_BLAST_PROGRAM, kNoIndex, "the program is broken, as it was told to be");
    }
    if (armed(Fault::run_loses_device)) {
      g_lost = true;
      return fail(err, MRT_BACKEND, MRT_BLAST_DEVICE, kNoIndex, "the device is lost, as it was told to be");
    }
    if (armed(Fault::run_hangs_until_cancel)) {
      while (program->slot.phase() == merritt::plugin::SlotPhase::kPrepared && !program->slot.cancelled()) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    }
    const int32_t code = Counted<&Good::step_run>::call(program, slot, err);
    if (code == MRT_OK) spoil_result(program);
    return code;
  }

  static void spoil_result(mrt_program* program) {
    const mrt_staging& staging = program->staging.view();
    if (armed(Fault::run_fails_sequence)) staging.seq_status[0] = MRT_BACKEND;
    if (armed(Fault::run_nonsense_status)) staging.seq_status[0] = -987;
    if (armed(Fault::run_nan_rows) && staging.output[0].data != nullptr) {
      std::fill_n(staging.output[0].data, staging.output[0].width, std::numeric_limits<float>::quiet_NaN());
    }
  }

  static int32_t step_wait(mrt_program* program, uint32_t slot, uint64_t timeout_ns, mrt_error* err) {
    if (armed(Fault::wait_never_done) && !program->slot.cancelled()) {
      std::this_thread::sleep_for(std::chrono::nanoseconds(std::min<uint64_t>(timeout_ns, 1'000'000)));
      return fail_call(err, MRT_DEADLINE, "not done, and never will be until cancelled");
    }
    if (armed(Fault::wait_ignores_cancel)) {
      std::this_thread::sleep_for(std::chrono::nanoseconds(std::min<uint64_t>(timeout_ns, 1'000'000)));
      return fail_call(err, MRT_DEADLINE, "not done, and never will be");
    }
    return Counted<&Good::step_wait>::call(program, slot, timeout_ns, err);
  }

  static const void* extension(const char* name, uint32_t len) {
    static constexpr merritt_faulty_ext kControls{
        sizeof(merritt_faulty_ext), 0, [](uint64_t k) { g_fail_at = k == 0 ? 0 : g_calls + k; },
        []() -> uint64_t { return g_calls; }, [](uint32_t on) { g_armed = on != 0; }};
    return merritt::plugin::is_extension(name, len, MERRITT_FAULTY_EXT) ? &kControls : Good::extension(name, len);
  }
};

mrt_backend spoiled_table() {
  mrt_backend t = merritt::plugin::make_table<Faulty>();
  // Without the fence, so that what they throw does cross the boundary.
  if (kFault == Fault::open_throws) t.device_open = &Faulty::device_open;
  if (kFault == Fault::compile_throws) t.model_compile = &Faulty::model_compile;
  if (kFault == Fault::run_throws) t.step_run = &Faulty::step_run;
  if (kFault == Fault::missing_required) t.step_wait = nullptr;
  if (kFault == Fault::missing_optional) {
    t.kv_map = nullptr;
    t.kv_export = nullptr;
    t.kv_import = nullptr;
    t.extension = nullptr;
  }
  if (kFault == Fault::fails_kth_call) {
    t.kv_read = &Counted<&Good::kv_read>::call;
    t.kv_write = &Counted<&Good::kv_write>::call;
    t.kv_zero = &Counted<&Good::kv_zero>::call;
    t.kv_copy = &Counted<&Good::kv_copy>::call;
    t.step_prepare = &Counted<&Good::step_prepare>::call;
    t.step_commit = &Counted<&Good::step_commit>::call;
  }
  return t;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int32_t merritt_backend_v1(const mrt_hello_in* in,
                                                                             mrt_hello_out* out) {
  static const mrt_backend kTable = spoiled_table();
  if (kFault == Fault::hello_throws) throw std::runtime_error("thrown out of the handshake");
  const int32_t code = merritt::plugin::answer_hello(in, out, &kTable, sizeof kTable);
  switch (kFault) {
    case Fault::hello_refuses:
      *out = {};
      std::strcpy(out->reason, "this plugin refuses every host");
      return MRT_UNSUPPORTED;
    case Fault::hello_unterminated_reason:
      *out = {};
      std::memset(out->reason, 'r', sizeof out->reason);
      return MRT_UNSUPPORTED;
    case Fault::hello_nonsense_code: return 987654;
    case Fault::hello_wrong_abi: out->abi = 99; break;
    case Fault::hello_null_table: out->table = nullptr; break;
    case Fault::table_too_small: out->table_bytes = 16; break;
    case Fault::table_size_lie: out->table_bytes = 1u << 30; break;
    default: break;
  }
  return code;
}
