// SPDX-License-Identifier: Apache-2.0
#include "tests/abi/misuse_caller.hpp"

namespace merritt::test {

void MisuseCaller::call() {
  static const uint32_t kTotal = [] {
    uint32_t total = 0;
    for (const VerbPlan& plan : kVerbPlan) total += plan.weight;
    return total;
  }();
  uint32_t ticket = draw() % kTotal;
  size_t verb = 0;
  while (ticket >= kVerbPlan[verb].weight) ticket -= kVerbPlan[verb++].weight;
  checked(static_cast<Verb>(verb));
}

void MisuseCaller::call_each() {
  for (size_t verb = 0; verb < kVerbs; ++verb) checked(static_cast<Verb>(verb));
}

void MisuseCaller::checked(Verb verb) {
  merritt_error* error = nullptr;
  merritt_error** slot = one_in(4) ? nullptr : &error;
  picked_ = nullptr;
  const int32_t code = one(verb, slot);
  world_.count(verb, code);
  // What died with its parent is mostly forgotten when that is noticed; these verbs look for nothing but one handle.
  const bool only_a_handle = verb == Verb::kEngineStats || verb == Verb::kEnginePoll ||
                             (verb >= Verb::kModelInfo && verb <= Verb::kRenderChat) || verb == Verb::kTraceKernels ||
                             verb == Verb::kTenantUsage ||
                             (verb > Verb::kSessionCreate && verb != Verb::kQueueAdd && verb != Verb::kQueueRemove);
  if (code == MERRITT_NOT_FOUND && only_a_handle && !one_in(4)) world_.remove(picked_kind_, picked_);
  // A failure comes with an error that says why, a success with none.
  if (slot != nullptr && merritt_error_code(error) != code) world_.complain();
  if (error != nullptr && merritt_error_message(error)[0] == '\0') world_.complain();
  merritt_error_release(error);
}

// Mostly a handle of the right kind that was alive a short while ago; else null, random bits, one bit off, wrong kind.
void* MisuseCaller::pick(HandleKind kind) {
  if (draw() % 10 < 7) {
    picked_kind_ = kind;
    return picked_ = world_.any(kind, draw());
  }
  switch (draw() % 8) {
    case 0: return nullptr;
    case 1:
      return reinterpret_cast<void*>(static_cast<uintptr_t>(uint64_t{draw()} << 48 ^ uint64_t{draw()} << 24 ^ draw()));
    case 2:
    case 3:
      return reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(world_.any(kind, draw())) ^ uintptr_t{1}
                                                                                                 << draw() % 64);
    default: return world_.any(static_cast<HandleKind>(draw() % kHandleKinds), draw());
  }
}

void* MisuseCaller::pick_beside(const void* first, HandleKind kind) {
  const auto engine_of = [](const void* handle) { return reinterpret_cast<uintptr_t>(handle) >> 54 & 63; };
  void* second = pick(kind);
  for (int i = 0; i < 8 && engine_of(second) != engine_of(first); ++i) second = pick(kind);
  return second;
}

// Most handles are forgotten with their object; some stay, to be used when they are stale.
int32_t MisuseCaller::destroyed(HandleKind kind, void* handle, int32_t code) {
  if (code == MERRITT_OK && !one_in(4)) world_.remove(kind, handle);
  return code;
}

void MisuseCaller::destroy(HandleKind kind, void* handle) {
  if (handle == nullptr) return;
  switch (kind) {
    case HandleKind::kEngine: merritt_engine_destroy(static_cast<merritt_engine>(handle), nullptr); break;
    case HandleKind::kModel: merritt_model_destroy(static_cast<merritt_model>(handle), nullptr); break;
    case HandleKind::kTenant: merritt_tenant_destroy(static_cast<merritt_tenant>(handle), nullptr); break;
    case HandleKind::kSession: merritt_session_destroy(static_cast<merritt_session>(handle), nullptr); break;
    case HandleKind::kRequest: merritt_request_destroy(static_cast<merritt_request>(handle), nullptr); break;
    case HandleKind::kQueue: merritt_queue_destroy(static_cast<merritt_queue>(handle), nullptr); break;
  }
}

void MisuseCaller::destroy_everything() {
  for (void* engine : world_.all(HandleKind::kEngine)) destroy(HandleKind::kEngine, engine);
}

int32_t MisuseCaller::one(Verb verb, merritt_error** error) {
  if (verb <= Verb::kBackendGet) return engine_verb(verb, error);
  if (verb <= Verb::kTraceKernels) return model_verb(verb, error);
  if (verb <= Verb::kTenantUsage) return tenant_verb(verb, error);
  if (verb <= Verb::kSubmit) return session_verb(verb, error);
  if (verb <= Verb::kRequestStats) return request_verb(verb, error);
  return queue_verb(verb, error);
}

// ---- Engines

void MisuseCaller::create_engine() {
  merritt_engine engine = nullptr;
  if (create_engine(nullptr, /*wrongly=*/false, &engine) == MERRITT_OK) furnish(engine);
}

void MisuseCaller::furnish(merritt_engine engine) {
  uint32_t loaded = 0;
  merritt_engine_load_backends(engine, &loaded, nullptr);
  load_model(engine, nullptr, /*wrongly=*/false);
}

int32_t MisuseCaller::create_engine(merritt_error** error, bool wrongly, merritt_engine* made) {
  std::vector<std::string> names;
  auto publishers = read_trust(plugin_dir() + "/trust.json", names);
  const char* dir = world_.plugins().data();
  const size_t length = world_.plugins().size();
  merritt_engine_options options{};
  options.struct_size = sizeof(options);
  options.threads = 1 + draw() % 2;
  if (one_in(3)) {
    options.flags = MERRITT_ENGINE_NO_THREADS;
    options.threads = 0;
  }
  if (wrongly && one_in(8)) options.flags = draw();
  options.plugin_dirs = &dir;
  options.plugin_dir_lengths = &length;
  options.n_plugin_dirs = 1;
  options.publishers = publishers.data();
  options.n_publishers = static_cast<uint32_t>(publishers.size());
  if (wrongly && one_in(8)) options.threads = draw();
  if (wrongly && one_in(8)) options.isa_max = draw();
  if (wrongly && one_in(8)) options.n_publishers = 1 + draw() % 512 * 1024;  // beyond the limit, or what is there
  if (options.n_publishers > publishers.size() && options.n_publishers <= 256) options.n_publishers = 0;
  merritt_engine engine = nullptr;
  const bool no_out = wrongly && one_in(8);
  const int32_t code = merritt_engine_create(wrongly ? sized(options) : &options, no_out ? nullptr : &engine, error);
  if (made != nullptr) *made = engine;
  return no_out ? code : keep(HandleKind::kEngine, engine, code);
}

int32_t MisuseCaller::engine_verb(Verb verb, merritt_error** error) {
  const auto engine = pick<merritt_engine>(HandleKind::kEngine);
  const std::string good = world_.plugins() + (one_in(2) ? "/libmerritt_reference.so" : "/libmerritt_fardevice.so");
  const std::string path = one_in(4) ? good.substr(0, draw() % good.size()) : good;
  switch (verb) {
    case Verb::kEngineCreate: {
      merritt_engine made = nullptr;
      const int32_t code = create_engine(error, true, &made);
      if (made != nullptr) furnish(made);
      return code;
    }
    case Verb::kEngineDestroy: {
      const int32_t code = destroyed(HandleKind::kEngine, engine, merritt_engine_destroy(engine, error));
      if (code == MERRITT_OK) create_engine();  // so that the others have something to work on
      return code;
    }
    case Verb::kEngineDrain: {
      const int32_t code = merritt_engine_drain(engine, draw() % 3, error);
      if (code != MERRITT_OK && code != MERRITT_DEADLINE_EXCEEDED) return code;
      if (merritt_engine_destroy(engine, nullptr) == MERRITT_OK) create_engine();  // it would take nothing more
      return code;
    }
    case Verb::kEnginePoll: {
      uint32_t more = 0;
      return merritt_engine_poll(engine, one_in(8) ? ~uint64_t{0} >> draw() % 64 & 0xFFF : 0,
                                 one_in(2) ? nullptr : &more, error);
    }
    case Verb::kLoadBackend: {
      const char* id = nullptr;
      return merritt_engine_load_backend(engine, path.data(), path.size(), one_in(2) ? nullptr : &id, error);
    }
    case Verb::kLoadBackends: {
      uint32_t loaded = 0;
      return merritt_engine_load_backends(engine, one_in(2) ? nullptr : &loaded, error);
    }
    case Verb::kBackendGet: {
      merritt_backend_info info{};
      return merritt_engine_backend_get(engine, draw() % 3, sized(info), error);
    }
    case Verb::kUsageExport: {
      char text[64];
      size_t length = 0;
      return merritt_engine_usage_export(engine, draw() % 3, text, one_in(4) ? sizeof(text) : 0,
                                         one_in(8) ? nullptr : &length, error);
    }
    default: {
      merritt_engine_stats stats{};
      return merritt_engine_stats_get(engine, sized(stats), error);
    }
  }
}

// ---- Models

int32_t MisuseCaller::load_model(merritt_engine engine, merritt_error** error, bool wrongly) {
  static const char* const kBackends[] = {"reference", "fardevice", "no-such-backend"};
  merritt_model_options options{};
  options.struct_size = sizeof(options);
  options.context_max = 128;
  options.sequences_max = 4;
  options.step_tokens_max = 16;
  options.page_tokens = 4;  // a short prompt has a whole page
  options.kv_bytes = 4u << 20;
  options.backend = kBackends[draw() % 2];
  if (wrongly && one_in(8)) options.backend = kBackends[2];
  options.backend_length = std::strlen(options.backend);
  if (wrongly && one_in(8)) options.context_max = draw();
  if (wrongly && one_in(8)) options.kv_type = draw();
  if (wrongly && one_in(16)) options.kv_bytes = 1;
  if (wrongly && one_in(2)) options.tenant = static_cast<merritt_tenant>(pick_beside(engine, HandleKind::kTenant));
  if (wrongly && one_in(8)) options.progress = [](void*, float) -> int32_t { return 1; };
  const std::string path = wrongly && one_in(4) ? "/nonexistent.gguf" : world_.model();
  merritt_model model = nullptr;
  const bool no_out = wrongly && one_in(16);
  const int32_t code = merritt_model_load(engine, path.data(), path.size(), wrongly ? sized(options) : &options,
                                          no_out ? nullptr : &model, error);
  return no_out ? code : keep(HandleKind::kModel, model, code);
}

int32_t MisuseCaller::text_verb(Verb verb, merritt_error** error) {
  const auto model = pick<merritt_model>(HandleKind::kModel);
  size_t length = 0;
  size_t* out_length = one_in(16) ? nullptr : &length;
  char text[64];
  const size_t capacity = one_in(3) ? draw() % sizeof(text) : 0;
  char* out = one_in(16) ? nullptr : text;
  switch (verb) {
    case Verb::kTokenize: {
      int32_t tokens[8];
      return merritt_model_tokenize(model, one_in(16) ? nullptr : "a b", draw() % 4, draw() % 5, tokens,
                                    one_in(3) ? draw() % 9 : 0, out_length, error);
    }
    case Verb::kDetokenize: {
      const int32_t tokens[] = {1, 300, one_in(8) ? static_cast<int32_t>(draw() * 65537u) : 301};
      return merritt_model_detokenize(model, tokens, draw() % 4, draw() % 5, out, capacity, out_length, error);
    }
    case Verb::kRenderChat: {
      const merritt_message messages[] = {{"user", one_in(8) ? 64 + draw() : 4u, "hello", draw() % 6},
                                          {"assistant", 9, one_in(8) ? nullptr : "yes", 3}};
      merritt_chat_options options{};
      options.messages = one_in(16) ? nullptr : messages;
      options.n_messages = one_in(16) ? size_t{draw()} << 20 : draw() % 3;
      if (options.n_messages > 2 && options.n_messages <= 4096) options.n_messages = 2;
      options.message_stride = one_in(8) ? draw() % 32 : one_in(2) ? 0 : sizeof(merritt_message);
      options.flags = one_in(16) ? draw() : 0;
      return merritt_model_render_chat(model, sized(options), out, capacity, out_length, error);
    }
    default: return merritt_model_trace_kernels(model, draw() % 3, out, capacity, out_length, error);
  }
}

int32_t MisuseCaller::evaluate(merritt_error** error) {
  const int32_t tokens[] = {2, 300, 301, one_in(8) ? -1 : 302};
  const size_t count = draw() % 5;
  std::vector<float> logits(TempFolder::kTinyVocabulary * count);
  merritt_eval_options options{};
  options.flags = one_in(8) ? draw() : draw() % 2;
  options.deadline_ms = one_in(4) ? 1 : 0;
  if (one_in(4)) options.progress = [](void*, float) -> int32_t { return 1; };
  const auto model = pick<merritt_model>(HandleKind::kModel);
  const auto tenant = static_cast<merritt_tenant>(pick_beside(model, HandleKind::kTenant));
  return merritt_model_eval(model, tenant, tokens, count, sized(options), one_in(16) ? nullptr : logits.data(),
                            one_in(16) ? draw() : logits.size(), error);
}

int32_t MisuseCaller::model_verb(Verb verb, merritt_error** error) {
  switch (verb) {
    case Verb::kModelLoad: return load_model(pick<merritt_engine>(HandleKind::kEngine), error, true);
    case Verb::kModelDestroy: {
      const auto model = pick<merritt_model>(HandleKind::kModel);
      const int32_t code = destroyed(HandleKind::kModel, model, merritt_model_destroy(model, error));
      if (code == MERRITT_OK) load_model(pick<merritt_engine>(HandleKind::kEngine), nullptr, false);
      return code;
    }
    case Verb::kModelInfo: {
      merritt_model_info info{};
      return merritt_model_info_get(pick<merritt_model>(HandleKind::kModel), sized(info), error);
    }
    case Verb::kEval: return evaluate(error);
    default: return text_verb(verb, error);
  }
}

// ---- Tenants

int32_t MisuseCaller::tenant_verb(Verb verb, merritt_error** error) {
  switch (verb) {
    case Verb::kTenantCreate: {
      const std::string name = one_in(8) ? "taken" : one_in(8) ? "no good" : world_.next_name();
      merritt_tenant_options options{};
      options.flags = one_in(2) ? MERRITT_TENANT_PUBLISHES : 0;
      options.kv_bytes_floor = options.flags != 0 ? 2048 : 0;
      options.sequences_max = one_in(4) ? draw() % 4 : 0;
      options.queue_max = one_in(4) ? 1 + draw() % 4 : 0;
      options.prompt_bytes_max = one_in(4) ? draw() % 32 : 0;
      options.kv_bytes_max = one_in(8) ? draw() : 0;
      merritt_tenant tenant = nullptr;
      const bool no_out = one_in(16);
      const int32_t code = merritt_tenant_create(pick<merritt_engine>(HandleKind::kEngine), name.data(), name.size(),
                                                 sized(options), no_out ? nullptr : &tenant, error);
      return no_out ? code : keep(HandleKind::kTenant, tenant, code);
    }
    case Verb::kTenantDestroy: {
      const auto tenant = pick<merritt_tenant>(HandleKind::kTenant);
      return destroyed(HandleKind::kTenant, tenant, merritt_tenant_destroy(tenant, error));
    }
    case Verb::kTenantLimitsSet: {
      const auto tenant = pick<merritt_tenant>(HandleKind::kTenant);
      const auto model = static_cast<merritt_model>(pick_beside(tenant, HandleKind::kModel));
      merritt_tenant_options options{};
      options.weight = one_in(16) ? draw() : draw() % 9;
      options.requests_per_second = one_in(8) ? 1 + draw() % 1000 : 0;
      options.tokens_per_minute = one_in(8) ? 1 + draw() : 0;
      options.tokens_burst = one_in(8) ? draw() : 0;
      options.kv_bytes_floor = one_in(16) ? draw() : one_in(2) ? draw() % 8192 : 0;
      options.kv_bytes_max = one_in(16) ? draw() : 0;
      options.output_max = one_in(8) ? draw() % 8 : 0;
      options.prefix_bytes_max = one_in(3) ? draw() : 0;
      options.model_bytes_max = one_in(2) ? draw() : 0;
      options.flags = one_in(32) ? draw() : one_in(4) ? 0 : MERRITT_TENANT_PUBLISHES;
      options.models = one_in(16) ? &model : nullptr;
      options.n_models = one_in(16) ? draw() % 2 : options.models != nullptr;
      return merritt_tenant_limits_set(tenant, sized(options), error);
    }
    case Verb::kTenantLimitsGet: {
      merritt_tenant_options options{};
      return merritt_tenant_limits_get(pick<merritt_tenant>(HandleKind::kTenant), sized(options), error);
    }
    default: {
      merritt_tenant_usage usage{};
      return merritt_tenant_usage_get(pick<merritt_tenant>(HandleKind::kTenant), sized(usage), error);
    }
  }
}

// ---- Sessions and requests

float MisuseCaller::number() {
  static const float kNumbers[] = {0,
                                   0.7f,
                                   1,
                                   1e-40f,
                                   -1,
                                   1e30f,
                                   std::numeric_limits<float>::max(),
                                   std::numeric_limits<float>::infinity(),
                                   -std::numeric_limits<float>::infinity(),
                                   std::numeric_limits<float>::quiet_NaN()};
  return kNumbers[draw() % std::size(kNumbers)];
}

int32_t MisuseCaller::submit(merritt_error** error) {
  static const char kText[] = "Once upon a time";
  const int32_t tokens[] = {2, 300, one_in(4) ? -5 : 301, one_in(4) ? 1 << 30 : 302};
  const merritt_message message{"user", 4, "hello", 5};
  const merritt_string stops[] = {{"the", 3}, {one_in(8) ? "\xC3" : "a", 1}};
  const merritt_logit_bias biases[] = {{5, number()}, {5, number()}, {one_in(8) ? -1 : 6, number()}};
  merritt_request_options options{};
  if (!one_in(8)) {
    options.text = kText;
    options.text_length = 1 + draw() % 16;
  }
  if (one_in(16)) {
    options.tokens = tokens;
    options.n_tokens = draw() % 5;
  }
  if (one_in(16)) {
    options.messages = one_in(4) ? nullptr : &message;
    options.n_messages = 1;
    options.message_stride = one_in(4) ? draw() % 32 : 0;
  }
  options.max_tokens = one_in(16) ? 100 : 1 + draw() % 6;
  options.flags = one_in(32) ? draw() : one_in(4) ? MERRITT_REQUEST_IGNORE_EOS : 0;
  options.n = one_in(16) ? draw() : draw() % 3;
  options.deadline_ms = one_in(8) ? 1 + draw() % 3 : 0;
  options.min_tokens = one_in(8) ? draw() % 4 : 0;
  if (one_in(8)) options.priority = static_cast<int32_t>((one_in(8) ? draw() : draw() % 201) - 100u);
  if (one_in(4)) {
    options.temperature = number();
    options.seed = draw();
  }
  float* const fields[] = {&options.top_p, &options.min_p, &options.repetition_penalty, &options.frequency_penalty,
                           &options.presence_penalty};
  if (one_in(4)) *fields[draw() % std::size(fields)] = number();
  if (one_in(8)) options.top_k = one_in(2) ? draw() : 3;
  if (one_in(8)) options.penalty_last_n = draw() % 8;
  if (one_in(8)) {
    options.logit_bias = one_in(8) ? nullptr : biases;
    options.n_logit_bias = 1 + draw() % 3;
    options.logit_bias_stride = one_in(4) ? draw() % 8 : 0;
  }
  if (one_in(8)) {
    options.stop = one_in(8) ? nullptr : stops;
    options.n_stop = 1 + draw() % 2;
  }
  merritt_request request = nullptr;
  const int32_t code =
      merritt_session_submit(pick<merritt_session>(HandleKind::kSession), sized(options), &request, error);
  return keep(HandleKind::kRequest, request, code);
}

int32_t MisuseCaller::session_verb(Verb verb, merritt_error** error) {
  if (verb == Verb::kSubmit) return submit(error);
  if (verb == Verb::kSessionCreate) {
    merritt_session_options options{};
    options.flags = one_in(32) ? draw() : 0;
    merritt_session session = nullptr;
    const auto tenant = pick<merritt_tenant>(HandleKind::kTenant);
    const auto model = static_cast<merritt_model>(pick_beside(tenant, HandleKind::kModel));
    const int32_t code = merritt_session_create(tenant, model, sized(options), &session, error);
    return keep(HandleKind::kSession, session, code);
  }
  const auto session = pick<merritt_session>(HandleKind::kSession);
  switch (verb) {
    case Verb::kSessionDestroy:
      return destroyed(HandleKind::kSession, session, merritt_session_destroy(session, error));
    case Verb::kSessionTruncate: return merritt_session_truncate(session, draw() % 4, error);
    case Verb::kSessionFork: {
      merritt_session forked = nullptr;
      const int32_t code = merritt_session_fork(session, &forked, error);
      return keep(HandleKind::kSession, forked, code);
    }
    case Verb::kPublish: {
      uint32_t tokens = 0;
      return merritt_session_publish(session, one_in(8) ? nullptr : &tokens, error);
    }
    default: {
      uint32_t tokens = 0;
      return merritt_session_length(session, one_in(8) ? nullptr : &tokens, error);
    }
  }
}

int32_t MisuseCaller::request_verb(Verb verb, merritt_error** error) {
  const auto request = pick<merritt_request>(HandleKind::kRequest);
  switch (verb) {
    case Verb::kCancel: return merritt_request_cancel(request, error);
    case Verb::kRequestDestroy:
      return destroyed(HandleKind::kRequest, request, merritt_request_destroy(request, error));
    case Verb::kRequestStats: {
      merritt_request_stats stats{};
      return merritt_request_stats_get(request, sized(stats), error);
    }
    default: {
      merritt_event event{};
      return merritt_request_next(request, one_in(8) ? 1 : 0, sized(event), error);
    }
  }
}

// ---- Queues

int32_t MisuseCaller::queue_verb(Verb verb, merritt_error** error) {
  if (verb == Verb::kQueueCreate) {
    merritt_queue_options options{};
    options.flags = one_in(32) ? draw() : 0;
    if (one_in(4)) options.on_completion = [](void*, const merritt_completion*) {};
    merritt_queue queue = nullptr;
    const bool no_out = one_in(16);
    const int32_t code = merritt_queue_create(pick<merritt_engine>(HandleKind::kEngine), sized(options),
                                              no_out ? nullptr : &queue, error);
    return no_out ? code : keep(HandleKind::kQueue, queue, code);
  }
  const auto queue = pick<merritt_queue>(HandleKind::kQueue);
  switch (verb) {
    case Verb::kQueueDestroy: return destroyed(HandleKind::kQueue, queue, merritt_queue_destroy(queue, error));
    case Verb::kQueueAdd:
      return merritt_queue_add(queue, static_cast<merritt_request>(pick_beside(queue, HandleKind::kRequest)), draw(),
                               error);
    case Verb::kQueueRemove:
      return merritt_queue_remove(queue, static_cast<merritt_request>(pick_beside(queue, HandleKind::kRequest)), error);
    case Verb::kQueueFd: {
      int64_t fd = -1;
      return merritt_queue_fd(queue, one_in(16) ? nullptr : &fd, error);
    }
    default: {
      std::array<merritt_completion, 16> out;  // room for three of any stride below
      uint32_t count = 0;
      const uint32_t stride = one_in(16) ? draw() % 256 : sizeof(merritt_completion);
      const uint32_t capacity = one_in(16) ? 0 : 1 + draw() % 3;
      return merritt_queue_next(queue, one_in(8) ? 1 : 0, one_in(16) ? nullptr : out.data(), stride, capacity,
                                one_in(16) ? nullptr : &count, error);
    }
  }
}

}  // namespace merritt::test
