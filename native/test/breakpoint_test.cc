// Breakpoints of DR0..DR3, the trap flag, RF, and what a load of SS holds back (Intel SDM vol. 3,
// 18.2 and 18.3), in protected mode and in 64-bit code.
#include "test/check.h"
#include "test/modes.h"

#pragma GCC diagnostic ignored "-Winvalid-offsetof"

namespace {
using namespace colo;
using namespace colo::soft;
using namespace colo::test;
using vcpu::RunResult;
using M = ModeMachine;

constexpr u64 kStep = 1 << 14;
enum Kind : u64 { kExecute, kWrite, kPort, kAccess };

struct Box : M {
  Box() { protected_mode(); }
  /// Breakpoint i, with its length in bytes.
  void arm(int i, u64 at, Kind kind, u64 bytes) {
    constexpr u64 kCodes[] = {0, 0, 1, 0, 3, 0, 0, 0, 2};
    c.dr[i] = at;
    c.dr7 |= 2ull << (2 * i) | (kind | kCodes[bytes] << 2) << (16 + 4 * i);
    c.arm_breakpoints(), c.mode_changed();
  }
  /// Runs until the handler of #DB; where did it strike, from kCode?
  i64 trapped() {
    if (run() != RunResult::Halted || vector() != DB) return -1;
    return static_cast<i64>(get<u32>(c.r[RSP])) - static_cast<i64>(kCode);
  }
  u32 pushed_flags() { return get<u32>(c.r[RSP] + 8); }
  /// As the handler's IRET.
  void resume() {
    c.halted = false;
    code(c.rip, {0xcf});
  }
  u64 hits() const { return c.dr6 & 0xf; }
};

/// A fault before the instruction, with RF in the frame; IRET goes on behind it.
void instructions() {
  Box m;
  m.code(M::kCode, {0x40, 0x43, 0x40, 0xf4});
  m.c.dr6 |= 4;  // of an older one
  m.arm(1, M::kCode + 1, kExecute, 1);
  CHECK(m.trapped() == 1 && m.hits() == 2 && m.c.r[RBX] == 0 && m.c.r[RAX] == 1);
  CHECK(m.pushed_flags() & flag::RF);
  m.resume();
  CHECK(m.run() == RunResult::Halted && m.vector() < 0);
  CHECK(m.c.r[RAX] == 2 && m.c.r[RBX] == 1 && !(m.c.rflags & flag::RF));
}

/// Traps behind the instruction that met it: stores, loads only where they are wanted.
void data() {
  Box m;
  // mov eax, [kData]; mov [kData+2], al; push dword [kData]; nop; hlt
  m.code(M::kCode,
         {0xa1, 0, 0x40, 1, 0, 0xa2, 2, 0x40, 1, 0, 0xff, 0x35, 0, 0x40, 1, 0, 0x90, 0xf4});
  m.arm(0, M::kData, kWrite, 4);
  CHECK(m.trapped() == 10 && m.hits() == 1 && !(m.pushed_flags() & flag::RF));
  Box both;
  memcpy(both.at(M::kCode, 18), m.at(M::kCode, 18), 18);
  both.arm(2, M::kData + 1, kAccess, 1);
  CHECK(both.trapped() == 5 && both.hits() == 4);
  both.c.dr6 = 0, both.resume();
  CHECK(both.trapped() == 16 && both.hits() == 4);  // not the byte beside it
}

/// A repeated string stops behind the element, on itself; a later one behind the instruction.
void strings() {
  Box m;
  m.code(M::kCode, {0xf3, 0xaa, 0xf4});
  m.c.r[RDI] = M::kData, m.c.r[RCX] = 8;
  m.arm(0, M::kData + 4, kWrite, 2);
  CHECK(m.trapped() == 0 && m.c.r[RCX] == 3);
  m.resume();
  CHECK(m.trapped() == 0 && m.c.r[RCX] == 2);
  m.resume();
  CHECK(m.run() == RunResult::Halted && m.vector() < 0 && m.c.r[RCX] == 0);
}

void ports() {
  for (const bool extensions : {false, true}) {
    Box m;
    m.c.cr4 = extensions ? cr4::DE : 0;
    m.code(M::kCode, {0xe6, 0x80, 0xe6, 0x81, 0x90, 0xf4});  // out 80, al; out 81, al
    m.arm(3, 0x81, kPort, 1);
    if (extensions) CHECK(m.trapped() == 4 && m.hits() == 8);
    else CHECK(m.run() == RunResult::Halted && m.vector() < 0);
  }
}

/// MOV SS holds back a data breakpoint that it met itself, for one instruction; so POP SS.
void loads_of_ss() {
  Box m;
  m.put<u16>(M::kData, gdt::DATA32);
  m.code(M::kCode, {0x8e, 0x15, 0, 0x40, 1, 0, 0x90, 0x40, 0xf4});  // mov ss, [kData]; nop; inc eax
  m.arm(0, M::kData, kAccess, 2);
  CHECK(m.trapped() == 7 && m.hits() == 1 && m.c.r[RAX] == 0);
  Box step;
  step.code(M::kCode, {0x16, 0x17, 0x90, 0x40, 0xf4});  // push ss; pop ss; nop; inc eax
  step.c.rip += 1, step.c.r[RSP] -= 4;
  step.put<u32>(step.c.r[RSP], gdt::DATA32);
  step.c.rflags |= flag::TF;
  CHECK(step.trapped() == 3 && step.c.dr6 & kStep);
}

/// On Intel's processors a load of SS also holds back the breakpoint on what follows; AMD's do not,
/// and report with it what the load itself has met.
void instruction_behind_a_load_of_ss(bool met) {
  for (const char* vendor : {vcpu::kAmd, "GenuineIntel"}) {
    Box m;
    vcpu::CpuModel model = *m.c.model;
    model.vendor = vendor;
    m.c.model = &model;
    m.put<u16>(M::kData, gdt::DATA32);
    m.code(M::kCode, {0x8e, 0x15, 0, 0x40, 1, 0, 0x90, 0x40, 0xf4});  // mov ss, [kData]; nop; ..
    m.arm(0, M::kCode + 6, kExecute, 1);
    if (met) m.arm(1, M::kData, kAccess, 2);
    if (model.amd()) CHECK(m.trapped() == 6 && m.hits() == (met ? 3 : 1));
    else if (met) CHECK(m.trapped() == 7 && m.hits() == 2);
    if (model.amd() || met) m.resume();
    CHECK(m.run() == RunResult::Halted && m.vector() < 0 && m.c.r[RAX] == 1);
  }
}

/// The instruction behind STI runs before an NMI, too.
void nmi_behind_sti() {
  Box m;
  m.code(M::kCode, {0x40, 0x40, 0xf4});  // inc eax; inc eax; hlt
  vcpu::VcpuState s;
  m.vm.vcpu(0).save(s);
  s.events.interrupt.shadow = KVM_X86_SHADOW_INT_STI, s.events.nmi.pending = 1;
  CHECK(m.vm.vcpu(0).check(s).empty());
  m.vm.vcpu(0).load(s);
  CHECK(m.run() == RunResult::Halted && m.vector() == NMI && m.c.r[RAX] == 1);
}

/// TF traps behind each instruction, but not behind INT n, whose handler runs without it.
void single_steps() {
  Box m;
  m.code(M::kCode, {0x40, 0xcd, 0x20, 0xf4});
  m.gate(0x20, M::kData, gdt::CODE32, 14, 0);
  m.code(M::kData, {0x43, 0xcf});
  m.c.rflags |= flag::TF;
  CHECK(m.trapped() == 1 && m.c.dr6 & kStep);
  m.resume();
  m.code(M::kHandlers + 16 * DB, {0xf4});
  m.c.rip = M::kCode + 1, m.c.r[RSP] = M::kStack, m.c.rflags |= flag::TF, m.c.halted = false;
  CHECK(m.run() == RunResult::Halted && m.vector() < 0 && m.c.r[RBX] == 1);  // the HLT behind it
}

/// INT1 is a trap of its own: TF adds none.
void int1_under_the_trap_flag() {
  Box m;
  m.code(M::kCode, {0xf1, 0xf4});
  m.c.rflags |= flag::TF;
  CHECK(m.trapped() == 1 && !(m.c.dr6 & kStep));
  m.resume();
  CHECK(m.run() == RunResult::Halted && m.vector() < 0);
}

/// SYSCALL that masks TF is not trapped; SYSRET that sets it is, before the next instruction.
void syscall_under_the_trap_flag() {
  Machine m;
  m.map(0x10000000, 0x400000, Machine::W);
  m.code(0x400000, {0x0f, 0x05}), m.code(0x400100, {0x90, 0xf4});
  m.c.rip = 0x10000000, m.c.rflags |= flag::TF;
  m.c.msr.star = 0x0008ull << 32, m.c.msr.lstar = 0x10000100, m.c.msr.fmask = flag::TF;
  CHECK(m.run() == RunResult::Halted && m.vector() < 0 && m.c.rip == 0x10000102);
  m.revive();
  m.c.rip = 0x10000200, m.c.r[RCX] = 0x10000300, m.c.r[R11] = flag::TF | 2;
  m.c.msr.star |= 0x0010ull << 48;
  m.code(0x400200, {0x48, 0x0f, 0x07}), m.code(0x400300, {0xf4});
  CHECK(m.run() == RunResult::Halted && m.vector() == DB);
  CHECK(m.get<u64>(Machine::kFaultStack - 40) == 0x10000300);
}

/// 64-bit code sees breakpoints at whole addresses.
void in_64_bit_code() {
  Machine m;
  const u64 code = 0xffff800010000000, data = 0xffff800020000000;
  m.map(code, 0x400000, Machine::W), m.map(data, 0x401000, Machine::W);
  m.code(0x400000, {0x48, 0x89, 0x03, 0x90, 0xf4});  // mov [rbx], rax; nop
  m.c.rip = code, m.c.r[RBX] = data;
  m.c.dr[0] = data + 4, m.c.dr7 |= 2 | kWrite << 16 | 3ull << 18;
  m.c.arm_breakpoints(), m.c.mode_changed();
  CHECK(m.run() == RunResult::Halted && m.vector() == DB && (m.c.dr6 & 0xf) == 1);
  CHECK(m.get<u64>(Machine::kFaultStack - 40) == code + 3);
}

/// Breakpoints are part of a state: an armed one strikes behind a load too.
void saved_and_loaded() {
  Box m;
  m.code(M::kCode, {0x40, 0x40, 0xf4});
  m.arm(0, M::kCode + 1, kExecute, 1);
  vcpu::VcpuState s;
  m.vm.vcpu(0).save(s);
  m.c.dr7 = 0x400, m.c.arm_breakpoints();
  CHECK(m.vm.vcpu(0).check(s).empty());
  m.vm.vcpu(0).load(s);
  CHECK(m.trapped() == 1);
}

}  // namespace

int main() {
  instructions(), data(), strings(), ports(), loads_of_ss(), single_steps(), in_64_bit_code();
  instruction_behind_a_load_of_ss(false), instruction_behind_a_load_of_ss(true);
  int1_under_the_trap_flag(), syscall_under_the_trap_flag(), saved_and_loaded(), nmi_behind_sti();
  return test::finish();
}
