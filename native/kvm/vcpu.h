// One vCPU of KVM.
#pragma once
#include <string>
#include <vector>

#include "kvm/device.h"
#include "kvm/kick.h"
#include "kvm/msrs.h"
#include "memory/ram.h"
#include "vcpu/contract.h"
#include "vcpu/model.h"

namespace colo::kvm {

class KvmVm;

class KvmVcpu final : public vcpu::Vcpu {
 public:
  KvmVcpu(const KvmVm& vm, const Device& device, Fd fd, const vcpu::CpuModel& model, u32 apic_id,
          const memory::GuestRam& ram, vcpu::Bus& bus);

  vcpu::RunResult run(u64 budget) override;
  void kick() override { kicker_.kick(); }
  /// KVM counts no instructions: always 0.
  u64 icount() const override { return 0; }
  std::string error() const override { return error_; }
  void save(vcpu::VcpuState& out) const override;
  std::string check(const vcpu::VcpuState& in) const override;
  void load(const vcpu::VcpuState& in) override;
  void reset() override { load(power_on_); }
  /// Refused while the guest has no record of kvmclock: then there is nobody to tell. The kernel
  /// writes at the next entry.
  void guest_stopped() const { fd_.try_ioctl(KVM_KVMCLOCK_CTRL, 0); }

 private:
  enum class Next : u8 { Enter, Shutdown, Error };
  Next handle_exit();
  Next exit();
  void port_access();
  void memory_access();
  Next give_up(const std::string& what);
  Next internal_error();
  /// The guest wants to execute what is not RAM.
  bool at_device() const;
  Next ring_full();
  std::string where() const;
  void save_registers(vcpu::VcpuState& out) const;
  void save_msrs(vcpu::VcpuState& out) const;
  void load_fpu(const vcpu::VcpuState& in);
  void load_msrs(const vcpu::VcpuState& in);

  template <class T>
  void get(const char* what, unsigned long request, T& out) const {
    out = {};
    fd_.call(what, request, &out);
  }

  const KvmVm& vm_;
  const vcpu::CpuModel& model_;
  const u32 apic_id_;
  const memory::GuestRam& ram_;
  vcpu::Bus& bus_;
  Fd fd_;
  RunPage run_;
  Kicker kicker_;
  bool has_xcrs_;
  int stuck_ = 0;  // ring-full exits in a row that nothing could be done about
  MsrTable msrs_;
  u64 wall_clock_ =
      0;  // MSR that a load leaves alone: setting it makes KVM write the record in guest RAM anew
  vcpu::VcpuState power_on_;
  std::string error_;
};

}  // namespace colo::kvm
