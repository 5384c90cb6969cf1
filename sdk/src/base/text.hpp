// SPDX-License-Identifier: Apache-2.0
// Text from elsewhere, made fit for a message or a log record. Threads: any.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace merritt {

// At most `max` bytes of valid UTF-8 without control characters: those become blanks, broken bytes become '?', and a
// character is never cut in half.
std::string clean_text(std::string_view text, size_t max);

// True for 1..max bytes of [A-Za-z0-9._+-]: what ids, versions and publisher names may be made of.
bool is_plain_name(std::string_view text, size_t max);

}  // namespace merritt
