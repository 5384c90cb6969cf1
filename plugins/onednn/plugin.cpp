// SPDX-License-Identifier: Apache-2.0
// The slots of the oneDNN plugin: one CPU device, pages in host memory, one slot, a step is done when step_run returns.
#include <memory>

#include "onednn/objects.hpp"
#include "support/blocks.hpp"
#include "support/os/cpu_memory.hpp"
#include "support/table.hpp"
#include "support/trace.hpp"

namespace merritt::onednn {
namespace {
using namespace plugin;

constexpr uint32_t kKvTypes = kv_type_bit(kF32) | kv_type_bit(kF16) | kv_type_bit(kBF16) | kv_type_bit(kQ8_0);

int32_t kernel_name(mrt_model* model, uint32_t node, uint32_t row_class, char* name, uint32_t name_bytes,
                    mrt_error* err) {
  const Plan& plan = model->model.plan();
  if (node >= plan.nodes.size() || row_class > MRT_CLASS_GENERATED) {
    return fail_call(err, MRT_NOT_FOUND, "node %u class %u of %zu nodes", node, row_class, plan.nodes.size());
  }
  char text[96];
  model->model.kernel_name(node, row_class, text, sizeof text);
  return give_kernel_name(name, name_bytes, text, err);
}

int32_t compile(mrt_device* device, const mrt_graph* graph, const mrt_weights* weights, const mrt_packed* packed,
                uint32_t flags, const volatile uint32_t* cancel, mrt_model_info* info, mrt_model** out,
                mrt_error* err) {
  MERRITT_PLUGIN_TRY(check_compile_flags(flags, err));
  mrt_packed kept{};
  if (packed != nullptr) {
    MERRITT_PLUGIN_TRY(take_struct(packed, &kept, "mrt_packed", err));
    if (kept.open == nullptr || kept.read == nullptr) {
      return fail_call(err, MRT_INVALID_ARGUMENT, "mrt_packed.open or .read is null");
    }
  }
  auto model = std::make_unique<mrt_model>();
  model->device = device;
  MERRITT_PLUGIN_TRY(model->model.compile(graph, weights, packed == nullptr ? nullptr : &kept, flags, cancel,
                                          device->isa, &device->host, info, err));
  if ((flags & MRT_COMPILE_PLAN_ONLY) == 0) *out = model.release();
  return MRT_OK;
}

int32_t describe_packed_bytes(mrt_model* model, mrt_packed_layout* layout, mrt_error* err) {
  if (layout == nullptr) return fail_call(err, MRT_INVALID_ARGUMENT, "mrt_packed_layout is null");
  *layout = model->model.packed_layout();
  return MRT_OK;
}

int32_t export_packed_bytes(mrt_model* model, uint64_t offset, void* dst, uint64_t bytes, mrt_error* err) {
  return model->model.export_bytes(offset, dst, bytes, err);
}

constexpr mrt_ext_packed kPackedTable{sizeof(mrt_ext_packed), 0, &Fence<&compile>::call,
                                      &Fence<&describe_packed_bytes>::call, &Fence<&export_packed_bytes>::call};

int32_t check_slot(uint32_t slot, mrt_error* err) {
  return slot == 0 ? MRT_OK : fail_call(err, MRT_INVALID_ARGUMENT, "slot %u of 1", slot);
}

struct OneDnn {
  static int32_t device_describe(uint32_t index, mrt_device_desc* desc, mrt_error* err) {
    if (index != 0) return fail_call(err, MRT_NOT_FOUND, "device %u: there is one", index);
    static constexpr const char* kLevels[] = {"below AVX2: not usable", "AVX2", "AVX-512", "AVX-512 VNNI BF16", "AMX"};
    mrt_device_desc d{};
    d.struct_size = sizeof d;
    d.flags = MRT_DEV_HOST_VISIBLE | MRT_DEV_BATCH_INVARIANT;
    copy_text(d.id, sizeof d.id, "onednn:0");
    char name[128] = "oneDNN on the CPU, ";
    const uint64_t at = std::char_traits<char>::length(name);
    copy_text(name + at, sizeof name - at, kLevels[cpu_level()]);
    copy_text(d.name, sizeof d.name, name);
    os::machine_memory(&d.memory_total, &d.memory_free);
    d.cancel_bound_us = 1'000'000;
    d.slots = 1;
    return give_struct(d, desc, "mrt_device_desc", err);
  }
  static int32_t device_open(uint32_t index, const mrt_host* host, mrt_device** out, mrt_error* err) {
    if (index != 0) return fail_call(err, MRT_NOT_FOUND, "device %u: there is one", index);
    auto device = std::make_unique<mrt_device>();
    MERRITT_PLUGIN_TRY(device->host.attach(host, err));
    MERRITT_PLUGIN_TRY(choose_isa(device->host, &device->isa, err));
    *out = device.release();
    return MRT_OK;
  }
  static int32_t device_status(mrt_device*, uint32_t* state, mrt_error*) {
    *state = MRT_STATE_GOOD;
    return MRT_OK;
  }
  static void device_close(mrt_device* device) { delete device; }

  static int32_t model_compile(mrt_device* device, const mrt_graph* graph, const mrt_weights* weights, uint32_t flags,
                               const volatile uint32_t* cancel, mrt_model_info* info, mrt_model** out, mrt_error* err) {
    return compile(device, graph, weights, nullptr, flags, cancel, info, out, err);
  }
  static void model_destroy(mrt_model* model) { delete model; }

  static int32_t kv_spec(mrt_model* model, const mrt_kv_policy* policy, mrt_kv_spec* spec, mrt_error* err) {
    return answer_kv_spec(model->model.plan(), policy, model->layout, kKvTypes, spec, err);
  }
  static int32_t pool_create(mrt_model* model, const mrt_kv_policy* policy, const mrt_kv_opener* opener, mrt_pool** out,
                             mrt_error* err) {
    auto pool = std::make_unique<mrt_pool>();
    pool->model = model;
    MERRITT_PLUGIN_TRY(
        pool->pool.create(&model->model.plan(), policy, opener, &model->layout, kKvTypes, &model->device->host, err));
    *out = pool.release();
    return MRT_OK;
  }
  static void pool_destroy(mrt_pool* pool) { delete pool; }
  static int32_t kv_read(mrt_pool* pool, const mrt_kv_span* span, void* dst, uint64_t bytes, mrt_error* err) {
    return pool->pool.read(span, dst, bytes, err);
  }
  static int32_t kv_write(mrt_pool* pool, const mrt_kv_span* span, const void* src, uint64_t bytes, mrt_error* err) {
    return pool->pool.write(span, src, bytes, err);
  }
  static int32_t kv_zero(mrt_pool* pool, const mrt_kv_span* span, mrt_error* err) { return pool->pool.zero(span, err); }
  static int32_t kv_copy(mrt_pool* pool, uint32_t group, const uint32_t* from, const uint32_t* to, uint32_t n_pages,
                         uint32_t n_tokens, mrt_error* err) {
    return pool->pool.copy(group, from, to, n_pages, n_tokens, err);
  }
  static int32_t kv_map(mrt_pool* pool, uint32_t group, uint32_t page, uint32_t plane, void** p, mrt_error* err) {
    return pool->pool.map(group, page, plane, p, err);
  }
  static int32_t kv_export(mrt_pool* pool, const mrt_kv_rows* rows, void* dst, uint64_t bytes, mrt_error* err) {
    return pool->pool.export_rows(rows, dst, bytes, err);
  }
  static int32_t kv_import(mrt_pool* pool, const mrt_kv_rows* rows, const void* src, uint64_t bytes, mrt_error* err) {
    return pool->pool.import_rows(rows, src, bytes, err);
  }

  static int32_t program_create(mrt_model* model, mrt_pool* pool, const mrt_program_policy* policy, mrt_program** out,
                                mrt_error* err) {
    const Plan& plan = model->model.plan();
    if (pool != nullptr && pool->model != model) {
      return fail_call(err, MRT_INVALID_ARGUMENT, "the pool was made for another model");
    }
    Pool* pages = pool == nullptr ? nullptr : &pool->pool;
    const uint32_t n_groups = pages == nullptr ? 0 : pages->geometry().n_groups;
    mrt_program_policy p{};
    MERRITT_PLUGIN_TRY(take_policy(policy, plan, n_groups, &p, err));
    Host* host = &model->device->host;
    auto program = std::make_unique<mrt_program>();
    program->model = model;
    MERRITT_PLUGIN_TRY(program->staging.create(plan, p, n_groups, 1, false, host, err));
    MERRITT_PLUGIN_TRY(program->checker.create(&plan, pages, p, host, err));
    MERRITT_PLUGIN_TRY(program->runner.create(&model->model, pages, p, host, err));
    *out = program.release();
    return MRT_OK;
  }
  static void program_destroy(mrt_program* program) { delete program; }
  static int32_t program_staging(mrt_program* program, uint32_t slot, mrt_staging* out, mrt_error* err) {
    MERRITT_PLUGIN_TRY(check_slot(slot, err));
    return program->staging.give(out, err);
  }

  static int32_t step_prepare(mrt_program* program, const mrt_step* step, mrt_error* err) {
    MERRITT_PLUGIN_TRY(program->slot.may_prepare(err));
    mrt_step checked{};
    MERRITT_PLUGIN_TRY(program->checker.check(step, program->staging.view(), 1, &checked, err));
    program->slot.prepared(checked);
    return MRT_OK;
  }
  static int32_t step_run(mrt_program* program, uint32_t slot, mrt_error* err) {
    MERRITT_PLUGIN_TRY(check_slot(slot, err));
    MERRITT_PLUGIN_TRY(program->slot.start(err));
    mrt_error result{};
    program->runner.run(program->slot.step(), program->staging.view(), &result);
    program->slot.finish(result);
    return MRT_OK;
  }
  static int32_t step_wait(mrt_program* program, uint32_t slot, uint64_t, mrt_error* err) {
    MERRITT_PLUGIN_TRY(check_slot(slot, err));
    return program->slot.result(err);
  }
  static int32_t step_commit(mrt_program* program, uint32_t slot, const uint32_t* accepted, mrt_error* err) {
    MERRITT_PLUGIN_TRY(check_slot(slot, err));
    return program->slot.commit(accepted, program->staging.view(), err);
  }
  static int32_t step_abort(mrt_program* program, uint32_t slot, mrt_error* err) {
    MERRITT_PLUGIN_TRY(check_slot(slot, err));
    return program->slot.abort(err);
  }

  static const void* extension(const char* name, uint32_t name_len) {
    if (is_extension(name, name_len, MRT_EXT_PACKED)) return &kPackedTable;
    return is_extension(name, name_len, MRT_EXT_TRACE) ? &kTraceTable<&kernel_name> : nullptr;
  }
};

}  // namespace
}  // namespace merritt::onednn

MERRITT_PLUGIN(merritt::onednn::OneDnn)
