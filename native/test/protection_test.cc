// What protection refuses outside 64-bit mode, with the exact vector, error code and EIP, and what
// it lets through: segments, branches, far transfers, gates, IRET, interrupts, page tables,
// breakpoints (Intel SDM vol. 3, ch. 5, 6, 7 and 18). Method: one situation per case.
#include <functional>
#include <string>

#include "test/check.h"
#include "test/modes.h"

#pragma GCC diagnostic ignored "-Winvalid-offsetof"

namespace {
using namespace colo;
using namespace colo::soft;
using namespace colo::test;
using vcpu::RunResult;
using M = ModeMachine;
using Prepare = std::function<void(M&)>;

constexpr i64 kNoError = -1;
constexpr int kNone = -1;  // it runs to its HLT

/// One situation: code at M::kCode, and how it ends.
struct Case {
  const char* name;
  Prepare prepare;
  std::vector<int> code;
  int vector = kNone;
  i64 error = kNoError;
  u32 eip = 0;  // pushed, from the beginning of the code
};

void put_code(M& m, const std::vector<int>& code) {
  for (size_t i = 0; i < code.size(); i++) *m.at(M::kCode + i, 1) = static_cast<u8>(code[i]);
  *m.at(M::kCode + code.size(), 1) = 0xf4;
  m.ram.mark_written(M::kCode, code.size() + 1);
}

void report(const Case& k, const M& m, const std::string& what) {
  test::check(
      false, (std::string(k.name) + ": " + what + ", vector " + std::to_string(m.vector())).c_str(),
      __FILE__, __LINE__);
}

/// The frame lies where the handler's stack pointer points.
void run_case(const Case& k, bool real) {
  M m;
  if (real) m.real_mode();
  else m.protected_mode();
  k.prepare(m);
  put_code(m, k.code);
  if (m.run() != RunResult::Halted) return report(k, m, "it did not halt: " + m.vm.vcpu(0).error());
  if (m.vector() != k.vector) return report(k, m, "another vector");
  test::check(true, k.name, __FILE__, __LINE__);
  if (k.vector == kNone) return;
  const u64 frame = m.c.seg[SS].base + (m.c.r[RSP] & m.c.stack_mask());
  const u32 first = m.get<u32>(frame);
  const u64 base = real ? 0 : M::kCode;
  if (k.error != kNoError && first != static_cast<u64>(k.error))
    return report(k, m, "error code " + std::to_string(first));
  const u64 eip = real ? m.get<u16>(frame) : m.get<u32>(frame + (k.error == kNoError ? 0 : 4));
  if (eip - base != k.eip) report(k, m, "EIP +" + std::to_string(eip - base));
}

constexpr u16 kFree = gdt::FREE;
constexpr u64 kCode32 = 0x00cf9b000000ffff, kData32 = 0x00cf93000000ffff;
u64 dpl(u64 raw, u64 level) { return (raw & ~(3ull << 45)) | level << 45; }
u64 type(u64 raw, u64 kind) { return (raw & ~(15ull << 40)) | kind << 40; }
u64 absent(u64 raw) { return raw & ~(1ull << 47); }
Prepare free_is(u64 raw) {
  return [raw](M& m) { m.descriptor(kFree, raw); };
}
Prepare ds_is(u32 limit, u8 kind, bool big = true) {
  return [=](M& m) { m.load(DS, gdt::DATA32, 0, limit, kind, big); };
}
Prepare nothing() {
  return [](M&) {};
}

const Case kSegments[] = {
    {"the last dword of DS", ds_is(0xfff, 3), {0xa1, 0xfc, 0x0f, 0, 0}},
    {"beyond the limit of DS", ds_is(0xfff, 3), {0xa1, 0xfd, 0x0f, 0, 0}, GP, 0, 0},
    {"beyond the limit of SS",
     [](M& m) { m.load(SS, gdt::DATA32, 0, 0x1ffff, 3, true), m.c.r[RBP] = 0x1fffd; },
     {0x90, 0x8b, 0x45, 0x00},
     SS_,
     0,
     1},
    {"expand-down: above the limit", ds_is(0xfff, 7), {0xa1, 0x00, 0x10, 0, 0}},
    {"expand-down: the limit itself", ds_is(0xfff, 7), {0xa1, 0xff, 0x0f, 0, 0}, GP, 0, 0},
    {"expand-down, 16 bits: beyond 64 KiB",
     ds_is(0xfff, 7, false),
     {0xa1, 0xfd, 0xff, 0, 0},
     GP,
     0},
    {"read-only data: load", ds_is(0xffffffff, 1), {0xa1, 0x00, 0x10, 0, 0}},
    {"read-only data: store", ds_is(0xffffffff, 1), {0x90, 0xa3, 0x00, 0x10, 0, 0}, GP, 0, 1},
    {"read-only data: test", ds_is(0xffffffff, 1), {0x85, 0x05, 0x00, 0x10, 0, 0}},
    {"read-only data: xchg", ds_is(0xffffffff, 1), {0x87, 0x05, 0x00, 0x10, 0, 0}, GP, 0},
    {"read-only data: or, also of zero",
     ds_is(0xffffffff, 1),
     {0x83, 0x0d, 0, 0x10, 0, 0, 0},
     GP,
     0},
    {"code by override: load", nothing(), {0x2e, 0xa1, 0x00, 0x10, 0, 0}},
    {"code by override: store", nothing(), {0x2e, 0xa3, 0x00, 0x10, 0, 0}, GP, 0},
    {"code that is not readable",
     [](M& m) { m.load(CS, gdt::CODE32, 0, 0xffffffff, 9, true); },
     {0x2e, 0xa1, 0x00, 0x10, 0, 0},
     GP,
     0},
    {"NULL in ES: a string's target",
     nothing(),
     {0x31, 0xc0, 0x8e, 0xc0, 0xbf, 0, 0x40, 1, 0, 0xaa},
     GP,
     0,
     9},
    {"NULL in DS: nothing until it is used", nothing(), {0x31, 0xc0, 0x8e, 0xd8, 0x8d, 0x00}},
    {"base of FS",
     [](M& m) { m.load(FS, gdt::DATA32, M::kData, 3, 3, true), m.put<u32>(M::kData, 0xf4f4f4f4); },
     {0x64, 0xa1, 0, 0, 0, 0, 0x3d, 0xf4, 0xf4, 0xf4, 0xf4, 0x74, 0x01, 0xcc}},
    {"limit of FS",
     [](M& m) { m.load(FS, gdt::DATA32, M::kData, 3, 3, true); },
     {0x64, 0xa1, 1, 0, 0, 0},
     GP,
     0},
    {"a bit offset outside the segment",
     ds_is(0xfff, 3),
     {0xb8, 0, 0x80, 0, 0, 0x0f, 0xa3, 0x05, 0, 0, 0, 0},
     GP,
     0,
     5},
    {"push below an expand-down stack",
     [](M& m) {
       m.protected_mode(3);
       m.load(SS, gdt::USER_DATA | 3, 0, 0xffff, 7, true, 3), m.c.r[RSP] = 0x10000;
     },
     {0x90, 0x50},
     SS_,
     0,
     1},
    {"pop beyond the stack",
     [](M& m) {
       m.protected_mode(3);
       m.load(SS, gdt::USER_DATA | 3, 0, 0xffff, 3, true, 3), m.c.r[RSP] = 0xfffe;
     },
     {0x58},
     SS_,
     0},
    {"a 16-bit stack wraps",
     [](M& m) {
       m.load(SS, gdt::DATA16, 0x10000, 0xffff, 3, false);
       m.c.r[RSP] = 0x55550000;
     },
     {0x6a, 0x11, 0x81, 0xfc, 0xfc, 0xff, 0x55, 0x55, 0x74, 0x01, 0xcc}},
};

/// MOV to a segment register from AX, which holds the selector.
Case load_of(const char* name, int reg, int selector, Prepare prepare, int vector, i64 error) {
  return {name,
          std::move(prepare),
          {0xb8, selector & 255, selector >> 8, 0, 0, 0x8e, 0xc0 | reg << 3},
          vector,
          error,
          vector == kNone ? 0u : 5u};
}
constexpr int kDs = 3, kSs = 2;
const Case kLoads[] = {
    load_of("DS: data", kDs, kFree, free_is(kData32), kNone, kNoError),
    load_of("DS: beyond the table", kDs, 0x80, nothing(), GP, 0x80),
    load_of("DS: no local table", kDs, 0x0c, nothing(), GP, 0x0c),
    load_of("DS: not present", kDs, kFree, free_is(absent(kData32)), NP, kFree),
    load_of("DS: code that is not readable", kDs, kFree, free_is(type(kCode32, 9)), GP, kFree),
    load_of("DS: a system segment", kDs, gdt::TSS, nothing(), GP, gdt::TSS),
    load_of("DS: RPL above DPL", kDs, kFree | 3, free_is(kData32), GP, kFree),
    load_of("DS: conforming code has no privilege", kDs, kFree | 3, free_is(type(kCode32, 15)),
            kNone, kNoError),
    load_of("SS: NULL", kSs, 0, nothing(), GP, 0),
    load_of("SS: another RPL", kSs, kFree | 1, free_is(kData32), GP, kFree),
    load_of("SS: another DPL", kSs, kFree, free_is(dpl(kData32, 3)), GP, kFree),
    load_of("SS: read-only", kSs, kFree, free_is(type(kData32, 1)), GP, kFree),
    load_of("SS: not present", kSs, kFree, free_is(absent(kData32)), SS_, kFree),
    load_of("CS: not by MOV", 1, gdt::CODE32, nothing(), UD, kNoError),
};

Prepare cs_limit(u32 limit) {
  return [limit](M& m) { m.load(CS, gdt::CODE32, 0, limit, 11, true); };
}
const Case kBranches[] = {
    {"jmp beyond CS", cs_limit(0x17fff), {0x90, 0xe9, 0xfb, 0x7f, 0, 0}, GP, 0, 1},
    {"jmp to the last byte of CS",
     [](M& m) { cs_limit(0x17fff)(m), *m.at(0x17fff, 1) = 0xf4; },
     {0xe9, 0xfa, 0x7f, 0, 0}},
    {"jcc beyond CS, taken", cs_limit(0x17fff), {0x31, 0xc0, 0x0f, 0x84, 0, 0x80, 0, 0}, GP, 0, 2},
    {"jcc beyond CS, not taken", cs_limit(0x17fff), {0x31, 0xc0, 0x0f, 0x85, 0, 0x80, 0, 0}},
    {"loop beyond CS keeps the count",
     [](M& m) { cs_limit(0x1000f)(m), m.c.r[RCX] = 2; },
     {0xe2, 0x40},
     GP,
     0,
     0},
    {"call beyond CS", cs_limit(0x17fff), {0xe8, 0, 0x80, 0, 0}, GP, 0},
    {"ret beyond CS", cs_limit(0x1ffff), {0x68, 0, 0, 2, 0, 0xc3}, GP, 0, 5},
    {"jmp through a register beyond CS",
     cs_limit(0x1ffff),
     {0xb8, 0, 0, 2, 0, 0xff, 0xe0},
     GP,
     0,
     5},
    {"code that runs off CS", cs_limit(0x10001), {0x90, 0x90, 0x90}, GP, 0, 2},
    {"an instruction half beyond CS", cs_limit(0x10002), {0x90, 0xb8, 0, 0, 0, 0}, GP, 0, 1},
    {"16-bit operands cut the target",
     [](M& m) { m.code(0x4000, {0xf4}); },
     {0x66, 0xe9, 0xfc, 0x3f}},
};

std::vector<int> far_code(int opcode, u32 offset, int selector) {
  return {opcode,
          int(offset & 255),
          int(offset >> 8 & 255),
          int(offset >> 16 & 255),
          int(offset >> 24),
          selector & 255,
          selector >> 8};
}
/// Far JMP: to kData, where a HLT lies.
Case jump_to(const char* name, int selector, Prepare prepare, int vector, i64 error,
             u32 to = M::kData) {
  return {name,
          [prepare = std::move(prepare)](M& m) { prepare(m), m.code(M::kData, {0xf4}); },
          far_code(0xea, to, selector),
          vector,
          error,
          0};
}
const Case kFar[] = {
    jump_to("far jmp", gdt::CODE32, nothing(), kNone, kNoError),
    jump_to("far jmp: NULL", 0, nothing(), GP, 0),
    jump_to("far jmp: beyond the table", 0x88, nothing(), GP, 0x88),
    jump_to("far jmp: data", gdt::DATA32, nothing(), GP, gdt::DATA32),
    jump_to("far jmp: not present", kFree, free_is(absent(kCode32)), NP, kFree),
    jump_to("far jmp: an outer ring", gdt::USER_CODE, nothing(), GP, gdt::USER_CODE),
    jump_to("far jmp: RPL above CPL", gdt::CODE32 | 3, nothing(), GP, gdt::CODE32),
    jump_to("far jmp: beyond the limit", kFree, free_is(0x00409b000000ffff), GP, 0),
    jump_to("far jmp: a busy TSS", gdt::TSS, nothing(), GP, gdt::TSS),
    jump_to("far jmp: a gate", kFree, free_is(M::gate_word(M::kData, gdt::CODE32, 12, 0)), kNone,
            kNoError, 0x12345678),
    jump_to("far jmp: a gate's DPL", kFree | 3, free_is(M::gate_word(M::kData, gdt::CODE32, 12, 0)),
            GP, kFree),
    jump_to("far jmp: an absent gate", kFree,
            free_is(absent(M::gate_word(M::kData, gdt::CODE32, 12, 0))), NP, kFree),
    jump_to("far jmp: a gate to nowhere", kFree, free_is(M::gate_word(M::kData, 0, 12, 0)), GP, 0),
    jump_to("far jmp: a gate to data", kFree, free_is(M::gate_word(M::kData, gdt::DATA32, 12, 0)),
            GP, gdt::DATA32),
    {"far ret inward",
     [](M& m) { m.protected_mode(3); },
     {0x6a, gdt::CODE32, 0x68, 0, 0, 1, 0, 0xcb},
     GP,
     gdt::CODE32,
     7},
    {"iret to data", nothing(), {0x9c, 0x6a, gdt::DATA32, 0x6a, 0, 0xcf}, GP, gdt::DATA32, 5},
    {"int n with a gate of ring 0",
     [](M& m) {
       m.protected_mode(3);
       m.gate(0x20, M::kHandlers, gdt::CODE32, 14, 0);
     },
     {0xcd, 0x20},
     GP,
     0x20 * 8 + 2},
    {"int n beyond the table", nothing(), {0xcd, 0x30}, GP, 0x30 * 8 + 2},
    {"int n: no gate", [](M& m) { m.gate(0x20, 0, gdt::CODE32, 12, 0); }, {0xcd, 0x20}, GP, 0x102},
    {"int n: its code is data",
     [](M& m) { m.gate(0x20, 0, gdt::DATA32, 14, 0); },
     {0xcd, 0x20},
     GP,
     gdt::DATA32},
    {"into", nothing(), {0xb0, 0x7f, 0xfe, 0xc0, 0xce}, OF, kNoError, 5},
    {"into without overflow", nothing(), {0x31, 0xc0, 0xce}},
    {"bound",
     [](M& m) { m.put<i32>(M::kData, -5), m.put<i32>(M::kData + 4, 5); },
     {0xb8, 6, 0, 0, 0, 0x62, 0x05, 0, 0x40, 1, 0},
     BR,
     kNoError,
     5},
    {"bound: within",
     [](M& m) { m.put<i32>(M::kData, -5), m.put<i32>(M::kData + 4, 5); },
     {0xb8, 5, 0, 0, 0, 0x62, 0x05, 0, 0x40, 1, 0}},
    {"aam by zero", nothing(), {0xd4, 0}, DE, kNoError},
    {"ports of ring 3",
     [](M& m) { m.protected_mode(3), m.put<u16>(M::kTss + 0x66, 0x68); },
     {0xe4, 0x60},
     GP,
     0},
    {"swapgs", nothing(), {0x0f, 0x01, 0xf8}, UD, kNoError},
};

const Case kReal[] = {
    {"the last byte", nothing(), {0xa0, 0xff, 0xff}},
    {"a word at the last byte", nothing(), {0x90, 0xa1, 0xff, 0xff}, GP, kNoError, 1},
    {"big real mode",
     [](M& m) { m.load(DS, 0, 0, 0xffffffff, 3, false); },
     {0x67, 0xa1, 0, 0, 0x20, 0}},
    {"a 32-bit address beyond the limit", nothing(), {0x67, 0xa1, 0, 0, 1, 0}, GP, kNoError},
    {"no descriptors", nothing(), {0x0f, 0x00, 0xd0}, UD, kNoError},
    {"no arpl", nothing(), {0x63, 0xc0}, UD, kNoError},
    {"no lar", nothing(), {0x0f, 0x02, 0xc0}, UD, kNoError},
    {"no syscall", nothing(), {0x0f, 0x05}, UD, kNoError},
    {"a 32-bit jmp beyond 64 KiB", nothing(), {0x66, 0xe9, 0, 0, 1, 0}, GP, kNoError},
    {"int 3", nothing(), {0x90, 0xcc}, BP, kNoError, 2},
    {"code is writable", nothing(), {0x2e, 0xc6, 0x06, 0, 0x20, 1}},
    {"division", nothing(), {0x31, 0xc9, 0xf7, 0xf1}, DE, kNoError, 2},
    {"paging without protection",
     nothing(),
     {0x0f, 0x20, 0xc0, 0x66, 0x0d, 0, 0, 0, 0x80, 0x0f, 0x22, 0xc0},
     GP,
     kNoError,
     9},
};

void tables() {
  for (const Case& k : kSegments) run_case(k, false);
  for (const Case& k : kLoads) run_case(k, false);
  for (const Case& k : kBranches) run_case(k, false);
  for (const Case& k : kFar) run_case(k, false);
  for (const Case& k : kReal) run_case(k, true);
}

// --- rings

/// Ring 3 calls ring 0 through a gate with two arguments, which arrive on the ring's own stack, and
/// comes back by a far RET that drops them. Both sizes of gate; the small one knows 64 KiB.
void call_gates_between_rings(bool small) {
  M m;
  m.protected_mode(3);
  constexpr u64 kCaller = 0x4000, kGate = 0x4100, kLowStack = 0x7000;
  const u64 size = small ? 2 : 4;
  m.descriptor(kFree, M::gate_word(kGate, gdt::CODE32, small ? 4 : 12, 3, 2));
  m.c.rip = kCaller, m.c.r[RSP] = kLowStack;
  // push 1111; push 2222 (by the gate's size); lcall; hlt
  if (small) m.code(kCaller, {0x66, 0x68, 0x11, 0x11, 0x66, 0x68, 0x22, 0x22});
  else m.code(kCaller, {0x68, 0x11, 0x11, 0, 0, 0x68, 0x22, 0x22, 0, 0});
  const u64 call = kCaller + (small ? 8 : 10);
  m.code(call, {0x9a, 0, 0, 0, 0, kFree | 3, 0, 0xf4});
  // the words into EAX and EDX; mov ebp, esp; lret 2 * size
  if (small)
    m.code(kGate,
           {0x66, 0x8b, 0x44, 0x24, 4, 0x66, 0x8b, 0x54, 0x24, 6, 0x89, 0xe5, 0x66, 0xca, 4, 0});
  else m.code(kGate, {0x8b, 0x44, 0x24, 8, 0x8b, 0x54, 0x24, 12, 0x89, 0xe5, 0xca, 8, 0});
  CHECK(m.run() == RunResult::Halted && m.vector() == GP);  // HLT in ring 3
  CHECK((m.c.r[RAX] & 0xffff) == 0x2222 && (m.c.r[RDX] & 0xffff) == 0x1111);
  CHECK(m.c.r[RBP] == M::kInnerStack - 6 * size);
  const u64 frame = m.c.r[RSP];
  CHECK(m.get<u32>(frame + 4) == call + 7 && m.get<u32>(frame + 8) == (gdt::USER_CODE | 3));
  CHECK(m.get<u32>(frame + 16) == kLowStack && m.get<u32>(frame + 20) == (gdt::USER_DATA | 3));
}

/// What the TSS says of the inner stack is wrong.
void stacks_of_the_tss() {
  const struct {
    Prepare prepare;
    int vector;
    u32 error;
  } cases[] = {
      {[](M& m) { m.c.tr.limit = 8; }, TS, gdt::TSS},
      {[](M& m) { m.put<u16>(M::kTss + 8, 0); }, TS, 0},
      {[](M& m) { m.put<u16>(M::kTss + 8, 0x88); }, TS, 0x88},
      {[](M& m) { m.put<u16>(M::kTss + 8, gdt::USER_DATA); }, TS, gdt::USER_DATA},
      {[](M& m) { m.put<u16>(M::kTss + 8, kFree + 8), m.descriptor(kFree + 8, absent(kData32)); },
       SS_, kFree + 8},
      {[](M& m) {
         m.put<u16>(M::kTss + 8, kFree + 8), m.put<u32>(M::kTss + 4, 4);
         m.descriptor(kFree + 8, 0x004093000000ffff);
       },
       SS_, kFree + 8},
  };
  for (const auto& k : cases) {
    M m;
    m.protected_mode(3);
    k.prepare(m);
    m.descriptor(kFree, M::gate_word(M::kData, gdt::CODE32, 12, 3));
    // the handler of the fault is conforming code of ring 0: it stays on the caller's stack
    m.descriptor(0x70, type(kCode32, 14));
    for (u8 v : {TS, SS_}) m.gate(v, M::kHandlers + 16u * v, 0x70, 14, 3);
    m.code(M::kCode, {0x9a, 0, 0, 0, 0, kFree | 3, 0});
    m.run(1);  // nothing retires: the call faults
    CHECK(m.c.rip == M::kHandlers + 16u * static_cast<u64>(k.vector));
    CHECK(m.get<u32>(m.c.r[RSP]) == k.error && m.get<u32>(m.c.r[RSP] + 4) == M::kCode);
  }
}

/// Conforming code keeps the caller's privilege.
void conforming_code() {
  M m;
  m.protected_mode(3);
  m.descriptor(kFree, type(kCode32, 15));
  m.code(M::kCode, {0x9a, 0, 0x40, 1, 0, kFree, 0});
  m.code(M::kData, {0x8c, 0xc8, 0x0f, 0x0b});  // mov eax, cs; ud2
  CHECK(m.run() == RunResult::Halted && m.vector() == UD && (m.c.r[RAX] & 0xffff) == (kFree | 3));
}

/// Interrupts of hardware and faults change to the inner ring's stack; IRET goes back, and segments
/// that the outer ring may not have become NULL.
void interrupts_between_rings() {
  M m;
  m.protected_mode(3);
  m.gate(0x20, M::kData, gdt::CODE32, 14, 3);
  m.code(M::kCode, {0xcd, 0x20, 0x8c, 0xd8, 0x0f, 0x0b});  // int 20; mov eax, ds; ud2
  m.code(M::kData, {0x66, 0xb8, gdt::DATA32, 0, 0x8e, 0xd8, 0x89, 0xe5, 0xcf});
  m.c.rflags |= flag::IF;
  CHECK(m.run() == RunResult::Halted && m.vector() == UD);
  CHECK(m.c.r[RBP] == M::kInnerStack - 20 && (m.c.r[RAX] & 0xffff) == 0);
  CHECK(m.get<u32>(m.c.r[RSP] + 8) & flag::IF && !(m.c.rflags & flag::IF));
  CHECK(m.get<u32>(m.c.r[RSP] + 12) == M::kStack);
}

// --- what is refused by name

void hardware_tasks_are_refused() {
  const struct {
    Prepare prepare;
    std::vector<int> code;
    const char* said;
  } cases[] = {
      {free_is(0x0000890000000067), far_code(0xea, 0, kFree), "task switch by a far transfer"},
      {free_is(0x0000850000000000), far_code(0x9a, 0, kFree), "task switch by a far transfer"},
      {[](M& m) { m.gate(0x20, 0, gdt::TSS, 5, 0); }, {0xcd, 0x20}, "task gate in the IDT"},
      {[](M& m) { m.gate(UD, 0, gdt::TSS, 5, 0); }, {0x0f, 0x0b}, "task gate in the IDT"},
      {[](M& m) { m.c.rflags |= flag::NT; }, {0xcf}, "return from a task by IRET"},
      {nothing(), {0x68, 2, 0, 2, 0, 0x6a, 0, 0x6a, 0, 0xcf}, "IRET to virtual-8086 mode"},
  };
  for (const auto& k : cases) {
    M m;
    m.protected_mode();
    k.prepare(m);
    put_code(m, k.code);
    CHECK(m.run() == RunResult::InternalError);
    const std::string said = m.vm.vcpu(0).error();
    CHECK(said.find(k.said) != std::string::npos &&
          said.find("at RIP 0x1000") != std::string::npos);
    CHECK(said.find("bytes") != std::string::npos);
  }
}

}  // namespace

int main() {
  tables();
  call_gates_between_rings(false), call_gates_between_rings(true), stacks_of_the_tss();
  conforming_code(), interrupts_between_rings();
  hardware_tasks_are_refused();
  return test::finish();
}
