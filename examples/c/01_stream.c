/* SPDX-License-Identifier: Apache-2.0
 *
 * Loads plugins and a model, streams a generation, cancels another, tears everything down. C11, nothing but the C ABI.
 *
 * usage: 01_stream MODEL.gguf PLUGIN_DIR PUBLISHER PUBLIC_KEY_HEX [PROMPT]
 *
 * A product ships its plugins in a folder of its own and has the publisher's public key compiled in; here both come
 * from the command line (examples/run.py reads them from the build's trust.json).
 */
#include <merritt/merritt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Ends the program when a call failed, with the library's own words. */
static void check(int32_t code, merritt_error* error, const char* doing) {
  if (code == MERRITT_OK) return;
  fprintf(stderr, "%s: %s (%s)\n", doing, merritt_error_message(error), merritt_code_name(code));
  merritt_error_release(error);
  exit(EXIT_FAILURE);
}

static int parse_key(const char* hex, uint8_t key[32]) {
  if (strlen(hex) != 64) return 0;
  for (int i = 0; i < 32; ++i) {
    unsigned int byte = 0;
    if (sscanf(hex + 2 * i, "%2x", &byte) != 1) return 0;
    key[i] = (uint8_t)byte;
  }
  return 1;
}

static merritt_engine open_engine(const char* plugin_dir, const char* publisher_name, const char* key_hex) {
  merritt_error* error = NULL;
  merritt_publisher publisher = {.struct_size = sizeof publisher};
  publisher.name = publisher_name;
  publisher.name_length = strlen(publisher_name);
  if (!parse_key(key_hex, publisher.public_key)) {
    fprintf(stderr, "%s: not 64 hex digits\n", key_hex);
    exit(EXIT_FAILURE);
  }
  const size_t plugin_dir_length = strlen(plugin_dir);
  merritt_engine_options options = {.struct_size = sizeof options};
  options.plugin_dirs = &plugin_dir;
  options.plugin_dir_lengths = &plugin_dir_length;
  options.n_plugin_dirs = 1;
  options.publishers = &publisher;
  options.n_publishers = 1;

  merritt_engine engine = NULL;
  check(merritt_engine_create(&options, &engine, &error), error, "engine");
  uint32_t loaded = 0;
  check(merritt_engine_load_backends(engine, &loaded, &error), error, "plugins");
  return engine;
}

/* Prints the text of a generation of at most `max_tokens` (0 = the default) as it comes. After `cancel_after` tokens (0
 * = never) it asks the engine to stop. */
static void stream(merritt_session session, const char* prompt, uint32_t max_tokens, int cancel_after) {
  merritt_error* error = NULL;
  /* readme: stream */
  merritt_request_options options = {.struct_size = sizeof options};
  options.text = prompt;
  options.text_length = strlen(prompt);
  options.max_tokens = max_tokens;

  merritt_request request = NULL;
  check(merritt_session_submit(session, &options, &request, &error), error, "submit");
  merritt_event event = {.struct_size = sizeof event};
  for (int tokens = 0; event.kind != MERRITT_EVENT_END;) {
    check(merritt_request_next(request, MERRITT_WAIT_FOREVER, &event, &error), error, "next");
    if (event.kind != MERRITT_EVENT_TEXT) continue;
    fwrite(event.text, 1, event.text_length, stdout);
    if (++tokens == cancel_after) check(merritt_request_cancel(request, &error), error, "cancel");
  }
  /* end */
  printf("\n[%s]\n", event.finish_reason == MERRITT_FINISH_CANCELLED ? "cancelled" : "done");
  check(merritt_request_destroy(request, &error), error, "destroy");
}

int main(int argc, char** argv) {
  if (argc < 5) {
    fprintf(stderr, "usage: %s MODEL.gguf PLUGIN_DIR PUBLISHER PUBLIC_KEY_HEX [PROMPT]\n", argv[0]);
    return 2;
  }
  const char* prompt = argc > 5 ? argv[5] : "Once upon a time";
  merritt_error* error = NULL;
  merritt_engine engine = open_engine(argv[2], argv[3], argv[4]);

  merritt_model model = NULL;
  check(merritt_model_load(engine, argv[1], strlen(argv[1]), NULL, &model, &error), error, "model");
  merritt_tenant tenant = NULL;
  check(merritt_tenant_create(engine, "acme", 4, NULL, &tenant, &error), error, "tenant");
  merritt_session session = NULL;
  check(merritt_session_create(tenant, model, NULL, &session, &error), error, "session");

  stream(session, prompt, 64, 0);
  stream(session, " And then", 0, 8);

  /* Destroying the engine would end all of them; one by one shows the order. */
  check(merritt_session_destroy(session, &error), error, "session");
  check(merritt_tenant_destroy(tenant, &error), error, "tenant");
  check(merritt_model_destroy(model, &error), error, "model");
  merritt_engine_stats stats = {.struct_size = sizeof stats};
  check(merritt_engine_stats_get(engine, &stats, &error), error, "stats");
  printf("%llu steps, %llu bytes still held\n", (unsigned long long)stats.steps,
         (unsigned long long)stats.memory_bytes);
  check(merritt_engine_destroy(engine, &error), error, "engine");
  return EXIT_SUCCESS;
}
