/* SPDX-License-Identifier: Apache-2.0
 *
 * merritt/merritt.h: everything a host needs.
 */
#ifndef MERRITT_MERRITT_H
#define MERRITT_MERRITT_H
#include <merritt/base.h>
#include <merritt/engine.h>
#include <merritt/model.h>
#include <merritt/queue.h>
#include <merritt/session.h>
#include <merritt/tenant.h>
#include <merritt/usage.h>
#endif
