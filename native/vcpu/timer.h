// The thread that fires the chip timers of a vCPU while it executes guest code. A halted vCPU fires
// them itself when its sleep ends, and a stopped one fires none: stopped means stopped.
#pragma once
#include <atomic>
#include <mutex>
#include <thread>

#include "base/types.h"
#include "vcpu/contract.h"
#include "vcpu/executor.h"
#include "vcpu/signal.h"

namespace colo::vcpu {

/// Host time (see host_now_ns) at which the guest clock will read deadline_ns.
u64 host_time_of(const Clock& clock, u64 deadline_ns);

/// Prepares the calling thread for native work beside Node: a name, no signals (they are the main
/// thread's), exact sleeps.
void enter_native_thread(const char* name);

class VmTimer {
 public:
  VmTimer(Vm& vm, const Executor& executor, const Clock& clock);
  ~VmTimer();
  VmTimer(const VmTimer&) = delete;
  VmTimer& operator=(const VmTimer&) = delete;

  /// The vCPU is about to execute guest code.
  void enable();
  /// It no longer does. On return no run_timers() of this thread is under way, and none will begin.
  void disable();
  /// The next deadline may have moved. Takes no lock.
  void moved() {
    if (enabled_.load(std::memory_order_relaxed)) signal_.notify();
  }

 private:
  void loop();
  /// Fires what is due; returns the host time of the next look. Called with mutex_.
  u64 fire();

  Vm& vm_;
  const Executor& executor_;
  const Clock& clock_;
  Signal signal_;
  std::mutex mutex_;  // held while chips fire; never taken under a chip's lock
  std::atomic<bool> enabled_{false};
  bool quit_ = false;
  u64 sleeping_until_ = 0;  // host time; 0 = awake. Under mutex_
  std::thread thread_;
};

}  // namespace colo::vcpu
