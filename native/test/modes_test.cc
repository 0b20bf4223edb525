// Code in every mode: real, protected with 16 and with 32 bits, compatibility and 64-bit mode, the
// ways between them, and the three kinds of page tables. Method: small programs, and what they
// leave in memory and registers.
#include "test/modes.h"

#include <string>

#include "test/check.h"

#pragma GCC diagnostic ignored "-Winvalid-offsetof"

namespace {
using namespace colo;
using namespace colo::soft;
using namespace colo::test;
using vcpu::RunResult;

// --- all modes in one program

/// The program, in order. Real mode: a store through ES with base 71000, INT 21 whose handler sets
/// BX and returns, a far call; then LGDT, CR0.PE, far JMP. 32 bits: push, pop, call. Paging with 4
/// MiB and 4 KiB pages, then PAE, then long mode by EFER.LME: INC in compatibility mode, far JMP to
/// 64-bit code, an indirect one back, paging off, LME off, 16-bit protected mode, real mode. DS
/// still spans 4 GiB there: a store beyond 1 MiB. HLT.
void prepare_walk(ModeMachine& m) {
  m.real_mode();
  m.load(CS, 0, 0, 0xffff, 11, false);
  memcpy(m.at(0x8000, sizeof kWalk), kWalk, sizeof kWalk);
  m.code(0x8500, {0xc7, 0x06, 0x2c, 0x71, 0x77, 0x77, 0xcb});  // mov word [712c], 7777; retf
  m.put<u64>(0x20000, 0x83), m.put<u32>(0x20004, 0x83), m.put<u32>(0x20008, 0x21003);
  m.put<u32>(0x21000, 0x7003);
  m.put<u64>(0x24000, 0x25001), m.put<u64>(0x24018, 0x26001);
  m.put<u64>(0x25000, 0x83), m.put<u64>(0x26000, 0x27003), m.put<u64>(0x27000, 0x7003);
  m.put<u64>(0x28000, 0x29003), m.put<u64>(0x29000, 0x2a003), m.put<u64>(0x2a000, 0x83);
  m.c.rip = 0x8000;
}

void check_walk(ModeMachine& m) {
  CHECK(m.get<u32>(0x71010) == 0x11223344);
  CHECK(m.get<u16>(0x7100) == 0x1234 && m.get<u16>(0x7102) == 0x55aa);
  CHECK(m.get<u16>(0x712c) == 0x7777);
  CHECK(m.get<u32>(0x7104) == 0xdeadbeef && m.get<u32>(0x7108) == 0x600d);
  CHECK(m.get<u32>(0x7110) == 0xdeadbeef && m.get<u32>(0x7114) == 0xcafe);
  CHECK(m.get<u32>(0x7118) == 1 && m.get<u64>(0x7120) == 0x123456789abcdef0);
  CHECK(m.get<u16>(0x7128) == 0x4321 && m.get<u32>(0x180000) == 0x0badcafe);
  CHECK(m.get<u16>(0x712a) == 0x9999);
  CHECK(!m.c.protected_mode() && m.c.seg[CS].selector == 0 && m.c.rip == 0x8179);
  CHECK(m.get<u32>(0x20008) == 0x21023 && m.get<u32>(0x21000) == 0x7063);  // accessed, dirty
  CHECK(m.get<u64>(0x24018) == 0x26001 && m.get<u64>(0x27000) == 0x7063);
}

void walk_through_all_modes() {
  ModeMachine m;
  prepare_walk(m);
  CHECK(m.run() == RunResult::Halted && m.vector() < 0);
  check_walk(m);
}

/// The same with a checkpoint behind every instruction: the state of each is accepted, and a CPU
/// that knows nothing else goes on from it.
void walk_from_checkpoint_to_checkpoint() {
  ModeMachine m;
  prepare_walk(m);
  RunResult why = RunResult::Budget;
  for (int steps = 0; steps < 400 && why == RunResult::Budget; steps++) {
    why = m.run(1);
    vcpu::VcpuState s, again;
    m.vm.vcpu(0).save(s);
    const std::string problem = m.vm.vcpu(0).check(s);
    if (!problem.empty()) fprintf(stderr, "RIP %llx: %s\n", s.regs.rip, problem.c_str());
    CHECK(problem.empty());
    m.vm.vcpu(0).reset();
    m.vm.vcpu(0).load(s);
    m.vm.vcpu(0).save(again);
    CHECK(!memcmp(&s.sregs, &again.sregs, sizeof s.sregs));
    CHECK(!memcmp(&s.regs, &again.regs, sizeof s.regs));
  }
  CHECK(why == RunResult::Halted && m.vector() < 0);
  check_walk(m);
}

// --- compatibility mode under a 64-bit kernel

constexpr u64 kUser = 0x10000000, kUserStack = 0x30001000;

/// 64-bit user code at kUser with a stack, and a 32-bit code segment 0x33.
struct Long : Machine {
  Long() {
    for (u64 page = 0; page < 4; page++)
      map(kUser + page * kPageSize, 0x400000 + page * kPageSize, W | U);
    map(kUserStack - kPageSize, 0x600000, W | U);
    put<u64>(kGdt + 0x30, 0x00cffa000000ffff);
    enter();
  }
  void enter() {
    long_mode(true);
    c.rip = kUser, c.r[RSP] = kUserStack - 0x100;
  }
  void text(u64 offset, const std::string& bytes) { code(0x400000 + offset, bytes); }
  bool compat() const { return c.long_mode() && !c.seg[CS].l; }
};

/// RETFQ, IRETQ and far JMP to a 32-bit segment: what runs there decodes as 32-bit code, and its
/// fault arrives in the 64-bit kernel.
void ways_into_compatibility_mode() {
  Long m;
  const std::string ways[] = {
      // push 0x33; push kUser + 0x100; retfq
      std::string("\x6a\x33\x68\x00\x01\x00\x10\x48\xcb", 9),
      // push 0x23; push rsp; pushfq; push 0x33; push kUser + 0x100; iretq
      std::string("\x6a\x23\x54\x9c\x6a\x33\x68\x00\x01\x00\x10\x48\xcf", 13),
      // push 0x33; shl qword [rsp], 32; or dword [rsp], kUser + 0x100; jmp far [rsp]
      std::string("\x6a\x33\x48\xc1\x24\x24\x20\x81\x0c\x24\x00\x01\x00\x10\xff\x2c\x24", 17),
  };
  // inc eax; dec ecx; mov ebx, [esp]; push edx; pop esi; ud2
  m.text(0x100, "\x40\x49\x8b\x1c\x24\x52\x5e\x0f\x0b");
  for (const std::string& way : ways) {
    m.enter();
    m.text(0, way);
    m.c.r[RAX] = ~0ull, m.c.r[RCX] = 0, m.c.r[RDX] = 0xffffffff80000001;
    CHECK(m.run() == RunResult::Halted && m.vector() == UD);
    CHECK(m.c.r[RAX] == 0 && m.c.r[RCX] == 0xffffffff && m.c.r[RSI] == 0x80000001);
    CHECK(m.get<u64>(Machine::kFaultStack - 40) == kUser + 0x107);
    CHECK(m.get<u64>(Machine::kFaultStack - 32) == 0x33);
  }
}

/// SYSRET without REX.W, SYSCALL from there to CSTAR, and back to 64 bits by a far JMP.
void system_calls_of_32_bits() {
  Long m;
  m.long_mode(false);
  m.c.rip = kUser, m.c.r[RSP] = kUserStack - 0x100;
  m.c.msr.star = 0x0030ull << 48 | 0x0008ull << 32;
  m.c.msr.cstar = kUser + 0x200, m.c.msr.lstar = 0;
  m.c.r[RCX] = 0x5500000000000000 | (kUser + 0x100), m.c.r[R11] = 2;
  m.text(0, "\x0f\x07");              // sysretl
  m.text(0x100, "\x41\x0f\x05");      // inc ecx; syscall
  m.text(0x200, "\x48\x89\xc8\xf4");  // mov rax, rcx; hlt: 64-bit code again
  CHECK(m.run() == RunResult::Halted && m.c.rip == kUser + 0x204);
  CHECK(m.c.cpl == 0 && m.c.seg[CS].l && m.c.r[RAX] == kUser + 0x103);
}

/// Addresses have 32 bits: base + index wrap, also through a segment with a base, and code ends at
/// 4 GiB.
void addresses_wrap_at_4g() {
  ModeMachine m;
  m.protected_mode();
  m.put<u32>(ModeMachine::kData, 0x1234);
  m.code(ModeMachine::kCode, {0x8b, 0x04, 0x1e, 0x64, 0x8b, 0x0d, 0x00, 0x40, 0, 0, 0xf4});
  m.load(FS, gdt::DATA32, 0xffff0000 + 0x10000 + 0x10000, 0xffffffff, 3, true);
  m.c.r[RSI] = 0xffff0000, m.c.r[RBX] = 0x10000 + ModeMachine::kData;  // mov eax, [esi+ebx]
  CHECK(m.run() == RunResult::Halted && m.c.r[RAX] == 0x1234);
  CHECK(m.c.r[RCX] == 0x1234);  // mov ecx, fs:[4000]
  m.protected_mode();
  m.code(ModeMachine::kCode, {0x8b, 0x03});
  m.c.r[RBX] = 0xfffffffe;
  CHECK(m.run() == RunResult::Halted && m.vector() == GP);
}

/// C4 and C5 with a memory operand are LES and LDS; with a register they are VEX, which real mode
/// has not, the same bytes included.
void vex_and_far_pointers() {
  ModeMachine m(test::most_of_soft());
  const Bytes andn{0xc4, 0xe2, 0x70, 0xf2, 0xc3, 0xf4};  // andn eax, ecx, ebx; hlt
  m.protected_mode();
  m.put<u64>(ModeMachine::kData, u64{gdt::DATA16} << 32 | 0x12345678);
  m.c.r[RSI] = ModeMachine::kData;
  m.code(ModeMachine::kCode, {0xc4, 0x1e, 0xc5, 0x0e, 0xf4});  // les ebx, [esi]; lds ecx, [esi]
  CHECK(m.run() == RunResult::Halted && m.c.r[RBX] == 0x12345678 && m.c.r[RCX] == 0x12345678);
  CHECK(m.c.seg[ES].selector == gdt::DATA16 && m.c.seg[DS].selector == gdt::DATA16);
  for (const bool real : {false, true}) {
    m.code(ModeMachine::kCode, andn);
    if (real) m.real_mode();
    else m.protected_mode(), m.load(CS, gdt::CODE16, 0, 0xffff, 11, false);
    m.c.rip = real ? 0 : ModeMachine::kCode - 0x8000, m.c.seg[CS].base = real ? 0x10000 : 0x8000;
    m.c.mode_changed();
    m.c.r[RCX] = 0x0f, m.c.r[RBX] = 0xff, m.c.r[RAX] = 0;
    CHECK(m.run() == RunResult::Halted);
    CHECK(real ? m.vector() == UD : m.vector() == -1 && m.c.r[RAX] == 0xf0);
  }
}

// --- page tables

/// Two-level and PAE tables: every fault code, and CR2.
void page_faults() {
  constexpr u64 kDirectory = 0x20000, kTable = 0x21000, kPointers = 0x22000;
  const struct {
    u64 entry;  // of the page at 0x400000
    u64 directory;
    bool pae, write, user;
    u32 error;
    u64 cr4 = 0, flags = 0;
  } cases[] = {
      {0x14003, kTable | 3, false, false, false, ~0u},
      {0, kTable | 3, false, false, false, 0},
      {0, kTable | 3, false, true, true, 6},
      {0x14001, kTable | 3, false, true, false, 3},
      {0x14001, kTable | 7, false, false, true, 5},
      {0x14007, kTable | 5, false, true, true, 7},
      {0, 0x00200083 | 1u << 21, false, false, false, 9},  // 4 MiB, reserved
      {0, 0x00000083, false, true, false, ~0u},            // 4 MiB
      {0x14003, kTable | 3, true, false, false, ~0u},
      {0x14003 | 1ull << 63, kTable | 3, true, false, false, 9},  // NX without EFER.NXE
      {0x14003 | 1ull << 45, kTable | 3, true, false, false, 9},
      {0, 0x00201083, true, false, false, ~0u},  // 2 MiB, PAT
      {0, 0x00202083, true, false, false, 9},    // 2 MiB, reserved
      {0x14007, kTable | 7, false, false, false, 1, cr4::SMAP},
      {0x14007, kTable | 7, false, true, false, 3, cr4::SMAP},
      {0x14007, kTable | 7, false, true, false, ~0u, cr4::SMAP, flag::AC},
      {0x14003, kTable | 7, false, false, false, ~0u, cr4::SMAP},
      {0x14007, kTable | 3, true, false, false, ~0u, cr4::SMAP},
      {0x14007, kTable | 7, true, false, false, 1, cr4::SMAP},
      {0, 0x00201087, true, true, false, 3, cr4::SMAP},
  };
  for (const auto& k : cases) {
    ModeMachine m;
    m.protected_mode(k.user ? 3 : 0);
    m.c.cr3 = k.pae ? kPointers : kDirectory;
    m.c.cr4 = (k.pae ? cr4::PAE : cr4::PSE) | k.cr4;
    const u32 low = k.cr4 ? 0x83 : 0x87;
    m.c.set_flags(k.flags);
    if (k.pae) {
      m.put<u64>(kPointers, kDirectory | 1);
      m.put<u64>(kDirectory, low), m.put<u64>(kDirectory + 16, k.directory);
      m.put<u64>(kTable, k.entry);
    } else {
      m.put<u32>(kDirectory, low), m.put<u32>(kDirectory + 4, static_cast<u32>(k.directory));
      m.put<u32>(kTable, static_cast<u32>(k.entry));
    }
    m.c.cr0 |= cr0::PG;
    m.c.tlb_flush(true), m.c.mode_changed();
    // mov [400010], eax or mov eax, [400010]; ud2
    m.code(ModeMachine::kCode, {k.write ? 0xa3 : 0xa1, 0x10, 0, 0x40, 0, 0x0f, 0x0b});
    CHECK(m.run() == RunResult::Halted && m.vector() == (k.error == ~0u ? int(UD) : int(PF)));
    if (k.error == ~0u) continue;
    CHECK(m.get<u32>(m.c.r[RSP]) == k.error && m.c.cr2 == 0x400010);
  }
}

/// DAA, DAS, AAA, AAS, AAM, AAD, SALC: the manual's examples and edges.
void decimal_adjustments() {
  const struct {
    int opcode, immediate;
    u16 ax;
    u64 flags;
    u16 result;
    u64 out;  // CF, AF
  } cases[] = {
      {0x27, -1, 0x00ae, 0, 0x0014, flag::CF | flag::AF},
      {0x27, -1, 0x0099, 0, 0x0099, 0},
      {0x27, -1, 0x009a, 0, 0x0000, flag::CF | flag::AF},
      {0x27, -1, 0x0002, flag::CF | flag::AF, 0x0068, flag::CF | flag::AF},
      {0x2f, -1, 0x00ee, flag::CF | flag::AF, 0x0088, flag::CF | flag::AF},
      {0x2f, -1, 0x0003, flag::AF, 0x00fd, flag::CF | flag::AF},
      {0x37, -1, 0x000f, 0, 0x0105, flag::CF | flag::AF},
      {0x37, -1, 0x00fa, 0, 0x0200, flag::CF | flag::AF},
      {0x37, -1, 0x0039, 0, 0x0009, 0},
      {0x3f, -1, 0x0200, flag::AF, 0x000a, flag::CF | flag::AF},
      {0xd4, 10, 0x0063, 0, 0x0909, 0},
      {0xd5, 10, 0x0909, 0, 0x0063, 0},
      {0xd6, -1, 0x1200, flag::CF, 0x12ff, flag::CF},
  };
  for (const auto& k : cases) {
    ModeMachine m;
    m.protected_mode();
    if (k.immediate < 0) m.code(ModeMachine::kCode, {k.opcode, 0xf4});
    else m.code(ModeMachine::kCode, {k.opcode, k.immediate, 0xf4});
    m.c.r[RAX] = k.ax;
    m.c.set_flags(k.flags);
    CHECK(m.run() == RunResult::Halted && m.c.r[RAX] == k.result);
    CHECK((m.c.flags() & (flag::CF | flag::AF)) == k.out);
  }
}

/// ENTER with levels, LEAVE, PUSHA and POPA, with both operand sizes on a 16-bit stack.
void frames() {
  ModeMachine m;
  m.protected_mode();
  m.load(SS, gdt::DATA16, 0x10000, 0xffff, 3, false);
  m.c.r[RSP] = 0xabcd7000, m.c.r[RBP] = 0x12346000;
  m.c.r[RAX] = 0x5555aaaa;
  m.put<u32>(0x15ffc, 0x77);
  // enter 16, 2; leave; pusha; pushaw; popaw; popa
  m.code(ModeMachine::kCode, {0xc8, 0x10, 0, 2, 0xc9, 0x60, 0x66, 0x60, 0x66, 0x61, 0x61, 0xf4});
  m.run(1);
  CHECK(m.c.r[RBP] == 0xabcd6ffc && m.c.r[RSP] == 0xabcd6fe4);
  CHECK(m.get<u32>(0x16ffc) == 0x12346000 && m.get<u32>(0x16ff8) == 0x77);
  CHECK(m.get<u32>(0x16ff4) == 0xabcd6ffc);
  CHECK(m.run() == RunResult::Halted && m.vector() < 0);
  CHECK(m.c.r[RSP] == 0xabcd7000 && m.c.r[RBP] == 0x12346000);
  CHECK(m.get<u32>(0x16ffc) == 0x5555aaaa && m.get<u16>(0x16fde) == 0xaaaa);
}

// --- chained code and CS

/// The same bytes run at other offsets when CS moves: links and the jump cache must not lead to the
/// old place. Real mode: a far JMP to the second of two images, each of which jumps across a page.
void code_segments_that_move() {
  ModeMachine m;
  m.real_mode();
  for (u64 image : {0, 1}) {
    const u64 at = ModeMachine::kCode + image * 0x10000;
    m.code(at, {0xe9, 0xfd, 0x1f});  // jmp 2000
    m.code(at + 0x2000, {0xb8, int(image + 1), 0, 0x83, 0xf9, 1, 0x72, 2, 0xff, 0xe3, 0xf4});
    m.code(at + 0x3000, {0x49, 0xea, 0, 0, 0, 0x20});  // dec cx; jmp 2000:0
  }
  m.c.r[RCX] = 1, m.c.r[RBX] = 0x3000;  // mov ax, image; cmp cx, 1; jb 1f; jmp bx; 1: hlt
  CHECK(m.run() == RunResult::Halted && (m.c.r[RAX] & 0xffff) == 2);
  CHECK(m.c.seg[CS].base == 0x20000 && m.c.rip == 0x200b);
}

}  // namespace

int main() {
  walk_through_all_modes(), walk_from_checkpoint_to_checkpoint();
  ways_into_compatibility_mode(), system_calls_of_32_bits(), addresses_wrap_at_4g();
  vex_and_far_pointers();
  page_faults(), decimal_adjustments(), frames(), code_segments_that_move();
  return test::finish();
}
