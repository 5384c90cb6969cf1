/* SPDX-License-Identifier: Apache-2.0
 *
 * merritt/tenant.h: a tenant is a capability. Sessions, quotas and usage hang from it; whoever has no handle of it
 * cannot name anything of it.
 */
#ifndef MERRITT_TENANT_H
#define MERRITT_TENANT_H

#include <merritt/engine.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a tenant may ask for. A request over a limit is refused before any work is done for it, with QUOTA_EXCEEDED, the
 * name of the limit and both numbers, and with a retry hint where waiting helps. */
typedef struct merritt_tenant_options {
    uint32_t struct_size;
    uint32_t sequences_max;     /* sequences running at once; 0 = no own limit */
    uint32_t queue_max;         /* requests waiting at once; 0 = 64 */
    uint32_t prompt_bytes_max;  /* longest prompt text; 0 = 1 MiB */
    uint64_t kv_bytes_max;      /* KV ceiling over all models; 0 = no own limit */
    /* From here on since 0.2. */
    uint64_t kv_bytes_floor;    /* KV bytes kept for it over all models, at most kv_bytes_max; 0 = none. The floors of
                                   all tenants must fit into the pools of the models that they share */
    uint64_t kv_bytes_burst;    /* KV bytes above kv_bytes_max while nobody else wants them; 0 = none */
    uint32_t weight;            /* its part of a busy engine, against the weights of the others, at most 65536; 0 = 1 */
    uint32_t requests_per_second; /* admitted, also those that turn out to be invalid when they are read; 0 = no own
                                   limit */
    uint32_t requests_burst;    /* requests at once after a pause; 0 = requests_per_second */
    uint32_t context_max;       /* tokens of a session; 0 = the model's context */
    uint64_t tokens_per_minute; /* prompt and output. A request takes its prompt and n times max_tokens when it is
                                   admitted; what it did not use goes back at its end. 0 = no own limit */
    uint64_t tokens_burst;      /* tokens at once after a pause; a request that takes more is never admitted;
                                   0 = tokens_per_minute */
    uint32_t output_max;        /* largest max_tokens; 0 = no own limit. A request that names none gets the smaller of
                                   this and 1024 */
    uint32_t deadline_ms_default; /* deadline_ms of a request that names none; 0 = none */
    uint64_t template_steps_max; /* steps of rendering one conversation; 0 = 4000000 */
    uint64_t template_bytes_max; /* bytes of text one rendering may make; 0 = 64 MiB */
    const merritt_model *models; /* n_models handles of models it may use, of its engine; others, but for its
                                   own, are refused with PERMISSION_DENIED. A model's destruction takes it off the list, and does not empty it */
    uint32_t n_models;          /* at most 64; 0 = every model */
    uint32_t flags;             /* MERRITT_TENANT_* */
    uint64_t prefix_bytes_max;  /* KV bytes, in each model, of prompts that are kept when their sessions are gone: a
                                   prompt of this tenant that begins alike, in an empty session, does not run the
                                   beginning again, and its output has the same bits. Within kv_bytes_max; the ones used
                                   least lately give way to requests. 0 = none */
    uint64_t model_bytes_max;   /* weights and KV pools of models loaded for it, see merritt_model_options; one load at a
                                   time, and 16 models. 0 = none may be loaded */
} merritt_tenant_options;

#define MERRITT_TENANT_PUBLISHES 1 /* merritt_session_publish may be called on its sessions */

/* Effect: creates a tenant. name is for logs and ledgers, 1 to 63 bytes of [A-Za-z0-9._-]; two live tenants of an engine
 * never share one. options may be NULL. Errors: INVALID_ARGUMENT (also where two limits contradict each other, or the
 * floors of all tenants do not fit: both numbers), NOT_FOUND (a model), FAILED_PRECONDITION (name taken). Since 0.1. */
MERRITT_API int32_t merritt_tenant_create(merritt_engine engine, const char *name, size_t name_length,
                                          const merritt_tenant_options *options, merritt_tenant *out,
                                          merritt_error **error);
/* Effect: cancels the tenant's requests and loads, ends its sessions and destroys the models that were loaded for it; its
 * KV pages are zeroed, what it published when the last session that began with it lets go of it. Errors: NOT_FOUND.
 * Since 0.1. */
MERRITT_API int32_t merritt_tenant_destroy(merritt_tenant tenant, merritt_error **error);

/* Effect: replaces all limits of a tenant, those left 0 by their defaults: to change one, get them, change it, set them.
 * Requests that were accepted go on as they were accepted; lower limits refuse new ones only. Token and request rates
 * keep what is left of them. Errors: as create, NOT_FOUND. Since 0.2. */
MERRITT_API int32_t merritt_tenant_limits_set(merritt_tenant tenant, const merritt_tenant_options *options,
                                              merritt_error **error);
/* Fills *out up to out->struct_size, with the defaults in place of zeros; models is NULL and n_models their number.
 * Since 0.2. */
MERRITT_API int32_t merritt_tenant_limits_get(merritt_tenant tenant, merritt_tenant_options *out, merritt_error **error);
/* The models the tenant may use, as they were given; *count is 0 when it may use every one. capacity is in handles.
 * Since 0.2. */
MERRITT_API int32_t merritt_tenant_models_get(merritt_tenant tenant, merritt_model *models, size_t capacity,
                                              size_t *count, merritt_error **error);

/* Causes of refusals. */
#define MERRITT_REFUSED_PROMPT_BYTES 0
#define MERRITT_REFUSED_REQUEST_RATE 1
#define MERRITT_REFUSED_TOKEN_RATE 2
#define MERRITT_REFUSED_QUEUE 3     /* also a load during another one */
#define MERRITT_REFUSED_SEQUENCES 4
#define MERRITT_REFUSED_KV_BYTES 5
#define MERRITT_REFUSED_CONTEXT 6
#define MERRITT_REFUSED_OUTPUT 7
#define MERRITT_REFUSED_TEMPLATE 8
#define MERRITT_REFUSED_MODEL 9     /* one that it may not use, or that does not fit into what may be loaded for it */
#define MERRITT_REFUSED_OVERLOAD 10 /* everybody's queue */
#define MERRITT_REFUSED_OTHER 11

/* Counters are exact: each token, nanosecond and refusal is in one of them, once, after it was delivered. */
typedef struct merritt_tenant_usage {
    uint32_t struct_size;
    uint32_t requests_running;
    uint32_t requests_waiting;
    uint32_t sessions;
    uint64_t requests;          /* accepted since creation, as all below */
    uint64_t refusals;
    uint64_t prompt_tokens;
    uint64_t generated_tokens;
    uint64_t kv_bytes;          /* held now */
    /* From here on since 0.2. */
    uint64_t cached_tokens;     /* prompt tokens that were in the cache, beside prompt_tokens */
    uint64_t draft_tokens;      /* run as guesses */
    uint64_t draft_tokens_accepted; /* of these, handed out */
    uint64_t kv_byte_seconds;   /* bytes of KV pages held, over time */
    uint64_t compute_ns;        /* of the time of steps up to their commit, by its part of their rows; those of all
                                   tenants add up to it */
    uint64_t template_steps;    /* of rendering conversations */
    uint64_t refusals_by_cause[16]; /* by MERRITT_REFUSED_* */
    uint64_t finished[8];       /* requests ended, by MERRITT_FINISH_*; 0 = evaluations that were done */
    uint64_t model_bytes;       /* of models loaded for it, held now; of one that is being loaded its file's size */
    uint64_t model_loads;       /* done */
    uint64_t model_load_ns;     /* of all of them, also of those that failed */
} merritt_tenant_usage;
/* Fills *out up to out->struct_size. Since 0.1. */
MERRITT_API int32_t merritt_tenant_usage_get(merritt_tenant tenant, merritt_tenant_usage *out, merritt_error **error);

#ifdef __cplusplus
}
#endif
#endif
