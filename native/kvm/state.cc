// A vCPU's state out of and into KVM, in the form that the software CPU shares: x87 and SSE always present in the XSAVE image, nothing that
// the model does not have, and no interrupt named twice.
#include <cstring>

#include "kvm/abi.h"
#include "kvm/vcpu.h"
#include "kvm/vm.h"
#include "vcpu/model.h"

namespace colo::kvm {

namespace {

constexpr size_t kMxcsr = 24 / 4, kMxcsrMask = 28 / 4, kX87 = 32 / 4, kXmm = 160 / 4, kLegacyUsed = 416 / 4, kXstateBv = 512 / 4;
constexpr u32 kX87Bit = 1, kSseBit = 2;
constexpr u32 kLegacyControl = 0x037f;  // FCW of an x87 that nobody has touched

/// A component that XSTATE_BV omits is in its initial state (SDM vol. 1, 13.6); written out, both backends have one form of it.
void normalize(vcpu::XsaveArea& x) {
  vcpu::XsaveArea in = x;
  x = {};
  const u32 present = in.region[kXstateBv];
  if (present & kX87Bit) {
    memcpy(x.region, in.region, 8);
    memcpy(x.region + kX87, in.region + kX87, (kXmm - kX87) * 4);
  } else {
    x.region[0] = kLegacyControl;
  }
  if (present & kSseBit) memcpy(x.region + kXmm, in.region + kXmm, (kLegacyUsed - kXmm) * 4);
  x.region[kMxcsr] = in.region[kMxcsr];
  x.region[kMxcsrMask] = 0xffff;
  x.region[kXstateBv] = kX87Bit | kSseBit;
}

/// What a null or an empty segment still holds differs between processors and means nothing.
void normalize(kvm_segment& s) {
  s.padding = 0;
  s.unusable = s.unusable || !s.present;
  if (s.unusable) s.present = 0;
  if (s.g) s.limit |= 0xfff;
  else if (s.limit > 0xfffff) s.g = 1, s.limit |= 0xfff;
}

void normalize(kvm_sregs& s) {
  for (kvm_segment* seg : {&s.cs, &s.ds, &s.es, &s.fs, &s.gs, &s.ss, &s.tr, &s.ldt}) normalize(*seg);
  memset(s.gdt.padding, 0, sizeof s.gdt.padding);
  memset(s.idt.padding, 0, sizeof s.idt.padding);
  memset(s.interrupt_bitmap, 0, sizeof s.interrupt_bitmap);  // the events say it too
}

// The APIC timer in one-shot mode. KVM has a place of its own for a timer that has fired and is not delivered yet, and no request shows it:
// an image says "one tick left" whenever that may be so, and a guest may get one interrupt too many but never one too few. The other way
// round, a count that has run out in an image has been delivered, and KVM would fire it again.
constexpr size_t kLvtTimer = 0x320, kInitialCount = 0x380, kCurrentCount = 0x390;

u32 apic_register(const kvm_lapic_state& apic, size_t at) {
  u32 value;
  memcpy(&value, apic.regs + at, sizeof value);
  return value;
}

bool one_shot_ran_out(const kvm_lapic_state& apic) {
  constexpr u32 kMode = 3 << 17;
  return !(apic_register(apic, kLvtTimer) & kMode) && apic_register(apic, kInitialCount) && !apic_register(apic, kCurrentCount);
}

kvm_lapic_state with_register(kvm_lapic_state apic, size_t at, u32 value) {
  memcpy(apic.regs + at, &value, sizeof value);
  return apic;
}

}  // namespace

void KvmVcpu::save_registers(vcpu::VcpuState& out) const {
  get("KVM_GET_MP_STATE", KVM_GET_MP_STATE, out.mp_state);
  get("KVM_GET_REGS", KVM_GET_REGS, out.regs);
  get("KVM_GET_SREGS", KVM_GET_SREGS, out.sregs);
  get("KVM_GET_DEBUGREGS", KVM_GET_DEBUGREGS, out.debugregs);
  get("KVM_GET_LAPIC", KVM_GET_LAPIC, out.lapic);
  if (one_shot_ran_out(out.lapic)) out.lapic = with_register(out.lapic, kCurrentCount, 1);
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
  if (std::string e = vcpu::model::check(in); !e.empty()) return e;
  return msrs_.check(in.msrs);
}

void KvmVcpu::load_fpu(const vcpu::VcpuState& in) {
  if (has_xcrs_) fd_.call("KVM_SET_XCRS", KVM_SET_XCRS, &in.xcrs);
  fd_.call("KVM_SET_XSAVE", kSetXsave, &in.xsave);
}

/// KVM writes the wall clock's record into guest RAM when the MSR is set. The guest has had it when it asked; its RAM stays what it is.
void KvmVcpu::load_msrs(const vcpu::VcpuState& in) {
  msrs_.write(in.msrs);
  wall_clock_ = 0;
  for (const kvm_msr_entry& m : in.msrs)
    if (m.index == msr::WALL_CLOCK) wall_clock_ = m.data;
}

/// Precondition: check() found nothing. The order is the kernel's: what a later call needs is there before it.
void KvmVcpu::load(const vcpu::VcpuState& in) {
  error_.clear();
  fd_.call("KVM_SET_SREGS", KVM_SET_SREGS, &in.sregs);
  load_fpu(in);
  fd_.call("KVM_SET_REGS", KVM_SET_REGS, &in.regs);
  load_msrs(in);
  fd_.call("KVM_SET_DEBUGREGS", KVM_SET_DEBUGREGS, &in.debugregs);
  const kvm_lapic_state apic = one_shot_ran_out(in.lapic) ? with_register(in.lapic, kInitialCount, 0) : in.lapic;
  fd_.call("KVM_SET_LAPIC", KVM_SET_LAPIC, &apic);
  for (const kvm_msr_entry& m : in.msrs)
    if (m.index == msr::TSC_DEADLINE && msrs_.has(m.index)) msrs_.write(m.index, m.data);
  kvm_vcpu_events events = in.events;
  events.flags = KVM_VCPUEVENT_VALID_SHADOW | KVM_VCPUEVENT_VALID_NMI_PENDING;
  fd_.call("KVM_SET_VCPU_EVENTS", KVM_SET_VCPU_EVENTS, &events);
  fd_.call("KVM_SET_MP_STATE", KVM_SET_MP_STATE, &in.mp_state);
}

}  // namespace colo::kvm
