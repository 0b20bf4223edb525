// The KVM backend: one VM with KVM's own interrupt chips, PIT and clock, and its vCPUs. RAM is GuestRam's slots; what vCPUs write there is
// in the kernel's dirty bitmap, which GuestRam collects.
#pragma once
#include <memory>
#include <vector>

#include "kvm/device.h"
#include "kvm/slots.h"
#include "kvm/vcpu.h"
#include "memory/ram.h"
#include "vcpu/clock.h"
#include "vcpu/contract.h"

namespace colo::kvm {

class KvmVm final : public vcpu::Vm {
 public:
  /// Throws Error: KVM is not there, lacks something, or this host cannot give the CPU model.
  KvmVm(memory::GuestRam& ram, vcpu::Bus& bus, vcpu::SettableClock& clock);
  ~KvmVm() override;

  vcpu::Vcpu& vcpu(size_t index) override;
  size_t vcpu_count() const override { return 1; }
  void set_irq(u32 gsi, bool level) override;
  void signal_msi(u64 address, u32 data) override;
  /// The chips' timers are the kernel's, and so is a halted vCPU's sleep.
  u64 next_deadline_ns() const override { return ~0ull; }
  void run_timers() override {}
  void save(vcpu::ChipState& out) const override;
  std::string check(const vcpu::ChipState& in) const override;
  void load(const vcpu::ChipState& in) override;
  void reset() override;

  /// Before guest code runs and before state is saved: the kernel's clock and the contract's agree. Stopped, or on the vCPU's thread.
  void align_clocks() const;

 private:
  void create_chips();
  u64 kernel_clock_ns() const;
  void set_kernel_clock() const;
  void load_chips(const vcpu::ChipState& in);

  Device device_;
  vcpu::SettableClock& clock_;
  Fd fd_;
  Slots slots_;
  mutable u32 clock_moves_;  // moves() of the contract's clock when the two were last brought together
  vcpu::ChipState power_on_;
  std::unique_ptr<KvmVcpu> vcpu_;
};

}  // namespace colo::kvm
