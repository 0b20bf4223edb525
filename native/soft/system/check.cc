// Is a saved vCPU state one that load_state can take? It came over a wire or from a file, so
// everything that is used later is checked here (rules: Intel SDM vol. 3, 27.3.1, which states what
// a consistent CPU state is).
#include <cstdarg>
#include <cstdio>

#include "soft/system/state.h"
#include "vcpu/model.h"

namespace colo::soft {

using namespace sys;

namespace {

using vcpu::CpuModel;
using vcpu::VcpuState;

__attribute__((format(printf, 1, 2))) std::string say(const char* format, ...) {
  char text[160];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  return text;
}

std::string check_flags(const kvm_regs& r) {
  constexpr u64 kKnown = 0x3f7fd7;
  if (r.rflags & ~kKnown) return say("RFLAGS 0x%llx has reserved bits set", r.rflags);
  if (r.rflags & flag::VM) return "RFLAGS.VM is set: virtual-8086 mode is not offered";
  return "";
}

std::string check_cr0(const kvm_sregs& s) {
  if (s.cr0 & ~kCr0Known) return say("CR0 0x%llx has reserved bits set", s.cr0);
  if ((s.cr0 & cr0::PG) && !(s.cr0 & cr0::PE)) return "CR0.PG is set without CR0.PE";
  if ((s.cr0 & cr0::NW) && !(s.cr0 & cr0::CD)) return "CR0.NW is set without CR0.CD";
  return "";
}

std::string check_control(const CpuModel& m, const kvm_sregs& s) {
  if (std::string e = check_cr0(s); !e.empty()) return e;
  if (s.cr3 & ~kPhysMask) return say("CR3 0x%llx has reserved bits set", s.cr3);
  if (s.cr4 & ~allowed_cr4(m.features))
    return say("CR4 0x%llx has bits that CPU model %s does not offer", s.cr4, m.name.c_str());
  if (s.efer & ~kEferAllowed)
    return say("EFER 0x%llx has bits that CPU model %s does not offer", s.efer, m.name.c_str());
  const bool active = (s.efer & efer::LME) && (s.cr0 & cr0::PG);
  if (bool(s.efer & efer::LMA) != active) return "EFER.LMA does not agree with EFER.LME and CR0.PG";
  if (active && !(s.cr4 & cr4::PAE)) return "long mode without CR4.PAE";
  if (!active && s.cr4 & cr4::PCIDE) return "CR4.PCIDE is set outside long mode";
  if (!apic_base_valid(s.apic_base)) return say("APIC base 0x%llx is not valid", s.apic_base);
  for (u64 word : s.interrupt_bitmap)
    if (word) return "interrupt_bitmap: interrupts of an outside chip are not supported";
  return "";
}

/// The cached limit must be one that a descriptor can express.
bool limit_consistent(const kvm_segment& s) {
  if (s.g) return (s.limit & 0xfff) == 0xfff;
  return s.limit <= 0xfffff;
}

std::string check_shape(const char* name, const kvm_segment& s) {
  if (s.type > 15 || s.dpl > 3 || (s.present | s.db | s.s | s.l | s.g | s.avl | s.unusable) > 1)
    return say("segment %s has a field out of range", name);
  if (!canonical(s.base)) return say("segment %s has a non-canonical base", name);
  if (s.unusable) return "";
  if (!limit_consistent(s))
    return say("segment %s: limit 0x%x and granularity do not agree", name, s.limit);
  if (!s.present) return say("segment %s is usable but not present", name);
  return "";
}

/// Outside long mode CS may still hold the selector that real mode left in it.
std::string check_code(const kvm_sregs& s) {
  if (s.cs.unusable || !(s.cr0 & cr0::PE ? is_code(s.cs) : s.cs.s == 1))
    return "segment CS is not a code segment";
  if (s.cs.l && (s.cs.db || !(s.efer & efer::LMA)))
    return "segment CS is marked 64-bit outside long mode, or 32-bit as well";
  if (!(s.cr0 & cr0::PE)) return s.ss.dpl ? "segment SS has a privilege level in real mode" : "";
  if ((s.efer & efer::LMA) && (s.cs.selector & 3) != s.ss.dpl)
    return "segments CS and SS disagree about the privilege level";
  if (is_conforming(s.cs) ? s.cs.dpl > s.ss.dpl : s.cs.dpl != s.ss.dpl)
    return "segment CS does not belong to its privilege level";
  return "";
}

/// NULL is loaded by 64-bit code only, and stays when that leaves for another mode.
std::string check_stack(const kvm_sregs& s) {
  if (!s.ss.unusable) return is_writable_data(s.ss) ? "" : "segment SS is not writable data";
  return s.ss.dpl < 3 ? "" : "segment SS is unusable in ring 3";
}

std::string check_segments(const kvm_sregs& s) {
  const struct {
    const char* name;
    const kvm_segment& seg;
  } all[] = {{"CS", s.cs}, {"DS", s.ds}, {"ES", s.es}, {"FS", s.fs},
             {"GS", s.gs}, {"SS", s.ss}, {"TR", s.tr}, {"LDT", s.ldt}};
  for (const auto& x : all)
    if (std::string e = check_shape(x.name, x.seg); !e.empty()) return e;
  for (const auto& x : {all[1], all[2], all[3], all[4]}) {
    if (x.seg.unusable) continue;
    if (!x.seg.s || (is_code(x.seg) && !(x.seg.type & type::READABLE)))
      return say("segment %s is not readable", x.name);
  }
  if (std::string e = check_code(s); !e.empty()) return e;
  if (std::string e = check_stack(s); !e.empty()) return e;
  constexpr u8 kTss16Busy = 3;
  if (!s.tr.unusable && (s.tr.s || (s.tr.type != type::TSS_BUSY && s.tr.type != kTss16Busy)))
    return "segment TR is not a busy TSS";
  if (!s.ldt.unusable && (s.ldt.s || s.ldt.type != type::LDT))
    return "segment LDT is not a local descriptor table";
  if (!canonical(s.gdt.base) || !canonical(s.idt.base))
    return "GDT or IDT has a non-canonical base";
  return "";
}

std::string check_debug(const kvm_debugregs& d) {
  if (d.flags) return "debug registers: unknown flags";
  return (d.dr6 | d.dr7) >> 32 ? "DR6 or DR7 has reserved bits set" : "";
}

std::string check_fpu(const CpuModel& m, const VcpuState& in) {
  const u32* header = in.xsave.region + kXstateBv;
  if (const u32 states = states_of(m.features); header[0] & ~states || header[1])
    return say("XSTATE_BV 0x%x%08x: CPU model %s has x87%s SSE only", header[1], header[0],
               m.name.c_str(), states & kAvx ? ", AVX and" : " and");
  for (int i = 2; i < 16; i++)
    if (header[i]) return "XSAVE header has reserved bits set";
  const u32 mxcsr = in.xsave.region[6];
  if (mxcsr & ~kMxcsrMask) return say("MXCSR 0x%x has reserved bits set", mxcsr);
  if (in.xcrs.nr_xcrs > KVM_MAX_XCRS || in.xcrs.flags)
    return "extended control registers: bad count or flags";
  for (u32 i = 0; i < in.xcrs.nr_xcrs; i++)
    if (in.xcrs.xcrs[i].xcr != 0 || !xcr0_valid(m.features, in.xcrs.xcrs[i].value))
      return say("XCR0 enables state that CPU model %s does not have", m.name.c_str());
  return "";
}

std::string check_events(const kvm_vcpu_events& e) {
  constexpr u8 kBusy = 1;
  if (e.exception.injected > kBusy || e.exception.has_error_code > 1 ||
      (e.exception.injected && (e.exception.nr > 31 || e.exception.nr == NMI)))
    return say("pending exception %u is not valid", e.exception.nr);
  if (e.exception.pending) return "a pending exception with payload is not supported";
  if (e.interrupt.injected > kBusy || e.interrupt.soft)
    return "a software interrupt in flight is not supported";
  if (e.interrupt.injected && (e.interrupt.nr < 32 || e.exception.injected))
    return say("interrupt %u in flight is not valid", e.interrupt.nr);
  if (e.interrupt.shadow & ~kShadowFlags) return "interrupt shadow has unknown bits";
  if (e.nmi.injected > kBusy || e.nmi.pending > kBusy || e.nmi.masked > kBusy)
    return "non-maskable interrupt: a flag is neither 0 nor 1";
  if (e.nmi.injected && (e.exception.injected || e.interrupt.injected))
    return "a non-maskable interrupt in flight beside another event is not valid";
  if (e.smi.smm || e.smi.pending || e.smi.smm_inside_nmi || e.smi.latched_init)
    return "system management mode is not supported";
  return e.triple_fault.pending ? "a pending triple fault is not supported" : "";
}

/// Registers that the image also holds elsewhere must agree with it.
const __u64* twin(const kvm_sregs& s, u32 index) {
  switch (index) {
    case msr::APIC_BASE:
      return &s.apic_base;
    case msr::EFER:
      return &s.efer;
    case msr::FS_BASE:
      return &s.fs.base;
    case msr::GS_BASE:
      return &s.gs.base;
    default:
      return nullptr;
  }
}

bool free_value(u32 index) {
  switch (index) {
    case msr::TSC:
    case msr::TSC_ADJUST:
    case msr::TSC_SKEW:
    case msr::TSC_DEADLINE:
    case msr::WALL_CLOCK:
    case msr::WALL_CLOCK_OLD:
    case msr::SYSTEM_TIME:
    case msr::SYSTEM_TIME_OLD:
      return true;
    default:
      return false;
  }
}

/// A register that this CPU does not have may be present as zero, which is what its absence means;
/// any other value would be lost.
std::string check_msr(const CpuModel& model, const kvm_msr_entry& m, const kvm_sregs& s) {
  constexpr u32 kTscAux = 0xc0000103;
  Msrs scratch;
  u64 constant = 0;
  if (free_value(m.index)) return "";
  if (const __u64* other = twin(s, m.index))
    return *other == m.data ? ""
                            : say("MSR 0x%x does not agree with the system registers", m.index);
  if (msr_slot(scratch, m.index))
    return msr_valid(m.index, m.data) ? "" : say("MSR 0x%x cannot hold 0x%llx", m.index, m.data);
  if (m.index == kTscAux && model.has_rdtscp())
    return m.data >> 32 ? say("MSR 0x%x cannot hold 0x%llx", m.index, m.data) : "";
  if (m.data == 0 || (msr_constant(m.index, constant) && constant == m.data)) return "";
  return say("MSR 0x%x is not one of CPU model %s (value 0x%llx)", m.index, model.name.c_str(),
             m.data);
}

std::string check_lapic(const VcpuState& in, u32 apic_id) {
  constexpr size_t kTpr = 0x80;
  const u8 priority = in.lapic.regs[kTpr];
  if (in.sregs.cr8 != priority >> 4u) return "CR8 and the local APIC's task priority do not agree";
  return Irqchip::check_lapic(in.lapic, apic_id);
}

std::string check_parts(const CpuModel& m, u32 apic_id, const VcpuState& in) {
  const std::string results[] = {check_flags(in.regs),     check_control(m, in.sregs),
                                 check_segments(in.sregs), check_debug(in.debugregs),
                                 check_fpu(m, in),         check_events(in.events),
                                 check_lapic(in, apic_id)};
  for (const std::string& r : results)
    if (!r.empty()) return r;
  for (const kvm_msr_entry& entry : in.msrs)
    if (std::string e = check_msr(m, entry, in.sregs); !e.empty()) return e;
  return "";
}

bool one_of(u32 state, std::initializer_list<u32> known) {
  for (u32 k : known)
    if (state == k) return true;
  return false;
}

}  // namespace

/// The first processor never waits for another's SIPI: nobody would send it.
std::string check_state(const Cpu& c, const VcpuState& in) {
  if (std::string e = vcpu::model::check(*c.model, c.apic_id, in); !e.empty()) return e;
  const u32 mp = in.mp_state.mp_state;
  const bool waits = one_of(mp, {KVM_MP_STATE_UNINITIALIZED, KVM_MP_STATE_INIT_RECEIVED});
  return waits && c.index == 0 ? say("vCPU run state %u is not supported", mp) : "";
}

}  // namespace colo::soft

namespace colo::vcpu::model {

std::string check(const CpuModel& m, u32 apic_id, const VcpuState& in) {
  if (std::string e = soft::check_parts(m, apic_id, in); !e.empty()) return e;
  const u32 mp = in.mp_state.mp_state;
  const bool known = soft::one_of(mp, {KVM_MP_STATE_RUNNABLE, KVM_MP_STATE_HALTED,
                                       KVM_MP_STATE_UNINITIALIZED, KVM_MP_STATE_INIT_RECEIVED});
  return known ? "" : soft::say("vCPU run state %u is not supported", mp);
}
std::string check(const ChipState& in) { return soft::Irqchip::check(in); }

}  // namespace colo::vcpu::model
