// SPDX-License-Identifier: Apache-2.0
// Prompts that begin alike: the beginning is run once, by its tenant or for everybody, and whoever begins with it gets
// what it would have got, bit for bit. Nobody finds what another tenant left.
#include <random>

#include "tests/sdk/engine/narrow_world.hpp"
#include "tests/sdk/kv/page_store.hpp"

namespace merritt::test {
namespace {

constexpr uint32_t kPage = 8;
constexpr uint64_t kPlenty = uint64_t{1} << 40;

std::vector<int32_t> words(uint32_t n, uint32_t seed) {
  std::vector<int32_t> out;
  for (uint32_t i = 0; i < n; ++i) out.push_back(byte_token(static_cast<uint8_t>('a' + (i * seed + i / 7) % 23)));
  return out;
}

std::vector<int32_t> operator+(std::vector<int32_t> a, const std::vector<int32_t>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

struct Asked {
  Answer answer;
  uint32_t cached = 0;
};

class Place {
 public:
  explicit Place(const Setup& with, uint64_t kv_bytes = 0, tenant::TenantLimits limits = {.prefix_bytes_max = kPlenty},
                 uint32_t sequences_max = 0)
      : setup(with) {
    engine.load_backend(setup.plugin);
    auto options = SmallEngine::load_options(setup.plugin);
    if (setup.stories) options.path = stories_path();
    options.compile.context_max = 256;
    options.compile.kv_bytes = kv_bytes;
    if (sequences_max != 0) options.compile.sequences_max = sequences_max;
    auto loaded = engine->load_model(options);
    EXPECT_TRUE(loaded.ok()) << loaded.status().message();
    model = *loaded;
    a = *engine->create_tenant("a", limits);
    b = *engine->create_tenant("b", limits);
    c = *engine->create_tenant("c", {});
  }
  std::shared_ptr<engine::Session> session(const std::shared_ptr<tenant::Tenant>& tenant) {
    return *engine->open_session(tenant, model);
  }
  static engine::RequestParams params(std::vector<int32_t> prompt, uint32_t max_tokens = 6) {
    engine::RequestParams params;
    params.prompt = std::move(prompt);
    params.max_tokens = max_tokens;
    params.ignore_eos = true;
    params.sampling.seed = 5;
    params.sampling.temperature = 0.8F;
    params.sampling.repetition_penalty = 1.3F;
    return params;
  }
  Asked ask_on(const std::shared_ptr<engine::Session>& on, const engine::RequestParams& params) {
    auto request = engine->submit(on, params);
    EXPECT_TRUE(request.ok()) << request.status().message();
    Asked asked{.answer = read_all(engine, **request)};
    asked.cached = (*request)->stats.cached_tokens;
    return asked;
  }
  // In a session of its own, which ends.
  Asked ask(const std::shared_ptr<tenant::Tenant>& tenant, const engine::RequestParams& params) {
    const auto on = session(tenant);
    Asked asked = ask_on(on, params);
    EXPECT_TRUE(engine->close_session(on).ok());
    return asked;
  }
  Asked ask(const std::shared_ptr<tenant::Tenant>& tenant, std::vector<int32_t> prompt) {
    return ask(tenant, params(std::move(prompt)));
  }
  bool all_free() const {
    for (uint32_t g = 0; g < model->cache->n_groups(); ++g) {
      if (model->cache->pool(g).free_pages() != model->cache->pool(g).shape().n_pages) return false;
    }
    return true;
  }
  uint32_t window() const {
    uint32_t window = 0;
    for (uint32_t g = 0; g < model->cache->n_groups(); ++g) {
      window = std::max(window, model->cache->pool(g).shape().window);
    }
    return window;
  }

  const Setup setup;
  SmallEngine engine{without_threads()};
  std::shared_ptr<engine::Model> model;
  std::shared_ptr<tenant::Tenant> a, b, c;  // c keeps nothing
};

// Requests that are stepped by hand, each on a session of its own, and how many tokens of prompts were run for them.
struct Together {
  explicit Together(Place& in) : place(in) {}

  void submit(const std::shared_ptr<tenant::Tenant>& tenant, std::vector<engine::RequestParams> all) {
    for (engine::RequestParams& params : all) {
      auto request = place.engine->submit(place.session(tenant), std::move(params));
      ASSERT_TRUE(request.ok()) << request.status().message();
      requests.push_back(*request);
    }
  }
  bool step() {
    const uint64_t steps = place.engine->stats().steps;
    const bool more = *place.engine->poll(0);
    if (place.engine->stats().steps == steps) return more;
    for (const scheduler::Run& run : place.model->scheduler->last_plan().runs) {
      prompt_tokens += run.prompt ? run.n_tokens : 0;
    }
    return more;
  }
  void finish() {
    while (step()) {
    }
  }

  Place& place;
  std::vector<std::shared_ptr<engine::Request>> requests;
  uint32_t prompt_tokens = 0;
};

tenant::TenantLimits publisher_limits(const Setup& setup) {
  return {.kv_bytes_floor = sequence_bytes(setup), .publishes = true};
}

class Prefix : public ::testing::TestWithParam<Setup> {
 protected:
  void SetUp() override {
    if (GetParam().stories) MERRITT_SKIP_WITHOUT(stories_path());
  }
  static constexpr tenant::TenantLimits kOff = {};
};

TEST_P(Prefix, WhatPromptsBeginWithIsRunOnce) {
  Place warm(GetParam()), cold(GetParam(), 0, kOff);
  const uint32_t length = cold.window() == 0 ? 5 * kPage : kPage;  // all of it stays in the window
  const auto begin = words(length, 3);
  EXPECT_EQ(warm.ask(warm.a, begin + words(5, 5)).cached, 0u);
  const uint64_t run = warm.engine->stats().prompt_tokens;
  const auto second = warm.ask(warm.a, begin + words(6, 7));
  EXPECT_EQ(second.cached, length);
  EXPECT_EQ(warm.engine->stats().prompt_tokens, run + 6);
  EXPECT_EQ(second.answer, cold.ask(cold.a, begin + words(6, 7)).answer);
  const auto whole = warm.ask(warm.a, begin);
  EXPECT_EQ(whole.cached, length - kPage) << "at least one token is run";
  EXPECT_EQ(whole.answer, cold.ask(cold.a, begin).answer);
  auto samples = Place::params(begin + words(7, 11), 20);
  samples.n = 3;
  samples.speculate_max = 4;
  const auto several = warm.ask(warm.a, samples);
  EXPECT_EQ(several.cached, length);
  EXPECT_EQ(several.answer, cold.ask(cold.a, samples).answer);
  EXPECT_EQ(warm.ask(warm.a, words(20, 13)).cached, 0u) << "nothing begins so";
  EXPECT_EQ(cold.engine->stats().prompt_tokens, 3u * length + 6 + 7) << "off by default";
}

TEST_P(Prefix, NobodyFindsWhatAnotherTenantLeft) {
  Place place(GetParam());
  const auto prompt = words(41, 3);
  const auto first = place.ask(place.a, prompt);
  const auto other = place.ask(place.b, prompt);
  EXPECT_EQ(other.cached, 0u);
  EXPECT_EQ(other.answer, first.answer);
  EXPECT_NE(place.ask(place.b, prompt).cached, 0u) << "its own";
  EXPECT_EQ(place.model->prefixes->n_entries(place.a->id()), 1u);
}

TEST_P(Prefix, IsThereWhileTheFirstStillRuns) {
  Place place(GetParam());
  const auto session = place.session(place.a);
  const auto prompt = words(3 * kPage, 3);
  auto running = place.engine->submit(session, Place::params(prompt + words(3, 5), 100));
  for (int step = 0; step < 6; ++step) ASSERT_TRUE(place.engine->poll(0).ok());
  ASSERT_NE((*running)->stats.generated_tokens, 0u);
  EXPECT_EQ(place.ask(place.a, prompt + words(4, 7)).cached, 3 * kPage);
  EXPECT_EQ(read_all(place.engine, **running).generated, 100u);
}

// Tokens that were generated ran in another class: as a prompt they have other bits, and are run.
TEST_P(Prefix, EndsWhereTokensWereGenerated) {
  Place warm(GetParam()), cold(GetParam(), 0, kOff);
  const auto session = warm.session(warm.a);
  const auto prompt = words(2 * kPage + 3, 3);
  Answer answer = warm.ask_on(session, Place::params(prompt, 40)).answer;
  answer = warm.ask_on(session, Place::params(words(20, 5), 3)).answer;  // a second turn keeps nothing new
  const auto next = std::vector<int32_t>(session->history.begin(), session->history.begin() + 50) + words(3, 7);
  const auto asked = warm.ask(warm.a, next);
  EXPECT_EQ(asked.cached, 2 * kPage);
  EXPECT_EQ(asked.answer, cold.ask(cold.a, next).answer);
}

// A window has dropped what the second prompt would need of the first. It shows where prompts part, and what is kept
// there serves the third.
TEST_P(Prefix, WhereAWindowHasGoneOnTheSecondPromptShowsWhereTheyPart) {
  Place warm(GetParam()), cold(GetParam(), 0, kOff);
  if (warm.window() == 0) return;  // all pages are there: the other cases
  const auto begin = words(9 * kPage, 3);
  ASSERT_GT(begin.size(), warm.window());
  EXPECT_EQ(warm.ask(warm.a, begin + words(90, 5)).cached, 0u);
  const auto second = warm.ask(warm.a, begin + words(91, 7));
  EXPECT_EQ(second.cached, 0u);
  const auto third = warm.ask(warm.a, begin + words(92, 11));
  EXPECT_EQ(third.cached, 9 * kPage);
  EXPECT_EQ(second.answer, cold.ask(cold.a, begin + words(91, 7)).answer);
  EXPECT_EQ(third.answer, cold.ask(cold.a, begin + words(92, 11)).answer);
}

TEST_P(Prefix, TheOnesUsedLeastLatelyGoFirst) {
  Place place(GetParam());
  const uint32_t length = place.window() == 0 ? 5 * kPage : kPage;
  const auto prompt = [&](uint32_t i) { return words(length, 2 * i + 3) + words(2, 5); };
  (void)place.ask(place.a, prompt(0));
  const uint64_t one = place.a->kv_account()->claimed_bytes;
  ASSERT_NE(one, 0u);
  ASSERT_TRUE(place.engine->set_limits(*place.a, {.prefix_bytes_max = 3 * one}).ok());
  for (uint32_t i = 1; i < 3; ++i) (void)place.ask(place.a, prompt(i));
  EXPECT_EQ(place.ask(place.a, prompt(0)).cached, length);  // used again
  (void)place.ask(place.a, prompt(3));
  EXPECT_EQ(place.model->prefixes->n_entries(place.a->id()), 3u);
  EXPECT_EQ(place.a->kv_account()->claimed_bytes, 3 * one);
  EXPECT_EQ(place.ask(place.a, prompt(0)).cached, length);
  EXPECT_EQ(place.ask(place.a, prompt(1)).cached, 0u);
}

TEST_P(Prefix, LowerLimitsAndTheTenantsEndLeaveNothing) {
  Place place(GetParam());
  for (uint32_t i = 0; i < 3; ++i) (void)place.ask(place.a, words(40, 2 * i + 3));
  (void)place.ask(place.b, words(40, 3));
  ASSERT_TRUE(place.engine->set_limits(*place.a, {}).ok());
  while (*place.engine->poll(0)) {
  }
  EXPECT_EQ(place.model->prefixes->n_entries(place.a->id()), 0u);
  EXPECT_EQ(place.a->kv_account()->claimed_bytes, 0u);
  EXPECT_EQ(place.ask(place.a, words(40, 3)).cached, 0u);
  EXPECT_NE(place.b->kv_account()->claimed_bytes, 0u);
  ASSERT_TRUE(place.engine->close_tenant(place.b).ok());
  EXPECT_TRUE(place.all_free());
}

// Whoever wants the pages gets them, as idle sessions give theirs, and what is left is right.
TEST_P(Prefix, GivesWayToRequests) {
  Place wide(GetParam(), 0, kOff);
  const uint64_t bytes = sequence_bytes(GetParam());
  Place narrow(GetParam(), 2 * bytes, {.prefix_bytes_max = 2 * bytes});
  for (uint32_t i = 0; i < 24; ++i) {
    const auto params = Place::params(words(60, 3 + i % 3) + words(10, i), 60);
    auto& tenant = i % 2 == 0 ? narrow.a : narrow.b;
    EXPECT_EQ(narrow.ask(tenant, params).answer, wide.ask(wide.a, params).answer) << i;
  }
  EXPECT_EQ(narrow.engine->stats().preemptions, 0u);
}

TEST_P(Prefix, IsWithinTheCeiling) {
  const uint64_t bytes = sequence_bytes(GetParam());
  Place place(GetParam(), 8 * bytes, {.kv_bytes_max = bytes, .prefix_bytes_max = bytes});
  for (uint32_t i = 0; i < 12; ++i) {
    const auto asked = place.ask(place.a, Place::params(words(100, 3 + i), 100));
    EXPECT_EQ(asked.answer.generated, 100u) << asked.answer.failure;
    EXPECT_LE(place.a->kv_account()->claimed_bytes, bytes);
  }
}

// What a request began with, and what its own prompt left, is not run again when its sequence is taken.
TEST_P(Prefix, ARequestThatIsTakenBackBeginsWithItAgain) {
  Place place(GetParam(), 16 * sequence_bytes(GetParam()), {.prefix_bytes_max = kPlenty}, 4), cold(GetParam(), 0, kOff);
  const uint32_t length = place.window() == 0 ? 5 * kPage : kPage;
  const auto begin = words(length, 3);
  EXPECT_EQ(place.ask(place.a, begin + words(3, 5)).cached, 0u);
  const std::vector<engine::RequestParams> first{Place::params(begin + words(5, 7), 60),
                                                 Place::params(begin + words(5, 11), 60),
                                                 Place::params(begin + words(5, 13), 60)};
  const std::vector<engine::RequestParams> second{Place::params(words(6, 7), 20), Place::params(words(6, 11), 20)};
  Together run(place);
  run.submit(place.a, first);
  for (int step = 0; step < 20; ++step) (void)run.step();
  ASSERT_EQ(place.a->usage().sequences_running, 3u);
  run.submit(place.b, second);
  run.finish();
  EXPECT_EQ(place.engine->stats().preemptions, 1u);
  EXPECT_EQ(run.prompt_tokens, 4u * 5 + 2 * 6);
  for (size_t i = 0; i < run.requests.size(); ++i) {
    const Answer expected = cold.ask(cold.a, i < 3 ? first[i] : second[i - 3]).answer;
    EXPECT_EQ(read_all(place.engine, *run.requests[i]), expected) << i;
    EXPECT_EQ(run.requests[i]->stats.cached_tokens, i < 3 ? length : 0);
  }
}

// Pages of a published beginning stay where they are when those of a request that began with it are taken back.
TEST_P(Prefix, ARequestWhosePagesAreTakenBeginsWithWhatIsPublishedAgain) {
  if (!GetParam().stories) return;  // a window has room for another holder or not, as it comes
  const uint64_t bytes = sequence_bytes(GetParam());
  Place place(GetParam(), 3 * bytes, kOff), cold(GetParam(), 0, kOff);
  const auto begin = words(5 * kPage, 3);
  const auto session = place.session(*place.engine->create_tenant("operator", publisher_limits(GetParam())));
  (void)place.ask_on(session, Place::params(begin + words(1, 5), 1));
  ASSERT_TRUE(place.engine->publish_prefix(session).ok());
  ASSERT_TRUE(place.engine->close_session(session).ok());
  std::vector<engine::RequestParams> all;
  for (uint32_t i = 0; i < 5; ++i) all.push_back(Place::params(begin + words(5, 7 + 2 * i), 200));
  Together run(place);
  run.submit(place.a, all);
  run.finish();
  const uint64_t preemptions = place.engine->stats().preemptions;
  EXPECT_GT(preemptions, 0u);
  EXPECT_EQ(run.prompt_tokens, 5 * (5 + preemptions));
  for (size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(read_all(place.engine, *run.requests[i]), cold.ask(cold.a, all[i]).answer) << i;
  }
}

// A request that ends before it ran anything leaves its session as it was.
TEST_P(Prefix, IsGivenUpByARequestThatRunsNothing) {
  Place place(GetParam());
  const auto prompt = words(2 * kPage, 3);
  (void)place.ask(place.a, prompt + words(2, 5));
  const auto session = place.session(place.a);
  auto request = place.engine->submit(session, Place::params(prompt + words(3, 7)));
  place.engine->cancel(**request);
  EXPECT_EQ(read_all(place.engine, **request).end, engine::FinishReason::kCancelled);
  EXPECT_EQ(session->length, 0u);
  EXPECT_EQ(place.ask_on(session, Place::params(prompt + words(3, 7))).cached, 2 * kPage);
}

TEST_P(Prefix, PublishedIsForEverybody) {
  Place warm(GetParam()), cold(GetParam(), 0, kOff);
  const uint32_t length = warm.window() == 0 ? 4 * kPage : kPage;
  const auto begin = words(length, 3);
  const auto publisher = *warm.engine->create_tenant("operator", publisher_limits(GetParam()));
  const auto session = warm.session(publisher);
  EXPECT_EQ(warm.engine->publish_prefix(session).status().code(), Code::kFailedPrecondition) << "nothing ran";
  (void)warm.ask_on(session, Place::params(begin + words(3, 5), 2));
  EXPECT_EQ(warm.engine->publish_prefix(warm.session(warm.c)).status().code(), Code::kPermissionDenied);
  const auto published = warm.engine->publish_prefix(session);
  ASSERT_TRUE(published.ok()) << published.status().message();
  EXPECT_EQ(*published, length);
  EXPECT_EQ(*warm.engine->publish_prefix(session), length) << "again: the same";
  EXPECT_TRUE(warm.engine->close_session(session).ok());

  const auto params = Place::params(begin + words(6, 7), 30);
  const auto own = warm.session(warm.c);
  const uint64_t held = warm.c->kv_account()->held_bytes;
  const auto asked = warm.ask_on(own, params);
  EXPECT_EQ(asked.cached, length);
  EXPECT_EQ(asked.answer, cold.ask(cold.a, params).answer);
  EXPECT_EQ(warm.ask(warm.c, params).cached, length);
  EXPECT_GT(warm.c->kv_account()->held_bytes, held);

  // Who begins with it keeps it, also when it is there for nobody else any more.
  ASSERT_TRUE(warm.engine->close_tenant(publisher).ok());
  EXPECT_EQ(warm.ask(warm.c, params).cached, 0u);
  const auto on = cold.session(cold.a);
  (void)cold.ask_on(on, params);
  const auto turn = Place::params(words(5, 11), 20);
  EXPECT_EQ(warm.ask_on(own, turn).answer, cold.ask_on(on, turn).answer);
  EXPECT_TRUE(warm.engine->close_session(own).ok());
  EXPECT_TRUE(warm.all_free());
  EXPECT_EQ(publisher->kv_account()->claimed_bytes, 0u);
}

// It is promised: no request takes it back, and the publisher's ceiling counts it.
TEST_P(Prefix, PublishedStays) {
  const uint64_t bytes = sequence_bytes(GetParam());
  Place place(GetParam(), 3 * bytes, {});
  ASSERT_TRUE(place.engine->set_limits(*place.a, publisher_limits(GetParam())).ok());
  const uint32_t length = place.window() == 0 ? 4 * kPage : kPage;
  const auto session = place.session(place.a);
  (void)place.ask_on(session, Place::params(words(length, 3) + words(2, 5), 2));
  ASSERT_TRUE(place.engine->publish_prefix(session).ok());
  EXPECT_TRUE(place.engine->close_session(session).ok());
  EXPECT_NE(place.a->kv_account()->claimed_bytes, 0u);
  for (uint32_t i = 0; i < 6; ++i) (void)place.ask(place.b, Place::params(words(100, 5 + i), 100));
  EXPECT_EQ(place.ask(place.b, words(length, 3) + words(4, 7)).cached, length);
}

// Of the publisher's floor, which it is promised in: what other tenants were promised is not touched.
TEST_P(Prefix, PublishedIsWithinTheFloor) {
  Place place(GetParam());
  const auto publisher = *place.engine->create_tenant("operator", {.publishes = true});
  const auto session = place.session(publisher);
  const uint32_t length = place.window() == 0 ? 4 * kPage : kPage;
  (void)place.ask_on(session, Place::params(words(length, 3) + words(2, 5), 2));
  const Status refused = place.engine->publish_prefix(session).status();
  EXPECT_EQ(refused.code(), Code::kQuotaExceeded);
  EXPECT_NE(refused.message().find("kv_bytes_floor of 0"), std::string::npos) << refused.message();
  EXPECT_EQ(place.ask(place.c, words(length, 3) + words(4, 7)).cached, 0u);
  const KvAccount& account = *publisher->kv_account();
  EXPECT_EQ(account.floor_used_bytes, 0u);
  ASSERT_TRUE(place.engine->set_limits(*publisher, publisher_limits(GetParam())).ok());
  ASSERT_TRUE(place.engine->publish_prefix(session).ok());
  EXPECT_NE(account.floor_used_bytes, 0u);
  EXPECT_LE(account.floor_used_bytes, account.claimed_bytes);
  ASSERT_TRUE(place.engine->close_tenant(publisher).ok());
  EXPECT_EQ(account.floor_used_bytes, 0u);
}

// The same prefix of two publishers is there until both have ended.
TEST_P(Prefix, EachPublisherHasItsOwn) {
  Place place(GetParam(), 16 * sequence_bytes(GetParam()));
  const uint32_t length = place.window() == 0 ? 4 * kPage : kPage;
  const auto prompt = words(length, 3) + words(2, 5);
  std::vector<std::shared_ptr<tenant::Tenant>> publishers;
  for (const char* name : {"first", "second"}) {
    publishers.push_back(*place.engine->create_tenant(name, publisher_limits(GetParam())));
    const auto session = place.session(publishers.back());
    (void)place.ask_on(session, Place::params(prompt, 1));
    ASSERT_TRUE(place.engine->publish_prefix(session).ok());
  }
  ASSERT_TRUE(place.engine->close_tenant(publishers[0]).ok());
  EXPECT_EQ(place.ask(place.c, prompt).cached, length);
  ASSERT_TRUE(place.engine->close_tenant(publishers[1]).ok());
  EXPECT_EQ(place.ask(place.c, prompt).cached, 0u);
}

// What comes after the first prompt is nobody else's, also where no token was run between the two.
TEST_P(Prefix, OnlyTheFirstPromptIsPublished) {
  Place place(GetParam(), 16 * sequence_bytes(GetParam()));
  const auto session = place.session(*place.engine->create_tenant("operator", publisher_limits(GetParam())));
  const auto rules = words(kPage + 3, 3), question = words(kPage, 5);
  (void)place.ask_on(session, Place::params(rules, 1));
  (void)place.ask_on(session, Place::params(question, 1));
  ASSERT_EQ(session->classes.size(), 1u) << "all of it ran as prompts";
  const auto published = place.engine->publish_prefix(session);
  ASSERT_TRUE(published.ok()) << published.status().message();
  EXPECT_EQ(*published, kPage);
}

// The pages of a publisher that has ended give way like others, although they are on nobody's account.
TEST_P(Prefix, WhatADepartedPublisherLeftGivesWay) {
  if (!GetParam().stories) return;  // one group: pages that are counted where they are
  const uint64_t bytes = sequence_bytes(GetParam());
  Place place(GetParam(), 2 * bytes, {});
  const auto publisher = *place.engine->create_tenant("operator", publisher_limits(GetParam()));
  const auto begin = words(18 * kPage, 3);
  const auto session = place.session(publisher);
  (void)place.ask_on(session, Place::params(begin + words(1, 5), 1));
  ASSERT_TRUE(place.engine->publish_prefix(session).ok());
  const auto idle = place.session(place.b);
  EXPECT_EQ(place.ask_on(idle, Place::params(begin + words(2, 7), 1)).cached, begin.size());
  EXPECT_TRUE(place.engine->close_session(session).ok());
  ASSERT_TRUE(place.engine->close_tenant(publisher).ok());
  const auto wanted = Place::params(words(60, 9), 190);
  const auto first = place.session(place.a), second = place.session(place.a);
  ASSERT_TRUE(place.engine->set_limits(*place.a, {.kv_bytes_floor = 2 * bytes}).ok());
  auto one = place.engine->submit(first, wanted), other = place.engine->submit(second, wanted);
  EXPECT_EQ(read_all(place.engine, **one).generated, 190u);
  EXPECT_EQ(read_all(place.engine, **other).generated, 190u);
  EXPECT_EQ(place.engine->stats().preemptions, 0u);
  EXPECT_LT(place.model->cache->length(idle->sequence), begin.size()) << "it was given";
}

// By the step thread, which is the only one to write the accounts.
TEST_P(Prefix, GoesWithItsModel) {
  Place place(GetParam());
  for (uint32_t i = 0; i < 3; ++i) (void)place.ask(place.a, words(41, 2 * i + 3));
  EXPECT_NE(place.a->kv_account()->held_bytes, 0u);
  const std::shared_ptr<engine::Model> model = place.model;
  ASSERT_TRUE(place.engine->unload_model(model).ok());
  EXPECT_EQ(place.a->kv_account()->held_bytes, 0u);
  EXPECT_EQ(place.a->kv_account()->claimed_bytes, 0u);
}

// Every token of an evaluation wants its row.
TEST_P(Prefix, AnEvaluationRunsAll) {
  Place place(GetParam());
  (void)place.ask(place.a, words(40, 3));
  auto params = Place::params(words(40, 3));
  std::vector<float> logits(size_t{40} * place.model->file->info.vocabulary);
  params.eval.logits = logits.data();
  EXPECT_EQ(place.ask(place.a, params).cached, 0u);
}

// Against all entries looked at one by one: tokens of two kinds, so that everything begins like something else.
TEST(PrefixCache, FindsTheLongestOfAll) {
  const std::vector<kv::GroupShape> shapes{{.window = 0, .page_tokens = 4, .n_pages = 2000, .page_bytes = 1}};
  kv::PageStore store(shapes);
  const auto cache = std::move(kv::Cache::make(shapes, store)).value();
  const auto account = std::make_shared<KvAccount>(TenantId{1}, 0);
  account->prefix_bytes = kPlenty;
  engine::PrefixCache prefixes(*cache);
  std::mt19937_64 random(3);
  const auto draw = [&random] {
    std::vector<int32_t> tokens(1 + random() % 40);
    for (int32_t& token : tokens) token = static_cast<int32_t>(random() % 16 == 0);
    return tokens;
  };
  std::vector<std::vector<int32_t>> kept;
  for (int i = 0; i < 200; ++i) {
    const auto tokens = draw();
    const kv::SequenceId sequence = cache->create(account);
    ASSERT_TRUE(cache->prepare_append(sequence, static_cast<uint32_t>(tokens.size())).ok());
    ASSERT_TRUE(cache->commit(sequence, static_cast<uint32_t>(tokens.size()), kv::TokenClass::kPrompt).ok());
    prefixes.keep(account, tokens, sequence, 0);
    cache->release(sequence);
    kept.emplace_back(tokens.begin(), tokens.begin() + static_cast<ptrdiff_t>(tokens.size() / 4 * 4));
    const auto prompt = draw();
    uint32_t longest = 0;
    for (const auto& entry : kept) {
      const size_t most = std::min(entry.size(), prompt.size() - 1);
      size_t same = 0;
      while (same < most && entry[same] == prompt[same]) ++same;
      longest = std::max(longest, static_cast<uint32_t>(same / 4 * 4));
    }
    const engine::PrefixCache::Hit hit = prefixes.find(*account, prompt);
    ASSERT_EQ(hit.tokens, longest);
    ASSERT_EQ(hit.branch, longest);
    if (longest != 0) {
      ASSERT_GE(cache->length(hit.sequence), longest);
    }
    ASSERT_EQ(prefixes.find(KvAccount(TenantId{2}, 0), prompt).tokens, 0u);
  }
  prefixes.forget(account->tenant);
  EXPECT_EQ(account->claimed_bytes, 0u);
  EXPECT_EQ(cache->n_sequences(), 0u);
}

// What a tenant can count of its own request, when the victim ran the probed prompt and when it ran another: the steps
// until the first token, what was cached, and what a refusal says. Time is measured by tests/bench/timing_channel.py.
struct Probe {
  uint32_t cached = 0, steps = 0;
  std::string refusal;
  bool operator==(const Probe&) const = default;
};

enum class Around { kNothing, kEviction, kPublished };

Probe probe(const Setup& setup, Around around, bool same_tenant, bool victim_ran_it) {
  Place place(setup, around == Around::kEviction ? 2 * sequence_bytes(setup) : 0,
              {.queue_max = 1, .prefix_bytes_max = kPlenty});
  std::vector<int32_t> begin;
  if (around == Around::kPublished) {
    begin = words(kPage, 17);
    const auto session = place.session(*place.engine->create_tenant("operator", publisher_limits(setup)));
    (void)place.ask_on(session, Place::params(begin + words(1, 3), 1));
    EXPECT_TRUE(place.engine->publish_prefix(session).ok());
  }
  const auto secret = begin + words(5 * kPage + 3, 3), another = begin + words(5 * kPage + 3, 5);
  (void)place.ask(place.a, victim_ran_it ? secret : another);
  if (around == Around::kEviction) {
    for (uint32_t i = 0; i < 4; ++i) (void)place.ask(place.b, Place::params(words(120, 7 + 2 * i), 120));
  }
  const auto& tenant = same_tenant ? place.a : place.b;
  const auto session = place.session(tenant), second = place.session(tenant), third = place.session(tenant);
  auto request = place.engine->submit(session, Place::params(secret));
  auto waiting = place.engine->submit(second, Place::params(secret));
  const auto refused = place.engine->submit(third, Place::params(secret));
  Probe probe;
  if (!refused.ok()) probe.refusal = refused.status().message();
  while ((*request)->stats.generated_tokens == 0) EXPECT_TRUE(place.engine->poll(0).ok());
  probe.cached = (*request)->stats.cached_tokens;
  probe.steps = (*request)->stats.steps;
  (void)read_all(place.engine, **request);
  if (waiting.ok()) (void)read_all(place.engine, **waiting);
  return probe;
}

TEST_P(Prefix, AProbeOfAnotherTenantSaysNothing) {
  for (const Around around : {Around::kNothing, Around::kEviction, Around::kPublished}) {
    const Probe ran = probe(GetParam(), around, false, true), not_run = probe(GetParam(), around, false, false);
    EXPECT_EQ(ran, not_run) << static_cast<int>(around);
    EXPECT_EQ(ran.cached, around == Around::kPublished ? kPage : 0);
    EXPECT_NE(ran.refusal, "");
  }
  EXPECT_NE(probe(GetParam(), Around::kNothing, true, true), probe(GetParam(), Around::kNothing, true, false))
      << "the probe would see it";
}

INSTANTIATE_TEST_SUITE_P(Plugins, Prefix,
                         ::testing::Values(Setup{"reference", false}, Setup{"reference", true}, Setup{"onednn", false},
                                           Setup{"onednn", true}, Setup{"fardevice", false}),
                         [](const auto& one) { return ::testing::PrintToString(one.param); });

}  // namespace
}  // namespace merritt::test
