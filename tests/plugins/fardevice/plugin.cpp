// SPDX-License-Identifier: Apache-2.0
// A device that is far away, to keep the plugin ABI honest: reference mathematics in an unmapped heap with a page
// layout of its own, steps that run on their own after step_run, inputs copied from staging at run and outputs copied
// back at wait, staging given out once, and a device that can be lost at any call.
#include <atomic>
#include <cstring>
#include <memory>

#include "device_team.hpp"
#include "device_thread.hpp"
#include "far_memory.hpp"
#include "fardevice.h"
#include "reference/math/model.hpp"
#include "reference/math/runner.hpp"
#include "support/blocks.hpp"
#include "support/pool.hpp"
#include "support/staging.hpp"
#include "support/step.hpp"
#include "support/table.hpp"
#include "support/trace.hpp"

namespace far = merritt::plugin::far;

struct mrt_device {
  merritt::plugin::Host host, device_host;
  std::unique_ptr<far::DeviceTeam> team;
  far::FarMemory memory;
  std::atomic<bool> lost{false};
};
struct mrt_model {
  mrt_device* device = nullptr;
  merritt::plugin::reference::Model model;
  far::FarLayout layout;
};
struct mrt_pool {
  mrt_model* model = nullptr;
  merritt::plugin::Pool pool;
};
struct mrt_program {
  mrt_model* model = nullptr;
  mrt_program_policy policy{};
  merritt::plugin::Staging host_side, device_side;
  merritt::plugin::StepChecker checker;
  merritt::plugin::SlotState slot;
  merritt::plugin::reference::Runner runner;
  mrt_error result{};
  std::unique_ptr<far::DeviceThread> thread;  // last: joined before what it uses is gone
};

namespace merritt::plugin::far {
namespace {

constexpr uint32_t kKvTypes = kv_type_bit(kF32) | kv_type_bit(kF16) | kv_type_bit(kBF16) | kv_type_bit(kQ8_0);

// The fixture's controls are of the process, so that a test can set them through a core that hides the device.
std::atomic<uint64_t> g_calls{0}, g_lose_at{0}, g_slow_us{0};

int32_t lost(mrt_error* err) { return fail(err, MRT_BACKEND, MRT_BLAST_DEVICE, kNoIndex, "the far device is lost"); }

/// Counts a call that reaches the device; loses it when its time has come.
int32_t reach(mrt_device* device, mrt_error* err) {
  const uint64_t call = ++g_calls;
  const uint64_t at = g_lose_at.load();
  if (at != 0 && call == at) device->lost = true;
  return device->lost ? lost(err) : MRT_OK;
}

void copy_words(uint32_t* to, const uint32_t* from, uint64_t n) {
  if (to != nullptr && n != 0) std::memcpy(to, from, n * sizeof *to);
}

// Everything a step reads, host to device.
void upload(mrt_program* p, const mrt_step& step) {
  const mrt_staging &from = p->host_side.view(), &to = p->device_side.view();
  copy_words(to.token, from.token, step.n_tokens);
  copy_words(to.position, from.position, step.n_tokens);
  copy_words(to.type, from.type, step.n_tokens);
  if (to.hidden != nullptr) {
    std::memcpy(to.hidden, from.hidden, sizeof(float) * step.n_tokens * p->model->model.plan().hidden_width);
  }
  copy_words(to.rows, from.rows, step.n_rows);
  copy_words(to.seq_first, from.seq_first, step.n_seqs);
  copy_words(to.seq_tokens, from.seq_tokens, step.n_seqs);
  copy_words(to.seq_past, from.seq_past, step.n_seqs);
  copy_words(to.seq_class, from.seq_class, step.n_seqs);
  std::memcpy(to.seq_key, from.seq_key, step.n_seqs * sizeof *to.seq_key);
  for (uint32_t g = 0; g < p->model->model.plan().groups.size(); ++g) {
    copy_words(to.pages[g], from.pages[g], static_cast<uint64_t>(step.n_seqs) * p->policy.max_pages[g]);
    copy_words(to.page_base[g], from.page_base[g], step.n_seqs);
  }
}

// Outputs and statuses, device to host.
void download(mrt_program* p, const mrt_step& step) {
  const mrt_staging &from = p->device_side.view(), &to = p->host_side.view();
  std::memcpy(to.seq_status, from.seq_status, step.n_seqs * sizeof *to.seq_status);
  const Plan& plan = p->model->model.plan();
  for (uint32_t o = 0; o < plan.outputs.size(); ++o) {
    if ((step.outputs >> o & 1) == 0) continue;
    const uint16_t kind = plan.nodes[plan.outputs[o]].rows;
    const uint64_t rows = kind == MRT_ROWS_TOKENS ? step.n_tokens : kind == MRT_ROWS_WANTED ? step.n_rows : step.n_seqs;
    if (rows != 0) std::memcpy(to.output[o].data, from.output[o].data, rows * to.output[o].width * sizeof(float));
  }
}

int32_t kernel_name(mrt_model* model, uint32_t node, uint32_t row_class, char* name, uint32_t name_bytes,
                    mrt_error* err) {
  const Plan& plan = model->model.plan();
  if (node >= plan.nodes.size() || row_class > MRT_CLASS_GENERATED) {
    return fail_call(err, MRT_NOT_FOUND, "node %u class %u of %zu nodes", node, row_class, plan.nodes.size());
  }
  char text[64] = "fardevice:";
  copy_text(text + 10, sizeof text - 10, op_name(plan.nodes[node].op));
  return give_kernel_name(name, name_bytes, text, err);
}

struct Plugin {
  static int32_t device_describe(uint32_t index, mrt_device_desc* desc, mrt_error* err) {
    if (index != 0) return fail_call(err, MRT_NOT_FOUND, "device %u: there is one", index);
    mrt_device_desc d{};
    d.struct_size = sizeof d;
    d.flags = MRT_DEV_BATCH_INVARIANT | MRT_DEV_ASYNC;
    copy_text(d.id, sizeof d.id, "fardevice:0");
    copy_text(d.name, sizeof d.name, "Far device (test fixture)");
    d.memory_total = d.memory_free = 1ull << 34;
    d.cancel_bound_us = 60'000'000;
    d.slots = 1;
    return give_struct(d, desc, "mrt_device_desc", err);
  }
  static int32_t device_open(uint32_t index, const mrt_host* host, mrt_device** out, mrt_error* err) {
    if (index != 0) return fail_call(err, MRT_NOT_FOUND, "device %u: there is one", index);
    auto device = std::make_unique<mrt_device>();
    MERRITT_PLUGIN_TRY(device->host.attach(host, err));
    device->team = std::make_unique<DeviceTeam>(device->host.n_workers());
    const mrt_host inner = device->team->host(device->host.isa_max());
    MERRITT_PLUGIN_TRY(device->device_host.attach(&inner, err));
    device->memory.attach(&device->host);
    *out = device.release();
    return MRT_OK;
  }
  static int32_t device_status(mrt_device* device, uint32_t* state, mrt_error*) {
    *state = device->lost ? MRT_STATE_LOST : MRT_STATE_GOOD;
    return MRT_OK;
  }
  static void device_close(mrt_device* device) { delete device; }

  static int32_t model_compile(mrt_device* device, const mrt_graph* graph, const mrt_weights* weights, uint32_t flags,
                               const volatile uint32_t* cancel, mrt_model_info* info, mrt_model** out, mrt_error* err) {
    MERRITT_PLUGIN_TRY(reach(device, err));
    MERRITT_PLUGIN_TRY(check_compile_flags(flags, err));
    const bool plan_only = (flags & MRT_COMPILE_PLAN_ONLY) != 0;
    auto model = std::make_unique<mrt_model>();
    model->device = device;
    MERRITT_PLUGIN_TRY(
        model->model.compile(graph, weights, plan_only, cancel, "reference/1", &device->memory, info, err));
    if (!plan_only) *out = model.release();
    return MRT_OK;
  }
  static void model_destroy(mrt_model* model) { delete model; }

  static int32_t kv_spec(mrt_model* model, const mrt_kv_policy* policy, mrt_kv_spec* spec, mrt_error* err) {
    MERRITT_PLUGIN_TRY(reach(model->device, err));
    return answer_kv_spec(model->model.plan(), policy, model->layout, kKvTypes, spec, err);
  }
  static int32_t pool_create(mrt_model* model, const mrt_kv_policy* policy, const mrt_kv_opener* opener, mrt_pool** out,
                             mrt_error* err) {
    MERRITT_PLUGIN_TRY(reach(model->device, err));
    auto pool = std::make_unique<mrt_pool>();
    pool->model = model;
    MERRITT_PLUGIN_TRY(
        pool->pool.create(&model->model.plan(), policy, opener, &model->layout, kKvTypes, &model->device->memory, err));
    *out = pool.release();
    return MRT_OK;
  }
  static void pool_destroy(mrt_pool* pool) { delete pool; }
  // Read-outs work on a lost device too: the host saves what it can.
  static int32_t kv_read(mrt_pool* pool, const mrt_kv_span* span, void* dst, uint64_t bytes, mrt_error* err) {
    return pool->pool.read(span, dst, bytes, err);
  }
  static int32_t kv_export(mrt_pool* pool, const mrt_kv_rows* rows, void* dst, uint64_t bytes, mrt_error* err) {
    return pool->pool.export_rows(rows, dst, bytes, err);
  }
  static int32_t kv_write(mrt_pool* pool, const mrt_kv_span* span, const void* src, uint64_t bytes, mrt_error* err) {
    MERRITT_PLUGIN_TRY(reach(pool->model->device, err));
    return pool->pool.write(span, src, bytes, err);
  }
  static int32_t kv_zero(mrt_pool* pool, const mrt_kv_span* span, mrt_error* err) {
    MERRITT_PLUGIN_TRY(reach(pool->model->device, err));
    return pool->pool.zero(span, err);
  }
  static int32_t kv_copy(mrt_pool* pool, uint32_t group, const uint32_t* from, const uint32_t* to, uint32_t n_pages,
                         uint32_t n_tokens, mrt_error* err) {
    MERRITT_PLUGIN_TRY(reach(pool->model->device, err));
    return pool->pool.copy(group, from, to, n_pages, n_tokens, err);
  }
  static int32_t kv_map(mrt_pool* pool, uint32_t, uint32_t, uint32_t, void**, mrt_error* err) {
    MERRITT_PLUGIN_TRY(reach(pool->model->device, err));
    return fail_call(err, MRT_UNSUPPORTED, "pages of the far device are not in host memory");
  }
  static int32_t kv_import(mrt_pool* pool, const mrt_kv_rows* rows, const void* src, uint64_t bytes, mrt_error* err) {
    MERRITT_PLUGIN_TRY(reach(pool->model->device, err));
    return pool->pool.import_rows(rows, src, bytes, err);
  }

  static int32_t program_create(mrt_model* model, mrt_pool* pool, const mrt_program_policy* policy, mrt_program** out,
                                mrt_error* err) {
    MERRITT_PLUGIN_TRY(reach(model->device, err));
    if (pool != nullptr && pool->model != model) {
      return fail_call(err, MRT_INVALID_ARGUMENT, "the pool was made for another model");
    }
    const Plan& plan = model->model.plan();
    Pool* pages = pool == nullptr ? nullptr : &pool->pool;
    const uint32_t n_groups = pages == nullptr ? 0 : pages->geometry().n_groups;
    auto program = std::make_unique<mrt_program>();
    mrt_program* p = program.get();
    p->model = model;
    mrt_device* device = model->device;
    MERRITT_PLUGIN_TRY(take_policy(policy, plan, n_groups, &p->policy, err));
    MERRITT_PLUGIN_TRY(p->host_side.create(plan, p->policy, n_groups, 1, false, &device->host, err));
    MERRITT_PLUGIN_TRY(p->device_side.create(plan, p->policy, n_groups, 1, false, &device->memory, err));
    MERRITT_PLUGIN_TRY(p->checker.create(&plan, pages, p->policy, &device->host, err));
    MERRITT_PLUGIN_TRY(p->runner.create(&model->model, pages, p->policy, &device->device_host, &device->memory, err));
    p->thread = std::make_unique<DeviceThread>([p] {
      const uint64_t slow = g_slow_us.load();
      if (slow != 0) std::this_thread::sleep_for(std::chrono::microseconds(slow));
      p->runner.run(p->slot.step(), p->device_side.view(), &p->result);
    });
    *out = program.release();
    return MRT_OK;
  }
  static void program_destroy(mrt_program* program) { delete program; }
  static int32_t program_staging(mrt_program* p, uint32_t slot, mrt_staging* out, mrt_error* err) {
    MERRITT_PLUGIN_TRY(reach(p->model->device, err));
    MERRITT_PLUGIN_TRY(check_slot(slot, err));
    return p->host_side.give(out, err);
  }

  static int32_t step_prepare(mrt_program* p, const mrt_step* step, mrt_error* err) {
    MERRITT_PLUGIN_TRY(reach(p->model->device, err));
    MERRITT_PLUGIN_TRY(p->slot.may_prepare(err));
    mrt_step checked{};
    MERRITT_PLUGIN_TRY(p->checker.check(step, p->host_side.view(), 1, &checked, err));
    p->slot.prepared(checked);
    return MRT_OK;
  }
  static int32_t step_run(mrt_program* p, uint32_t slot, mrt_error* err) {
    MERRITT_PLUGIN_TRY(reach(p->model->device, err));
    MERRITT_PLUGIN_TRY(check_slot(slot, err));
    MERRITT_PLUGIN_TRY(p->slot.start(err));
    upload(p, p->slot.step());
    p->thread->start();
    return MRT_OK;
  }
  static int32_t step_wait(mrt_program* p, uint32_t slot, uint64_t timeout_ns, mrt_error* err) {
    MERRITT_PLUGIN_TRY(reach(p->model->device, err));
    MERRITT_PLUGIN_TRY(check_slot(slot, err));
    if (p->slot.phase() == SlotPhase::kRunning) {
      if (!p->thread->wait(timeout_ns)) return fail_call(err, MRT_DEADLINE, "the step is not done yet");
      if (p->result.code == MRT_OK) download(p, p->slot.step());
      p->slot.finish(p->result);
    }
    return p->slot.result(err);
  }
  static int32_t step_commit(mrt_program* p, uint32_t slot, const uint32_t* accepted, mrt_error* err) {
    MERRITT_PLUGIN_TRY(reach(p->model->device, err));
    MERRITT_PLUGIN_TRY(check_slot(slot, err));
    return p->slot.commit(accepted, p->host_side.view(), err);
  }
  static int32_t step_abort(mrt_program* p, uint32_t slot, mrt_error* err) {
    MERRITT_PLUGIN_TRY(check_slot(slot, err));
    if (p->slot.phase() == SlotPhase::kRunning) p->thread->wait(UINT64_MAX);
    const int32_t code = p->slot.abort(err);
    return p->model->device->lost ? lost(err) : code;
  }

  static const void* extension(const char* name, uint32_t name_len) {
    static constexpr merritt_fardevice_ext kControls{
        sizeof(merritt_fardevice_ext), 0, [](uint64_t k) { g_lose_at = k == 0 ? 0 : g_calls + k; },
        []() -> uint64_t { return g_calls; }, [](uint64_t us) { g_slow_us = us; }};
    if (is_extension(name, name_len, MRT_EXT_TRACE)) return &kTraceTable<&kernel_name>;
    return is_extension(name, name_len, MERRITT_FARDEVICE_EXT) ? &kControls : nullptr;
  }

 private:
  static int32_t check_slot(uint32_t slot, mrt_error* err) {
    return slot == 0 ? MRT_OK : fail_call(err, MRT_INVALID_ARGUMENT, "slot %u of 1", slot);
  }
};

}  // namespace
}  // namespace merritt::plugin::far

MERRITT_PLUGIN(merritt::plugin::far::Plugin)
