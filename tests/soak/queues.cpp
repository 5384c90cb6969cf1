// SPDX-License-Identifier: Apache-2.0
#include "tests/soak/queues.hpp"

#include <poll.h>

#include <chrono>

#include "tests/soak/patience.hpp"

namespace merritt::soak {
namespace {

constexpr uint32_t kRoom = 16;
constexpr uint32_t kWaitMs = 20;

void pause(Random& random, uint32_t most_us) {
  std::this_thread::sleep_for(std::chrono::microseconds(random.below(most_us)));
}

void destroy_ended(World& world, const Ticket& ticket) {
  test::Error error;
  // It may have gone with its session.
  world.report().check(Verb::kRequestDestroy, merritt_request_destroy(ticket.handle(), error), codes(MERRITT_NOT_FOUND),
                       error);
}

}  // namespace

bool tell(Report& report, Ticket& ticket, const merritt_completion& completion) {
  if (completion.error != nullptr) {
    if (completion.kind != MERRITT_EVENT_END) report.fail("a completion that is no end has an error");
    ticket.fail(merritt_error_code(completion.error), completion.error);
  }
  return ticket.take(completion.kind, completion.choice, completion.finish_reason, completion.token,
                     completion.text_length);
}

SharedQueue::SharedQueue(World& world, Reading reading, uint64_t seed)
    : world_(world), reading_(reading), random_(seed) {
  merritt_queue_options options{};
  options.struct_size = sizeof(options);
  if (reading == Reading::kCallback) {
    options.on_completion = &SharedQueue::on_completion;
    options.on_completion_user = this;
  }
  test::Error error;
  const int32_t code = merritt_queue_create(world.engine(), &options, &queue_, error);
  if (!world.report().check(Verb::kQueueCreate, code, codes(), error)) return;
  if (reading != Reading::kCallback) reader_ = std::thread([this] { read(); });
}

SharedQueue::~SharedQueue() { stop(); }

bool SharedQueue::add(const std::shared_ptr<Ticket>& ticket) {
  listed_.add(ticket);  // before: it may end at once
  test::Error error;
  const int32_t code = merritt_queue_add(queue_, ticket->handle(), ticket->user(), error);
  if (world_.report().check(Verb::kQueueAdd, code, world_.orphan(ticket->tenant()), error)) return true;
  listed_.remove(*ticket);
  return false;
}

void SharedQueue::wait_for_ends() const {
  if (wait_for([this] { return listed_.all_settled(); })) return;
  world_.report().fail("a queue has not said the end of all its requests after a minute");
}

void SharedQueue::stop() {
  stop_ = true;
  if (reader_.joinable()) reader_.join();
}

void SharedQueue::destroy() {
  test::Error error;
  const int32_t code = merritt_queue_destroy(queue_, error);
  world_.report().check(Verb::kQueueDestroy, code, world_.late(), error);
}

void SharedQueue::on_completion(void* self, const merritt_completion* completion) {
  auto& queue = *static_cast<SharedQueue*>(self);
  if (queue.random_.one_in(50)) pause(queue.random_, 3'000);  // a slow one holds up nobody
  queue.take(*completion);
}

void SharedQueue::take(const merritt_completion& completion) {
  const std::shared_ptr<Ticket> ticket = listed_.find(completion.user);
  if (ticket == nullptr) return world_.report().fail("a completion of a request that was never added, or has ended");
  if (!tell(world_.report(), *ticket, completion)) return;
  if (completion.kind != MERRITT_EVENT_END) return;  // lost meanwhile: another thread has destroyed it
  destroy_ended(world_, *ticket);
  listed_.remove(*ticket);
}

void SharedQueue::read() {
  int64_t fd = -1;
  test::Error error;
  Report& report = world_.report();
  if (reading_ == Reading::kDescriptor &&
      !report.check(Verb::kQueueFd, merritt_queue_fd(queue_, &fd, error), codes(), error)) {
    return;
  }
  while (!stop_) {
    if (fd >= 0) {
      pollfd wait{static_cast<int>(fd), POLLIN, 0};
      if (::poll(&wait, 1, kWaitMs) != 1) continue;
    }
    merritt_completion room[kRoom];
    uint32_t count = 0;
    const uint32_t capacity = random_.between(1, kRoom);
    const int32_t code =
        merritt_queue_next(queue_, fd >= 0 ? 0 : kWaitMs, room, sizeof(room[0]), capacity, &count, error);
    if (!report.check(Verb::kQueueNext, code, world_.late(), error)) return;
    for (uint32_t i = 0; i < count; ++i) take(room[i]);
    if (random_.one_in(50)) pause(random_, 10'000);  // a slow reader
  }
}

// Some requests are destroyed by the callback itself, in the middle of what they say: then nothing may come of them.
void Listener::on_completion(void* self, const merritt_completion* completion) {
  auto& listener = *static_cast<Listener*>(self);
  Report& report = listener.world->report();
  if (listener.over) report.fail("a callback came after the end of its queue");
  if (listener.inside.fetch_add(1) != 0) report.fail("two callbacks of one queue at a time");
  const std::shared_ptr<Ticket> ticket = listener.listed.find(completion->user);
  if (ticket == nullptr) {
    report.fail("a callback came for a request that was destroyed, or has ended");
  } else if (tell(report, *ticket, *completion)) {
    const bool is_end = completion->kind == MERRITT_EVENT_END;
    if (is_end) destroy_ended(*listener.world, *ticket);
    // Another thread may have destroyed it while this call was on its way, which is the last then; or its session has,
    // and all it has said is still told.
    if (is_end || ticket->destroyed()) listener.listed.remove(*ticket);
  } else if (!ticket->tenant().exact && listener.random.one_in(20)) {
    // Where its session was destroyed first, what ended it may still be told.
    if (ticket->abandon(listener.world->orphan(ticket->tenant()))) listener.listed.remove(*ticket);
  }
  if (listener.random.one_in(30)) pause(listener.random, 2'000);
  listener.inside.fetch_sub(1);
}

}  // namespace merritt::soak
