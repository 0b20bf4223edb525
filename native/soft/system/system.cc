// Which Slow function an opcode has, and the few system instructions that belong to no family: HLT,
// CPUID, UD2, hypercalls.
#include "soft/system/system.h"

namespace colo::soft {

using namespace sys;

namespace {

/// F4: HLT. With an interrupt at hand the run loop delivers it behind the HLT; else the vCPU
/// sleeps.
Step hlt(Cpu& c, const Op& o) {
  if (c.cpl) return c.raise(GP, 0);
  c.rip = next_rip(c, o);
  if ((c.rflags & flag::IF) && c.chip->interrupt_pending()) return Step::Jump;
  c.halted = true;
  c.exit_reason = vcpu::RunResult::Halted;
  return Step::Exit;
}

/// 0F A2: CPUID.
Step cpuid_insn(Cpu& c, const Op&) {
  u32 out[4];
  cpuid(static_cast<u32>(c.r[RAX]), static_cast<u32>(c.r[RCX]), out, c);
  set32(c, RAX, out[0]), set32(c, RBX, out[1]), set32(c, RCX, out[2]), set32(c, RDX, out[3]);
  return Step::Next;
}

/// 0F 01 C1 VMCALL, D9 VMMCALL: no hypercall is offered. The values are KVM's -KVM_ENOSYS, and
/// -KVM_EPERM for user code.
Step hypercall(Cpu& c, const Op&) {
  constexpr i64 kEnosys = 1000, kEperm = 1;
  c.r[RAX] = c.cpl ? -kEperm : -kEnosys;
  return Step::Next;
}

SlowInsn group_0f01(u8 modrm) {
  const u8 which = (modrm >> 3) & 7;
  if (modrm < 0xc0) {
    if (which < 4) return {table_register, false};
    if (which == 4 || which == 6) return {machine_status_word, which == 6};
    return which == 7 ? SlowInsn{invlpg, true} : SlowInsn{};
  }
  switch (modrm) {
    case 0xc1:
    case 0xd9:
      return {hypercall, false};
    case 0xd0:
    case 0xd1:
      return xsave_insn(0x01, modrm);
    case 0xca:
    case 0xcb:
      return alignment_flag_insn(modrm);
    case 0xf8:
      return {swapgs, false};
    case 0xf9:
      return {rdtscp, false};
    default:
      break;  // MONITOR, MWAIT, SVM and VMX instructions: not exposed, #UD
  }
  if (which == 4 || which == 6) return {machine_status_word, which == 6};
  return {};
}

SlowInsn one_byte(u8 opcode, u8 modrm) {
  switch (opcode) {
    case 0x6c ... 0x6f:
    case 0xe4 ... 0xe7:
    case 0xec ... 0xef:
      return io_insn(opcode);
    case 0x06:
    case 0x07:
    case 0x0e:
    case 0x16:
    case 0x17:
    case 0x1e:
    case 0x1f:
    case 0x8c:
    case 0x8e:
    case 0xc4:
    case 0xc5:
      return segment_insn(0, opcode, modrm);
    case 0x63:
      return system_segment_insn(opcode);
    case 0x9c:
    case 0x9d:
    case 0xfa:
    case 0xfb:
      return flags_insn(opcode);
    case 0x9a:
    case 0xca ... 0xcf:
    case 0xea:
    case 0xf1:
    case 0xff:
      return far_insn(opcode, modrm);
    case 0xf4:
      return {hlt, true};
    default:
      return {};
  }
}

SlowInsn two_byte(u8 opcode, u8 modrm, u8 prefix) {
  switch (opcode) {
    case 0x00:
      return group_0f00(modrm);
    case 0x01:
      return group_0f01(modrm);
    case 0x02:
    case 0x03:
      return system_segment_insn(opcode);
    case 0xa0:
    case 0xa1:
    case 0xa8:
    case 0xa9:
    case 0xb2:
    case 0xb4:
    case 0xb5:
      return segment_insn(1, opcode, modrm);
    case 0x05:
    case 0x07:
    case 0x34:
    case 0x35:
      return fast_call_insn(opcode);
    case 0x06:
    case 0x08:
    case 0x09:
    case 0x20 ... 0x23:
      return control_insn(opcode);
    case 0x0b:
      return {undefined, true};
    case 0x30 ... 0x33:
      return msr_insn(opcode);
    case 0xa2:
      return {cpuid_insn, false};
    case 0xaa:
      return {undefined, true};  // RSM outside SMM
    case 0xae:
      return group_0fae(modrm, prefix);
    case 0xc7:
      if (modrm < 0xc0 && ((modrm >> 3) & 7) == 4) return xsave_insn(opcode, modrm);
      return {};  // /6 /7 (RDSEED, VMX) are not exposed, the others the block builder's
    default:
      return {};
  }
}

}  // namespace

SlowInsn system_insn(u8 map, u8 opcode, u8 modrm, u8 prefix, u8 rex) {
  (void)rex;
  if (map == 0) return one_byte(opcode, modrm);
  if (map == 1) return two_byte(opcode, modrm, prefix);
  if (map == 2 && opcode == 0x82 && prefix == 0x66 && modrm < 0xc0) return {invpcid, true};
  return {};
}

}  // namespace colo::soft
