// A thread that runs vCPUs, one of its own or all of them in turns: it runs guest code, sleeps
// while there is none to run, and parks at an instruction boundary when told to stop.
#pragma once
#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "base/types.h"
#include "vcpu/contract.h"
#include "vcpu/executor.h"
#include "vcpu/signal.h"
#include "vcpu/timer.h"

namespace colo::vcpu {

enum class ParkReason : u8 { None, Requested, Shutdown, InternalError };

class VcpuThread {
 public:
  /// parked: called on the vCPU's thread when it has left guest code for good: no exit, no timer,
  /// no write of it is under way any more.
  VcpuThread(Vm& vm, size_t index, const Clock& clock, std::function<void(ParkReason)> parked);
  /// timed: a second thread fires the chips' timers while guest code runs; else the executor does.
  VcpuThread(Vm& vm, std::unique_ptr<Executor> executor, bool timed, const Clock& clock,
             std::function<void(ParkReason)> parked);
  /// Ends. Whoever answers exits must have abandoned them first, or this waits for the
  /// answer.
  ~VcpuThread();
  VcpuThread(const VcpuThread&) = delete;
  VcpuThread& operator=(const VcpuThread&) = delete;

  /// Precondition: parked.
  void start();
  /// Asks for a stop and returns at once; `parked` tells. Nothing happens if it is parked already.
  void stop();
  /// Stops and joins: when all of a VM's have ended they may be destroyed, for one that runs still
  /// wakes the others.
  void end();
  /// Behind a park for Shutdown or InternalError: the vCPU.
  size_t stopped_by() const { return executor_->stopped_by(); }
  /// The kernel's id of the thread; 0 in its first moments.
  int thread_id() const { return thread_id_.load(std::memory_order_relaxed); }
  bool parked() const { return parked_.load(std::memory_order_acquire); }
  /// An interrupt may be deliverable, a deadline may have moved. Any thread, any lock held.
  void wake() {
    wake_.notify();
    if (timer_) timer_->moved();
  }

 private:
  void loop();
  bool await_start();
  ParkReason run_guest();
  void sleep_halted(u32 armed);

  Vm& vm_;
  const std::unique_ptr<Executor> executor_;
  const Clock& clock_;
  std::function<void(ParkReason)> on_parked_;
  std::optional<VmTimer> timer_;  // a backend that times itself needs none
  Signal wake_;
  std::atomic<bool> stop_requested_{false};
  std::atomic<bool> parked_{true};
  std::atomic<int> thread_id_{0};
  std::mutex mutex_;  // over the hand-over from parked to running
  std::condition_variable started_;
  bool quit_ = false;
  std::thread thread_;
};

}  // namespace colo::vcpu
