// The software backend: one VM, its vCPUs and chips, and the run loop.
#pragma once
#include <deque>
#include <memory>
#include <optional>

#include "memory/ram.h"
#include "soft/blocks/block_cache.h"
#include "soft/cpu/cpu.h"
#include "soft/memory/mmu.h"
#include "soft/memory/world.h"
#include "soft/system/contract.h"
#include "vcpu/contract.h"

namespace colo::soft {

class SoftVcpu final : public vcpu::Vcpu, private memory::RamObserver {
 public:
  SoftVcpu(World& world, u32 index, memory::GuestRam& ram, vcpu::Bus& bus, vcpu::Clock& clock,
           ChipPort& chip, const vcpu::CpuModel& model);
  ~SoftVcpu() override;

  vcpu::RunResult run(u64 budget) override;
  void kick() override;
  u64 icount() const override;
  std::string error() const override;
  void save(vcpu::VcpuState& out) const override;
  std::string check(const vcpu::VcpuState& in) const override;
  void load(const vcpu::VcpuState& in) override;
  void reset() override;

  /// The chip has news. Any thread.
  void wake() { cpu_->poke(); }
  Cpu& cpu() { return *cpu_; }
  const BlockCache& blocks() const { return *blocks_; }

 private:
  void code_written(u64 offset, u64 len) override;
  void dirty_log_reset() override;
  void map_changed() override;

  bool stop(vcpu::RunResult& why);
  void service_attention();
  bool service_interrupt();
  void charge_fault();
  void run_blocks();
  void run_one();
  void debug_trap(bool step);
  bool at_breakpoint();
  vcpu::RunResult internal_error(const std::string& what);
  void forget_translations();

  memory::GuestRam& ram_;
  std::unique_ptr<Cpu> cpu_;
  std::unique_ptr<Mmu> mmu_;
  std::unique_ptr<BlockCache> blocks_;
  std::optional<SharedBus> shared_bus_;
  i64 granted_ = 0;       // budget of the current run()
  u64 fault_at_ = ~0ull;  // icount() when an exception was last delivered
  bool dead_ = false;     // shut down by a triple fault: stays so until load() or reset()
};

class SoftVm final : public vcpu::Vm {
 public:
  /// model: at most vcpu::soft_features(). buses: one for each of its processors. in_turns: one
  /// thread runs them all (vcpu/lockstep.h).
  SoftVm(memory::GuestRam& ram, const vcpu::Buses& buses, vcpu::Clock& clock,
         vcpu::CpuModel model = vcpu::soft_v1(), bool in_turns = false);
  ~SoftVm() override;

  vcpu::Vcpu& vcpu(size_t index) override;
  size_t vcpu_count() const override { return vcpus_.size(); }
  void set_irq(u32 gsi, bool level) override { chip_.set_irq(gsi, level); }
  void signal_msi(u64 address, u32 data) override { chip_.signal_msi(address, data); }
  u64 next_deadline_ns() const override { return chip_.next_deadline_ns(); }
  u64 deadline_of(size_t cpu) const override { return chip_.port(cpu).next_deadline_ns(); }
  void run_timers() override { chip_.run_timers(); }
  void set_wake(size_t cpu, std::function<void()> wake) override { wake_[cpu] = std::move(wake); }
  void save(vcpu::ChipState& out) const override { chip_.save(out); }
  std::string check(const vcpu::ChipState& in) const override { return chip_.check(in); }
  void load(const vcpu::ChipState& in) override;
  void reset() override;
  void before_run() override;
  void guest_stopped() override {
    for (SoftVcpu& vcpu : vcpus_) kvmclock_guest_stopped(vcpu.cpu());
  }

  SoftVcpu& soft_vcpu(size_t index = 0) { return vcpus_[index]; }

 private:
  vcpu::CpuModel model_;
  std::vector<std::function<void()>> wake_;
  Irqchip chip_;
  World world_;
  std::deque<SoftVcpu> vcpus_;
};

}  // namespace colo::soft
