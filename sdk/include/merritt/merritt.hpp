// SPDX-License-Identifier: Apache-2.0
//
// merritt/merritt.hpp: everything a C++ host needs.
#pragma once

#include <merritt/engine.hpp>
#include <merritt/error.hpp>
#include <merritt/model.hpp>
#include <merritt/queue.hpp>
#include <merritt/request.hpp>
#include <merritt/result.hpp>
#include <merritt/session.hpp>
#include <merritt/tenant.hpp>
