// SPDX-License-Identifier: Apache-2.0
// The renderer against jinja2: tests/golden/chat_templates.json, which make_template_goldens.py writes. What jinja2
// refuses must be refused here as well, at compile or while rendering.
#include "tokens/chat_template.hpp"
#include "tests/support/places.hpp"
#include "tests/support/read_file.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

namespace merritt::tokens {
namespace {

const nlohmann::json& goldens() {
  static const nlohmann::json all = nlohmann::json::parse(
      merritt::test::read_file(merritt::test::source_dir() + "/tests/golden/chat_templates.json"));
  return all;
}

ChatInput input_of(const std::string& conversation, bool prompt) {
  ChatInput input;
  for (const auto& message : goldens()["conversations"][conversation]) {
    input.messages.push_back({message[0].get<std::string>(), message[1].get<std::string>()});
  }
  input.add_generation_prompt = prompt;
  input.bos_text = "<bos>";
  input.eos_text = "<eos>";
  input.unix_seconds = goldens()["unix_seconds"].get<int64_t>();
  return input;
}

Result<std::string> render(const std::string& source, const ChatInput& input, const RenderBudget& budget = {}) {
  MERRITT_TRY(const auto compiled, ChatTemplate::compile(source));
  std::string out;
  MERRITT_CHECK(compiled->render(input, budget, out));
  return out;
}

Result<std::string> render(const std::string& source) { return render(source, input_of("turns", true)); }

uint64_t fnv1a(std::string_view text) {
  uint64_t value = 0xCBF29CE484222325;
  for (const char c : text) value = (value ^ static_cast<uint8_t>(c)) * 0x100000001B3;
  return value;
}

TEST(ChatTemplate, RendersAsJinja) {
  size_t cases = 0;
  for (const auto& golden : goldens()["templates"]) {
    const auto source = golden["template"].get<std::string>();
    const auto conversation = golden["conversation"].get<std::string>();
    const auto got = render(source, input_of(conversation, true));
    SCOPED_TRACE(golden["name"].get<std::string>() + " (" + conversation + "): " + source);
    if (golden["expected"].is_null()) {
      EXPECT_FALSE(got.ok()) << "jinja2 refuses this; here it gives " << got.value();
    } else if (!got.ok()) {
      ADD_FAILURE() << got.status().message();
    } else {
      EXPECT_EQ(got.value(), golden["expected"].get<std::string>());
    }
    ++cases;
  }
  EXPECT_GT(cases, 120u);
}

TEST(ChatTemplate, RendersTheTemplatesOfModelFamilies) {
  const std::string folder = merritt::test::source_dir() + "/../shared/data/chat-templates/";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << folder << " is absent";
  for (const auto& golden : goldens()["models"]) {
    const auto file = golden["file"].get<std::string>(), conversation = golden["conversation"].get<std::string>();
    const bool prompt = golden["prompt"].get<bool>();
    SCOPED_TRACE(file + " (" + conversation + (prompt ? ", prompt)" : ")"));
    const auto got = render(merritt::test::read_file(folder + file), input_of(conversation, prompt));
    const auto& expected = golden["expected"];
    if (expected.is_null()) {
      EXPECT_FALSE(got.ok()) << "jinja2 refuses this; here it gives " << got.value();
      continue;
    }
    ASSERT_TRUE(got.ok()) << got.status().message();
    const std::string& text = got.value();
    char hash[17];
    std::snprintf(hash, sizeof(hash), "%016llx", static_cast<unsigned long long>(fnv1a(text)));
    EXPECT_EQ(text.size(), expected["bytes"].get<size_t>());
    EXPECT_TRUE(text.starts_with(expected["begins"].get<std::string>())) << text;
    EXPECT_TRUE(text.ends_with(expected["ends"].get<std::string>())) << text;
    EXPECT_EQ(hash, expected["fnv1a"].get<std::string>()) << text;
  }
}

TEST(ChatTemplate, AppendsAndLeavesTheOutputAloneOnFailure) {
  std::string out = "before ";
  const auto input = input_of("single", true);
  ASSERT_TRUE(ChatTemplate::compile("{{ 1 }}").value()->render(input, {}, out).ok());
  EXPECT_EQ(out, "before 1");
  EXPECT_FALSE(ChatTemplate::compile("abc{{ raise_exception('no') }}").value()->render(input, {}, out).ok());
  EXPECT_EQ(out, "before 1");
}

TEST(ChatTemplate, AnExceptionOfTheTemplateIsTheMessage) {
  const auto got = render("\n{{ raise_exception('roles must alternate') }}");
  ASSERT_FALSE(got.ok());
  EXPECT_EQ(got.status().code(), Code::kInvalidArgument);
  EXPECT_EQ(got.status().message(), "chat template, line 2: the template says: roles must alternate");
}

TEST(ChatTemplate, TheBuiltinOfGemmaFoldsTheSystemTextIntoTheFirstTurn) {
  const auto builtin = builtin_chat_template("gemma3");
  ASSERT_TRUE(builtin.has_value());
  const auto got = render(std::string(builtin->text), input_of("system", true));
  ASSERT_TRUE(got.ok()) << got.status().message();
  EXPECT_EQ(got.value(),
            "<start_of_turn>user\n Be brief. \n\nOne?<end_of_turn>\n<start_of_turn>model\n1<end_of_turn>\n"
            "<start_of_turn>user\nTwo?<end_of_turn>\n<start_of_turn>model\n");
  EXPECT_FALSE(render(std::string(builtin->text), input_of("unknown role", true)).ok());
}

TEST(ChatTemplate, BytesThatAreNoUtf8AreCharacters) {
  ChatInput input = input_of("single", true);
  input.messages[0].content = "a\xFF\xE6\xBC";
  const auto got =
      render("{{ messages[0].content|length }}{{ messages[0].content[1:2] == messages[0].content[1] }}", input);
  ASSERT_TRUE(got.ok()) << got.status().message();
  EXPECT_EQ(got.value(), "4True");
}

}  // namespace
}  // namespace merritt::tokens
