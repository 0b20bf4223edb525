// Differential test: single integer instructions from random states, on this host and on the software CPU. The same virtual addresses
// hold the same bytes on both sides, so registers, memory, flags and RIP must agree; flags that the manual leaves undefined are masked.
#include <asm/prctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csetjmp>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "test/machine.h"

namespace {
using namespace colo;
using test::Machine;
using Bytes = std::vector<u8>;

constexpr u64 kCode = 0x10000000, kState = 0x10100000, kScratch = 0x20000000, kScratchSize = 0x3000, kGsBase = 0x30, kFx = kState + 0x400;
constexpr u64 kCodeGpa = 0x200000, kScratchGpa = 0x400000;
constexpr u64 CF = 1, PF = 4, AF = 0x10, ZF = 0x40, SF = 0x80, OF = 0x800, ALL = CF | PF | AF | ZF | SF | OF;

struct State {
  u64 r[16];
  u64 flags;
  u64 host_rsp;
  u64 taken;
};
State* const state = reinterpret_cast<State*>(kState);
u8* const host_fx = reinterpret_cast<u8*>(kFx);
constexpr size_t kXmmAt = 160;
u8* const scratch = reinterpret_cast<u8*>(kScratch);
sigjmp_buf escape;
volatile int caught;

void on_signal(int sig, siginfo_t*, void*) {
  caught = sig;
  siglongjmp(escape, 1);
}

u64 seed = 88172645463325252ull;
u64 rnd() {
  seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
  return seed * 0x2545f4914f6cdd1dull;
}
u64 rnd(u64 n) { return (rnd() >> 33) % n; }
/// Values where carries, signs and sizes matter.
u64 operand() {
  const u64 x = rnd();
  switch (rnd(8)) {
    case 0: return 0;
    case 1: return ~0ull;
    case 2: return 1ull << rnd(64);
    case 3: return (1ull << rnd(64)) - 1;
    case 4: return x & 0xff;
    case 5: return static_cast<u64>(static_cast<i64>(static_cast<i8>(x)));
    default: return x;
  }
}

/// Native side: a stub that loads the state, runs the instruction, and stores the state.
u64 insn_at;  // address of the tested instruction, same on both sides
Bytes stub(const Bytes& insn) {
  Bytes s;
  auto put = [&](std::initializer_list<int> l) { for (int b : l) s.push_back(static_cast<u8>(b)); };
  auto word = [&](u64 v) { for (int i = 0; i < 4; i++) s.push_back(static_cast<u8>(v >> 8 * i)); };
  auto mov = [&](int op, int reg, u64 at) {  // 89 = store, 8b = load, absolute address
    put({0x48 | (reg >> 3) << 2, op, 0x04 | (reg & 7) << 3, 0x25});
    word(at);
  };
  put({0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57});
  mov(0x89, 4, kState + offsetof(State, host_rsp));
  put({0xff, 0x34, 0x25}), word(kState + offsetof(State, flags)), put({0x9d});
  put({0x48, 0x0f, 0xae, 0x0c, 0x25}), word(kFx);  // fxrstor64
  for (int i = 0; i < 16; i++) mov(0x8b, i, kState + 8 * static_cast<u64>(i));
  insn_at = kCode + s.size();
  s.insert(s.end(), insn.begin(), insn.end());
  put({0xeb, 13});                                                                       // fall through: over the taken branch
  put({0x90, 0x90});
  put({0xc7, 0x04, 0x25}), word(kState + offsetof(State, taken)), word(1);               // branch target: insn end + 4
  for (int i = 0; i < 16; i++) mov(0x89, i, kState + 8 * static_cast<u64>(i));
  put({0x48, 0x0f, 0xae, 0x04, 0x25}), word(kFx);  // fxsave64
  mov(0x8b, 4, kState + offsetof(State, host_rsp));
  put({0x9c, 0x8f, 0x04, 0x25}), word(kState + offsetof(State, flags));
  put({0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xfc, 0xc3});
  return s;
}

/// One encoding with what the generator knows about it.
struct Case {
  const char* name;
  Bytes bytes;
  int size = 0;                // operand size, bytes
  u64 defined = ALL;           // flags to compare
  bool shift = false;          // flags depend on the count
  bool rotate = false;
  bool branch = false;
  int count_imm = -1;          // shift count, or CL
  u64 r[16];                   // registers that must have certain values
  bool fixed[16] = {};
  bool bounded_cx = false;     // REP: small count
};

int passed, failed;

/// The guest's scratch pages lie in descending order in RAM, so that an access across a page edge must be split.
u64 guest_page(u64 offset) { return kScratchGpa + kScratchSize - kPageSize - offset; }
constexpr u64 kUsedFrom = 0x800, kUsedTo = 0x2800;  // the part of the scratch area that instructions reach
template <class F>
void each_part(F f) {
  for (u64 at = kUsedFrom; at < kUsedTo;) {
    const u64 n = std::min(kUsedTo, (at & kPageMask) + kPageSize) - at;
    f(at, guest_page(at & kPageMask) + (at & ~kPageMask), n);
    at += n;
  }
}
bool memory_differs(Machine& m) {
  bool differs = false;
  each_part([&](u64 at, u64 gpa, u64 n) { differs |= memcmp(scratch + at, m.at(gpa, n), n) != 0; });
  return differs;
}

u64 shift_mask(const Case& k, u64 cl) {
  const u64 n = (k.count_imm >= 0 ? static_cast<u64>(k.count_imm) : cl) & (k.size == 8 ? 63 : 31);
  if (n == 0) return ALL;
  u64 m = k.rotate ? ALL : ALL & ~AF;
  if (n != 1) m &= ~OF;
  if (!k.rotate && n > static_cast<u64>(k.size) * 8) m &= ~CF;
  return m;
}

int host_vector(int sig) { return sig == 0 ? -1 : sig == SIGFPE ? 0 : sig == SIGILL ? 6 : sig == SIGTRAP ? 3 : 13; }

/// Runs the stub; the exception's vector, or -1.
COLO_NOINLINE int run_native() {
  caught = 0;
  if (!sigsetjmp(escape, 0)) reinterpret_cast<void (*)()>(kCode)();
  return host_vector(caught);
}

void report(const Case& k, const State& in, const State& host, const soft::Cpu& c, u64 our_flags, u64 mask, int hv, int ov, const char* what) {
  if (failed++ >= 40) return;
  printf("FAIL %-10s", k.name);
  for (u8 b : k.bytes) printf(" %02x", b);
  printf("  %s; vector host %d ours %d, flags in %llx host %llx ours %llx mask %llx\n", what, hv, ov, (unsigned long long)in.flags, (unsigned long long)host.flags,
         (unsigned long long)our_flags, (unsigned long long)mask);
  for (int i = 0; i < 16; i++)
    if (host.r[i] != c.r[i]) printf("    r%d in %llx host %llx ours %llx\n", i, (unsigned long long)in.r[i], (unsigned long long)host.r[i], (unsigned long long)c.r[i]);
}

void run_case(Machine& m, const Case& k, int rounds) {
  const Bytes s = stub(k.bytes);
  memcpy(reinterpret_cast<void*>(kCode), s.data(), s.size());
  const u64 code_gpa = kCodeGpa + (insn_at - kCode);
  memcpy(m.at(code_gpa, k.bytes.size()), k.bytes.data(), k.bytes.size());
  m.ram.mark_written(code_gpa, k.bytes.size());
  for (int round = 0; round < rounds; round++) {
    State in{};
    for (int i = 0; i < 16; i++) in.r[i] = k.fixed[i] ? k.r[i] : operand();
    if (k.bounded_cx || (k.shift && !k.fixed[1] && rnd(2))) in.r[1] = rnd(40);
    in.flags = 0x202 | (rnd() & ALL);
    u64 fill[kScratchSize / 8];
    for (u64& v : fill) v = operand();
    if (!rnd(3)) memcpy(reinterpret_cast<u8*>(fill) + 0x1000 - 0x100, &in.r[0], 8);
    each_part([&](u64 at, u64 gpa, u64 n) {
      memcpy(scratch + at, reinterpret_cast<u8*>(fill) + at, n);
      memcpy(m.at(gpa, n), reinterpret_cast<u8*>(fill) + at, n);
    });

    soft::fx_reset(m.c.fx);
    for (size_t i = 0; i < 256; i += 8) {
      const u64 v = operand();
      memcpy(m.c.fx.bytes + kXmmAt + i, &v, 8);
    }
    memcpy(host_fx, m.c.fx.bytes, 512);
    *state = in;
    const int hv = run_native();
    const State host = *state;

    for (int i = 0; i < 16; i++) m.c.r[i] = in.r[i];
    m.c.set_flags(in.flags & ~0x200ull);
    m.c.rip = insn_at;
    const vcpu::RunResult result = m.run(1);
    const int ov = result == vcpu::RunResult::Halted ? m.vector() : result == vcpu::RunResult::Budget ? -1 : 99;
    const u64 flags = m.c.flags(), rip = m.c.rip;
    if (ov >= 0) m.revive();
    const u64 mask = k.shift ? shift_mask(k, in.r[1]) & k.defined : k.defined;
    const char* bad = nullptr;
    if (hv != ov) bad = "vector";
    else if (hv < 0) {
      if (memcmp(host.r, m.c.r, sizeof host.r)) bad = "registers";
      else if ((host.flags ^ flags) & (mask | 0x400)) bad = "flags";
      else if (rip != insn_at + k.bytes.size() + (host.taken ? 4 : 0)) bad = "rip";
      else if (memory_differs(m)) bad = "memory";
      else if (memcmp(host_fx + kXmmAt, m.c.fx.bytes + kXmmAt, 256)) bad = "xmm";
    }
    if (bad) report(k, in, host, m.c, flags, mask, hv, ov, bad);
    else passed++;
  }
}

/// Builds encodings: prefixes, REX, opcode, ModRM with a random register or memory operand, immediate.
struct Spec {
  const char* name;
  Bytes opcode;          // with 0F if any
  int ext = -1;          // ModRM.reg as opcode extension; -1: a register
  bool modrm = true;
  int imm = 0;           // immediate bytes; 9 = by operand size (at most 4)
  u64 defined = ALL;
  bool byte = false;     // operand size 1
  bool lock = false;
  bool memory_only = false, register_only = false;
  bool shift = false, rotate = false, by_one = false, bit_offset = false;
  Bytes prefix = {};
};

Case encode(const Spec& s, int size, bool memory, bool lock) {
  Case k;
  k.name = s.name;
  if (s.by_one) k.count_imm = 1;
  k.size = size, k.defined = s.defined, k.shift = s.shift, k.rotate = s.rotate;
  auto fix = [&](int reg, u64 v) { k.r[reg] = v, k.fixed[reg] = true; };
  const bool gs = memory && !rnd(6), narrow = memory && !rnd(8);
  if (lock) k.bytes.push_back(0xf0);
  if (gs) k.bytes.push_back(0x65);
  if (narrow) k.bytes.push_back(0x67);
  if (size == 2) k.bytes.push_back(0x66);
  k.bytes.insert(k.bytes.end(), s.prefix.begin(), s.prefix.end());
  int reg = static_cast<int>(rnd(16)), rm = static_cast<int>(rnd(16)), index = static_cast<int>(rnd(16));
  const bool no_rex = size != 8 && !rnd(3);
  if (no_rex) reg &= 7, rm &= 7, index &= 7;
  if (s.ext >= 0) reg = s.ext;
  const int mode = memory ? static_cast<int>(rnd(4)) : 3;  // 0 RIP-relative or disp32, 1 disp8, 2 disp32
  bool sib = false;
  const int scale = static_cast<int>(rnd(4));
  u64 target = kScratch + (rnd(3) ? 0xf00 + rnd(0x80) : 0x1000 - rnd(16));
  if (memory && mode != 0) {
    while ((s.bit_offset && rm == reg) || (rm & 7) == 4) rm = static_cast<int>(rnd(no_rex ? 8 : 16));
    sib = rnd(2);
    if (sib && (index == rm || index == 4 || (s.bit_offset && index == reg))) sib = false;
  }
  if (!no_rex || size == 8) k.bytes.push_back(static_cast<u8>(0x40 | (size == 8 ? 8 : 0) | (s.ext < 0 ? (reg >> 3) << 2 : 0) | (sib ? (index >> 3) << 1 : 0) | (memory && mode == 0 ? 0 : rm >> 3)));
  k.bytes.insert(k.bytes.end(), s.opcode.begin(), s.opcode.end());
  if (gs) target -= kGsBase;
  const int imm_size = s.imm == 9 ? (size == 8 ? 4 : size) : s.imm;
  auto little = [&](u64 v, int n) { for (int i = 0; i < n; i++) k.bytes.push_back(static_cast<u8>(v >> 8 * i)); };
  if (s.modrm) {
    if (!memory) {
      k.bytes.push_back(static_cast<u8>(0xc0 | (reg & 7) << 3 | (rm & 7)));
    } else if (mode == 0) {
      const bool rip = rnd(2);
      k.bytes.push_back(static_cast<u8>((reg & 7) << 3 | (rip ? 5 : 4)));
      if (!rip) k.bytes.push_back(0x25);
      stub({});
      little(rip ? target - (insn_at + k.bytes.size() + 4 + static_cast<u64>(imm_size)) : target, 4);
    } else {
      const i64 disp = mode == 1 ? static_cast<i8>(rnd()) : static_cast<i32>(rnd(0x10000)) - 0x8000;
      const u64 x = sib ? rnd(0x400) : 0;
      k.bytes.push_back(static_cast<u8>((mode == 2 || mode == 3 ? 0x80 : 0x40) | (reg & 7) << 3 | (sib ? 4 : rm & 7)));
      if (sib) k.bytes.push_back(static_cast<u8>(scale << 6 | (index & 7) << 3 | (rm & 7)));
      const bool wide = mode != 1;
      little(static_cast<u64>(wide ? disp : static_cast<i8>(disp)), wide ? 4 : 1);
      const u64 base = target - static_cast<u64>(wide ? disp : static_cast<i8>(disp)) - (x << scale);
      fix(rm, narrow ? (base & 0xffffffff) | rnd() << 32 : base);
      if (sib) fix(index, x);
    }
  }
  if (s.bit_offset && memory) {
    const u64 v = rnd(0x2000) - 0x1000;
    fix(reg, size == 8 ? v : size == 4 ? (v & 0xffffffff) | rnd() << 32 : (v & 0xffff) | rnd() << 16);
  }
  if (imm_size) {
    const u64 v = operand();
    little(v, imm_size);
    if (s.shift) k.count_imm = static_cast<int>(v & 0xff);
  }
  return k;
}

constexpr int kRounds = 12;
Machine* machine;

/// All sizes, register and memory, plain and (where legal) locked, several random operands each.
void family(const Spec& s, int variants = 6) {
  for (int size : {1, 2, 4, 8}) {
    if (s.byte != (size == 1)) continue;
    for (int v = 0; v < variants; v++) {
      if (!s.memory_only) run_case(*machine, encode(s, size, false, false), kRounds);
      if (s.register_only || !s.modrm) continue;
      run_case(*machine, encode(s, size, true, false), kRounds);
      if (s.lock) run_case(*machine, encode(s, size, true, true), kRounds);
    }
  }
}
/// The byte form has the even opcode, the others the odd one.
void both(Spec s, int variants = 6) {
  s.byte = true;
  family(s, variants);
  s.byte = false;
  s.opcode.back() |= 1;
  family(s, variants);
}

void arithmetic() {
  const char* names[] = {"add", "or", "adc", "sbb", "and", "sub", "xor", "cmp"};
  for (int op = 0; op < 8; op++) {
    const u64 defined = op == 1 || op == 4 || op == 6 ? ALL & ~AF : ALL;
    const bool lock = op != 7;
    const u8 base = static_cast<u8>(op << 3);
    both({.name = names[op], .opcode = {base}, .defined = defined, .lock = lock});
    both({.name = names[op], .opcode = {static_cast<u8>(base | 2)}, .defined = defined});
    both({.name = names[op], .opcode = {static_cast<u8>(base | 4)}, .modrm = false, .imm = 9, .defined = defined});
    both({.name = names[op], .opcode = {0x80}, .ext = op, .imm = 9, .defined = defined, .lock = lock});
    family({.name = names[op], .opcode = {0x83}, .ext = op, .imm = 1, .defined = defined, .lock = lock});
  }
  both({.name = "test", .opcode = {0x84}, .defined = ALL & ~AF});
  both({.name = "test", .opcode = {0xf6}, .ext = 0, .imm = 9, .defined = ALL & ~AF});
  both({.name = "test", .opcode = {0xf6}, .ext = 1, .imm = 9, .defined = ALL & ~AF});
  both({.name = "test", .opcode = {0xa8}, .modrm = false, .imm = 9, .defined = ALL & ~AF});
  both({.name = "not", .opcode = {0xf6}, .ext = 2, .lock = true});
  both({.name = "neg", .opcode = {0xf6}, .ext = 3, .lock = true});
  both({.name = "inc", .opcode = {0xfe}, .ext = 0, .lock = true});
  both({.name = "dec", .opcode = {0xfe}, .ext = 1, .lock = true});
}

void shifts() {
  const char* names[] = {"rol", "ror", "rcl", "rcr", "shl", "shr", "sal", "sar"};
  for (int op = 0; op < 8; op++) {
    const bool rotate = op < 4;
    both({.name = names[op], .opcode = {0xc0}, .ext = op, .imm = 1, .shift = true, .rotate = rotate}, 12);
    both({.name = names[op], .opcode = {0xd2}, .ext = op, .shift = true, .rotate = rotate}, 12);
    both({.name = names[op], .opcode = {0xd0}, .ext = op, .shift = true, .rotate = rotate, .by_one = true}, 12);
  }
  for (u8 op : {0xa4, 0xac}) {
    const char* name = op == 0xa4 ? "shld" : "shrd";
    for (int size : {2, 4, 8})
      for (int v = 0; v < 40; v++)
        for (bool memory : {false, true}) {
          Case k = encode({.name = name, .opcode = {0x0f, op}, .imm = 1, .shift = true}, size, memory, false);
          if (size == 2 && (k.count_imm & 31) > 16) continue;  // undefined
          run_case(*machine, k, kRounds);
        }
    family({.name = name, .opcode = {0x0f, static_cast<u8>(op + 1)}, .shift = true}, 0);
    for (int size : {4, 8})
      for (int v = 0; v < 20; v++)
        for (bool memory : {false, true}) run_case(*machine, encode({.name = name, .opcode = {0x0f, static_cast<u8>(op + 1)}, .shift = true}, size, memory, false), kRounds);
  }
}

void multiply() {
  both({.name = "mul", .opcode = {0xf6}, .ext = 4, .defined = CF | OF});
  both({.name = "imul", .opcode = {0xf6}, .ext = 5, .defined = CF | OF});
  both({.name = "div", .opcode = {0xf6}, .ext = 6, .defined = 0}, 30);
  both({.name = "idiv", .opcode = {0xf6}, .ext = 7, .defined = 0}, 30);
  family({.name = "imul2", .opcode = {0x0f, 0xaf}, .defined = CF | OF});
  family({.name = "imul3", .opcode = {0x69}, .imm = 9, .defined = CF | OF});
  family({.name = "imul3b", .opcode = {0x6b}, .imm = 1, .defined = CF | OF});
  for (int v = 0; v < 60; v++)  // dividends that fit
    for (int ext : {6, 7})
      for (int size : {2, 4, 8}) {
        Case k = encode({.name = "div-fit", .opcode = {0xf7}, .ext = ext, .defined = 0}, size, v & 1, false);
        if (!k.fixed[2]) k.r[2] = ext == 6 ? rnd(3) : 0 - rnd(2), k.fixed[2] = true;
        run_case(*machine, k, kRounds);
      }
}

void bits() {
  const char* names[] = {"bt", "bts", "btr", "btc"};
  for (int op = 0; op < 4; op++) {
    family({.name = names[op], .opcode = {0x0f, static_cast<u8>(0xa3 + 8 * op)}, .defined = CF | ZF, .lock = op > 0, .bit_offset = true}, 20);
    family({.name = names[op], .opcode = {0x0f, 0xba}, .ext = 4 + op, .imm = 1, .defined = CF | ZF, .lock = op > 0});
  }
  family({.name = "bsf", .opcode = {0x0f, 0xbc}, .defined = ZF});
  family({.name = "bsr", .opcode = {0x0f, 0xbd}, .defined = ZF});
  family({.name = "popcnt", .opcode = {0x0f, 0xb8}, .prefix = {0xf3}});
  family({.name = "bswap", .opcode = {0x0f, 0xc8}, .modrm = false}, 0);
  for (int size : {4, 8})
    for (u8 r = 0; r < 8; r++) run_case(*machine, encode({.name = "bswap", .opcode = {0x0f, static_cast<u8>(0xc8 | r)}, .modrm = false}, size, false, false), kRounds);
  family({.name = "movbe-ld", .opcode = {0x0f, 0x38, 0xf0}, .memory_only = true});
  family({.name = "movbe-st", .opcode = {0x0f, 0x38, 0xf1}, .memory_only = true});
}

void moves() {
  both({.name = "mov", .opcode = {0x88}});
  both({.name = "mov", .opcode = {0x8a}});
  both({.name = "mov-imm", .opcode = {0xc6}, .ext = 0, .imm = 9});
  both({.name = "xchg", .opcode = {0x86}, .lock = true});
  both({.name = "xadd", .opcode = {0x0f, 0xc0}, .lock = true});
  both({.name = "cmpxchg", .opcode = {0x0f, 0xb0}, .lock = true});
  family({.name = "lea", .opcode = {0x8d}, .memory_only = true}, 20);
  family({.name = "movnti", .opcode = {0x0f, 0xc3}, .memory_only = true}, 0);
  family({.name = "movzx8", .opcode = {0x0f, 0xb6}});
  family({.name = "movzx16", .opcode = {0x0f, 0xb7}});
  family({.name = "movsx8", .opcode = {0x0f, 0xbe}});
  family({.name = "movsx16", .opcode = {0x0f, 0xbf}});
  for (int v = 0; v < 20; v++)
    for (int size : {4, 8}) run_case(*machine, encode({.name = "movsxd", .opcode = {0x63}}, size, v & 1, false), kRounds);
  for (u8 cc = 0; cc < 16; cc++) {
    family({.name = "cmov", .opcode = {0x0f, static_cast<u8>(0x40 | cc)}}, 2);
    family({.name = "setcc", .opcode = {0x0f, static_cast<u8>(0x90 | cc)}, .byte = true}, 3);
  }
  for (u8 r = 0; r < 8; r++)
    for (int size : {2, 4, 8}) {
      run_case(*machine, encode({.name = "xchg-acc", .opcode = {static_cast<u8>(0x90 | r)}, .modrm = false}, size, false, false), kRounds);
      run_case(*machine, encode({.name = "mov-ri", .opcode = {static_cast<u8>(0xb8 | r)}, .modrm = false, .imm = size}, size, false, false), kRounds);
      run_case(*machine, encode({.name = "mov-ri8", .opcode = {static_cast<u8>(0xb0 | r)}, .modrm = false, .imm = 1}, 1, false, false), kRounds);
    }
  for (int size : {2, 4, 8}) {
    run_case(*machine, encode({.name = "cbw", .opcode = {0x98}, .modrm = false}, size, false, false), kRounds * 4);
    run_case(*machine, encode({.name = "cwd", .opcode = {0x99}, .modrm = false}, size, false, false), kRounds * 4);
  }
}

/// Instructions given as bytes; registers that must be valid addresses are fixed by the caller.
void plain(const char* name, Bytes bytes, std::initializer_list<std::pair<int, u64>> fixed = {}, u64 defined = ALL, bool bounded_cx = false, int rounds = 60) {
  Case k;
  k.name = name, k.bytes = std::move(bytes), k.defined = defined, k.bounded_cx = bounded_cx;
  for (auto [reg, v] : fixed) k.r[reg] = v, k.fixed[reg] = true;
  run_case(*machine, k, rounds);
}

void singles() {
  for (u8 op : {0xf5, 0xf8, 0xf9, 0x9e, 0x9f, 0x90}) plain("flag", {op});
  plain("pause", {0xf3, 0x90});
  plain("nop", {0x0f, 0x1f, 0x44, 0x00, 0x00});
  plain("endbr", {0xf3, 0x0f, 0x1e, 0xfa});
  plain("lfence", {0x0f, 0xae, 0xe8});
  plain("mfence", {0x0f, 0xae, 0xf0});
  plain("sfence", {0x0f, 0xae, 0xf8});
  plain("ud2", {0x0f, 0x0b});
  plain("ud", {0x06});
  plain("lock-ud", {0xf0, 0x01, 0xc8});
  plain("lock-ud", {0xf0, 0x39, 0x06}, {{6, kScratch + 0x1000}});
  plain("rep-bsf", {0xf3, 0x0f, 0xba, 0xe0, 0x03}, {}, CF | ZF);
  for (int v = 0; v < 30; v++) {
    const u64 at = kScratch + (rnd(3) ? 0xf00 + rnd(0x100) : 0x1000 - rnd(17));
    plain("cmpxchg8b", {0x0f, 0xc7, 0x0e}, {{6, at}});
    plain("cmpxchg8b", {0xf0, 0x0f, 0xc7, 0x0e}, {{6, at}});
    plain("cmpxchg16b", {0x48, 0x0f, 0xc7, 0x0e}, {{6, at & ~15ull}});
    plain("xlat", {0xd7}, {{3, at}});
    plain("movabs", {0x48, 0xa1, 0xf4, 0x0f, 0, 0x20, 0, 0, 0, 0});
    plain("movabs", {0xa2, 0xf4, 0x0f, 0, 0x20, 0, 0, 0, 0});
    plain("push", {0x50}, {{4, at}});
    plain("push-sp", {0x54}, {{4, at}});
    plain("push-r12", {0x41, 0x54}, {{4, at}});
    plain("push16", {0x66, 0x51}, {{4, at}});
    plain("push-imm8", {0x6a, 0x85}, {{4, at}});
    plain("push-imm32", {0x68, 1, 2, 3, 0x84}, {{4, at}});
    plain("push-imm16", {0x66, 0x68, 1, 0x92}, {{4, at}});
    plain("push-mem", {0xff, 0x76, 0x10}, {{4, at}, {6, kScratch + 0x1100}});
    plain("pop", {0x5b}, {{4, at}});
    plain("pop-sp", {0x5c}, {{4, at}});
    plain("pop16", {0x66, 0x5b}, {{4, at}});
    plain("pop-mem", {0x8f, 0x46, 0x10}, {{4, at}, {6, kScratch + 0x1100}});
    plain("pop-mem-sp", {0x8f, 0x44, 0x24, 0x10}, {{4, at}});
    plain("leave", {0xc9}, {{5, at}});
    plain("enter0", {0xc8, 0x20, 0, 0}, {{4, at}});
    plain("enter3", {0xc8, 0x20, 0, 3}, {{4, at}, {5, at + 0x80}});
  }
  for (u8 cc = 0; cc < 16; cc++) {
    plain("jcc", {static_cast<u8>(0x70 | cc), 4});
    plain("jcc32", {0x0f, static_cast<u8>(0x80 | cc), 4, 0, 0, 0});
  }
  for (u8 op : {0xe0, 0xe1, 0xe2, 0xe3}) {
    plain("loop", {op, 4}, {}, ALL, true);
    plain("loop", {op, 4});
    plain("loop32", {0x67, op, 4}, {{1, 0xffffffff00000000ull + rnd(3)}});
  }
  plain("jmp", {0xeb, 4});
  plain("jmp32", {0xe9, 4, 0, 0, 0});
}

void strings() {
  for (int v = 0; v < 25; v++) {
    const u64 a = kScratch + 0xe00 + rnd(0x220), b = rnd(2) ? kScratch + 0xe00 + rnd(0x220) : a + rnd(9) - 4;
    for (u8 op : {0xa4, 0xa6, 0xaa, 0xac, 0xae})
      for (u8 wide : {0, 1})
        for (int size : {1, 2, 4, 8}) {
          if ((size == 1) != (wide == 0)) continue;
          for (u8 rep : {0, 0xf2, 0xf3}) {
            Bytes bytes;
            if (size == 2) bytes.push_back(0x66);
            if (rep) bytes.push_back(rep);
            if (!rnd(4)) bytes.push_back(0x67);
            if (size == 8) bytes.push_back(0x48);
            bytes.push_back(op | wide);
            plain("string", bytes, {{6, a}, {7, b}}, ALL, true, 4);
          }
        }
  }
}

/// The opcodes that have direct handlers, and some that go through thunks.
void vectors() {
  const u8 plain_ops[] = {0x10, 0x11, 0x28, 0x29, 0x54, 0x55, 0x56, 0x57, 0x14, 0x58, 0x59, 0xc6};
  const u8 ops66[] = {0x10, 0x11, 0x28, 0x29, 0x54, 0x57, 0x60, 0x61, 0x62, 0x64, 0x6c, 0x6d, 0x6e, 0x6f, 0x70, 0x74, 0x75, 0x76, 0x7e, 0x7f, 0xd4, 0xd6,
                      0xd8, 0xda, 0xdb, 0xde, 0xdf, 0xeb, 0xef, 0xf8, 0xfa, 0xfc, 0xfe, 0xd2, 0xf4, 0x2e, 0x5a};
  const u8 ops_f3[] = {0x10, 0x11, 0x6f, 0x7f, 0x7e, 0x58, 0x2a, 0x2d}, ops_f2[] = {0x10, 0x11, 0x58, 0x5e, 0x2a, 0x2c};
  auto each = [&](Bytes prefix, u8 op) {
    for (int v = 0; v < 24; v++)
      for (int size : {4, 8}) {
        const bool imm = op == 0x70 || op == 0xc6;
        const Spec s{.name = "sse", .opcode = {0x0f, op}, .imm = imm, .prefix = prefix};
        run_case(*machine, encode(s, size, v & 1, false), 4);
      }
  };
  for (u8 op : plain_ops) each({}, op);
  for (u8 op : ops66) each({0x66}, op);
  for (u8 op : ops_f3) each({0xf3}, op);
  for (u8 op : ops_f2) each({0xf2}, op);
  for (u8 op : {0x16, 0x17})
    for (int v = 0; v < 40; v++) run_case(*machine, encode({.name = "movhps", .opcode = {0x0f, op}}, 4, true, false), 4);
  for (int v = 0; v < 40; v++) run_case(*machine, encode({.name = "pmovmskb", .opcode = {0x0f, 0xd7}, .prefix = {0x66}}, 4 + 4 * (v & 1), false, false), 4);
}

void setup_host() {
  void* code = mmap(reinterpret_cast<void*>(kCode), 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  void* data = mmap(reinterpret_cast<void*>(kState), 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  void* mem = mmap(reinterpret_cast<void*>(kScratch), kScratchSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  if (code == MAP_FAILED || data == MAP_FAILED || mem == MAP_FAILED) abort();
  static u8 alternate[65536];
  stack_t stack{};
  stack.ss_sp = alternate, stack.ss_size = sizeof alternate;
  sigaltstack(&stack, nullptr);
  struct sigaction action {};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  for (int sig : {SIGSEGV, SIGILL, SIGFPE, SIGBUS, SIGTRAP}) sigaction(sig, &action, nullptr);
  syscall(SYS_arch_prctl, ARCH_SET_GS, kGsBase);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1) seed ^= strtoull(argv[1], nullptr, 0) * 0x9e3779b97f4a7c15ull;
  setup_host();
  Machine m;
  machine = &m;
  m.map(kCode, kCodeGpa, Machine::W);
  for (u64 at = 0; at < kScratchSize; at += kPageSize) m.map(kScratch + at, guest_page(at), Machine::W);
  m.c.seg[soft::GS].base = kGsBase;
  arithmetic(), shifts(), multiply(), bits(), moves(), singles(), strings(), vectors();
  printf("%d passed, %d failed\n", passed, failed);
  return failed != 0;
}
