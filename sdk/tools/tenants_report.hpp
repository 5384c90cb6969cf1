// SPDX-License-Identifier: Apache-2.0
//
// The figures of `merritt bench --tenants` as one HTML page with SVG inside: nothing is fetched and nothing runs in it.
#pragma once

#include <string>

#include "tenants_figures.hpp"

namespace merritt::tools {

// `title` and the tenants' names may be any bytes; they are escaped.
std::string html_of(const LoadFigures& figures, const std::string& title);

}  // namespace merritt::tools
