// SYSCALL, SYSRET, SWAPGS (AMD APM vol. 2, 6.1; vol. 3). SYSENTER and SYSEXIT are not valid in long
// mode on the AMD model: #UD.
#include "soft/system/system.h"

namespace colo::soft::sys {

namespace {

/// 0F 05: SYSCALL.
Step syscall(Cpu& c, const Op& o) {
  if (!(c.efer & efer::SCE) || !c.long_mode()) return c.raise(UD);
  const u64 flags = c.flags() & ~flag::RF;
  const u16 selector = (c.msr.star >> 32) & 0xfffc;
  c.r[RCX] = next_rip(c, o);
  c.r[R11] = flags;
  c.rip = c.msr.lstar;
  c.set_flags(flags & ~c.msr.fmask);
  c.seg[SS] = flat_data(selector + 8, 0);
  enter_code(c, flat_code(selector, 0, true), 0);
  return Step::Jump;
}

constexpr u64 kSysretFlags =
    flag::STATUS | flag::TF | flag::IF | flag::DF | flag::IOPL | flag::NT | flag::AC | flag::ID;

/// 0F 07: SYSRET with REX.W, to 64-bit code; without it the target is a 32-bit segment, see far.cc.
/// A non-canonical RCX faults at the fetch in ring 3, as on AMD: the kernel is never entered with
/// the user's stack pointer for it.
Step sysret(Cpu& c, const Op& o) {
  if (!(c.efer & efer::SCE) || !c.long_mode()) return c.raise(UD);
  if (c.cpl) return c.raise(GP, 0);
  const u16 selector = (c.msr.star >> 48) | 3;
  if (!rex_w(o)) return c.raise(GP, selector_error(selector));
  c.rip = c.r[RCX];
  c.set_flags((c.r[R11] & kSysretFlags) | 2);
  c.seg[SS] = flat_data((selector + 8) | 3, 3);
  enter_code(c, flat_code((selector + 16) | 3, 3, true), 3);
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
    case 0x35:
      return {undefined, true};
    default:
      return {};
  }
}

}  // namespace colo::soft::sys
