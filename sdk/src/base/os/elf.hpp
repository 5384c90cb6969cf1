// SPDX-License-Identifier: Apache-2.0
// The system's ELF structures and constants; no calls.
#pragma once

#include <elf.h>
