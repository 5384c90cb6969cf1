/* SPDX-License-Identifier: Apache-2.0
 *
 * merritt/engine.h: one engine = one scheduler, one executor, one memory budget, any number of models and tenants.
 * Several engines may live in one process; they share nothing but the code of loaded plugins.
 */
#ifndef MERRITT_ENGINE_H
#define MERRITT_ENGINE_H

#include <merritt/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Services the host may supply. Each has a default owned by the engine. Callbacks come from engine threads, are
 * never made under a lock, must not throw, and must not call back into the same engine except merritt_request_cancel. */
#define MERRITT_LOG_DEBUG 0
#define MERRITT_LOG_INFO 1
#define MERRITT_LOG_WARNING 2
#define MERRITT_LOG_ERROR 3
/* One whole record, UTF-8, not terminated. Never prompt text, token ids or keys. Default: records are dropped. */
typedef void (*merritt_log_fn)(void *user, uint32_t level, const char *text, size_t length);

/* The host's threads. parallel calls fn(argument, i, worker) for i in [0, n) and returns after the last; worker < the
 * engine's thread count and unique among running calls. gang does the same but runs all n at the same time (n <= the
 * thread count), or answers MERRITT_UNSUPPORTED having called nothing; NULL = no gang, which costs speed. */
typedef void (*merritt_task_fn)(void *argument, uint32_t i, uint32_t worker);
typedef void (*merritt_parallel_fn)(void *user, uint32_t n, merritt_task_fn fn, void *argument);
typedef int32_t (*merritt_gang_fn)(void *user, uint32_t n, merritt_task_fn fn, void *argument);

/* Told before memory is taken (bytes > 0) and after it was given back (bytes < 0). Non-zero refuses the memory. */
typedef int32_t (*merritt_ledger_fn)(void *user, int64_t bytes);

/* A publisher whose plugins may be loaded. */
typedef struct merritt_publisher {
    uint32_t struct_size;
    uint32_t reserved;           /* 0 */
    const char *name;            /* as in the manifest */
    size_t name_length;
    uint8_t public_key[32];      /* Ed25519 (RFC 8032) */
    const char *plugin_id;       /* the one plugin id this key may sign; NULL = any id */
    size_t plugin_id_length;
    int64_t not_after;           /* seconds since 1970 after which the key is void; 0 = no end */
} merritt_publisher;

#define MERRITT_ISA_ANY 0
#define MERRITT_ISA_AVX2 1
#define MERRITT_ISA_AVX512 2
#define MERRITT_ISA_VNNI 3
#define MERRITT_ISA_AMX 4

typedef struct merritt_engine_options {
    uint32_t struct_size;
    uint32_t threads;                   /* workers with the step thread; 0 = min(affinity, cgroup cpu.max) */
    uint32_t isa_max;                   /* MERRITT_ISA_*: the widest instruction set plugins may use; 0 = the CPU's */
    uint32_t log_level;                 /* records below it are not made */
    uint64_t memory_bytes_max;          /* budget for weights, KV pools and scratch of all models; 0 = no limit */
    const char *const *plugin_dirs;     /* absolute directories plugins may be loaded from */
    const size_t *plugin_dir_lengths;
    uint32_t n_plugin_dirs;
    uint32_t n_publishers;
    const merritt_publisher *publishers; /* the trust list, entries of publishers[0].struct_size bytes each */
    merritt_log_fn log;
    void *log_user;
    merritt_ledger_fn ledger;
    void *ledger_user;
    merritt_parallel_fn parallel;       /* NULL = the engine's own threads */
    merritt_gang_fn gang;
    void *executor_user;
    uint32_t flags;                     /* MERRITT_ENGINE_*. Since 0.2 */
    uint32_t reserved;                  /* 0 */
} merritt_engine_options;
/* The engine has no thread at all: its steps run inside merritt_engine_poll, and inside the calls that wait for them
 * (merritt_request_next, merritt_queue_next, merritt_model_eval, merritt_engine_drain). Without a host's `parallel` it
 * computes with one worker. Results are the same bits. A step that does not end is not cancelled, there being nobody to
 * do it. Since 0.2. */
#define MERRITT_ENGINE_NO_THREADS 1

/* Effect: creates an engine; it starts its threads with the first model. options may be NULL for all defaults.
 * Ownership: destroy with merritt_engine_destroy. Errors: INVALID_ARGUMENT, OUT_OF_MEMORY, OVERLOADED (64 engines live
 * already). Since 0.1. */
MERRITT_API int32_t merritt_engine_create(const merritt_engine_options *options, merritt_engine *out,
                                          merritt_error **error);
/* Effect: cancels all requests, ends all children, joins the engine's threads and returns every byte. Blocks until
 * running steps have ended (bounded by one step). Errors: INVALID_ARGUMENT, NOT_FOUND (stale). Since 0.1. */
MERRITT_API int32_t merritt_engine_destroy(merritt_engine engine, merritt_error **error);

/* Effect: on an engine without threads, runs steps on the calling thread until budget_us have passed or there is nothing
 * to do; at least one step when there is, and the last one is not cut short. Completion callbacks are made in here. *more
 * (may be NULL) = 1 when work is left that could run now, else 0. Errors: FAILED_PRECONDITION (the engine has threads,
 * another thread is polling, or called from a callback). Since 0.2. */
MERRITT_API int32_t merritt_engine_poll(merritt_engine engine, uint64_t budget_us, uint32_t *more,
                                        merritt_error **error);
/* Effect: for a host that shuts down. New requests and models are refused from now on (FAILED_PRECONDITION); what was
 * accepted goes on. Returns when all of it has ended, or after deadline_ms with DEADLINE_EXCEEDED, the rest then being
 * cancelled. Everything made so far stays readable until the engine is destroyed. Errors: FAILED_PRECONDITION (called
 * from a callback). Since 0.2. */
MERRITT_API int32_t merritt_engine_drain(merritt_engine engine, uint32_t deadline_ms, merritt_error **error);

/* What the engine holds and has done; all counters since creation. */
typedef struct merritt_engine_stats {
    uint32_t struct_size;
    uint32_t threads;
    uint64_t memory_bytes;          /* charged now: weights + KV pools + scratch + staging */
    uint64_t memory_bytes_peak;
    uint64_t kv_bytes;              /* of these, KV pools */
    uint64_t weight_bytes;          /* of these, packed weights */
    uint64_t steps;
    uint64_t prompt_tokens;         /* rows run in class prompt */
    uint64_t generated_tokens;      /* rows run in class generated, without refused drafts */
    uint64_t requests_running;
    uint64_t requests_waiting;
    uint64_t steps_mixed;           /* steps with rows of two or more tenants */
    uint64_t draft_tokens;          /* run as guesses, see speculate_max of a request. Since 0.2 */
    uint64_t draft_tokens_accepted; /* of these, in an output. Since 0.2 */
} merritt_engine_stats;
/* Fills *out up to out->struct_size. Since 0.1. */
MERRITT_API int32_t merritt_engine_stats_get(merritt_engine engine, merritt_engine_stats *out, merritt_error **error);

/* ---- Backends: plugins and their devices --------------------------------------------------------------------- */
/* Effect: verifies and loads one plugin file. path is absolute, in one of plugin_dirs, with its signed manifest beside
 * it (path + ".manifest"). The file is opened once, hashed and checked before any of its code is mapped. *id, when not
 * NULL, gets a string that lives as long as the process. Loading the same build again answers OK with the same id.
 * Errors: INVALID_ARGUMENT (relative path), NOT_FOUND, PERMISSION_DENIED (unsigned, unknown or wrong key, expired, altered,
 * symlink, writable by others), UNSUPPORTED (ABI range, CPU features), CORRUPT (manifest), BACKEND. Since 0.1. */
MERRITT_API int32_t merritt_engine_load_backend(merritt_engine engine, const char *path, size_t path_length,
                                                const char **id, merritt_error **error);
/* Effect: loads every plugin (lib*.so with a manifest) of the configured directories; *loaded gets their number. Files
 * that are refused are logged and skipped; the call fails only when none could be loaded. Since 0.1. */
MERRITT_API int32_t merritt_engine_load_backends(merritt_engine engine, uint32_t *loaded, merritt_error **error);

typedef struct merritt_backend_info {
    uint32_t struct_size;
    uint32_t abi;                   /* plugin ABI in use */
    uint32_t devices;
    uint32_t flags;                 /* MERRITT_BACKEND_* */
    char id[64];                    /* "onednn", "reference", ...; terminated, as the rest */
    char version[32];
    char device_name[128];          /* of device 0 */
    char digest[72];                /* SHA-256 of the file, hex */
} merritt_backend_info;
#define MERRITT_BACKEND_BATCH_INVARIANT 1
/* Fills *out for the index-th loaded backend, in load order; NOT_FOUND after the last. Since 0.1. */
MERRITT_API int32_t merritt_engine_backend_get(merritt_engine engine, uint32_t index, merritt_backend_info *out,
                                               merritt_error **error);

#ifdef __cplusplus
}
#endif
#endif
