// SPDX-License-Identifier: Apache-2.0
#include "tests/soak/round.hpp"

#include <chrono>
#include <thread>

#include "tests/soak/client.hpp"
#include "tests/soak/patience.hpp"

namespace merritt::soak {
namespace {

constexpr uint32_t kClients = 4;
constexpr uint32_t kDrainMostMs = 1'500;

// The threads of a round beside the clients: somebody who looks at usage, reads the journal and cancels, and on an
// engine without threads somebody who polls it.
class Helpers {
 public:
  Helpers(World& world, uint64_t seed) : world_(world), random_(seed) {
    watcher_ = std::thread([this] { watch(); });
    if (world.no_threads()) poller_ = std::thread([this] { poll(); });
  }
  ~Helpers() { stop(); }
  void stop() {
    stop_ = true;
    if (watcher_.joinable()) watcher_.join();
    if (poller_.joinable()) poller_.join();
  }

 private:
  void watch() {
    while (!stop_) {
      world_.look_at_usage(random_);
      if (random_.one_in(10)) world_.read_journal(random_.one_in(4));
      if (random_.one_in(3)) world_.cancel_some(random_);
      std::this_thread::sleep_for(std::chrono::microseconds(random_.below(20'000)));
    }
  }
  void poll() {
    while (!stop_) {
      uint32_t more = 0;
      test::Error error;
      // Another thread may be running the steps while it waits.
      const int32_t code = merritt_engine_poll(world_.engine(), 1'000, &more, error);
      world_.report().check(Verb::kPoll, code, world_.late() | codes(MERRITT_FAILED_PRECONDITION), error);
      if (more == 0 || code != MERRITT_OK) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  World& world_;
  Random random_;
  std::atomic<bool> stop_{false};
  std::thread watcher_, poller_;
};

void drain(World& world, Random& random) {
  world.begin_drain();
  test::Error error;
  const int32_t code = merritt_engine_drain(world.engine(), random.below(kDrainMostMs), error);
  world.report().check(Verb::kDrain, code, codes(MERRITT_DEADLINE_EXCEEDED), error);
}

void expect_idle(World& world) {
  merritt_engine_stats stats{};
  stats.struct_size = sizeof(stats);
  test::Error error;
  const int32_t code = merritt_engine_stats_get(world.engine(), &stats, error);
  if (!world.report().check(Verb::kStats, code, codes(), error)) return;
  world.report().expect_equal(stats.requests_running, 0, "requests running at the end");
  world.report().expect_equal(stats.requests_waiting, 0, "requests waiting at the end");
}

}  // namespace

void run_round(const Settings& settings, Report& report, uint32_t round, double seconds) {
  report.begin_round(round);
  const auto ending = static_cast<Ending>(round % 3);
  World world(settings, report, round, ending, round % 2 != 0);
  if (!world.ok()) return;
  Random random(settings.seed + round);
  SharedQueues queues;
  for (const Reading reading : {Reading::kBlocking, Reading::kDescriptor, Reading::kCallback}) {
    queues.push_back(std::make_unique<SharedQueue>(world, reading, random.number()));
  }
  std::vector<std::unique_ptr<Client>> clients;
  for (uint32_t c = 0; c < kClients; ++c) {
    clients.push_back(std::make_unique<Client>(world, queues, random.number()));
  }
  Helpers helpers(world, random.number());
  std::vector<std::thread> threads;
  for (const auto& client : clients) threads.emplace_back([&client] { client->run(); });
  spend(seconds);

  if (ending == Ending::kAbrupt) {
    world.begin_end();
    queues[static_cast<size_t>(Reading::kDescriptor)]->stop();  // its descriptor goes with the engine
    world.destroy_engine();
    world.stop();
    for (std::thread& thread : threads) thread.join();
    report.expect_equal(static_cast<uint64_t>(world.ledger_bytes()), 0, "bytes of the host's ledger at the end");
    return;
  }
  if (ending == Ending::kDrain) drain(world, random);
  world.stop();
  for (std::thread& thread : threads) thread.join();
  for (const auto& client : clients) client->finish();
  for (const auto& queue : queues) queue->wait_for_ends();
  helpers.stop();
  for (const auto& queue : queues) {
    queue->stop();
    queue->destroy();
  }
  expect_idle(world);
  audit_tenants(world);
  audit_journal(world);
  if (ending == Ending::kQuiet) expect_whole_pools(world);
  audit_memory(world);
  world.destroy_engine();
  report.expect_equal(static_cast<uint64_t>(world.ledger_bytes()), 0, "bytes of the host's ledger at the end");
}

}  // namespace merritt::soak
