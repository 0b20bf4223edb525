#include "vcpu/timer.h"

#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>

#include "vcpu/clock.h"

namespace colo::vcpu {

u64 host_time_of(const Clock& clock, u64 deadline_ns) {
  if (deadline_ns == kForever) return kForever;
  u64 guest_now = clock.now_ns();
  return host_now_ns() + (deadline_ns > guest_now ? deadline_ns - guest_now : 0);
}

void enter_native_thread(const char* name) {
  pthread_setname_np(pthread_self(), name);
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
  prctl(PR_SET_TIMERSLACK, 1);  // the default of 50 us is half a guest's timer tick at 10 kHz
}

VmTimer::VmTimer(Vm& vm, const Executor& executor, const Clock& clock)
    : vm_(vm), executor_(executor), clock_(clock), thread_([this] { loop(); }) {}

VmTimer::~VmTimer() {
  {
    std::lock_guard lock(mutex_);
    quit_ = true;
  }
  signal_.notify();
  thread_.join();
}

void VmTimer::enable() {
  std::lock_guard lock(mutex_);
  enabled_.store(true, std::memory_order_relaxed);
  // A guest that halts and wakes often must not cost a thread switch each time: only a sleep that
  // is too long is cut short.
  if (sleeping_until_ > host_time_of(clock_, executor_.deadline_ns())) signal_.notify();
}

void VmTimer::disable() {
  std::lock_guard lock(mutex_);
  enabled_.store(false, std::memory_order_relaxed);
}

u64 VmTimer::fire() {
  if (!enabled_.load(std::memory_order_relaxed)) return kForever;
  if (executor_.deadline_ns() <= clock_.now_ns()) vm_.run_timers();
  return host_time_of(clock_, executor_.deadline_ns());
}

void VmTimer::loop() {
  enter_native_thread("vm-timer");
  for (;;) {
    u32 armed = signal_.arm();
    u64 until;
    {
      std::lock_guard lock(mutex_);
      if (quit_) return;
      until = sleeping_until_ = fire();
    }
    signal_.wait(armed, until);
    std::lock_guard lock(mutex_);
    sleeping_until_ = 0;
  }
}

}  // namespace colo::vcpu
