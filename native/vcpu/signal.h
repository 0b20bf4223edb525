// A counter to sleep on. notify() takes no lock, so it may be called with any lock held; a notify
// between arm() and wait() is not lost.
#pragma once
#include <atomic>

#include "base/time.h"
#include "base/types.h"

namespace colo::vcpu {

constexpr u64 kForever = ~0ull;

/// Looks at done() for at most ns without sleeping. Waking a sleeping thread costs tens of
/// microseconds on a virtualised host, two orders more than the work that is usually waited for. On
/// a host with one processor it gives up at once: there is nobody to wait for.
template <class F>
bool spin_until(F&& done, u64 ns);

class Signal {
 public:
  /// Read this, then look whether there is something to do, then wait() with it.
  u32 arm() const { return count_.load(std::memory_order_acquire); }
  void notify();
  /// Sleeps until a notify() after `armed`, or until host time (CLOCK_MONOTONIC ns) reaches the
  /// deadline. May return early.
  void wait(u32 armed, u64 host_deadline_ns = kForever);

 private:
  std::atomic<u32> count_{0};
  std::atomic<u32> sleepers_{0};
};

bool host_is_parallel();
void spin_pause();

template <class F>
bool spin_until(F&& done, u64 ns) {
  if (done()) return true;
  if (!host_is_parallel()) return false;
  for (u64 end = host_now_ns() + ns; host_now_ns() < end;) {
    spin_pause();
    if (done()) return true;
  }
  return false;
}

}  // namespace colo::vcpu
