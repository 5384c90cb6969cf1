/* SPDX-License-Identifier: Apache-2.0
 *
 * merritt/model.h: a model = weights compiled by one backend, its KV page pool, tokenizer and chat template.
 */
#ifndef MERRITT_MODEL_H
#define MERRITT_MODEL_H

#include <merritt/engine.h>

#ifdef __cplusplus
extern "C" {
#endif

/* KV element types, numbered as the ggml types. 0 = the backend's default. */
#define MERRITT_KV_DEFAULT 0
#define MERRITT_KV_F16 1
#define MERRITT_KV_BF16 30
#define MERRITT_KV_Q8_0 8
#define MERRITT_KV_F32 256        /* ggml numbers f32 as 0, which is taken by "default" */

/* Progress of a load or an evaluation in [0, 1]; non-zero cancels it. Called on the thread that made the call, a few times
 * a second or more often. */
typedef int32_t (*merritt_progress_fn)(void *user, float fraction);

typedef struct merritt_model_options {
    uint32_t struct_size;
    uint32_t kv_type;               /* MERRITT_KV_* */
    const char *backend;            /* id of a loaded backend; NULL = the first loaded that accepts the model */
    size_t backend_length;
    uint32_t context_max;           /* longest sequence in tokens; 0 = min(the model's, 4096) */
    uint32_t sequences_max;         /* sequences in one step; 0 = 32 */
    uint32_t step_tokens_max;       /* rows in one step, the prefill chunk; 0 = 512 */
    uint32_t page_tokens;           /* tokens in a KV page; 0 = 64 */
    uint64_t kv_bytes;              /* size of the KV pool; 0 = 4 sequences of context_max */
    uint32_t flags;                 /* 0 */
    uint32_t reserved;              /* 0 */
    merritt_progress_fn progress;
    void *progress_user;
    /* Pack cache: an absolute directory of this user, writable by nobody else, in which the weights are kept as the
     * backend packs them, for the next load of the same file; NULL = nothing is kept. A pack that is not as this
     * installation wrote it is not used, whoever wrote it, and one that cannot be written is done without: both are
     * logged. Backends that cannot keep packs load as ever. Since 0.2. */
    const char *pack_cache;
    size_t pack_cache_length;
    const uint8_t *pack_cache_key;  /* the key packs are checked under; NULL = that of the file "key", made there */
    size_t pack_cache_key_length;   /* 32, or 0 */
    /* The tenant for which the model is loaded; NULL = the host's own, for every tenant. A tenant's model is its alone:
     * its bytes count towards the tenant's model_bytes_max, the load is one of its requests per second, and the model is
     * destroyed with it. Since 0.2. */
    merritt_tenant tenant;
} merritt_model_options;

/* Effect: reads a GGUF file with pread (it is never mapped), compiles it on a backend and makes its KV pool. The engine
 * must have a backend loaded. Blocks; other threads go on. Errors: NOT_FOUND, CORRUPT (says which field), UNSUPPORTED (an
 * architecture, tensor type or option nobody offers, by name), OUT_OF_MEMORY (with both numbers), CANCELLED (by progress,
 * or because the tenant or the engine is being destroyed), BACKEND, PERMISSION_DENIED (the pack cache's directory or key
 * is not this user's alone, or the tenant may load no models), QUOTA_EXCEEDED (a limit of the tenant: the message names
 * it), OVERLOADED (too many models, or too many loads for tenants at once; then the error says when to try again),
 * FAILED_PRECONDITION (in a callback of the engine; the engine drains; a tenant of another engine). Since 0.1. */
MERRITT_API int32_t merritt_model_load(merritt_engine engine, const char *path, size_t path_length,
                                       const merritt_model_options *options, merritt_model *out, merritt_error **error);
/* Effect: ends the model's sessions and returns every byte. Errors: NOT_FOUND. Since 0.1. */
MERRITT_API int32_t merritt_model_destroy(merritt_model model, merritt_error **error);

typedef struct merritt_model_info {
    uint32_t struct_size;
    uint32_t vocabulary;            /* token ids are [0, vocabulary) */
    uint32_t layers;
    uint32_t width;                 /* embedding length */
    uint32_t context_trained;       /* what the model was trained for */
    uint32_t context_max;           /* what this load allows */
    uint32_t kv_groups;
    uint32_t page_tokens;
    uint64_t parameters;
    uint64_t file_bytes;
    uint64_t weight_bytes;          /* resident, as packed by the backend */
    uint64_t kv_bytes;              /* of the pool */
    uint64_t kv_bytes_per_token;    /* over all layers without a window */
    int32_t bos, eos;               /* token ids, -1 = none */
    uint32_t kv_pages;              /* of the group without a window, or of group 0 */
    uint32_t flags;                 /* MERRITT_MODEL_* */
    char architecture[32];          /* terminated, as the rest */
    char name[128];
    char backend[64];
    char license[64];               /* as the file states it */
    char chat_template[32];         /* "model", "builtin:gemma", "none" */
    char quantization[64];          /* summary such as "Q5_0 81, Q4_K 27, F32 109" */
} merritt_model_info;
#define MERRITT_MODEL_ADD_BOS 1
#define MERRITT_MODEL_FROM_PACK 2       /* the weights came from the pack cache. Since 0.2 */
/* Fills *out up to out->struct_size. Since 0.1. */
MERRITT_API int32_t merritt_model_info_get(merritt_model model, merritt_model_info *out, merritt_error **error);

/* Tokens of a text. flags: MERRITT_TOKENIZE_*. tokens[capacity] is filled when all fit; *count is always the number.
 * Errors: as for strings in base.h. Since 0.1. */
#define MERRITT_TOKENIZE_RAW 1      /* add no BOS or EOS */
#define MERRITT_TOKENIZE_SPECIAL 2  /* the text of a special token becomes its id */
MERRITT_API int32_t merritt_model_tokenize(merritt_model model, const char *text, size_t text_length, uint32_t flags,
                                           int32_t *tokens, size_t capacity, size_t *count, merritt_error **error);
/* Text of tokens that begin a text: the blank that SentencePiece puts before a text is taken off again. flags:
 * MERRITT_DETOKENIZE_*. Errors: INVALID_ARGUMENT (an id out of range). Since 0.1. */
#define MERRITT_DETOKENIZE_SPECIAL 1   /* special tokens appear as their text; otherwise they are left out */
#define MERRITT_DETOKENIZE_CONTINUED 2 /* the tokens go on from others: a blank before the first one belongs to them */
MERRITT_API int32_t merritt_model_detokenize(merritt_model model, const int32_t *tokens, size_t count, uint32_t flags,
                                             char *text, size_t capacity, size_t *length, merritt_error **error);

/* One message of a conversation. It will grow (tool calls): arrays of it come with message_stride. */
typedef struct merritt_message {
    const char *role;               /* "system", "user", "assistant", ... as the template knows them */
    size_t role_length;
    const char *content;
    size_t content_length;
} merritt_message;
typedef struct merritt_chat_options {
    uint32_t struct_size;
    uint32_t flags;                 /* 0 */
    const merritt_message *messages;
    size_t n_messages;
    uint32_t message_stride;        /* sizeof(merritt_message); 0 = its size in 0.1 */
    uint32_t reserved;              /* 0 */
} merritt_chat_options;
/* Renders messages with the model's chat template, ending with the opening of the assistant's turn. The renderer is
 * bounded in steps, bytes and depth. Errors: UNSUPPORTED (no template, or one that uses something this version refuses,
 * by name and line), INVALID_ARGUMENT (the template's own complaint; more than 64 MiB of messages). Since 0.1. */
MERRITT_API int32_t merritt_model_render_chat(merritt_model model, const merritt_chat_options *options, char *text,
                                              size_t capacity, size_t *length, merritt_error **error);

typedef struct merritt_eval_options {
    uint32_t struct_size;
    uint32_t flags;                 /* MERRITT_EVAL_* */
    uint32_t deadline_ms;           /* from the call; 0 = none */
    uint32_t reserved;              /* 0 */
    merritt_progress_fn progress;   /* NULL = none; it is how a long evaluation is cancelled */
    void *progress_user;
} merritt_eval_options;
#define MERRITT_EVAL_DECODE 1       /* feed the tokens one by one, in class generated */
/* Teacher-forced logits: runs `count` tokens from an empty cache and writes f32 logits [count, vocabulary], row-major.
 * options may be NULL. Goes through the scheduler like any request of `tenant` and returns when it has ended.
 * logits_length counts floats and must be count * vocabulary; what is in the buffer after a failure is unspecified.
 * Errors: as merritt_session_submit, DEADLINE_EXCEEDED, CANCELLED (by progress, or because the tenant, the model or the
 * engine is being destroyed). Since 0.1. */
MERRITT_API int32_t merritt_model_eval(merritt_model model, merritt_tenant tenant, const int32_t *tokens, size_t count,
                                       const merritt_eval_options *options, float *logits, size_t logits_length,
                                       merritt_error **error);

/* Which kernel runs each node of the model's graph: one line a node, "index op kernel flops_share\n", for row class 0
 * (prompt) or 1 (generated). Errors: UNSUPPORTED (the backend does not tell). Since 0.1. */
MERRITT_API int32_t merritt_model_trace_kernels(merritt_model model, uint32_t row_class, char *text, size_t capacity,
                                                size_t *length, merritt_error **error);

#ifdef __cplusplus
}
#endif
#endif
