#include "vcpu/thread.h"

#include <unistd.h>

#include "vcpu/clock.h"

namespace colo::vcpu {

VcpuThread::VcpuThread(Vm& vm, size_t index, const Clock& clock,
                       std::function<void(ParkReason)> parked)
    : VcpuThread(vm, std::make_unique<Solo>(vm, index), !vm.times_itself(), clock,
                 std::move(parked)) {}

VcpuThread::VcpuThread(Vm& vm, std::unique_ptr<Executor> executor, bool timed, const Clock& clock,
                       std::function<void(ParkReason)> parked)
    : vm_(vm), executor_(std::move(executor)), clock_(clock), on_parked_(std::move(parked)) {
  if (timed) timer_.emplace(vm, *executor_, clock);
  thread_ = std::thread([this] { loop(); });
  executor_->set_wake([this] { wake(); });
}

VcpuThread::~VcpuThread() {
  end();
  executor_->set_wake([] {});
}

void VcpuThread::end() {
  if (!thread_.joinable()) return;
  {
    std::lock_guard lock(mutex_);
    quit_ = true;
  }
  started_.notify_one();
  stop();
  thread_.join();
}

void VcpuThread::start() {
  COLO_ASSERT(parked());
  {
    std::lock_guard lock(mutex_);
    stop_requested_.store(false, std::memory_order_relaxed);
    parked_.store(false, std::memory_order_release);
  }
  started_.notify_one();
}

void VcpuThread::stop() {
  stop_requested_.store(true, std::memory_order_seq_cst);
  executor_->kick();
  wake_.notify();
}

bool VcpuThread::await_start() {
  std::unique_lock lock(mutex_);
  started_.wait(lock, [this] { return quit_ || !parked(); });
  return !quit_;
}

void VcpuThread::loop() {
  enter_native_thread("vcpu");
  thread_id_.store(gettid(), std::memory_order_relaxed);
  while (await_start()) {
    if (timer_) timer_->enable();
    ParkReason why = run_guest();
    if (timer_) timer_->disable();
    parked_.store(true, std::memory_order_release);
    on_parked_(why);
  }
}

ParkReason VcpuThread::run_guest() {
  executor_->begin();
  while (!stop_requested_.load(std::memory_order_seq_cst)) {
    // Armed before the look: an interrupt that arrives after run() found none and before the sleep
    // ends the sleep.
    u32 armed = wake_.arm();
    switch (executor_->run(~0ull)) {
      case RunResult::Kicked:
      case RunResult::Budget:
        break;
      case RunResult::Halted:
        if (wake_.arm() == armed) sleep_halted(armed);
        break;
      case RunResult::Shutdown:
        return ParkReason::Shutdown;
      case RunResult::InternalError:
        return ParkReason::InternalError;
    }
  }
  return ParkReason::Requested;
}

void VcpuThread::sleep_halted(u32 armed) {
  if (timer_) timer_->disable();
  if (!stop_requested_.load(std::memory_order_seq_cst)) {
    const u64 deadline = executor_->deadline_ns();
    executor_->falls_asleep(deadline);
    wake_.wait(armed, host_time_of(clock_, deadline));
    executor_->wakes_up();
    if (executor_->deadline_ns() <= clock_.now_ns()) vm_.run_timers();
  }
  if (timer_) timer_->enable();
}

}  // namespace colo::vcpu
