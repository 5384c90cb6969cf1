// SPDX-License-Identifier: Apache-2.0
#include <chrono>

#include "tokens/template_routines.hpp"

namespace merritt::tokens {

Result<std::string> format_time(std::string_view format, int64_t unix_seconds) {
  namespace chrono = std::chrono;
  static constexpr const char* kMonths[] = {"January", "February", "March",     "April",   "May",      "June",
                                            "July",    "August",   "September", "October", "November", "December"};
  static constexpr const char* kDays[] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
  const chrono::sys_seconds time{chrono::seconds(unix_seconds)};
  const auto day = chrono::floor<chrono::days>(time);
  const chrono::year_month_day date(day);
  const auto seconds = static_cast<int>((time - day).count());
  const auto two = [](int n) { return (n < 10 ? "0" : "") + std::to_string(n); };
  const auto month = static_cast<int>(static_cast<unsigned>(date.month()));
  const std::string month_name = kMonths[month - 1], day_name = kDays[chrono::weekday(day).c_encoding()];
  std::string out;
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%' || i + 1 == format.size()) {
      out += format[i];
      continue;
    }
    switch (format[++i]) {
      case 'Y': out += std::to_string(static_cast<int>(date.year())); break;
      case 'y': out += two(static_cast<int>(date.year()) % 100); break;
      case 'm': out += two(month); break;
      case 'd': out += two(static_cast<int>(static_cast<unsigned>(date.day()))); break;
      case 'H': out += two(seconds / 3600); break;
      case 'M': out += two(seconds / 60 % 60); break;
      case 'S': out += two(seconds % 60); break;
      case 'B': out += month_name; break;
      case 'b': out += month_name.substr(0, 3); break;
      case 'A': out += day_name; break;
      case 'a': out += day_name.substr(0, 3); break;
      case '%': out += '%'; break;
      default: return Status(Code::kUnsupported, std::string("strftime_now: %") + format[i] + " is not supported");
    }
  }
  return out;
}

}  // namespace merritt::tokens
