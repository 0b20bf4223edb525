#include "vcpu/signal.h"

#include <immintrin.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <thread>

namespace colo::vcpu {

static_assert(std::atomic<u32>::is_always_lock_free && sizeof(std::atomic<u32>) == 4,
              "the kernel looks at the counter itself");

bool host_is_parallel() {
  static const bool parallel = std::thread::hardware_concurrency() > 1;
  return parallel;
}

void spin_pause() { _mm_pause(); }

void Signal::notify() {
  // seq_cst on both: either we see the sleeper, or the kernel, which compares after the sleeper
  // announced itself, sees our count.
  count_.fetch_add(1, std::memory_order_seq_cst);
  if (sleepers_.load(std::memory_order_seq_cst) == 0) return;
  syscall(SYS_futex, &count_, FUTEX_WAKE_PRIVATE, ~0u >> 1, nullptr, nullptr, 0);
}

void Signal::wait(u32 armed, u64 host_deadline_ns) {
  timespec at{};
  bool timed = host_deadline_ns != kForever;
  if (timed)
    at = {static_cast<time_t>(host_deadline_ns / 1'000'000'000),
          static_cast<long>(host_deadline_ns % 1'000'000'000)};
  sleepers_.fetch_add(1, std::memory_order_seq_cst);
  syscall(SYS_futex, &count_, FUTEX_WAIT_BITSET_PRIVATE, armed, timed ? &at : nullptr, nullptr,
          FUTEX_BITSET_MATCH_ANY);
  sleepers_.fetch_sub(1, std::memory_order_relaxed);
}

}  // namespace colo::vcpu
