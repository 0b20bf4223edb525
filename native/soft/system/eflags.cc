// CLI, STI, PUSHF, POPF, CLAC, STAC (Intel SDM vol. 2). They are the most frequent system
// instructions, hence short: a block goes on behind CLI, PUSHF, CLAC, STAC and a POPF that opens
// nothing.
#include "soft/system/system.h"

namespace colo::soft::sys {

namespace {

/// FA: CLI.
Step cli(Cpu& c, const Op&) {
  if (!io_privileged(c)) return c.raise(GP, 0);
  c.rflags &= ~flag::IF;
  return Step::Next;
}

/// FB: STI. Interrupts wait for one more instruction, if they could not come before.
Step sti(Cpu& c, const Op& o) {
  if (!io_privileged(c)) return c.raise(GP, 0);
  if (!(c.rflags & flag::IF)) c.shadow = true;
  c.rflags |= flag::IF;
  return leave(c, o);
}

/// 9C: PUSHF. The image shows neither RF nor VM.
Step pushf(Cpu& c, const Op& o) {
  const u8 size = stack_size(c, o);
  if (!c.stack_store(c.r[RSP] - size, size, c.flags() & ~(flag::RF | flag::VM))) return Step::Fault;
  c.set_sp(c.r[RSP] - size);
  return Step::Next;
}

/// 9D: POPF. What it may not change it leaves alone, without a fault.
Step popf(Cpu& c, const Op& o) {
  const u8 size = stack_size(c, o);
  u64 image;
  if (!c.stack_load(c.r[RSP], size, image)) return Step::Fault;
  u64 mask = flag::STATUS | flag::TF | flag::DF | flag::NT | flag::AC | flag::ID;
  if (c.cpl == 0) mask |= flag::IOPL;
  if (io_privileged(c)) mask |= flag::IF;
  if (size == 2) mask &= 0xffff;
  const u64 before = c.rflags;
  c.set_flags(((c.flags() & ~mask) | (image & mask)) & ~flag::RF);
  c.set_sp(c.r[RSP] + size);
  const u64 opened = c.rflags & ~before & flag::IF;
  const bool stay = !opened && !((before | c.rflags) & flag::TF);
  return stay ? Step::Next : leave(c, o);
}

/// 0F 01 CA: CLAC; CB: STAC. They exist with SMAP, and in ring 0.
template <bool On>
Step set_alignment_flag(Cpu& c, const Op& o) {
  if (!(c.model->features.ebx7 & vcpu::Features::SMAP) || op_prefix(o) || c.cpl) return c.raise(UD);
  if (bool(c.rflags & flag::AC) == On) return Step::Next;
  c.rflags ^= flag::AC;
  c.alignment_flag_changed();
  return Step::Next;
}

}  // namespace

SlowInsn alignment_flag_insn(u8 modrm) {
  return {modrm == 0xcb ? set_alignment_flag<true> : set_alignment_flag<false>, false};
}

SlowInsn flags_insn(u8 opcode) {
  switch (opcode) {
    case 0x9c:
      return {pushf, false};
    case 0x9d:
      return {popf, false};
    case 0xfa:
      return {cli, false};
    case 0xfb:
      return {sti, true};
    default:
      return {};
  }
}

}  // namespace colo::soft::sys
