/* SPDX-License-Identifier: Apache-2.0
 *
 * merritt/queue.h: the events of many requests in one place, with a file descriptor to wait on, for hosts that run
 * hundreds of requests and not a thread for each. Since 0.2, all of it.
 *
 *     merritt_session_submit(session, &options, &request, &error);
 *     merritt_queue_add(queue, request, (uint64_t)my_object, &error);
 *     ... poll(2) on merritt_queue_fd, or wait in merritt_queue_next ...
 *
 * A queue holds nothing of its own but the list of its requests that have something unread: each stands in it once, so it
 * never overflows. Events wait in their request; one that nobody reads fails alone, with OVERLOADED, and costs no
 * other request and no step anything. The end of a request whose session, tenant or model is destroyed comes too.
 */
#ifndef MERRITT_QUEUE_H
#define MERRITT_QUEUE_H

#include <merritt/session.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct merritt_queue_handle *merritt_queue;

/* One event of one request. Arrays of it come with a stride. */
typedef struct merritt_completion {
    uint32_t kind;               /* MERRITT_EVENT_TEXT, _CHOICE_END, and _END, once, as the last one of the request */
    uint32_t choice;
    uint32_t finish_reason;      /* CHOICE_END and END */
    int32_t token;               /* -1 = no token with this event */
    float logprob;               /* of the token under the unmodified logits */
    uint32_t reserved;           /* 0 */
    const char *text;            /* whole UTF-8 characters, text_length bytes */
    size_t text_length;
    uint64_t step;               /* number of the engine step that made it */
    uint64_t user;               /* as given to merritt_queue_add */
    const merritt_error *error;  /* END of a request that failed: why; not to be released. Else NULL */
} merritt_completion;

/* Called for each completion, on a thread of the queue's own, one call at a time, or by merritt_engine_poll on an engine
 * without threads. It may call everything but merritt_queue_destroy of this queue, merritt_engine_destroy and
 * merritt_engine_poll of this engine (FAILED_PRECONDITION). What `completion` points at lives until it returns. */
typedef void (*merritt_completion_fn)(void *user, const merritt_completion *completion);

typedef struct merritt_queue_options {
    uint32_t struct_size;
    uint32_t flags;                     /* 0 */
    merritt_completion_fn on_completion; /* NULL = completions are read with merritt_queue_next */
    void *on_completion_user;
} merritt_queue_options;

/* Effect: makes an empty queue. options may be NULL. Ownership: destroy with merritt_queue_destroy. Errors:
 * INVALID_ARGUMENT, OVERLOADED (1024 queues live in this engine), OUT_OF_MEMORY (no thread for the callback). */
MERRITT_API int32_t merritt_queue_create(merritt_engine engine, const merritt_queue_options *options,
                                         merritt_queue *out, merritt_error **error);
/* Effect: wakes and ends a waiting merritt_queue_next (CANCELLED), waits for a running callback, closes the descriptor.
 * Requests of the queue go on; what they still have to say is read with merritt_request_next. Errors: NOT_FOUND,
 * FAILED_PRECONDITION (called by the queue's own callback). */
MERRITT_API int32_t merritt_queue_destroy(merritt_queue queue, merritt_error **error);

/* Effect: everything the request has not said yet, also what waits unread, comes through the queue, marked with `user`.
 * merritt_request_next answers FAILED_PRECONDITION from now on. Errors: NOT_FOUND, FAILED_PRECONDITION (queue and request
 * of different engines; the request is in a queue, is being read, or has said its end). */
MERRITT_API int32_t merritt_queue_add(merritt_queue queue, merritt_request request, uint64_t user,
                                      merritt_error **error);

/* Effect: what the request has not said through the queue is read with merritt_request_next again. Errors: NOT_FOUND (also
 * when the request is not in this queue). */
MERRITT_API int32_t merritt_queue_remove(merritt_queue queue, merritt_request request, merritt_error **error);

/* *fd: a descriptor that poll, epoll and io_uring report readable as long as there is something for merritt_queue_next.
 * Only to be waited on: it must not be read, written or closed. Lives as long as the queue. Errors: UNSUPPORTED (the
 * queue has a callback), OVERLOADED (the process has no descriptor left). */
MERRITT_API int32_t merritt_queue_fd(merritt_queue queue, int64_t *fd, merritt_error **error);

/* Effect: waits up to timeout_ms (0 = not at all) until there is something, and takes up to `capacity` events: out[0] to
 * out[*count - 1], entries `stride` bytes apart (sizeof(merritt_completion)). Events of a request come in order; requests
 * take turns. Texts and errors of `out` live until the next call on this queue. *count = 0: the time passed. One
 * thread at a time. On an engine without threads it runs the engine's steps while it waits. Errors: INVALID_ARGUMENT,
 * FAILED_PRECONDITION (another thread reads, or the queue has a callback), CANCELLED (the queue is being destroyed). */
MERRITT_API int32_t merritt_queue_next(merritt_queue queue, uint32_t timeout_ms, merritt_completion *out,
                                       uint32_t stride, uint32_t capacity, uint32_t *count, merritt_error **error);

#ifdef __cplusplus
}
#endif
#endif
