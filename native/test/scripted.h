// A CPU backend for tests: its "guest" is a C++ function that runs in small steps and makes
// accesses through the bus, as the contract says a backend does. It has one interrupt flag, and one
// timer that raises it.
#pragma once
#include <atomic>
#include <functional>
#include <mutex>

#include "vcpu/contract.h"

namespace colo::test {

using vcpu::RunResult;

class ScriptedVm : public vcpu::Vm, public vcpu::Vcpu {
 public:
  /// One step of the guest: returns Budget to go on, anything else leaves run() with that result.
  using Guest = std::function<RunResult(ScriptedVm&)>;

  ScriptedVm(vcpu::Bus& b, vcpu::Clock& c, Guest guest)
      : bus(b), clock(c), guest_(std::move(guest)) {}

  vcpu::Bus& bus;
  vcpu::Clock& clock;
  std::atomic<int> interrupts{0};  // raised and not yet taken
  std::atomic<u64> deadline{~0ull};

  bool take_interrupt() { return interrupts.load() > 0 && interrupts.fetch_sub(1) > 0; }
  void set_deadline(u64 ns) {
    std::lock_guard lock(chip_);
    deadline = ns;
    wake_();
  }

  // vcpu::Vcpu
  RunResult run(u64 budget) override {
    for (; budget > 0; budget--) {
      if (kicked_.exchange(false)) return RunResult::Kicked;
      RunResult r = guest_(*this);
      icount_++;
      if (r != RunResult::Budget) return r;
    }
    return RunResult::Budget;
  }
  void kick() override { kicked_ = true; }
  u64 icount() const override { return icount_; }
  std::string error() const override { return "the script ended"; }
  void save(vcpu::VcpuState& out) const override { out.regs.rip = icount_; }
  std::string check(const vcpu::VcpuState&) const override { return ""; }
  void load(const vcpu::VcpuState& in) override { icount_ = in.regs.rip; }
  void reset() override { icount_ = 0; }
  void guest_stopped() override {}

  // vcpu::Vm
  vcpu::Vcpu& vcpu(size_t) override { return *this; }
  size_t vcpu_count() const override { return 1; }
  void set_irq(u32, bool level) override {
    std::lock_guard lock(chip_);
    if (level) interrupts++;
    wake_();
  }
  void signal_msi(u64, u32) override { set_irq(0, true); }
  u64 next_deadline_ns() const override {
    std::lock_guard lock(chip_);  // a chip may take its lock here: callers must not hold one that
                                  // the wake hook needs
    return deadline;
  }
  void run_timers() override {
    std::lock_guard lock(chip_);
    if (clock.now_ns() < deadline) return;
    deadline = ~0ull;
    interrupts++;
    wake_();
  }
  void set_wake(size_t, std::function<void()> wake) override { wake_ = std::move(wake); }
  void save(vcpu::ChipState& out) const override { out.clock.clock = clock.now_ns(); }
  std::string check(const vcpu::ChipState&) const override { return ""; }
  void load(const vcpu::ChipState&) override {}

 private:
  Guest guest_;
  mutable std::mutex chip_;
  std::function<void()> wake_ = [] {};
  std::atomic<bool> kicked_{false};
  std::atomic<u64> icount_{0};
};

}  // namespace colo::test
