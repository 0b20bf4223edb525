// The CPU's state to and from KVM's structs (the kernel's KVM api.rst), and the state after RESET
// (Intel SDM vol. 3, table 10-1).
#include "soft/system/state.h"

namespace colo::soft {

using namespace sys;

namespace {

constexpr u8 kExternalInterrupt = 32;  // pending.vector from here on: an interrupt that KVM had
                                       // taken from its chip but not delivered

/// kvm_regs in its own order, against our register file.
template <class Regs, class Visit>
void each_gpr(Regs& r, Visit visit) {
  visit(r.rax, RAX), visit(r.rbx, RBX), visit(r.rcx, RCX), visit(r.rdx, RDX), visit(r.rsi, RSI),
      visit(r.rdi, RDI), visit(r.rsp, RSP), visit(r.rbp, RBP);
  visit(r.r8, R8), visit(r.r9, R9), visit(r.r10, R10), visit(r.r11, R11), visit(r.r12, R12),
      visit(r.r13, R13), visit(r.r14, R14), visit(r.r15, R15);
}

template <class Sregs, class Visit>
void each_segment(Sregs& s, Visit visit) {
  visit(s.cs, CS), visit(s.ds, DS), visit(s.es, ES), visit(s.fs, FS), visit(s.gs, GS),
      visit(s.ss, SS);
}

void save_sregs(const Cpu& c, kvm_sregs& s) {
  s = {};
  each_segment(s, [&](kvm_segment& to, SegReg which) { to = c.seg[which]; });
  s.tr = c.tr, s.ldt = c.ldt, s.gdt = c.gdt, s.idt = c.idt;
  s.cr0 = c.cr0, s.cr3 = c.cr3, s.cr4 = c.cr4, s.efer = c.efer;
  s.cr2 = c.pending.set && c.pending.vector == PF
              ? c.pending.cr2
              : c.cr2;  // an injected #PF has its CR2 set, in KVM's terms
  s.cr8 = c.chip->cr8();
  s.apic_base = c.chip->apic_base();
}

void load_sregs(Cpu& c, const kvm_sregs& s) {
  each_segment(s, [&](const kvm_segment& from, SegReg which) {
    c.seg[which] = from;
    c.seg[which].padding = 0;
  });
  c.tr = s.tr, c.ldt = s.ldt, c.gdt = s.gdt, c.idt = s.idt;
  c.cr0 = s.cr0, c.cr2 = s.cr2, c.cr3 = s.cr3, c.cr4 = s.cr4, c.efer = s.efer;
  c.cpl = c.cr0 & cr0::PE ? s.ss.dpl : 0;
}

void save_events(const Cpu& c, kvm_vcpu_events& e) {
  e = {};
  e.flags = KVM_VCPUEVENT_VALID_SHADOW;
  e.interrupt.shadow = c.shadow_ss ? KVM_X86_SHADOW_INT_MOV_SS
                       : c.shadow  ? KVM_X86_SHADOW_INT_STI
                                   : 0;
  e.nmi.pending = (c.chip->signals() & signal::NMI) != 0;
  e.nmi.masked = c.nmi_masked;
  if (!c.pending.set) return;
  if (c.pending.vector == NMI) {
    e.nmi.injected = 1;
    return;
  }
  if (c.pending.vector >= kExternalInterrupt) {
    e.interrupt.injected = 1;
    e.interrupt.nr = c.pending.vector;
    return;
  }
  e.exception.injected = 1;
  e.exception.nr = c.pending.vector;
  e.exception.has_error_code = c.pending.has_error;
  e.exception.error_code = c.pending.error;
}

void load_events(Cpu& c, const kvm_vcpu_events& e) {
  c.shadow = e.interrupt.shadow & kShadowFlags;
  c.shadow_ss = e.interrupt.shadow & KVM_X86_SHADOW_INT_MOV_SS;
  c.debug_hits = 0;
  c.pending = {};
  c.nmi_masked = e.nmi.masked || e.nmi.injected;
  if (e.nmi.injected) c.pending = {true, false, NMI, 0, 0};
  if (e.interrupt.injected) c.pending = {true, false, e.interrupt.nr, 0, 0};
  if (e.exception.injected)
    c.pending = {true, e.exception.has_error_code != 0, e.exception.nr, e.exception.error_code,
                 c.cr2};
}

/// FxState is the legacy region; the components that the model has are always there.
void save_xsave(const Cpu& c, vcpu::XsaveArea& x) {
  x = {};
  const u32 states = states_of(c.model->features);
  memcpy(x.region, c.fx.bytes, kFxBytes);
  if (states & kAvx) memcpy(x.region + kAvxAt / 4, c.ymm_high.bytes, kAvxBytes);
  x.region[kXstateBv] = states;
}

/// A component that XSTATE_BV omits is in its initial state (SDM vol. 1, 13.6).
void load_xsave(Cpu& c, const vcpu::XsaveArea& x) {
  constexpr size_t kMxcsrAt = 24, kX87Registers = 32, kXmm = 160;
  const u8* from = reinterpret_cast<const u8*>(x.region);
  fx_reset(c.fx);
  memset(c.fx.bytes + kFxBytes, 0, sizeof c.fx.bytes - kFxBytes);
  if (x.region[kXstateBv] & kX87) {
    memcpy(c.fx.bytes, from, kMxcsrAt);
    memcpy(c.fx.bytes + kX87Registers, from + kX87Registers, kXmm - kX87Registers);
  }
  if (x.region[kXstateBv] & kSse) memcpy(c.fx.bytes + kXmm, from + kXmm, kFxBytes - kXmm);
  c.ymm_high = {};
  if (x.region[kXstateBv] & kAvx) memcpy(c.ymm_high.bytes, from + kAvxAt, kAvxBytes);
  memcpy(c.fx.bytes + kMxcsrAt, from + kMxcsrAt, 4);
  memcpy(c.fx.bytes + kMxcsrAt + 4, &kMxcsrMask, 4);
}

void save_msrs(const Cpu& c, std::vector<kvm_msr_entry>& out) {
  out.clear();
  auto put = [&](u32 index, u64 value) { out.push_back({index, 0, value}); };
  put(msr::TSC, guest_tsc(c));
  put(msr::TSC_ADJUST, c.msr.tsc_adjust);
  put(msr::TSC_SKEW, c.msr.tsc_offset - c.msr.tsc_adjust);
  for (u32 index : kPlainMsrs) put(index, *msr_slot(const_cast<Msrs&>(c.msr), index));
  put(msr::WALL_CLOCK, c.msr.kvm_wall_clock);
  put(msr::SYSTEM_TIME, c.msr.kvm_system_time);
  put(msr::TSC_DEADLINE, c.chip->tsc_deadline());  // last: it is restored after the local APIC
}

const u64* find_msr(const std::vector<kvm_msr_entry>& msrs, u32 index) {
  for (const kvm_msr_entry& m : msrs)
    if (m.index == index) return reinterpret_cast<const u64*>(&m.data);
  return nullptr;
}

void load_tsc(Cpu& c, const std::vector<kvm_msr_entry>& msrs) {
  const u64* adjust = find_msr(msrs, msr::TSC_ADJUST);
  const u64* skew = find_msr(msrs, msr::TSC_SKEW);
  const u64* tsc = find_msr(msrs, msr::TSC);
  c.msr.tsc_adjust = adjust ? *adjust : 0;
  if (skew) c.msr.tsc_offset = c.msr.tsc_adjust + *skew;
  else if (tsc) c.msr.tsc_offset = *tsc - c.clock->now_ns();
}

void load_msrs(Cpu& c, const std::vector<kvm_msr_entry>& msrs) {
  c.msr = {};
  load_tsc(c, msrs);
  for (const kvm_msr_entry& m : msrs) {
    if (u64* slot = msr_slot(c.msr, m.index)) *slot = m.data;
    if (m.index == msr::SYSTEM_TIME || (m.index == msr::SYSTEM_TIME_OLD && m.data))
      c.msr.kvm_system_time = m.data;
    if (m.index == msr::WALL_CLOCK || (m.index == msr::WALL_CLOCK_OLD && m.data))
      c.msr.kvm_wall_clock = m.data;
  }
}

kvm_segment reset_segment(u16 selector, u64 base, u8 type, bool s) {
  kvm_segment seg = {};
  seg.base = base;
  seg.limit = 0xffff;
  seg.selector = selector;
  seg.type = type;
  seg.present = 1;
  seg.s = s;
  return seg;
}

Start start_of(u32 mp_state) {
  if (mp_state == KVM_MP_STATE_UNINITIALIZED) return Start::Uninitialized;
  return mp_state == KVM_MP_STATE_INIT_RECEIVED ? Start::InitReceived : Start::Started;
}

u32 mp_state_of(const Cpu& c) {
  if (c.start == Start::Uninitialized) return KVM_MP_STATE_UNINITIALIZED;
  if (c.start == Start::InitReceived) return KVM_MP_STATE_INIT_RECEIVED;
  return c.halted ? KVM_MP_STATE_HALTED : KVM_MP_STATE_RUNNABLE;
}

}  // namespace

void sys::drop_derived(Cpu& c) {
  c.arm_breakpoints();
  c.tlb_flush(true);
  c.mode_changed();
}

void save_state(const Cpu& c, vcpu::VcpuState& out) {
  out.regs = {};
  each_gpr(out.regs, [&](auto& to, Reg which) { to = c.r[which]; });
  out.regs.rip = c.rip;
  out.regs.rflags = c.flags();
  save_sregs(c, out.sregs);
  out.debugregs = {};
  for (int i = 0; i < 4; i++) out.debugregs.db[i] = c.dr[i];
  out.debugregs.dr6 = c.dr6, out.debugregs.dr7 = c.dr7;
  save_xsave(c, out.xsave);
  out.xcrs = {};
  out.xcrs.nr_xcrs = 1;
  out.xcrs.xcrs[0].value = c.xcr0;
  save_events(c, out.events);
  out.mp_state.mp_state = mp_state_of(c);
  out.lapic = {};
  c.chip->save_lapic(out.lapic);
  save_msrs(c, out.msrs);
}

/// Precondition: check_state(c, in) found nothing.
void load_state(Cpu& c, const vcpu::VcpuState& in) {
  each_gpr(in.regs, [&](auto from, Reg which) { c.r[which] = from; });
  c.rip = in.regs.rip;
  load_sregs(c, in.sregs);
  c.set_flags(in.regs.rflags | 2);
  for (int i = 0; i < 4; i++) c.dr[i] = in.debugregs.db[i];
  c.dr6 = dr6_fixed(in.debugregs.dr6);
  c.dr7 = dr7_fixed(in.debugregs.dr7);
  load_xsave(c, in.xsave);
  c.xcr0 = in.xcrs.nr_xcrs ? static_cast<u8>(in.xcrs.xcrs[0].value) : kX87;
  load_msrs(c, in.msrs);
  c.start = start_of(in.mp_state.mp_state);
  c.halted = in.mp_state.mp_state == KVM_MP_STATE_HALTED;
  const u64* deadline = find_msr(in.msrs, msr::TSC_DEADLINE);
  c.chip->load_lapic(in.lapic, {.base = in.sregs.apic_base,
                                .tsc_offset = c.msr.tsc_offset,
                                .tsc_deadline = deadline ? *deadline : 0,
                                .nmi = in.events.nmi.pending != 0});
  load_events(c, in.events);
  drop_derived(c);
}

void sys::reset_registers(Cpu& c) {
  memset(c.r, 0, sizeof c.r);
  u32 id[4];
  cpuid(1, 0, id, c);
  c.r[RDX] = id[0];
  c.rip = 0xfff0;
  c.set_flags(2);
  c.cpl = 0;
  c.shadow = c.shadow_ss = c.halted = c.nmi_masked = false;
  c.debug_hits = 0;
  c.pending = {};
  c.cr0 = 0x60000010;
  c.cr2 = c.cr3 = c.cr4 = c.efer = 0;
  for (u64& d : c.dr) d = 0;
  c.dr6 = dr6_fixed(0);
  c.dr7 = dr7_fixed(0);
  for (kvm_segment& s : c.seg) s = reset_segment(0, 0, type::WRITABLE | type::ACCESSED, true);
  c.seg[CS] = reset_segment(0xf000, 0xffff0000, type::CODE | type::READABLE | type::ACCESSED, true);
  c.tr = reset_segment(0, 0, type::TSS_BUSY, false);
  c.ldt = reset_segment(0, 0, type::LDT, false);
  c.gdt = c.idt = {};
  c.gdt.limit = c.idt.limit = 0xffff;
  c.msr = {};  // the TSC then reads as guest ns, on every backend that starts its clock with the
               // machine
  fx_reset(c.fx);
  c.ymm_high = {};
  c.xcr0 = kX87;
}

void reset_state(Cpu& c) {
  reset_registers(c);
  c.start = c.index == 0 ? Start::Started : Start::Uninitialized;
  c.chip->set_tsc_offset(0);
  drop_derived(c);
}

}  // namespace colo::soft
