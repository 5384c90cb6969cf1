// SPDX-License-Identifier: Apache-2.0
// Text as Python's str sees it: characters, not bytes. A byte that is not UTF-8 counts as one character.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace merritt::tokens {

struct TextChar {
  char32_t code;  // of ill-formed bytes: kNoCode
  size_t bytes;
};
inline constexpr char32_t kNoCode = 0xFFFFFFFF;

TextChar first_char(std::string_view text);  // text is not empty, in this and the next
TextChar last_char(std::string_view text);
void append_char(char32_t code, std::string& out);

size_t count_chars(std::string_view text);
// Where the n-th character begins; the size of the text if it has no more than n.
size_t char_offset(std::string_view text, size_t n);

// The line that begins at `at`, by str.splitlines(): where it ends, and where the next begins.
struct TextLine {
  size_t end, next;
};
TextLine line_at(std::string_view text, size_t at);

bool is_space(char32_t code);      // str.isspace()
bool is_printable(char32_t code);  // str.isprintable()

// Characters of `set` at the ends go; blanks, if it is null.
std::string_view strip(std::string_view text, const std::string_view* set, bool left, bool right);

// One character to one, but for the German sharp s, whose upper case is SS.
std::string to_upper(std::string_view text);
std::string to_lower(std::string_view text);
std::string capitalize(std::string_view text);
std::string title(std::string_view text);

// string_view::find in time linear in the text, whatever the needle.
size_t find_text(std::string_view text, std::string_view needle, size_t from = 0);

}  // namespace merritt::tokens
