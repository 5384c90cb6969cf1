/* SPDX-License-Identifier: Apache-2.0
 *
 * Limits, usage, export and journal as a host in C11 uses them. NULL = all as it should be, else what was not.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "merritt/merritt.h"

const char* quota_from_c(merritt_engine engine, merritt_model model, const char* journal);

static const char* limits_and_refusals(merritt_tenant tenant, merritt_model model) {
  merritt_tenant_options limits = {0};
  limits.struct_size = sizeof(limits);
  if (merritt_tenant_limits_get(tenant, &limits, NULL) != MERRITT_OK) return "limits_get";
  if (limits.queue_max != 64 || limits.weight != 3 || limits.n_models != 1)
    return "the limits are not those that were set";
  merritt_session session = NULL;
  if (merritt_session_create(tenant, model, NULL, &session, NULL) != MERRITT_OK) return "session_create";
  limits.output_max = 4;
  limits.models = &model;
  if (merritt_tenant_limits_set(tenant, &limits, NULL) != MERRITT_OK) return "limits_set";
  merritt_request_options options = {0};
  options.struct_size = sizeof(options);
  options.text = "the and of";
  options.text_length = strlen(options.text);
  options.max_tokens = 5;
  merritt_request request = NULL;
  merritt_error* error = NULL;
  if (merritt_session_submit(session, &options, &request, &error) != MERRITT_QUOTA_EXCEEDED) return "output_max";
  const int names_it = strstr(merritt_error_message(error), "output_max is 4") != NULL;
  merritt_error_release(error);
  if (!names_it) return "the refusal does not name the limit and the number";
  options.max_tokens = 0;
  options.flags = MERRITT_REQUEST_IGNORE_EOS;
  if (merritt_session_submit(session, &options, &request, NULL) != MERRITT_OK) return "submit";
  merritt_event event = {0};
  event.struct_size = sizeof(event);
  do {
    if (merritt_request_next(request, MERRITT_WAIT_FOREVER, &event, NULL) != MERRITT_OK) return "next";
  } while (event.kind != MERRITT_EVENT_END);
  merritt_tenant_usage usage = {0};
  usage.struct_size = sizeof(usage);
  if (merritt_tenant_usage_get(tenant, &usage, NULL) != MERRITT_OK) return "usage_get";
  if (usage.generated_tokens != 4 || usage.finished[MERRITT_FINISH_LENGTH] != 1) return "output_max is the default";
  if (usage.refusals_by_cause[MERRITT_REFUSED_OUTPUT] != 1 || usage.refusals != 1) return "the refusal is not counted";
  if (usage.compute_ns == 0 || usage.requests != 1) return "the work is not counted";
  return NULL;
}

static const char* export_and_journal(merritt_engine engine) {
  size_t length = 0;
  if (merritt_engine_usage_export(engine, MERRITT_USAGE_PROMETHEUS, NULL, 0, &length, NULL) != MERRITT_OK)
    return "size";
  char* text = malloc(length + 4096);
  if (text == NULL) return "malloc";
  int32_t code = merritt_engine_usage_export(engine, MERRITT_USAGE_PROMETHEUS, text, length + 4096, &length, NULL);
  text[code == MERRITT_OK ? length : 0] = '\0';
  const int has_tokens = strstr(text, "merritt_tenant_generated_tokens_total{tenant=\"from-c\"} 4\n") != NULL;
  free(text);
  if (!has_tokens) return "the export lacks the tokens";
  char lines[4096] = {0};
  uint64_t last = 0;
  if (merritt_engine_journal_flush(engine, NULL) != MERRITT_OK) return "journal_flush";
  uint64_t after = 0;
  do {
    after = last;
    if (merritt_engine_usage_since(engine, after, lines, sizeof(lines) - 1, &length, &last, NULL) != MERRITT_OK) {
      return "usage_since";
    }
  } while (last != after);
  return last == 0 ? "the journal has no record" : NULL;
}

const char* quota_from_c(merritt_engine engine, merritt_model model, const char* journal) {
  if (merritt_engine_journal_open(engine, journal, strlen(journal), NULL) != MERRITT_OK) return "journal_open";
  merritt_tenant_options options = {0};
  options.struct_size = sizeof(options);
  options.weight = 3;
  options.models = &model;
  options.n_models = 1;
  merritt_tenant tenant = NULL;
  if (merritt_tenant_create(engine, "from-c", 6, &options, &tenant, NULL) != MERRITT_OK) return "tenant_create";
  const char* wrong = limits_and_refusals(tenant, model);
  if (wrong == NULL) wrong = export_and_journal(engine);
  if (merritt_tenant_destroy(tenant, NULL) != MERRITT_OK) return "tenant_destroy";
  return wrong;
}
