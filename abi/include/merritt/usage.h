/* SPDX-License-Identifier: Apache-2.0
 *
 * merritt/usage.h: what the tenants of an engine have used, as text for a collector, and as a journal on disk that
 * outlives the process. One tenant's usage is in merritt/tenant.h. Names of tenants and numbers only: never prompt text.
 */
#ifndef MERRITT_USAGE_H
#define MERRITT_USAGE_H

#include <merritt/engine.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MERRITT_USAGE_JSON_LINES 0 /* a line {"engine":{...}}, then one {"tenant":"name",...} for each */
#define MERRITT_USAGE_PROMETHEUS 1 /* text exposition format 0.0.4 */
/* Effect: writes the usage of all tenants. Those that were destroyed are added up under the name "(closed)", those beyond
 * the first 1024 under "(other)": there are never more labels. The text may be longer at the next call. Errors:
 * INVALID_ARGUMENT (format), FAILED_PRECONDITION (capacity too small). Since 0.2. */
MERRITT_API int32_t merritt_engine_usage_export(merritt_engine engine, uint32_t format, char *text, size_t capacity,
                                                size_t *length, merritt_error **error);

/* Effect: from now on, what each tenant uses is appended to the file as numbered records and brought to disk at least
 * once a second, by a thread of the engine (on an engine without threads, by its steps), and once more when the engine is destroyed. The file is made with mode 0600
 * when there is none; where there is one, numbering goes on, and a record that a killed process left half written is cut
 * off. A killed process loses what it used in its last second and never records more than it delivered. When the disk
 * is full the engine goes on; what could not be written is in the next record that can. Errors: FAILED_PRECONDITION (this
 * engine has a journal, or another engine has this one), INVALID_ARGUMENT (no regular file), CORRUPT (damaged; it is left
 * alone), UNSUPPORTED (of another version), PERMISSION_DENIED. Since 0.2. */
MERRITT_API int32_t merritt_engine_journal_open(merritt_engine engine, const char *path, size_t path_length,
                                                merritt_error **error);
/* Effect: writes what is not in the journal yet and brings it to disk, now. Blocks on the disk. Errors:
 * FAILED_PRECONDITION (no journal, or the disk is full). Since 0.2. */
MERRITT_API int32_t merritt_engine_journal_flush(merritt_engine engine, merritt_error **error);
/* Effect: tells the records after number `after` (0 = from the first) that are on disk, in order, one JSON object a line:
 * {"record":7,"unix_seconds":1700000000,"tenants":[{"tenant":"name","prompt_tokens":12,...},...]}, where fields that are 0
 * are left out. As many whole records as fit into `capacity` bytes, and 1 MiB at most, are written; *length is their
 * bytes and *last the number of the last one (`after` when there is none), to go on with. text may not be NULL. Errors:
 * FAILED_PRECONDITION (no journal, or one record alone needs more: the message says how many bytes). Since 0.2. */
MERRITT_API int32_t merritt_engine_usage_since(merritt_engine engine, uint64_t after, char *text, size_t capacity,
                                               size_t *length, uint64_t *last, merritt_error **error);

#ifdef __cplusplus
}
#endif
#endif
