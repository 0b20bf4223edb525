// A counter to sleep on. notify() takes no lock, so it may be called with any lock held; a notify between arm() and wait() is not lost.
#pragma once
#include <atomic>

#include "base/types.h"

namespace colo::vcpu {

constexpr u64 kForever = ~0ull;

class Signal {
 public:
  /// Read this, then look whether there is something to do, then wait() with it.
  u32 arm() const { return count_.load(std::memory_order_acquire); }
  void notify();
  /// Sleeps until a notify() after `armed`, or until host time (CLOCK_MONOTONIC ns) reaches the deadline. May return early.
  void wait(u32 armed, u64 host_deadline_ns = kForever);

 private:
  std::atomic<u32> count_{0};
  std::atomic<u32> sleepers_{0};
};

}  // namespace colo::vcpu
