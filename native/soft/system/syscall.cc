// SYSCALL, SYSRET, SYSENTER, SYSEXIT, SWAPGS (AMD APM vol. 2, 6.1; vol. 3). The model is AMD's:
// SYSENTER and SYSEXIT are not valid in long mode, and SYSCALL is in every mode but real.
#include "soft/system/system.h"

namespace colo::soft::sys {

namespace {

bool fast_calls_on(Cpu& c) {
  if ((c.efer & efer::SCE) && !real_mode(c)) return true;
  c.raise(UD);
  return false;
}

/// Enters flat code and its flat stack: the segments that these instructions do not read.
void enter_flat(Cpu& c, u16 cs, u16 ss, u8 cpl, bool is64) {
  c.seg[SS] = flat_data(ss, cpl);
  enter_code(c, flat_code(cs, cpl, is64), cpl);
}

/// SYSCALL outside long mode: the target is in STAR, and the flags are not kept.
Step legacy_syscall(Cpu& c, const Op& o) {
  const u16 selector = (c.msr.star >> 32) & 0xfffc;
  set32(c, RCX, next_rip(c, o));
  c.rip = c.msr.star & 0xffffffff;
  c.rflags &= ~(flag::IF | flag::RF | flag::VM);
  enter_flat(c, selector, selector + 8, 0, false);
  return Step::Jump;
}

/// 0F 05: SYSCALL. Long mode has an entry each for 64-bit and for other code.
Step syscall(Cpu& c, const Op& o) {
  if (!fast_calls_on(c)) return Step::Fault;
  if (!c.long_mode()) return legacy_syscall(c, o);
  const u64 flags = c.flags() & ~flag::RF;
  const u16 selector = (c.msr.star >> 32) & 0xfffc;
  c.r[RCX] = next_rip(c, o);
  c.r[R11] = flags;
  c.rip = c.code64() ? c.msr.lstar : c.msr.cstar;
  c.set_flags(flags & ~c.msr.fmask);
  c.no_step = !(c.rflags & flag::TF);  // masked: the kernel's entry is not trapped
  enter_flat(c, selector, selector + 8, 0, true);
  return Step::Jump;
}

constexpr u64 kSysretFlags =
    flag::STATUS | flag::TF | flag::IF | flag::DF | flag::IOPL | flag::NT | flag::AC | flag::ID;

/// 0F 07: SYSRET: with REX.W to 64-bit code, else to 32-bit. A non-canonical RCX faults at the
/// fetch in ring 3, as on AMD: the kernel is never entered with the user's stack pointer for it.
Step sysret(Cpu& c, const Op& o) {
  if (!fast_calls_on(c)) return Step::Fault;
  if (c.cpl) return c.raise(GP, 0);
  const bool wide = rex_w(o);
  const u16 selector = (c.msr.star >> 48) | 3;
  c.rip = wide ? c.r[RCX] : c.r[RCX] & 0xffffffff;
  if (c.long_mode()) c.set_flags((c.r[R11] & kSysretFlags) | 2);
  else c.rflags |= flag::IF;
  enter_flat(c, (wide ? selector + 16 : selector) | 3, (selector + 8) | 3, 3, wide);
  if (c.rflags & flag::TF) {  // what it sets traps behind it, not an instruction later
    c.dr6 = (c.dr6 & ~0xfull) | kDr6SingleStep;
    c.raise(DB);
  }
  return Step::Jump;
}

/// 0F 34: SYSENTER.
Step sysenter(Cpu& c, const Op&) {
  if (c.long_mode()) return c.raise(UD);
  const u16 selector = c.msr.sysenter_cs & 0xfffc;
  if (real_mode(c) || !selector) return c.raise(GP, 0);
  c.rflags &= ~(flag::IF | flag::RF | flag::VM);
  set32(c, RSP, c.msr.sysenter_esp);
  c.rip = c.msr.sysenter_eip & 0xffffffff;
  enter_flat(c, selector, selector + 8, 0, false);
  return Step::Jump;
}

/// 0F 35: SYSEXIT.
Step sysexit(Cpu& c, const Op&) {
  if (c.long_mode()) return c.raise(UD);
  const u16 selector = c.msr.sysenter_cs & 0xfffc;
  if (real_mode(c) || !selector || c.cpl) return c.raise(GP, 0);
  c.rip = c.r[RDX] & 0xffffffff;
  set32(c, RSP, c.r[RCX]);
  enter_flat(c, (selector + 16) | 3, (selector + 24) | 3, 3, false);
  return Step::Jump;
}

}  // namespace

/// 0F 01 F8: SWAPGS.
Step swapgs(Cpu& c, const Op&) {
  if (!c.code64()) return c.raise(UD);
  if (c.cpl) return c.raise(GP, 0);
  const u64 base = c.seg[GS].base;
  c.seg[GS].base = c.msr.kernel_gs_base;
  c.msr.kernel_gs_base = base;
  return Step::Next;
}

SlowInsn fast_call_insn(u8 opcode) {
  switch (opcode) {
    case 0x05:
      return {syscall, true};
    case 0x07:
      return {sysret, true};
    case 0x34:
      return {sysenter, true};
    case 0x35:
      return {sysexit, true};
    default:
      return {};
  }
}

}  // namespace colo::soft::sys
