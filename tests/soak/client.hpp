// SPDX-License-Identifier: Apache-2.0
// A client: a thread that does one random thing after another with sessions of its own, on tenants that all share.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/soak/queues.hpp"
#include "tests/soak/world.hpp"

namespace merritt::soak {

using SharedQueues = std::vector<std::unique_ptr<SharedQueue>>;

class Client {
 public:
  Client(World& world, SharedQueues& queues, uint64_t seed)
      : world_(world), queues_(queues), report_(world.report()), random_(seed) {}

  void run();     // until the world stops
  void finish();  // reads every request to its end and ends every session
  // After the engine has gone with everything.
  void forget() { sessions_.clear(); }

 private:
  struct Session {
    std::shared_ptr<TenantSlot> tenant;
    merritt_session handle = nullptr;
    std::shared_ptr<Ticket> ticket;  // the last request; null = none
    bool direct = false;             // it is read here, and not by a queue

    bool busy() const { return ticket != nullptr && !ticket->settled(); }
  };

  void act();
  // ---- client.cpp: tenants and sessions
  void change_limits();
  void create_session();
  void fork(Session& session);
  void truncate(Session& session);
  void publish(Session& session);
  void destroy(size_t index);
  void evaluate();
  void evaluate(TenantSlot& tenant, merritt_model model);
  void use_own_model();
  // ---- client_requests.cpp
  std::shared_ptr<Ticket> submit(Session& session);
  void submit_and_hand_over(Session& session);
  void submit_again(Session& session);
  bool read_event(Session& session, uint32_t timeout_ms);
  void read_some(Session& session, uint32_t events);
  void read_to_end(Session& session);
  void abandon(Session& session);
  void use_own_queue();
  void read_own_queue(merritt_queue queue, Listed& listed, std::vector<Session*>& added);

  Session* any(bool busy);
  uint32_t length_of(Session& session, bool* known);
  // Codes that a call on the session may answer, which others may end with its tenant.
  Codes orphan(const Session& session) const { return world_.orphan(*session.tenant); }
  // Codes of a call on a session whose request may not have ended.
  static Codes while_running(const Session& session);

  World& world_;
  SharedQueues& queues_;
  Report& report_;
  Random random_;
  std::vector<Session> sessions_;
  std::vector<std::unique_ptr<Listener>> listeners_;  // for as long as a callback could still come, against the rules
};

}  // namespace merritt::soak
