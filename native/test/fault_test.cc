// Goal: a non-canonical address faults as the segment that it went through wants, and CR0.AM with
// RFLAGS.AC checks alignment at privilege 3. Method: one instruction at a time, and the vector that
// it ends in.
#include <string>

#include "test/check.h"
#include "test/machine.h"

namespace {
using namespace colo;
using namespace colo::soft;
using test::Machine;
using vcpu::RunResult;

constexpr u64 kCode = 0x10000000, kData = 0x20000000, kStack = 0x30001000,
              kNowhere = 0x0000900000000000;
constexpr u64 kEdge = 0x00007fffffffff90;  // within a short jump of addresses that are none

struct Box : Machine {
  const u64 start;
  explicit Box(bool user, u64 start = kCode) : start(start) {
    map(start & kPageMask, 0x400000, W | U), map(kStack - kPageSize, 0x600000, W | U);
    for (u64 i = 0; i < 3; i++) map(kData + i * kPageSize, 0x500000 + i * kPageSize, W | U);
    long_mode(user);
    c.r[RSP] = c.r[RBP] = kStack - 0x100;
    for (const Reg r : {RAX, RBX, RSI, RDI}) c.r[r] = kData + 0x100;
    c.r[RCX] = 4;
  }
  /// The vector that the code ends in, -1 for none. In user mode a code without fault ends in the
  /// #GP of its HLT: -1 too.
  int outcome(const std::string& bytes) {
    code(0x400000 + (start & ~kPageMask), bytes + "\xf4");
    c.halted = false, c.rip = start;
    if (run(1000) != RunResult::Halted) return -2;
    const int v = vector();
    return v == GP && fault_rip_with_error() == start + bytes.size() ? -1 : v;
  }
};

struct Reach {
  std::string code;
  Reg register_without_address;
  int vector;
};

void segments_of_bad_addresses() {
  const Reach all[] = {
      {"\x50", RSP, SS_},                               // push rax
      {"\x58", RSP, SS_},                               // pop rax
      {"\x9c", RSP, SS_},                               // pushf
      {"\xc3", RSP, SS_},                               // ret
      {std::string("\xe8\0\0\0\0", 5), RSP, SS_},       // call
      {"\xff\xd0", RSP, SS_},                           // call rax
      {"\x0f\xa0", RSP, SS_},                           // push fs
      {"\x48\xcf", RSP, SS_},                           // iretq
      {std::string("\xc8\0\0\0", 4), RSP, SS_},         // enter
      {"\xc9", RBP, SS_},                               // leave
      {"\x48\x8b\x04\x24", RSP, SS_},                   // mov rax, [rsp]
      {std::string("\x48\x89\x45\0", 4), RBP, SS_},     // mov [rbp], rax
      {std::string("\x0f\xae\x45\0", 4), RBP, SS_},     // fxsave [rbp]
      {std::string("\xdb\x7d\0", 3), RBP, SS_},         // fstp tbyte [rbp]
      {std::string("\x64\x48\x89\x45\0", 5), RBP, GP},  // mov fs:[rbp], rax
      {"\x48\x89\x03", RBX, GP},                        // mov [rbx], rax
      {"\xff\x33", RBX, GP},                            // push [rbx]
      {"\x8f\x03", RBX, GP},                            // pop [rbx]
      {"\xa4", RSI, GP},                                // movsb
      {"\xff\xe3", RBX, GP},                            // jmp rbx
  };
  for (const Reach& k : all) {
    Box m(false);
    m.c.r[k.register_without_address] = kNowhere;
    CHECK(m.outcome(k.code) == k.vector);
    CHECK(m.fault_error() == 0);
  }
}

const std::string kNowhereBranches[] = {
    "\xff\xe3",                            // jmp rbx
    "\xff\x23",                            // jmp [rbx]
    "\xff\xd3",                            // call rbx
    "\xff\x13",                            // call [rbx]
    "\xc3",                                // ret
    std::string("\xc2\x08\0", 3),          // ret 8
    std::string("\xe9\0\x10\0\0", 5),      // jmp
    std::string("\xe8\0\x10\0\0", 5),      // call
    std::string("\x0f\x85\0\x10\0\0", 6),  // jnz
    "\xeb\x7f",                            // jmp short
    "\x75\x7f",                            // jnz short
    "\xe2\x7f",                            // loop
};

/// The branch itself faults, and nothing has changed by it.
void branches_to_nowhere() {
  for (const std::string& code : kNowhereBranches) {
    Box m(false, kEdge);
    const u64 stack = m.c.r[RSP], below = 0x600000 + kPageSize - 0x108;
    if (code[1] & 0x40) m.c.r[RBX] = kNowhere;
    m.put<u64>(0x500100, kNowhere), m.put<u64>(below + 8, kNowhere);
    CHECK(m.outcome(code) == GP);
    CHECK(m.fault_rip_with_error() == kEdge && m.fault_error() == 0 && m.c.r[RCX] == 4);
    CHECK(m.get<u64>(Machine::kFaultStack - 16) == stack && m.get<u64>(below) == 0);
  }
}

/// Where a branch that is not taken would lead does not matter.
void branches_not_taken() {
  for (const std::string code :
       {"\x74\x70", "\x48\x39\xc0\x75\x70", "\xe3\x70", "\x67\xe3\x70", "\xe1\x70"}) {
    Box m(false, kEdge);  // jz; cmp rax, rax and jnz; jrcxz; jecxz; loope
    m.c.r[RCX] = 0x400000003;
    CHECK(m.outcome(code) == -1 && m.c.r[RCX] == (code[0] == '\xe1' ? 0x400000002 : 0x400000003));
  }
  Box m(false, kEdge);
  m.c.r[RCX] = 0xf00000001;
  CHECK(m.outcome("\x67\xe2\x70") == -1 && m.c.r[RCX] == 0);  // loop with ECX
}

struct Operand {
  std::string code;
  u64 aligned_by;
};
const Operand kOperands[] = {
    {"\x8a\x03", 1},                  // mov al, [rbx]
    {"\x66\x8b\x03", 2},              // mov ax, [rbx]
    {"\x8b\x03", 4},                  // mov eax, [rbx]
    {"\x01\x03", 4},                  // add [rbx], eax
    {"\xf0\x48\x01\x03", 8},          // lock add [rbx], rax
    {"\x48\x89\x03", 8},              // mov [rbx], rax
    {"\x0f\x10\x03", 8},              // movups xmm0, [rbx]
    {"\xdd\x03", 8},                  // fld qword [rbx]
    {"\x48\x89\xdf\xf3\xa5", 4},      // mov rdi, rbx; rep movsd
    {"\x48\x89\xde\xf3\x48\xa5", 8},  // mov rsi, rbx; rep movsq
    {"\x48\x89\xdc\x50", 8},          // mov rsp, rbx; push rax
};

/// With everything on, and with each of the three conditions off.
void alignment() {
  for (const bool user : {true, false})
    for (const bool am : {true, false})
      for (const bool ac : {true, false})
        for (const Operand& k : kOperands)
          for (u64 offset = 0; offset < 17; offset++) {
            Box m(user);
            if (am) m.c.cr0 |= cr0::AM;
            if (ac) m.c.rflags |= flag::AC;
            m.c.mode_changed();
            m.c.r[RBX] = kData + 0x100 + offset;
            const bool faults = user && am && ac && offset % k.aligned_by;
            CHECK(m.outcome(k.code) == (faults ? AC : -1));
            if (faults) CHECK(m.fault_error() == 0);
          }
}

/// POPF turns it on for the next instruction; the way into the kernel turns it off, and IRET on
/// again.
void alignment_follows_flags() {
  Box m(true);
  m.c.cr0 |= cr0::AM;
  m.c.mode_changed();
  m.c.r[RBX] = kData + 1;
  const std::string on = std::string("\x8b\x03\x9c\x81\x0c\x24\0\0\4\0\x9d",
                                     11);  // mov eax, [rbx]; pushf; or dword [rsp], AC; popf
  CHECK(m.outcome(on + "\x8b\x03") == AC);
  CHECK(m.fault_rip_with_error() == kCode + on.size());
}

/// Slow as it is, the way that never finds a TLB entry computes the same.
void same_results_with_checks() {
  const std::string loop("\x48\x8b\x03\x48\x01\xc1\x48\x89\x0f\x87\x0b\x51\x58\xff\xce\x75\xef",
                         17);
  // mov rax, [rbx]; add rcx, rax; mov [rdi], rcx; xchg [rbx], ecx; push rcx; pop rax; dec esi; jnz
  u64 results[2][3];
  for (const bool checked : {false, true}) {
    Box m(true);
    if (checked) m.c.cr0 |= cr0::AM, m.c.rflags |= flag::AC, m.c.mode_changed();
    m.c.r[RSI] = 50, m.c.r[RDI] = kData + 0x1ff8, m.put<u64>(0x500100, 0x1234567);
    CHECK(m.outcome(loop) == -1);
    u64* const r = results[checked];
    r[0] = m.c.r[RCX], r[1] = m.get<u64>(0x500100), r[2] = m.get<u64>(0x501ff8);
  }
  CHECK(!memcmp(results[0], results[1], sizeof results[0]));
}

}  // namespace

int main() {
  segments_of_bad_addresses(), branches_to_nowhere(), branches_not_taken(), alignment(),
      alignment_follows_flags(), same_results_with_checks();
  return test::finish();
}
