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

typedef struct merritt_tenant_options {
    uint32_t struct_size;
    uint32_t sequences_max;     /* sequences running at once; 0 = no own limit */
    uint32_t queue_max;         /* requests waiting at once; 0 = 64 */
    uint32_t prompt_bytes_max;  /* longest prompt text; 0 = 1 MiB */
    uint64_t kv_bytes_max;      /* KV ceiling over all models; 0 = no own limit */
} merritt_tenant_options;

/* Effect: creates a tenant. name is for logs and ledgers, 1 to 63 bytes of [A-Za-z0-9._-]; two live tenants of an engine
 * never share one. options may be NULL. Errors: INVALID_ARGUMENT, FAILED_PRECONDITION (name taken). Since 0.1. */
MERRITT_API int32_t merritt_tenant_create(merritt_engine engine, const char *name, size_t name_length,
                                          const merritt_tenant_options *options, merritt_tenant *out,
                                          merritt_error **error);
/* Effect: cancels the tenant's requests and ends its sessions; its KV pages are zeroed. Errors: NOT_FOUND. Since 0.1. */
MERRITT_API int32_t merritt_tenant_destroy(merritt_tenant tenant, merritt_error **error);

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
} merritt_tenant_usage;
/* Fills *out up to out->struct_size. Since 0.1. */
MERRITT_API int32_t merritt_tenant_usage_get(merritt_tenant tenant, merritt_tenant_usage *out, merritt_error **error);

#ifdef __cplusplus
}
#endif
#endif
