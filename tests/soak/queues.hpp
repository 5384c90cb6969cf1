// SPDX-License-Identifier: Apache-2.0
// Completion queues, read in each way the ABI has: a blocking wait, a descriptor with poll(2), a callback.
#pragma once

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>

#include "tests/soak/world.hpp"

namespace merritt::soak {

enum class Reading : uint32_t { kBlocking = 0, kDescriptor = 1, kCallback = 2 };

// The tickets of one queue, by what it says of them.
class Listed {
 public:
  void add(std::shared_ptr<Ticket> ticket) {
    const std::lock_guard lock(mutex_);
    const uint64_t user = ticket->user();
    tickets_.emplace(user, std::move(ticket));
  }
  std::shared_ptr<Ticket> find(uint64_t user) const {
    const std::lock_guard lock(mutex_);
    const auto found = tickets_.find(user);
    return found == tickets_.end() ? nullptr : found->second;
  }
  void remove(const Ticket& ticket) {
    const std::lock_guard lock(mutex_);
    tickets_.erase(ticket.user());
  }
  bool all_settled() const {
    const std::lock_guard lock(mutex_);
    return std::all_of(tickets_.begin(), tickets_.end(), [](const auto& each) { return each.second->settled(); });
  }

 private:
  mutable std::mutex mutex_;
  std::unordered_map<uint64_t, std::shared_ptr<Ticket>> tickets_;
};

// What a completion says, to the ticket it is of. True: it was the last of it.
bool tell(Report& report, Ticket& ticket, const merritt_completion& completion);

// A queue that all clients add to, with a thread that reads it for as long as the round goes. A request that has ended
// is destroyed by its reader.
class SharedQueue {
 public:
  SharedQueue(World& world, Reading reading, uint64_t seed);
  ~SharedQueue();
  // Hands the ticket over; false: it was not taken.
  bool add(const std::shared_ptr<Ticket>& ticket);
  // Every request in it has said its end, or was lost. Waits for that.
  void wait_for_ends() const;
  // Ends the reader, which is not waited for by the queue's own end.
  void stop();
  void destroy();

 private:
  static void on_completion(void* self, const merritt_completion* completion);
  void take(const merritt_completion& completion);
  void read();

  World& world_;
  const Reading reading_;
  Random random_;  // the reader's
  Listed listed_;
  merritt_queue queue_ = nullptr;
  std::atomic<bool> stop_{false};
  std::thread reader_;
};

// The callbacks of one client's own queue. They may come until its end was waited for, and not of a request that this
// very thread has destroyed.
struct Listener {
  World* world = nullptr;
  Listed listed;
  Random random{0};  // of the callbacks, which come one at a time
  std::atomic<uint32_t> inside{0};
  std::atomic<bool> over{false};

  static void on_completion(void* self, const merritt_completion* completion);
};

}  // namespace merritt::soak
