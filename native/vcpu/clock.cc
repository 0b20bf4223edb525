#include "vcpu/clock.h"

#include <time.h>

namespace colo::vcpu {

u64 host_now_ns() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<u64>(t.tv_sec) * 1'000'000'000ull + static_cast<u64>(t.tv_nsec);
}

}  // namespace colo::vcpu
