// A vCPU's state out of and into KVM, in the form that the software CPU shares (convert.h).
#include "kvm/abi.h"
#include "kvm/convert.h"
#include "kvm/vcpu.h"
#include "kvm/vm.h"
#include "vcpu/model.h"

namespace colo::kvm {

void KvmVcpu::save_registers(vcpu::VcpuState& out) const {
  get("KVM_GET_MP_STATE", KVM_GET_MP_STATE, out.mp_state);
  get("KVM_GET_REGS", KVM_GET_REGS, out.regs);
  get("KVM_GET_SREGS", KVM_GET_SREGS, out.sregs);
  get("KVM_GET_DEBUGREGS", KVM_GET_DEBUGREGS, out.debugregs);
  get("KVM_GET_LAPIC", KVM_GET_LAPIC, out.lapic);
  out.lapic = lapic_from_kvm(out.lapic);
  get("KVM_GET_VCPU_EVENTS", KVM_GET_VCPU_EVENTS, out.events);
  out.events.flags = KVM_VCPUEVENT_VALID_SHADOW;
  out.events.smi = {};
  normalize(out.sregs);
}

void KvmVcpu::save_msrs(vcpu::VcpuState& out) const {
  out.msrs = msrs_.read();
  for (kvm_msr_entry& m : out.msrs)
    if (m.index == msr::WALL_CLOCK && m.data == 0) m.data = wall_clock_;
}

void KvmVcpu::save(vcpu::VcpuState& out) const {
  save_registers(out);
  out.xsave = {};
  fd_.call("KVM_GET_XSAVE", kGetXsave, &out.xsave);
  normalize(out.xsave);
  out.xcrs = {};
  if (has_xcrs_) fd_.call("KVM_GET_XCRS", KVM_GET_XCRS, &out.xcrs);
  if (out.xcrs.nr_xcrs == 0) out.xcrs.nr_xcrs = 1, out.xcrs.xcrs[0].value = 1;
  save_msrs(out);
}

std::string KvmVcpu::check(const vcpu::VcpuState& in) const {
  if (std::string e = vcpu::model::check(model_, apic_id_, in); !e.empty()) return e;
  return msrs_.check(in.msrs);
}

void KvmVcpu::load_fpu(const vcpu::VcpuState& in) {
  if (has_xcrs_) fd_.call("KVM_SET_XCRS", KVM_SET_XCRS, &in.xcrs);
  fd_.call("KVM_SET_XSAVE", kSetXsave, &in.xsave);
}

/// KVM writes the wall clock's record into guest RAM when the MSR is set. The guest has had it when
/// it asked; its RAM stays what it is.
void KvmVcpu::load_msrs(const vcpu::VcpuState& in) {
  msrs_.write(in.msrs);
  wall_clock_ = 0;
  for (const kvm_msr_entry& m : in.msrs)
    if (m.index == msr::WALL_CLOCK) wall_clock_ = m.data;
}

/// Precondition: check() found nothing. The order is the kernel's: what a later call needs is there
/// before it.
void KvmVcpu::load(const vcpu::VcpuState& in) {
  error_.clear();
  fd_.call("KVM_SET_SREGS", KVM_SET_SREGS, &in.sregs);
  load_fpu(in);
  fd_.call("KVM_SET_REGS", KVM_SET_REGS, &in.regs);
  load_msrs(in);
  fd_.call("KVM_SET_DEBUGREGS", KVM_SET_DEBUGREGS, &in.debugregs);
  const kvm_lapic_state apic = lapic_for_kvm(in.lapic);
  fd_.call("KVM_SET_LAPIC", KVM_SET_LAPIC, &apic);
  for (const kvm_msr_entry& m : in.msrs)
    if (m.index == msr::TSC_DEADLINE && msrs_.has(m.index)) msrs_.write(m.index, m.data);
  kvm_vcpu_events events = in.events;
  events.flags = KVM_VCPUEVENT_VALID_SHADOW | KVM_VCPUEVENT_VALID_NMI_PENDING;
  fd_.call("KVM_SET_VCPU_EVENTS", KVM_SET_VCPU_EVENTS, &events);
  fd_.call("KVM_SET_MP_STATE", KVM_SET_MP_STATE, &in.mp_state);
}

}  // namespace colo::kvm
