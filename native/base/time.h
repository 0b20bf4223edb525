// Host time: what every wait in native code is measured by.
#pragma once
#include <time.h>

#include "base/types.h"

namespace colo {

/// CLOCK_MONOTONIC in ns.
inline u64 host_now_ns() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<u64>(t.tv_sec) * 1'000'000'000ull + static_cast<u64>(t.tv_nsec);
}

}  // namespace colo
