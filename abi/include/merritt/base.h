/* SPDX-License-Identifier: Apache-2.0
 *
 * merritt/base.h: codes, errors, handles and the version. C11 and C++17.
 *
 * Rules that hold for every function of the C ABI unless it says otherwise.
 *  Results   int32_t code, MERRITT_OK = 0. When `error` is not NULL, a failure stores an owned merritt_error there
 *            (release it with merritt_error_release) and success stores NULL. A call that fails changes nothing.
 *            No exception, signal, abort or output crosses the boundary. MERRITT_INTERNAL means that an invariant broke:
 *            the handle of that call (the tenant's, where there is one) answers MERRITT_INTERNAL from then on and can only
 *            be destroyed. An engine stays usable: what was being made for it was thrown away.
 *  Handles   merritt_engine, merritt_model, ... are values shaped like pointers. They are looked up, never
 *            dereferenced: a null, stale, foreign, wrong-kind or doubly destroyed handle gives
 *            MERRITT_INVALID_ARGUMENT or MERRITT_NOT_FOUND, also when another thread destroys it at the same time.
 *            Destroying a parent (engine > tenant > session > request; engine > model; tenant > model, where it
 *            was loaded for one) ends its children.
 *  Structs   start with `uint32_t struct_size` = sizeof(the struct). Zero means default everywhere. A caller built
 *            against a newer header whose extra tail is not zero is refused with MERRITT_UNSUPPORTED; in a struct that is
 *            filled for the caller such a tail is zeroed. Entries of an array that have no struct_size come
 *            with a field `..._stride` = sizeof(one entry), 0 = its size in 0.1; the same rule holds for the tail of each.
 *            merritt_string is frozen.
 *  Strings   UTF-8, pointer + length in bytes, not terminated. Input is borrowed for the call. Output buffers belong to
 *            the caller: `*length` tells the whole size; a buffer too small is filled with nothing and answers
 *            MERRITT_FAILED_PRECONDITION, so call once with capacity 0 to learn the size (this answers MERRITT_OK).
 *  Threads   every function may be called from any thread at any time.
 *  Fork      in a child of fork(), destroy functions release what they can and answer MERRITT_OK; every other call
 *            answers MERRITT_FAILED_PRECONDITION. KV pages are wiped in the child by the kernel.
 */
#ifndef MERRITT_BASE_H
#define MERRITT_BASE_H

#include <stddef.h>
#include <stdint.h>

#define MERRITT_VERSION_MAJOR 0
#define MERRITT_VERSION_MINOR 2
#define MERRITT_VERSION_PATCH 0

#if defined(_WIN32)
#define MERRITT_API
#else
#define MERRITT_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Codes. The numbers never change. */
#define MERRITT_OK 0
#define MERRITT_INVALID_ARGUMENT 1    /* the call itself is wrong; the message names the argument and its limit */
#define MERRITT_NOT_FOUND 2           /* no such object, file, plugin or device; also another tenant's handle */
#define MERRITT_PERMISSION_DENIED 3   /* trust: an unsigned or altered plugin, a model not allowed to this tenant */
#define MERRITT_FAILED_PRECONDITION 4 /* right call, wrong moment or place */
#define MERRITT_QUOTA_EXCEEDED 5      /* this tenant's limit */
#define MERRITT_OVERLOADED 6          /* everyone's limit: retry after merritt_error_retry_after_ms */
#define MERRITT_DEADLINE_EXCEEDED 7
#define MERRITT_CANCELLED 8
#define MERRITT_UNSUPPORTED 9         /* not offered by this build, plugin, model or template; nothing was done */
#define MERRITT_CORRUPT 10            /* a file or page that is not what it claims to be */
#define MERRITT_BACKEND 11            /* the plugin or its device failed */
#define MERRITT_OUT_OF_MEMORY 12
#define MERRITT_INTERNAL 13           /* a broken invariant; the handle can only be destroyed from now on */

/* Who else is affected by a failure. */
#define MERRITT_BLAST_REQUEST 0
#define MERRITT_BLAST_SESSION 1
#define MERRITT_BLAST_TENANT 2
#define MERRITT_BLAST_DEVICE 3
#define MERRITT_BLAST_PROCESS 4

typedef struct merritt_engine_handle *merritt_engine;
typedef struct merritt_model_handle *merritt_model;
typedef struct merritt_tenant_handle *merritt_tenant;
typedef struct merritt_session_handle *merritt_session;
typedef struct merritt_request_handle *merritt_request;

/* Details of one failure. Plain memory owned by the caller, not a handle: release it once. */
typedef struct merritt_error merritt_error;

/* Getters take NULL and then answer MERRITT_OK, "" or 0. The message is UTF-8, terminated, and lives until release.
 * It holds no prompt text, token ids or keys. Threads: any, but not while another thread releases it. Since 0.1. */
MERRITT_API int32_t merritt_error_code(const merritt_error *error);
MERRITT_API const char *merritt_error_message(const merritt_error *error);
MERRITT_API uint32_t merritt_error_retry_after_ms(const merritt_error *error);
MERRITT_API uint32_t merritt_error_blast(const merritt_error *error);
MERRITT_API void merritt_error_release(merritt_error *error);

/* The library's version, (major << 16) | (minor << 8) | patch. Since 0.1. */
MERRITT_API uint32_t merritt_version(void);
/* "0.2.0", terminated, static. Since 0.1. */
MERRITT_API const char *merritt_version_string(void);
/* "invalid_argument" for 1 and so on, "unknown" for others; terminated, static. Since 0.1. */
MERRITT_API const char *merritt_code_name(int32_t code);

#ifdef __cplusplus
}
#endif
#endif
