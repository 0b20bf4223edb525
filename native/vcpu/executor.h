// What a thread runs: one vCPU, or several in turns (lockstep.h).
#pragma once
#include <functional>

#include "vcpu/contract.h"

namespace colo::vcpu {

class Executor {
 public:
  virtual ~Executor() = default;
  /// A start: what was under way when it last stopped does not matter any more.
  virtual void begin() {}
  /// As Vcpu::run.
  virtual RunResult run(u64 budget) = 0;
  /// As Vcpu::kick.
  virtual void kick() = 0;
  /// The vCPU that made run() return Shutdown or InternalError.
  virtual size_t stopped_by() const = 0;
  /// Guest ns of the next timer that its thread is to wake for; ~0: none.
  virtual u64 deadline_ns() const = 0;
  /// As Vm::set_wake, for each of its vCPUs.
  virtual void set_wake(std::function<void()> wake) = 0;
  /// All of it halts, and its thread sleeps; until: deadline_ns() as it fell asleep.
  virtual void falls_asleep(u64 until) { (void)until; }
  virtual void wakes_up() {}
};

/// One vCPU.
class Solo final : public Executor {
 public:
  Solo(Vm& vm, size_t index) : vm_(vm), index_(index), cpu_(vm.vcpu(index)) {}
  RunResult run(u64 budget) override { return cpu_.run(budget); }
  void kick() override { cpu_.kick(); }
  size_t stopped_by() const override { return index_; }
  u64 deadline_ns() const override { return vm_.deadline_of(index_); }
  void set_wake(std::function<void()> wake) override { vm_.set_wake(index_, std::move(wake)); }

 private:
  Vm& vm_;
  const size_t index_;
  Vcpu& cpu_;
};

}  // namespace colo::vcpu
