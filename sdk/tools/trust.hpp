// SPDX-License-Identifier: Apache-2.0
//
// The trust list as a file: {"publishers": [{"name", "key": 64 hex digits, "plugin_id"?, "not_after"?}]}. The library
// takes publishers as structs and reads no file; this is the form the tools and the Python package use.
#pragma once

#include <merritt/engine.hpp>
#include <string>
#include <vector>

namespace merritt::tools {

std::vector<Publisher> read_trust(const std::string& path);

}  // namespace merritt::tools
