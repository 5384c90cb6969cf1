// SPDX-License-Identifier: Apache-2.0
// A client's requests: random prompts, options and ends, and the ways to read them.
#include <algorithm>
#include <chrono>
#include <thread>

#include "tests/soak/client.hpp"
#include "tests/soak/patience.hpp"

namespace merritt::soak {
namespace {

// Several prompts begin alike, so that beginnings are shared.
constexpr std::string_view kOpenings[] = {
    "Once upon a time there was a little girl named Lily. She loved to play outside in the park. ",
    "Once upon a time there was a little boy. One day he found a big red ball. ",
    "The dog ran to the tree. ",
    "",
};
constexpr std::string_view kWords[] = {"the ", "cat ", "saw ",  "a ",       "big ",
                                       "dog ", "and ", "ran ",  "home",     ". ",
                                       "\n",   "was ", "happy", "\xC3\xA9", "\xF0\x9F\x90\xB6",
                                       ", "};
constexpr merritt_string kStops[] = {{".", 1}, {" the", 4}, {"\n", 1}, {"ed to", 5}};
constexpr uint32_t kTokensMost = 48;

std::string random_text(Random& random) {
  std::string text(random.any_of(kOpenings));
  for (uint32_t words = random.between(1, 12); words != 0; --words) text += random.any_of(kWords);
  return text;
}

}  // namespace

// Null: it was refused.
std::shared_ptr<Ticket> Client::submit(Session& session) {
  bool known = false;
  const uint32_t length = length_of(session, &known);
  if (!known) return nullptr;
  const std::string text = random_text(random_);
  std::vector<int32_t> tokens(random_.between(1, 60));
  for (int32_t& token : tokens) token = static_cast<int32_t>(random_.between(3, world_.info().vocabulary - 1));
  merritt_request_options options{};
  options.struct_size = sizeof(options);
  const bool as_text = !random_.one_in(4);
  if (as_text) {
    options.text = text.data();
    options.text_length = text.size();
  } else {
    options.tokens = tokens.data();
    options.n_tokens = tokens.size();
  }
  options.max_tokens = random_.one_in(12) ? 0 : random_.between(1, kTokensMost);
  options.n = random_.one_in(5) ? random_.between(2, 3) : random_.below(2);
  options.deadline_ms = random_.one_in(6) ? random_.between(1, 200) : 0;
  options.flags = random_.one_in(2) ? MERRITT_REQUEST_IGNORE_EOS : 0;
  options.min_tokens = options.max_tokens != 0 && random_.one_in(8) ? random_.below(options.max_tokens) : 0;
  options.seed = random_.one_in(2) ? random_.number() : 0;
  if (random_.one_in(2)) {
    options.temperature = 0.1f * static_cast<float>(random_.between(1, 15));
    options.top_p = random_.one_in(2) ? 0.9f : 0;
    options.min_p = random_.one_in(3) ? 0.05f : 0;
    options.top_k = random_.one_in(2) ? random_.between(1, 60) : 0;
    options.repetition_penalty = random_.one_in(3) ? 1.1f : 0;
    options.frequency_penalty = random_.one_in(4) ? 0.5f : 0;
    options.presence_penalty = random_.one_in(4) ? 0.2f : 0;
    options.penalty_last_n = random_.below(32);
  }
  options.n_stop = random_.one_in(4) ? random_.between(1, 2) : 0;
  options.stop = kStops + random_.below(3);
  options.speculate_max = random_.one_in(5) ? random_.between(1, 8) : 0;

  const Codes running = while_running(session);
  merritt_request request = nullptr;
  test::Error error;
  const int32_t code = merritt_session_submit(session.handle, &options, &request, error);
  Codes own = codes(MERRITT_QUOTA_EXCEEDED, MERRITT_OVERLOADED);
  // A byte is a token at most; BOS and a blank come before them. One token more has to fit.
  const uint32_t prompt_most = static_cast<uint32_t>(as_text ? text.size() + 2 : tokens.size());
  if (length + prompt_most + 1 > world_.info().context_max) own |= codes(MERRITT_INVALID_ARGUMENT);
  if (!session.tenant->exact) own |= codes(MERRITT_PERMISSION_DENIED);
  const bool accepted = report_.check(Verb::kSubmit, code, orphan(session) | running | own, error);
  const uint32_t n = std::max(options.n, 1u);
  const uint32_t most_tokens = options.max_tokens == 0 ? world_.info().context_max : options.max_tokens;
  if (accepted) {
    world_.offer_for_cancelling(request);
    return std::make_shared<Ticket>(report_, session.tenant, request, n, most_tokens, prompt_most);
  }
  const bool refused =
      code == MERRITT_QUOTA_EXCEEDED || code == MERRITT_OVERLOADED || code == MERRITT_PERMISSION_DENIED;
  if (refused) session.tenant->books.refused();
  if (code == MERRITT_NOT_FOUND) {  // its tenant goes, and may have accepted it just before
    Use use;
    use.requests = {0, 1};
    use.prompt_tokens = use.cached_tokens = {0, prompt_most};
    use.generated_tokens = {0, uint64_t{n} * most_tokens};
    for (uint32_t r = MERRITT_FINISH_EOS; r < kFinishes; ++r) use.finished[r] = {0, 1};
    session.tenant->books.add(use);
  }
  return nullptr;
}

void Client::submit_and_hand_over(Session& session) {
  std::shared_ptr<Ticket> accepted = submit(session);
  if (accepted == nullptr) return;  // the one before is remembered: it may not have ended
  session.ticket = std::move(accepted);
  session.direct = true;
  if (random_.one_in(2)) {
    session.direct = !random_.any_of(queues_)->add(session.ticket);
  } else if (random_.one_in(3)) {
    read_to_end(session);
  }
}

// Before the end of the one that runs was read. It may be there, unread: then the session takes another one.
void Client::submit_again(Session& session) {
  Session second = session;
  second.ticket = submit(session);
  second.direct = true;
  if (second.ticket != nullptr) read_to_end(second);
}

// True: its end was read, or it is gone.
bool Client::read_event(Session& session, uint32_t timeout_ms) {
  Ticket& ticket = *session.ticket;
  merritt_event event{};
  event.struct_size = sizeof(event);
  test::Error error;
  const int32_t code = merritt_request_next(ticket.handle(), timeout_ms, &event, error);
  const bool failed = code == MERRITT_QUOTA_EXCEEDED || code == MERRITT_OVERLOADED;  // the request's own failure
  const bool ok = report_.check(Verb::kNext, code, orphan(session) | (failed ? codes(code) : codes()), error);
  if (ok) return ticket.take(event.kind, event.choice, event.finish_reason, event.token, event.text_length);
  if (failed) {
    ticket.fail(code, error.get());
    return false;
  }
  // Of a request that ended so because its tenant went before it began, or of the handle, which went with it.
  ticket.lose();
  return true;
}

void Client::read_some(Session& session, uint32_t events) {
  for (; events != 0; --events) {
    if (!read_event(session, random_.one_in(4) ? random_.below(5) : 0)) continue;
    if (random_.one_in(2)) {
      test::Error error;
      const int32_t code = merritt_request_destroy(session.ticket->handle(), error);
      report_.check(Verb::kRequestDestroy, code, orphan(session), error);
    }  // else it goes with its session
    return;
  }
}

void Client::read_to_end(Session& session) {
  uint32_t in_vain = 0;
  while (in_vain < kTurnsMost) {
    const uint64_t before = session.ticket->events();
    if (read_event(session, kTurnMs)) return;
    in_vain = session.ticket->events() == before ? in_vain + 1 : 0;
  }
  report_.fail("nothing came of a request for a minute");
  abandon(session);
}

void Client::abandon(Session& session) {
  // Whoever reads it in a queue may have destroyed it just now.
  const Codes ended = session.direct ? codes() : codes(MERRITT_NOT_FOUND);
  session.ticket->abandon(orphan(session) | ended);
}

// A queue for a few requests, ended in the middle of what they say. They go on, and the rest is read from each.
void Client::use_own_queue() {
  merritt_queue_options options{};
  options.struct_size = sizeof(options);
  auto listener = std::make_unique<Listener>();
  listener->world = &world_;
  listener->random = Random(random_.number());
  const bool calls_back = random_.one_in(2);
  if (calls_back) {
    options.on_completion = &Listener::on_completion;
    options.on_completion_user = listener.get();
  }
  merritt_queue queue = nullptr;
  test::Error error;
  int32_t code = merritt_queue_create(world_.engine(), &options, &queue, error);
  if (!report_.check(Verb::kQueueCreate, code, world_.late(), error)) return;
  std::vector<Session*> added;
  for (Session& session : sessions_) {
    if (session.busy()) continue;
    std::shared_ptr<Ticket> accepted = submit(session);
    if (accepted == nullptr) continue;
    session.ticket = std::move(accepted);
    session.direct = true;
    listener->listed.add(session.ticket);
    code = merritt_queue_add(queue, session.ticket->handle(), session.ticket->user(), error);
    if (report_.check(Verb::kQueueAdd, code, orphan(session), error)) added.push_back(&session);
  }
  if (calls_back) {
    std::this_thread::sleep_for(std::chrono::microseconds(random_.below(20'000)));
  } else {
    read_own_queue(queue, listener->listed, added);
  }
  code = merritt_queue_destroy(queue, error);
  if (report_.check(Verb::kQueueDestroy, code, world_.late(), error)) {
    if (listener->inside != 0) report_.fail("the end of a queue did not wait for its callback");
    listener->over = true;
  }  // else it goes with the engine, and its callbacks may still come
  for (Session* session : added) {
    if (session->busy()) read_to_end(*session);
  }
  listeners_.push_back(std::move(listener));
}

void Client::read_own_queue(merritt_queue queue, Listed& listed, std::vector<Session*>& added) {
  for (uint32_t turns = random_.below(30); turns != 0; --turns) {
    merritt_completion room[8];
    uint32_t count = 0;
    test::Error error;
    const int32_t code =
        merritt_queue_next(queue, random_.below(10), room, sizeof(room[0]), random_.between(1, 8), &count, error);
    if (!report_.check(Verb::kQueueNext, code, world_.late(), error)) return;
    for (uint32_t i = 0; i < count; ++i) {
      const std::shared_ptr<Ticket> ticket = listed.find(room[i].user);
      if (ticket == nullptr) {
        report_.fail("a completion of a request that was never added");
      } else {
        (void)tell(report_, *ticket, room[i]);
      }
    }
    if (added.empty() || !random_.one_in(10)) continue;
    Session& back = *random_.any_of(added);
    const int32_t removed = merritt_queue_remove(queue, back.ticket->handle(), error);
    const Codes gone = orphan(back) | (back.busy() ? codes() : codes(MERRITT_NOT_FOUND));
    report_.check(Verb::kQueueRemove, removed, gone, error);
    std::erase(added, &back);
    if (back.busy()) read_to_end(back);
  }
}

}  // namespace merritt::soak
