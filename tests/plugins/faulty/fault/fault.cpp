// SPDX-License-Identifier: Apache-2.0
// All that is compiled for each fault.
#include "fault.hpp"

namespace merritt::faulty {

const Fault kFault = Fault::MERRITT_FAULT;

}  // namespace merritt::faulty
