// The KVM backend: one VM with KVM's own interrupt chips, PIT and clock, and its vCPUs. RAM is
// GuestRam's slots; what vCPUs write there is in the kernel's dirty log, which GuestRam collects.
// Interrupts go in by KVM_IRQ_LINE and KVM_SIGNAL_MSI, not by irqfd: the devices are in this
// process and on the thread that calls, and writing an eventfd is a system call as well.
#pragma once
#include <memory>
#include <vector>

#include "kvm/device.h"
#include "kvm/dirty_ring.h"
#include "kvm/ioeventfds.h"
#include "kvm/slots.h"
#include "kvm/vcpu.h"
#include "memory/ram.h"
#include "vcpu/clock.h"
#include "vcpu/contract.h"

namespace colo::kvm {

class KvmVm final : public vcpu::Vm {
 public:
  /// dirty_ring: the log is the kernel's rings, where it has them. Throws Error: KVM is not there,
  /// or lacks something.
  KvmVm(memory::GuestRam& ram, const vcpu::Buses& buses, vcpu::SettableClock& clock,
        vcpu::CpuModel model, bool dirty_ring);
  ~KvmVm() override;

  vcpu::Vcpu& vcpu(size_t index) override;
  size_t vcpu_count() const override { return vcpus_.size(); }
  void set_irq(u32 gsi, bool level) override;
  void signal_msi(u64 address, u32 data) override;
  /// The chips' timers are the kernel's, and so is a halted vCPU's sleep.
  u64 next_deadline_ns() const override { return ~0ull; }
  void run_timers() override {}
  bool times_itself() const override { return true; }
  void before_run() override { align_clocks(); }
  bool watch(const vcpu::Doorbell& bell) override { return bells_.add(bell); }
  void unwatch(u32 id) override { bells_.remove(id); }
  int rung_fd() const override { return bells_.fd(); }
  void take_rung(const std::function<void(u32)>& rung) override { bells_.take(rung); }
  void save(vcpu::ChipState& out) const override;
  std::string check(const vcpu::ChipState& in) const override;
  void load(const vcpu::ChipState& in) override;
  void reset() override;
  void guest_stopped() override;

  /// A vCPU's ring of dirty pages is full, and holds it up. False: there was nothing to take, so
  /// nothing that would let it go on. Any thread.
  bool relieve_ring() const { return rings_ && rings_->harvest(true) > 0; }

 private:
  /// Before guest code runs and before state is saved: the kernel's clock and the contract's agree.
  /// Stopped only.
  void align_clocks() const;
  void create_chips();
  void create_vcpus(memory::GuestRam& ram, const vcpu::Buses& buses);
  u64 kernel_clock_ns() const;
  void set_kernel_clock() const;
  void load_chips(const vcpu::ChipState& in);

  Device device_;
  vcpu::SettableClock& clock_;
  vcpu::CpuModel model_;
  Fd fd_;
  std::unique_ptr<DirtyRings> rings_;  // null: bitmaps
  Slots slots_;
  Ioeventfds bells_;
  mutable u32
      clock_moves_;  // moves() of the contract's clock when the two were last brought together
  vcpu::ChipState power_on_;
  std::vector<std::unique_ptr<KvmVcpu>> vcpus_;
};

}  // namespace colo::kvm
