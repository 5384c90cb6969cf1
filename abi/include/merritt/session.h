/* SPDX-License-Identifier: Apache-2.0
 *
 * merritt/session.h: a session is one tenant's conversation with one model; it keeps the KV cache of what was said,
 * or, where others needed its pages meanwhile, computes it again when it goes on, to the same bits.
 * A request is one generation on it; its tokens are read as a stream of events.
 */
#ifndef MERRITT_SESSION_H
#define MERRITT_SESSION_H

#include <merritt/model.h>
#include <merritt/tenant.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct merritt_session_options {
    uint32_t struct_size;
    uint32_t flags;             /* 0 */
} merritt_session_options;

/* Effect: opens a session with an empty cache. options may be NULL. Errors: NOT_FOUND, QUOTA_EXCEEDED, PERMISSION_DENIED (a
 * model that the tenant may not use), FAILED_PRECONDITION (tenant and model of different engines). Since 0.1. */
MERRITT_API int32_t merritt_session_create(merritt_tenant tenant, merritt_model model,
                                           const merritt_session_options *options, merritt_session *out,
                                           merritt_error **error);
/* Effect: cancels its requests, zeroes and frees its KV pages, but for what the tenant's prefix_bytes_max lets stay of its
 * prompts. Errors: NOT_FOUND. Since 0.1. */
MERRITT_API int32_t merritt_session_destroy(merritt_session session, merritt_error **error);
/* Tokens in the session's cache. Since 0.1. */
MERRITT_API int32_t merritt_session_length(merritt_session session, uint32_t *tokens, merritt_error **error);
/* Effect: drops cached tokens from `position` on, so that the next request continues from there. Errors:
 * INVALID_ARGUMENT (position beyond the length: both numbers), FAILED_PRECONDITION (a request is running, or a windowed
 * layer has already dropped what lies before position). Since 0.1. */
MERRITT_API int32_t merritt_session_truncate(merritt_session session, uint32_t position, merritt_error **error);
/* Effect: opens a second session with the same past; full pages are shared until either side writes. Errors: as create,
 * FAILED_PRECONDITION (a request is running). Since 0.1. */
MERRITT_API int32_t merritt_session_fork(merritt_session session, merritt_session *out, merritt_error **error);

/* Effect: the beginning of the session's first prompt, in whole pages, is there for the prompts of every tenant that may
 * use the model: who begins alike, in an empty session, does not run it again. *tokens (may be NULL) is its length. It
 * cannot be changed, stays when the session goes on or ends, and goes with the session's tenant, in whose kv_bytes_floor it
 * takes up its room. It is the only thing that tenants share: everybody can find out what it is, so never publish what a
 * tenant wrote. Where layers have a window, call it when little was generated (max_tokens 1): later they have dropped the
 * prompt. Errors: NOT_FOUND, PERMISSION_DENIED (the tenant has no MERRITT_TENANT_PUBLISHES), FAILED_PRECONDITION (a request
 * is running or a step has failed on it; no whole page of a prompt is cached; 64 are published), QUOTA_EXCEEDED (the floor),
 * OVERLOADED (no room for another holder of a windowed layer's pages). Since 0.2. */
MERRITT_API int32_t merritt_session_publish(merritt_session session, uint32_t *tokens, merritt_error **error);

/* Arrays of it come with logit_bias_stride. */
typedef struct merritt_logit_bias {
    int32_t token;
    float bias;                 /* added to the logit; -INFINITY forbids the token */
} merritt_logit_bias;

typedef struct merritt_string {
    const char *data;
    size_t length;
} merritt_string;

/* One generation. Give exactly one of text, tokens and messages. Field names and defaults follow common practice:
 * zero is default, temperature 0 is greedy. */
typedef struct merritt_request_options {
    uint32_t struct_size;
    uint32_t flags;                     /* MERRITT_REQUEST_* */
    const char *text;                   /* raw text; BOS as the model wants it when the session is empty */
    size_t text_length;
    const int32_t *tokens;              /* exact ids, nothing added */
    size_t n_tokens;
    const merritt_message *messages;    /* a whole conversation, rendered by the model's chat template; what the
                                           session has cached of it is not run again */
    size_t n_messages;
    uint32_t message_stride;            /* sizeof(merritt_message); 0 = its size in 0.1 */
    uint32_t logit_bias_stride;         /* sizeof(merritt_logit_bias); 0 = its size in 0.1 */
    uint32_t max_tokens;                /* tokens to generate; 0 = 1024 */
    uint32_t min_tokens;                /* end-of-generation tokens are forbidden before */
    uint32_t n;                         /* samples sharing the prompt; 0 = 1, at most 64 */
    uint32_t deadline_ms;               /* from submit; 0 = none */
    uint64_t seed;                      /* draws depend on (seed, choice, position) only; 0 = drawn at random */
    float temperature;                  /* 0 = greedy */
    float top_p;                        /* 0 = 1 = off */
    float min_p;                        /* 0 = off */
    uint32_t top_k;                     /* 0 = off */
    float repetition_penalty;           /* 0 = 1 = off */
    float frequency_penalty;
    float presence_penalty;
    uint32_t penalty_last_n;            /* tokens the penalties look back on; 0 = all */
    uint32_t n_logit_bias;
    uint32_t n_stop;
    const merritt_logit_bias *logit_bias;
    const merritt_string *stop;         /* stop strings, UTF-8; the match is not part of the output */
    const int32_t *stop_tokens;
    uint32_t n_stop_tokens;
    uint32_t reserved;                  /* 0 */
    uint32_t speculate_max;             /* guessed tokens a step may run, at most 64; 0 = off. For output that repeats
                                           its prompt or itself; it stays the same and comes sooner.
                                           Since 0.2 */
    int32_t priority;                   /* -100 to 100, higher first: which of its tenant's requests starts first, and
                                           keeps its place longest when the tenant has to give some back. Those of
                                           other tenants do not notice. A request of a low priority waits for as long
                                           as its tenant has higher ones. Since 0.2 */
} merritt_request_options;
#define MERRITT_REQUEST_IGNORE_EOS 1    /* end-of-generation tokens do not end the generation */
#define MERRITT_REQUEST_ECHO_SPECIAL 2  /* special tokens appear in the text */
#define MERRITT_REQUEST_PARSE_SPECIAL 4 /* in `text`, the text of a special token becomes its id */

/* Effect: queues a generation and returns. One request runs on a session at a time. Errors: INVALID_ARGUMENT (names
 * the field; a prompt that does not fit says both numbers, it is never cut), QUOTA_EXCEEDED, OVERLOADED (queue full, with
 * a retry hint), FAILED_PRECONDITION (a request is running), UNSUPPORTED (no chat template), CORRUPT. Since 0.1. */
MERRITT_API int32_t merritt_session_submit(merritt_session session, const merritt_request_options *options,
                                           merritt_request *out, merritt_error **error);

#define MERRITT_EVENT_NONE 0        /* the timeout passed */
#define MERRITT_EVENT_TEXT 1        /* text and/or a token of one choice */
#define MERRITT_EVENT_CHOICE_END 2  /* one choice has ended: finish_reason */
#define MERRITT_EVENT_END 3         /* the request has ended; every later call answers this again */

#define MERRITT_FINISH_NONE 0
#define MERRITT_FINISH_EOS 1        /* an end-of-generation or stop token */
#define MERRITT_FINISH_STOP 2       /* a stop string */
#define MERRITT_FINISH_LENGTH 3     /* max_tokens or the context is full */
#define MERRITT_FINISH_CANCELLED 4
#define MERRITT_FINISH_DEADLINE 5
#define MERRITT_FINISH_ERROR 6      /* merritt_request_next answers the error once, then END */

typedef struct merritt_event {
    uint32_t struct_size;
    uint32_t kind;                  /* MERRITT_EVENT_* */
    uint32_t choice;
    uint32_t finish_reason;         /* CHOICE_END and END */
    int32_t token;                  /* -1 = no token with this event */
    float logprob;                  /* of the token under the unmodified logits */
    const char *text;               /* whole UTF-8 characters; valid until the next call on this request */
    size_t text_length;
    uint64_t step;                  /* number of the engine step that made it */
} merritt_event;

#define MERRITT_WAIT_FOREVER 0xFFFFFFFFu
/* Effect: waits up to timeout_ms for the next event. Several threads may not read one request at the same time (the
 * second is answered FAILED_PRECONDITION). Errors: the request's own failure, once. Since 0.1. */
MERRITT_API int32_t merritt_request_next(merritt_request request, uint32_t timeout_ms, merritt_event *event,
                                         merritt_error **error);
/* Effect: asks the engine to stop; it does within two steps and the stream ends with FINISH_CANCELLED. The statistics are
 * the receipt: how many steps it still ran and what it gave back. Safe from a signal watcher thread. Errors: NOT_FOUND.
 * Since 0.1. */
MERRITT_API int32_t merritt_request_cancel(merritt_request request, merritt_error **error);
/* Effect: cancels if running, then forgets the request. merritt_queue_next answers nothing of it any more; a queue's
 * callback that runs in another thread at the same time may be the last. Errors: NOT_FOUND. Since 0.1. */
MERRITT_API int32_t merritt_request_destroy(merritt_request request, merritt_error **error);

typedef struct merritt_request_stats {
    uint32_t struct_size;
    uint32_t finish_reason;         /* of choice 0, NONE while running */
    uint32_t prompt_tokens;
    uint32_t cached_tokens;         /* of these, already in the session's cache, in its tenant's, or published */
    uint32_t generated_tokens;      /* over all choices */
    uint32_t steps;
    uint64_t queue_ns;              /* submit to first step */
    uint64_t first_token_ns;        /* submit to first token */
    uint64_t prefill_ns;            /* first step to first token */
    uint64_t decode_ns;             /* first token to last */
    uint32_t draft_tokens;          /* run as guesses, see speculate_max, over all choices. Since 0.2 */
    uint32_t draft_tokens_accepted; /* of these, in the output. Since 0.2 */
    uint32_t steps_after_cancel;    /* of `steps`, those after merritt_request_cancel: at most two a sample. Since 0.2 */
    uint32_t pages_freed;           /* by its end: KV pages of its samples; the session keeps its own. Since 0.2 */
    uint64_t kv_bytes_released;     /* by its end: bytes of these pages, and of those promised to it. Since 0.2 */
} merritt_request_stats;
/* Fills *out up to out->struct_size; also while running. Since 0.1. */
MERRITT_API int32_t merritt_request_stats_get(merritt_request request, merritt_request_stats *out,
                                              merritt_error **error);

#ifdef __cplusplus
}
#endif
#endif
