// The two guest clocks: one that follows the host's, one that a simulation moves by hand.
#pragma once
#include <atomic>
#include <mutex>

#include "base/time.h"
#include "base/types.h"
#include "vcpu/contract.h"

namespace colo::vcpu {

/// A guest clock that can be set, which happens only when a whole machine state is loaded: within
/// one state it never runs backwards.
class SettableClock : public Clock {
 public:
  /// From now on the clock reads ns and goes on from there. vCPUs must be stopped.
  void continue_from(u64 ns) {
    moves_.fetch_add(1, std::memory_order_relaxed);
    set(ns);
  }
  /// How often it was set: by this a backend that keeps a clock of its own in step sees that
  /// somebody else moved this one.
  u32 moves() const { return moves_.load(std::memory_order_relaxed); }

 private:
  virtual void set(u64 ns) = 0;
  std::atomic<u32> moves_{0};
};

/// Guest ns = host CLOCK_MONOTONIC + offset. Starts at 0.
class RealClock final : public SettableClock {
 public:
  RealClock() { set(0); }
  u64 now_ns() const override { return host_now_ns() + offset_.load(std::memory_order_relaxed); }

 private:
  void set(u64 ns) override { offset_.store(ns - host_now_ns(), std::memory_order_relaxed); }
  std::atomic<u64> offset_{0};  // modulo 2^64: a guest may be older than its host
};

/// Counts what its vCPUs have run, an instruction a ns. See lockstep.h.
class CountedClock final : public SettableClock {
 public:
  u64 now_ns() const override;
  void count(u64 ns);
  /// From now on it goes with the host's time, but not beyond this.
  void follow_host(u64 until_ns);
  void stand_still();

 private:
  u64 followed_ns() const;
  void set(u64 ns) override;
  mutable std::mutex mutex_;
  u64 ns_ = 0;
  u64 host_from_ = 0;  // host time at which it began to follow; 0 = it stands still
  u64 until_ = 0;
};

/// Stands still until somebody moves it.
class SteppedClock final : public SettableClock {
 public:
  u64 now_ns() const override { return now_.load(std::memory_order_relaxed); }
  void advance(u64 ns) { now_.fetch_add(ns, std::memory_order_relaxed); }

 private:
  void set(u64 ns) override { now_.store(ns, std::memory_order_relaxed); }
  std::atomic<u64> now_{0};
};

}  // namespace colo::vcpu
