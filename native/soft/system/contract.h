// What the rest of the software CPU asks of the system half: delivery of exceptions and interrupts,
// the Slow functions of system instructions, state images, CPUID, kvmclock.
#pragma once
#include "soft/cpu/cpu.h"

namespace colo::soft {

// --- delivery (deliver.cc). Called by the run loop between blocks. Software interrupts and INT3
// come through deliver() too.
/// Delivers c.pending (with double / triple fault rules). False: triple fault, c.exit_reason =
/// Shutdown.
bool deliver_exception(Cpu& c);
/// Delivers an external interrupt. False: triple fault.
bool deliver_interrupt(Cpu& c, u8 vector);
/// INT n / INT3 / INTO: return address = after the instruction, DPL checked. Step::Jump,
/// Step::Fault, or Step::Exit for what is refused.
Step software_interrupt(Cpu& c, const Op& o, u8 vector);

/// INIT, SIPI and NMI that other processors sent (start.cc). True: the machine state changed, or
/// c.pending holds the NMI.
bool accept_signals(Cpu& c);

// --- instructions
/// Finds the Slow function of a system instruction, or nullptr (#UD). The block builder
/// asks for everything that it does not do itself; this folder owns: two-byte 00 01 (incl. SWAPGS,
/// INVLPG, LGDT.. by ModRM) 02 03 05 06 07 08 09 0B 20-23 30-35 A2 AA C7/6.. AE (fences aside),
/// 0F 38 82, one-byte 6C-6F 8C 8E 9A 9C 9D CB CA CC CD CE CF E4-E7 EA EC-EF F4 FA FB, moves to and
/// from segment, control and debug registers, IRET, SYSCALL, SYSRET, LAR, LSL, VERR, VERW, FAR
/// CALL/JMP (FF /3 /5). map 0 = one-byte, 1 = 0F. modrm: 0 if the opcode has none. ends: the block
/// ends after it (IF, CPL, CR, segment, paging or RIP may change, or it may exit).
struct SlowInsn {
  Slow fn = nullptr;
  bool ends = true;
};
SlowInsn system_insn(u8 map, u8 opcode, u8 modrm, u8 prefix /* 0 66 f2 f3 */, u8 rex);
// --- KVM images (state.cc, check.cc)
void save_state(const Cpu& c, vcpu::VcpuState& out);
std::string check_state(const Cpu& c, const vcpu::VcpuState& in);
void load_state(Cpu& c, const vcpu::VcpuState& in);
void reset_state(Cpu& c);

// --- CPUID of the model (cpuid.cc)
/// What of the model the thunks are to offer: a mask of FpFeature (fpu/fpu_table.h).
u8 fp_features(const vcpu::Features& f);
void cpuid(u32 leaf, u32 subleaf, u32 out[4], const Cpu& c);

// --- kvmclock (kvmclock.cc): called on MSR write, and before a run, which may follow a load
void kvmclock_update(Cpu& c);
void kvmclock_wall(Cpu& c, u64 gpa);
/// The host held the guest: its watchdogs are told, by a flag that it clears itself.
void kvmclock_guest_stopped(Cpu& c);

}  // namespace colo::soft
