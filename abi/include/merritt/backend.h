/* SPDX-License-Identifier: Apache-2.0
 *
 * merritt/backend.h: the contract between the Merritt core and a backend plugin. C11 and C++17.
 *
 * The cut. The core hands over a whole model once (graph + weights) and then runs batched steps over page tables.
 * The core decides who runs, which page belongs to whom, what is sampled and what is encrypted. The plugin decides
 * what bytes a page holds, how weights are packed, what is fused or captured. No tenant or session id crosses here.
 *
 * Rules that hold for every declaration below unless it says otherwise.
 *  Results   int32_t code, MRT_OK = 0. On failure the callee fills *err; err is never NULL and belongs to the caller.
 *            A call that fails changes nothing. Nothing is thrown, longjmp'ed, printed or aborted across the boundary.
 *  Sizes     a struct with struct_size is read up to min(caller, callee). A non-zero tail the callee does not know is
 *            refused with MRT_UNSUPPORTED. Zero means default. Structs without struct_size are frozen for ABI 1.
 *  Unknowns  an op, attribute key, flag or type the plugin does not know is refused at compile, naming the node.
 *  Threads   [any] concurrent. [setup] one caller per device, also while its programs run. [program] one caller per
 *            program; different programs run concurrently. [pool] one caller per pool; no running step names the pages.
 *  Memory    freed by the side that made it. Input pointers are borrowed for the call; longer loans say so. Between
 *            prepare and commit/abort nothing is allocated: a step leaves the ledger as it was.
 *            Strings are UTF-8, pointer + length, not terminated. All memory is charged to the host before it is used.
 *  Names     mrt_ is the plugin's side of the house, merritt_ the host's, so that an object of one is never taken for
 *            a handle of the other (docs/adr/0002).
 *  Plugins   start no thread, install no handler, read no environment, open no file or socket, keep no global state.
 */
#ifndef MERRITT_BACKEND_H
#define MERRITT_BACKEND_H
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

/* ---- Handshake: these two types and the symbol are frozen for ever -------------------------------------------- */
#define MRT_BACKEND_ABI 1u
#define MRT_BACKEND_SYMBOL "merritt_backend_v1"
typedef struct mrt_hello_in { uint32_t abi_min, abi_max; uint32_t reserved[6]; } mrt_hello_in;
typedef struct mrt_hello_out {
    uint32_t abi;           /* chosen version in [abi_min, abi_max]; 0 = refused, see reason */
    uint32_t table_bytes;   /* sizeof the plugin's own table; written by the SDK macro, never by hand */
    const void *table;      /* static storage; the host copies it, stubs missing optional slots, names missing ones */
    char reason[256];       /* terminated */
} mrt_hello_out;
typedef int32_t (*mrt_hello_fn)(const mrt_hello_in *in, mrt_hello_out *out);

/* ---- Errors ---------------------------------------------------------------------------------------------------- */
enum { MRT_OK = 0, MRT_INVALID_ARGUMENT = 1, MRT_NOT_FOUND = 2, MRT_FAILED_PRECONDITION = 4, MRT_DEADLINE = 7,
       MRT_CANCELLED = 8, MRT_UNSUPPORTED = 9, MRT_CORRUPT = 10, MRT_BACKEND = 11, MRT_OUT_OF_MEMORY = 12,
       MRT_INTERNAL = 13 };  /* the numbers of the host ABI; the gaps are codes a plugin may not return */
/* What is no longer usable. The core maps it to request / session / tenant; a plugin knows none of these. */
enum { MRT_BLAST_CALL = 0,      /* only this call: retry or give up, all objects stay good */
       MRT_BLAST_SEQUENCE = 1,  /* the one sequence err->index of the step; the others may be retried without it */
       MRT_BLAST_STEP = 2, MRT_BLAST_PROGRAM = 3,  /* program: destroy it; pools and model stay good */
       MRT_BLAST_DEVICE = 4,    /* device lost: every object on it answers so; only read-outs and destroys remain */
       MRT_BLAST_PROCESS = 5 };
typedef struct mrt_error {      /* frozen */
    int32_t code; uint32_t blast;
    uint32_t index;             /* node, weight or sequence concerned; UINT32_MAX = none */
    uint32_t reserved;
    int64_t native;             /* driver or library code, for logs */
    char message[232];          /* terminated; no prompt text, token ids or keys */
} mrt_error;

typedef struct mrt_device mrt_device;     /* made by the plugin, destroyed through the table, children first */
typedef struct mrt_model mrt_model;       /* immutable after compile: [any] */
typedef struct mrt_adapter mrt_adapter;
typedef struct mrt_pool mrt_pool;
typedef struct mrt_program mrt_program;

/* ---- Services of the host: given to device_open, good until device_close returns ------------------------------- */
enum { MRT_MEM_WEIGHTS = 1, MRT_MEM_SCRATCH = 2, MRT_MEM_STAGING = 3, MRT_MEM_KV = 4,
       MRT_MEM_KV_HOT = 5 };    /* hot: locked, not dumped, wiped on fork and on free; scarce */
enum { MRT_ISA_ANY = 0, MRT_ISA_AVX2 = 1, MRT_ISA_AVX512 = 2, MRT_ISA_VNNI = 3 /* with avx512_bf16 */, MRT_ISA_AMX = 4 };
typedef struct mrt_host {
    uint32_t struct_size, n_workers;      /* workers include the calling thread */
    uint32_t isa_max, reserved;           /* MRT_ISA_*: the widest instruction set to use; 0 = what the CPU has */
    void *ctx;
    /* [any] Host memory, charged, zeroed, aligned to max(align, 64). NULL = over budget: return MRT_OUT_OF_MEMORY.
     * Large blocks are taken from the system page by page as they are touched. mem_free wipes all kinds but weights. */
    void *(*mem_alloc)(void *ctx, uint32_t kind, uint64_t bytes, uint64_t align);
    void (*mem_free)(void *ctx, uint32_t kind, void *p, uint64_t bytes);
    /* [any] Device memory: charge(+bytes) before taking it, charge(-bytes) after giving it back. */
    int32_t (*charge)(void *ctx, uint32_t kind, int64_t bytes);
    /* Calls fn for i in [0, n), returns after the last; the caller works too. Calls may run one after another (no
     * barriers inside fn); a nested call runs inline. worker < n_workers is unique among running calls. */
    void (*parallel)(void *ctx, uint32_t n, void (*fn)(void *arg, uint32_t i, uint32_t worker), void *arg);
    /* Optional. Like parallel, but all n <= n_workers calls run at the same time, so fn may use short barriers.
     * MRT_UNSUPPORTED = cannot be promised now, nothing was called: fall back to parallel. One gang per step, not one
     * parallel per op: waking sleeping workers costs tens of microseconds. */
    int32_t (*gang)(void *ctx, uint32_t n, void (*fn)(void *arg, uint32_t i, uint32_t worker), void *arg);
    void (*log)(void *ctx, uint32_t level, const char *text, uint32_t len);  /* [any] 0 debug .. 3 error */
} mrt_host;

/* ---- Device ---------------------------------------------------------------------------------------------------- */
enum { MRT_DEV_HOST_VISIBLE = 1,       /* pages can be mapped */
       MRT_DEV_BATCH_INVARIANT = 2,    /* a row does not depend on what else is in the batch, or on chunking */
       MRT_DEV_ASYNC = 4 };            /* step_run returns before the step is done */
typedef struct mrt_device_desc {
    uint32_t struct_size, flags;
    char id[64], name[128];            /* terminated; id is stable across restarts */
    uint64_t memory_total, memory_free;
    uint32_t cancel_bound_us;          /* worst time from the flag to step_wait returning, at max_tokens; tested */
    uint32_t slots;                    /* steps that may be in flight per program: 1, or 2 to overlap */
} mrt_device_desc;
enum { MRT_STATE_GOOD = 0, MRT_STATE_LOST = 1 };

/* ---- Graph: plain arrays, no pointers between nodes, so it can be hashed, stored and sent to a worker ---------- */
/* A reference: kind in the top 2 bits, index below. Nodes refer only to earlier nodes. */
#define MRT_REF_NODE(i)   ((uint32_t)(i))
#define MRT_REF_WEIGHT(i) (0x40000000u | (uint32_t)(i))
#define MRT_REF_INPUT(i)  (0x80000000u | (uint32_t)(i))
#define MRT_REF_NONE      0xC0000000u
enum { MRT_IN_TOKENS = 0, MRT_IN_POSITIONS = 1, MRT_IN_TYPES = 2, MRT_IN_HIDDEN = 3 };  /* HIDDEN: f32 rows */
enum { MRT_ROWS_TOKENS = 0,   /* one row per token of the step */
       MRT_ROWS_WANTED = 1,   /* one row per entry of staging.rows */
       MRT_ROWS_SEQS = 2 };   /* one row per sequence */
/* Arguments in order; [x] may be MRT_REF_NONE. Attributes in braces. Values are f32 in meaning; a plugin may round
 * them to bf16 where compile policy allows. Weight shapes are row-major [out, in], GGUF order. */
enum {
    MRT_OP_EMBED = 1,    /* ids, table                       {SCALE}                                               */
    MRT_OP_LINEAR,       /* x, w, [bias]                     y = x wT + b; an adapter site is named by node index  */
    MRT_OP_RMS_NORM,     /* x, [w]                           {EPS, HEAD_DIM: per head, OFFSET: w + OFFSET}         */
    MRT_OP_LAYER_NORM,   /* x, [w], [b]                      {EPS, HEAD_DIM; w of one head or of all heads}        */
    MRT_OP_ROPE,         /* x, positions, [freq factors]     {HEAD_DIM, ROT_DIM, BASE, STYLE, SCALING.., SCALE}    */
    MRT_OP_ATTENTION,    /* q, [k], [v], [sinks]             {HEAD_DIM, V_DIM, HEADS, KV_HEADS, SCALE, SOFTCAP,
                            WINDOW, MASK, KV_LAYER}  Caches k, v, then attends over the cache. No k, v: reads what an
                            earlier node of that KV_LAYER cached. No KV_LAYER: within the step, caches nothing; the
                            only form that may be bidirectional.                                                    */
    MRT_OP_ACT,          /* x                                {ACT}                                                 */
    MRT_OP_GATE,         /* a, b                             {ACT} act(a) * b; ACT none = product                  */
    MRT_OP_ADD,          /* a, b                                                                                   */
    MRT_OP_SCALE,        /* x, [per-column weight]           {SCALE}                                               */
    MRT_OP_SOFTCAP,      /* x                                {SOFTCAP} c * tanh(x / c)                             */
    MRT_OP_MOE,          /* x, router, gate, up, down, [select bias]  {EXPERTS, TOP_K, SCORE, NORM_TOPK, SCALE, ACT};
                            gate, up, down are [expert, out, in]; the bias moves the choice, not the weight         */
    MRT_OP_SELECT_ROWS,  /* x                                TOKENS -> WANTED                                      */
    MRT_OP_POOL          /* x                                {POOL} TOKENS -> SEQS                                 */
};
enum { /* attribute keys: below 0x100 integer, from 0x100 real. Absent = 0 = none, except SCALE, default 1 */
    MRT_A_HEAD_DIM = 1, MRT_A_V_DIM, MRT_A_HEADS, MRT_A_KV_HEADS, MRT_A_KV_LAYER /* ordinal + 1 */, MRT_A_WINDOW,
    MRT_A_MASK /* 0 causal, 1 bidirectional */, MRT_A_ROT_DIM, MRT_A_STYLE /* 0 halves, 1 adjacent pairs */,
    MRT_A_SCALING /* 0 none 1 linear 2 yarn */, MRT_A_ORIG_CTX, MRT_A_ACT /* 0 none 1 silu 2 gelu_tanh 3 gelu_erf
    4 relu 5 relu^2 6 tanh 7 sigmoid */, MRT_A_EXPERTS, MRT_A_TOP_K, MRT_A_SCORE /* 0 softmax all, 1 sigmoid,
    2 softmax of chosen */, MRT_A_NORM_TOPK, MRT_A_POOL /* 0 first 1 mean 2 last */,
    MRT_A_EPS = 0x100, MRT_A_OFFSET, MRT_A_BASE, MRT_A_SCALE, MRT_A_SOFTCAP, MRT_A_FACTOR, MRT_A_BETA_FAST,
    MRT_A_BETA_SLOW };
typedef struct mrt_attr { uint32_t key, reserved; union { int64_t i; double f; } v; } mrt_attr;  /* frozen */
typedef struct mrt_node {                                                                        /* frozen */
    uint16_t op, rows;                 /* MRT_OP_*, MRT_ROWS_* of the result */
    uint32_t width;                    /* columns of the result; the plugin checks rows and width against the op */
    uint32_t first_arg, n_args, first_attr, n_attrs;
} mrt_node;
typedef struct mrt_weight {                                                                      /* frozen */
    const char *name; uint32_t name_len;
    uint32_t type;                     /* ggml type id: 0 f32, 1 f16, 2 q4_0, 8 q8_0, 12 q4_K, 14 q6_K, 30 bf16 .. */
    uint32_t n_dims, reserved;
    uint64_t dims[4];                  /* dims[0] is contiguous (input); the core has checked products and bytes */
    uint64_t bytes;
} mrt_weight;
typedef struct mrt_weights {
    uint32_t struct_size, n_weights;
    const mrt_weight *list;
    void *ctx;
    /* [any, during compile] Copies bytes [offset, offset + len). The core slices, permutes and decrypts rows here. */
    int32_t (*read)(void *ctx, uint32_t weight, uint64_t offset, void *dst, uint64_t len, mrt_error *err);
    /* Optional, [any]. Loans the bytes in place until unpin, at the latest in model_destroy. Never unpinned = the
     * mapping stays. No pins left = the core unmaps the file. */
    int32_t (*pin)(void *ctx, uint32_t weight, const void **p, mrt_error *err);
    void (*unpin)(void *ctx, uint32_t weight);
} mrt_weights;
typedef struct mrt_graph {
    uint32_t struct_size, n_nodes, n_args, n_attrs, n_outputs, max_context;
    const mrt_node *nodes;
    const uint32_t *args;
    const mrt_attr *attrs;
    const uint32_t *outputs;           /* node indexes, at most MRT_MAX_OUTPUTS; a step asks for a subset */
} mrt_graph;

/* ---- Compile --------------------------------------------------------------------------------------------------- */
enum { MRT_COMPILE_PLAN_ONLY = 1,      /* read no weight, make no model: only fill info or decline */
       MRT_COMPILE_EXACT = 2 };        /* f32 activations throughout: conformance runs */
typedef struct mrt_model_info {
    uint32_t struct_size, flags;       /* MRT_MODEL_* */
    uint64_t weight_bytes, peak_bytes; /* resident, and while compiling */
    uint8_t numerics[16];              /* changes when a build may give other logits: part of cache and snapshot ids */
} mrt_model_info;
enum { MRT_MODEL_WHOLE_SEQUENCE = 1 }; /* a sequence must fit one step: no chunked prefill (encoders) */

/* ---- KV pool --------------------------------------------------------------------------------------------------- */
/* Attention nodes with the same WINDOW form a group, numbered by first use in node order: a rule, so that core and
 * plugin agree. A page holds page_tokens tokens of every layer of its group, cut into n_planes equal planes (the widest
 * layer decides). A plane is the unit of sealing and of partial reads and writes; its meaning is the plugin's. A plugin
 * picks planes no finer than what one worker reads at once, or each worker opens the same plane again. */
#define MRT_MAX_GROUPS 4
#define MRT_MAX_OUTPUTS 4
#define MRT_PAGE_SEALED 0x80000000u    /* bit of a page table entry: cold and encrypted, read through the opener */
typedef struct mrt_kv_policy {
    uint32_t struct_size, type;        /* ggml type id of K and V: 0 f32, 1 f16, 30 bf16, 8 q8_0 */
    uint32_t page_tokens, reserved;
    uint32_t n_pages[MRT_MAX_GROUPS];  /* ids [0, n_pages); all zero in a first kv_spec call that asks for the groups */
    uint32_t n_hot[MRT_MAX_GROUPS];    /* of these, [0, n_hot) live in MRT_MEM_KV_HOT; when n_hot != 0 a step writes
                                          hot pages only, so n_hot bounds the prefill chunk */
} mrt_kv_policy;
typedef struct mrt_kv_group { uint32_t window, n_layers, n_planes, reserved; uint64_t plane_bytes; } mrt_kv_group;
typedef struct mrt_kv_spec {
    uint32_t struct_size, n_groups;
    mrt_kv_group group[MRT_MAX_GROUPS];
    uint8_t layout[16];                /* equal layout = raw planes may move between pools, processes and builds */
    uint64_t pool_bytes;
} mrt_kv_spec;
typedef struct mrt_kv_span {           /* frozen: planes of some pages of one group */
    uint32_t group, plane, n_planes, n_pages;
    const uint32_t *pages;             /* ids without flags */
} mrt_kv_span;
typedef struct mrt_kv_rows {           /* frozen: canonical rows of one layer of one page */
    uint32_t group, page, kv_layer, is_v;  /* kv_layer as in the graph, from 0 */
    uint32_t first, n_tokens;              /* within the page */
    uint32_t type, reserved;               /* ggml type of the rows: the pool's own (exact) or f32 */
} mrt_kv_rows;

/* Pages whose table entry carries MRT_PAGE_SEALED are read only through open, plane by plane, into KV_HOT worker scratch
 * that is wiped after use; all others are read in place. Keys, nonces and tags never reach the plugin: the host finds
 * them by (seq_key, group, page, plane). open: [any], called from workers; sealed and plain are plane_bytes long and do
 * not overlap; a failure leaves plain zeroed and the plugin sets seq_status = MRT_CORRUPT for every sequence of the step
 * that names the page. The opener is borrowed until pool_destroy; NULL = sealed entries are refused by prepare. */
typedef struct mrt_kv_opener {
    uint32_t struct_size, reserved; void *ctx;
    int32_t (*open)(void *ctx, uint64_t seq_key, uint32_t group, uint32_t page, uint32_t plane, const void *sealed,
                    void *plain, uint64_t bytes);
} mrt_kv_opener;

/* ---- Program and step ------------------------------------------------------------------------------------------ */
typedef struct mrt_program_policy {
    uint32_t struct_size, max_tokens, max_seqs, max_rows;  /* per step; everything is allocated at create */
    uint32_t max_pages[MRT_MAX_GROUPS];                    /* per sequence and group */
    uint32_t n_buckets; const uint32_t *buckets;           /* token counts worth capturing; a hint, padded inside */
} mrt_program_policy;
typedef struct mrt_output { float *data; uint32_t width, max_rows; } mrt_output; /* frozen; dense; rows = node's kind */
/* Arithmetic follows the row's class, never the batch: a row's result is bit-equal whatever else is in the step, however
 * the prompt is cut, whatever the thread count (MRT_DEV_BATCH_INVARIANT). A sequence may stand in a step once. */
enum { MRT_CLASS_PROMPT = 0, MRT_CLASS_GENERATED = 1 };
/* One per slot, allocated by the plugin at fixed addresses for the life of the program: asked for once. The core
 * writes inputs in place between commit/abort and prepare, and reads outputs between wait and commit/abort. Host
 * memory. A new input is a new array at the tail; the core treats a NULL array as unsupported.
 * Cache index of a token = seq_past + its offset in the run; masks and windows use it. position is only data for ROPE
 * and EMBED. Token i sees key j when j <= i and, with WINDOW w, i - j < w (bidirectional: |i - j| < w). */
typedef struct mrt_staging {
    uint32_t struct_size, n_slots;
    uint32_t *token, *position, *type;      /* [max_tokens]; type NULL unless the graph reads it */
    float *hidden;                          /* [max_tokens, width], NULL unless the graph reads it */
    uint32_t *rows;                         /* [max_rows] token indexes, ascending */
    uint32_t *seq_first, *seq_tokens;       /* [max_seqs] its run of tokens in this step; runs are dense and ordered */
    uint32_t *seq_past;                     /* [max_seqs] tokens already committed in the cache */
    uint32_t *seq_class;                    /* [max_seqs] MRT_CLASS_*: which arithmetic the rows of this run take */
    uint64_t *seq_key;                      /* [max_seqs] opaque, handed back to the opener; 0 = none */
    const mrt_adapter **seq_adapter;        /* [max_seqs] NULL = none */
    uint32_t *pages[MRT_MAX_GROUPS];        /* [max_seqs, max_pages] ids | MRT_PAGE_SEALED */
    uint32_t *page_base[MRT_MAX_GROUPS];    /* [max_seqs] logical number of pages[..][0]: earlier ones were dropped */
    int32_t *seq_status;                    /* [max_seqs] out: MRT_OK, or why this sequence alone failed (its rows are
                                               then undefined, its page bytes at >= past too) */
    mrt_output output[MRT_MAX_OUTPUTS];     /* out */
} mrt_staging;
typedef struct mrt_step {
    uint32_t struct_size, slot, n_tokens, n_seqs, n_rows;
    uint32_t outputs;                       /* bit i = graph output i; 0 = only fill the cache (prefill chunk) */
    const volatile uint32_t *cancel;        /* non-zero = stop soon; set from any thread; valid until commit/abort */
} mrt_step;

/* ---- The table. R = required, O = optional --------------------------------------------------------------------- */
typedef struct mrt_backend {
    /* R [any] Device number index; MRT_NOT_FOUND after the last. Touches no device state. */
    int32_t (*device_describe)(uint32_t index, mrt_device_desc *desc, mrt_error *err);
    int32_t (*device_open)(uint32_t index, const mrt_host *host, mrt_device **out, mrt_error *err);      /* R [setup] */
    int32_t (*device_status)(mrt_device *dev, uint32_t *state, mrt_error *err);                          /* R [any] */
    void (*device_close)(mrt_device *dev);                                                               /* R [setup] */

    /* R [setup] Checks all, packs weights. Declines with MRT_UNSUPPORTED and err->index = node. cancel may be NULL. */
    int32_t (*model_compile)(mrt_device *dev, const mrt_graph *graph, const mrt_weights *weights, uint32_t flags,
                             const volatile uint32_t *cancel, mrt_model_info *info, mrt_model **out, mrt_error *err);
    void (*model_destroy)(mrt_model *model);                                                             /* R [setup] */
    /* O [setup] Low-rank pairs: weights 2i, 2i+1 are A [r, in], B [out, r] of LINEAR node sites[i]. */
    int32_t (*adapter_load)(mrt_model *model, const uint32_t *sites, uint32_t n_sites, const mrt_weights *ab,
                            float scale, mrt_adapter **out, mrt_error *err);
    void (*adapter_destroy)(mrt_adapter *adapter);      /* O [setup] not while a prepared step names it */

    /* R [any] What a pool would be; makes nothing. Declines types and page sizes. */
    int32_t (*kv_spec)(mrt_model *model, const mrt_kv_policy *policy, mrt_kv_spec *spec, mrt_error *err);
    /* R [setup] */
    int32_t (*pool_create)(mrt_model *model, const mrt_kv_policy *policy, const mrt_kv_opener *opener, mrt_pool **out,
                           mrt_error *err);
    void (*pool_destroy)(mrt_pool *pool);               /* R [setup] zeroes every page first */
    /* R [pool] Raw planes, page by page, plane by plane; bytes = n_pages * n_planes * plane_bytes exactly. */
    int32_t (*kv_read)(mrt_pool *pool, const mrt_kv_span *span, void *dst, uint64_t bytes, mrt_error *err);
    int32_t (*kv_write)(mrt_pool *pool, const mrt_kv_span *span, const void *src, uint64_t bytes, mrt_error *err);
    int32_t (*kv_zero)(mrt_pool *pool, const mrt_kv_span *span, mrt_error *err);
    /* R [pool] The first n_tokens of each page from[i] to to[i] (copy on write of a shared tail). */
    int32_t (*kv_copy)(mrt_pool *pool, uint32_t group, const uint32_t *from, const uint32_t *to, uint32_t n_pages,
                       uint32_t n_tokens, mrt_error *err);
    /* O [pool] Address of a plane for sealing and opening in place; valid for the life of the pool. */
    int32_t (*kv_map)(mrt_pool *pool, uint32_t group, uint32_t page, uint32_t plane, void **p, mrt_error *err);
    /* O [pool] Canonical rows [token][kv head][dim] of the K or V operand of the ATTENTION node: layout-free. */
    int32_t (*kv_export)(mrt_pool *pool, const mrt_kv_rows *rows, void *dst, uint64_t bytes, mrt_error *err);
    int32_t (*kv_import)(mrt_pool *pool, const mrt_kv_rows *rows, const void *src, uint64_t bytes, mrt_error *err);

    /* R [setup] pool NULL if the graph caches nothing. Allocates and captures everything a step will need. */
    int32_t (*program_create)(mrt_model *model, mrt_pool *pool, const mrt_program_policy *policy, mrt_program **out,
                              mrt_error *err);
    void (*program_destroy)(mrt_program *program);                                                       /* R [setup] */
    int32_t (*program_staging)(mrt_program *program, uint32_t slot, mrt_staging *out, mrt_error *err);   /* R [setup] */

    /* R [program] The step. prepare: checks every index and page, changes nothing a later step can see, allocates
     * nothing. run: starts it. wait: MRT_OK when done (outputs and seq_status are then set), MRT_DEADLINE if not yet,
     * else the step's failure. commit: accepted[i] <= seq_tokens[i] tokens of each sequence become past (NULL = all; 0
     * for a failed one). abort: none do; after run it also waits. Each prepared slot ends in exactly one commit or
     * abort, failed ones in abort. Only pages holding positions [past, past + tokens) are written, and bytes at
     * positions >= past have no meaning until committed. */
    int32_t (*step_prepare)(mrt_program *program, const mrt_step *step, mrt_error *err);
    int32_t (*step_run)(mrt_program *program, uint32_t slot, mrt_error *err);
    int32_t (*step_wait)(mrt_program *program, uint32_t slot, uint64_t timeout_ns, mrt_error *err);
    int32_t (*step_commit)(mrt_program *program, uint32_t slot, const uint32_t *accepted, mrt_error *err);
    int32_t (*step_abort)(mrt_program *program, uint32_t slot, mrt_error *err);

    /* O [any] Table of a named extension, static storage, its own struct_size first; NULL = not offered. A name ends
     * in /N and never changes meaning; experimental names begin with "x." */
    const void *(*extension)(const char *name, uint32_t name_len);
} mrt_backend;

/* ---- Named extensions ------------------------------------------------------------------------------------------ */
/* Sampling where the logits are. The policy stays in the core: it fills one record per wanted row, the mask comes
 * from its grammar engine and u from its own seeded generator. With two slots, staging.token = MRT_TOKEN_SAMPLED | r
 * means the token drawn for wanted row r of the step before, which need not be finished yet. */
#define MRT_EXT_SAMPLE "sample/1"
#define MRT_TOKEN_SAMPLED 0x80000000u
typedef struct mrt_sample_row {     /* frozen */
    float temperature, top_p, min_p, u;     /* temperature 0 = arg max; u uniform in [0, 1) */
    uint32_t top_k, flags;                  /* 1 = use the mask, 2 = leave out the logits output of this row */
} mrt_sample_row;
typedef struct mrt_ext_sample {
    uint32_t struct_size, reserved;         /* fixed addresses per slot: row [max_rows], mask [max_rows, vocab / 32], */
    int32_t (*staging)(mrt_program *program, uint32_t slot, mrt_sample_row **row, uint32_t **mask,
                       uint32_t **token, float **logprob, mrt_error *err);  /* out: token, logprob [max_rows] */
} mrt_ext_sample;

/* Which kernel each node of a compiled model runs on, for benchmarks and bug reports. name: terminated, such as
 * "onednn:brgemm_bf16" or "own:gemv_q8_0_vnni"; a node fused into another answers "fused:<node index>". */
#define MRT_EXT_TRACE "trace/1"
typedef struct mrt_ext_trace {
    uint32_t struct_size, reserved;
    int32_t (*kernel_name)(mrt_model *model, uint32_t node, uint32_t row_class, char *name, uint32_t name_bytes,
                           mrt_error *err);                                                          /* [any] */
} mrt_ext_trace;

/* Packed weights that the host keeps between runs, so that a later compile reads what an earlier one made. The host owns
 * the store and answers a read only with bytes that this very plugin exported for the same file; the plugin says by its
 * layout which bytes it can take: equal layout = the same meaning of every byte. Weights that are not in the packed bytes
 * (norms, biases) come from mrt_weights as ever. */
#define MRT_EXT_PACKED "weights.packed/1"
typedef struct mrt_packed_layout {  /* frozen */
    uint8_t layout[16];
    uint64_t bytes;                 /* 0 = this model has nothing to keep */
} mrt_packed_layout;
typedef struct mrt_packed {         /* borrowed during the compile */
    uint32_t struct_size, reserved;
    void *ctx;
    /* [setup] Asked once: MRT_OK and the size of its chunks, or MRT_NOT_FOUND: then the weights are packed. */
    int32_t (*open)(void *ctx, const mrt_packed_layout *layout, uint64_t *chunk_bytes, mrt_error *err);
    /* [any] One whole chunk: offset is a multiple of chunk_bytes, len chunk_bytes or what is left. On a failure (the
     * store was tampered with, its disk is going) dst is zeros, and the plugin packs all weights from mrt_weights. */
    int32_t (*read)(void *ctx, uint64_t offset, void *dst, uint64_t len, mrt_error *err);
} mrt_packed;
typedef struct mrt_ext_packed {
    uint32_t struct_size, reserved;
    /* [setup] model_compile with packed bytes where the host has them; the same model to the bit. */
    int32_t (*compile)(mrt_device *dev, const mrt_graph *graph, const mrt_weights *weights, const mrt_packed *packed,
                       uint32_t flags, const volatile uint32_t *cancel, mrt_model_info *info, mrt_model **out,
                       mrt_error *err);
    /* [any] The layout as `open` was asked for it, and bytes [offset, offset + len) of the compiled model. */
    int32_t (*describe)(mrt_model *model, mrt_packed_layout *layout, mrt_error *err);
    int32_t (*export_bytes)(mrt_model *model, uint64_t offset, void *dst, uint64_t len, mrt_error *err);
} mrt_ext_packed;

/* CUDA co-residence: run on the host's stream instead of the plugin's. The primary context is retained, the current
 * device restored after each call, nothing is reset. stream is a CUstream, borrowed until program_destroy. */
#define MRT_EXT_CUDA_STREAM "cuda.stream/1"
typedef struct mrt_ext_cuda_stream {
    uint32_t struct_size, reserved;
    int32_t (*set)(mrt_program *program, void *stream, mrt_error *err);
    int32_t (*device_output)(mrt_program *program, uint32_t slot, uint32_t output, void **device_ptr, mrt_error *err);
} mrt_ext_cuda_stream;

#ifdef __cplusplus
}
#endif
#endif
