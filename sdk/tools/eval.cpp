// SPDX-License-Identifier: Apache-2.0
//
// merritt eval: teacher-forced logits of given tokens as a NumPy file, float32 [tokens, vocabulary].
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <system_error>

#include "cli.hpp"
#include "engine_flags.hpp"
#include "interrupt.hpp"
#include "terminal.hpp"
#include "token_list.hpp"

namespace merritt::tools {
namespace {

struct EvalFlags {
  ModelFlags model;
  std::string tokens;
  std::string logits;
  bool decode = false;
};

// Version 1.0 of the .npy format: magic, version, header length, a header padded to 64 bytes, the values.
std::string npy_header(size_t rows, size_t columns) {
  std::string dict = format("{'descr': '<f4', 'fortran_order': False, 'shape': (%zu, %zu), }", rows, columns);
  const size_t used = 10 + dict.size() + 1;
  dict.append((64 - used % 64) % 64, ' ');
  dict += '\n';
  std::string header("\x93NUMPY\x01\x00", 8);
  header += static_cast<char>(dict.size() & 0xff);
  header += static_cast<char>(dict.size() >> 8);
  return header + dict;
}

Failure write_failure(const std::string& path, int error) {
  return with_fix(path + ": " + std::generic_category().message(error),
                  "--logits takes a file in a folder that exists, may be written to and has room");
}

void write_npy(const std::string& path, size_t rows, size_t columns, const std::vector<float>& values) {
  const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path.c_str(), "wbe"),
                                                   [](FILE* f) { return std::fclose(f); });
  if (!file) throw write_failure(path, errno);
  const std::string header = npy_header(rows, columns);
  if (std::fwrite(header.data(), 1, header.size(), file.get()) != header.size() ||
      std::fwrite(values.data(), sizeof(float), values.size(), file.get()) != values.size() ||
      std::fflush(file.get()) != 0) {
    throw write_failure(path, errno);
  }
}

int eval(const EvalFlags& flags) {
  const std::vector<int32_t> tokens = parse_tokens(flags.tokens == "-" ? read_stdin() : flags.tokens);
  if (tokens.empty()) throw with_fix("--tokens is empty", "write token ids like 1,2,3", kExitUsage);
  const std::filesystem::path folder = std::filesystem::absolute(flags.logits).parent_path();
  if (!std::filesystem::is_directory(folder)) throw write_failure(flags.logits, ENOTDIR);
  watch_interrupts();
  Engine engine = open_engine(flags.model.engine);
  Model model = load_model(engine, flags.model);
  end_on_interrupt();  // the evaluation is one call that nothing cancels
  const ModelInfo info = expect(model.info(), "model");
  Tenant tenant = expect(engine.tenant("cli"), "tenant");
  std::vector<float> logits(tokens.size() * info.vocabulary);
  const Stopwatch watch;
  expect(model.eval(tenant.capi(), tokens, logits, {.flags = flags.decode ? MERRITT_EVAL_DECODE : 0u}), "eval");
  const double took = watch.seconds();
  write_npy(flags.logits, tokens.size(), info.vocabulary, logits);
  std::fprintf(stderr, "%s: %zu tokens in %.2f s, float32 [%zu, %u] in %s\n", info.backend, tokens.size(), took,
               tokens.size(), info.vocabulary, flags.logits.c_str());
  return kExitOk;
}

}  // namespace

void add_eval(CLI::App& app, Verb& verb) {
  auto flags = std::make_shared<EvalFlags>();
  CLI::App* self = app.add_subcommand("eval", "Logits of given tokens as a .npy file");
  add_model_flags(*self, flags->model);
  self->add_option("--tokens", flags->tokens, "Token ids like 1,2,3; - reads stdin")->required();
  self->add_option("--logits", flags->logits, "The .npy file to write")->required();
  self->add_flag("--decode", flags->decode, "Feed the tokens one by one, as generation does");
  self->callback([flags, &verb] { verb = [flags] { return eval(*flags); }; });
}

}  // namespace merritt::tools
