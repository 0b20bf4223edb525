// The harness of the differential test: one instruction, one state, run on this host and on the
// software CPU, compared. The same virtual addresses hold the same bytes on both sides. Included by
// difftest.cc alone.
#pragma once
#include <asm/prctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>
#include <xmmintrin.h>

#include <csetjmp>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "test/coverage.h"
#include "test/machine.h"

namespace {
using namespace colo;
using test::Coverage;
using test::Machine;
using Bytes = std::vector<u8>;

constexpr u64 kCode = 0x10000000, kState = 0x10100000, kScratch = 0x20000000, kScratchSize = 0x3000,
              kGsBase = 0x30, kFx = kState + 0x400;
constexpr u64 kCodeGpa = 0x200000, kScratchGpa = 0x400000;
constexpr u64 CF = 1, PF = 4, AF = 0x10, ZF = 0x40, SF = 0x80, OF = 0x800,
              ALL = CF | PF | AF | ZF | SF | OF;

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

/// The kernel says which exception it was. A handler starts with the FPU as a new process has it.
void on_signal(int, siginfo_t*, void* context) {
  caught = static_cast<int>(static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_TRAPNO]);
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
    case 0:
      return 0;
    case 1:
      return ~0ull;
    case 2:
      return 1ull << rnd(64);
    case 3:
      return (1ull << rnd(64)) - 1;
    case 4:
      return x & 0xff;
    case 5:
      return static_cast<u64>(static_cast<i64>(static_cast<i8>(x)));
    default:
      return x;
  }
}

/// Native side: a stub that loads the state, runs the instruction, and stores the state.
u64 insn_at;  // address of the tested instruction, same on both sides
Bytes stub(const Bytes& insn) {
  Bytes s;
  auto put = [&](std::initializer_list<int> l) {
    for (int b : l) s.push_back(static_cast<u8>(b));
  };
  auto word = [&](u64 v) {
    for (int i = 0; i < 4; i++) s.push_back(static_cast<u8>(v >> 8 * i));
  };
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
  put({0xeb, 13});  // fall through: over the taken branch
  put({0x90, 0x90});
  put({0xc7, 0x04, 0x25}), word(kState + offsetof(State, taken)),
      word(1);  // branch target: insn end + 4
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
  Bytes host;          // the same for the host, if that is another encoding
  int size = 0;        // operand size, bytes
  u64 defined = ALL;   // flags to compare
  bool shift = false;  // flags depend on the count
  bool rotate = false;
  bool branch = false;
  int count_imm = -1;  // shift count, or CL
  u64 r[16];           // registers that must have certain values
  bool fixed[16] = {};
  bool bounded_cx = false;      // REP: small count
  bool float_state = false;     // random MXCSR and x87 state
  u64 poked_at = 0, poked = 0;  // a quadword that memory must hold
};

struct LegacyMode;
const LegacyMode* legacy = nullptr;  // the one under test; none: 64-bit mode
int passed, failed;
Coverage coverage;

/// The guest's scratch pages lie in descending order in RAM, so that an access across a page edge
/// must be split.
u64 guest_page(u64 offset) { return kScratchGpa + kScratchSize - kPageSize - offset; }
constexpr u64 kUsedFrom = 0x800,
              kUsedTo = 0x2800;  // the part of the scratch area that instructions reach
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

/// Runs the stub; the exception's vector, or -1.
COLO_NOINLINE int run_native() {
  caught = -1;
  if (!sigsetjmp(escape, 0)) reinterpret_cast<void (*)()>(kCode)();
  asm volatile("fninit");
  _mm_setcsr(0x1f80);
  return caught;
}

/// The host's answer: its registers in `state`, its memory in the scratch area, its FPU in host_fx.
/// A hypervisor that must emulate one access of this host (to a page that it is moving, say) may
/// not know the instruction and raises #UD in its place, once; the processor raises it each time.
int ask_host(const State& in, const u8* memory, const u8* fx) {
  constexpr int kUndefined = 6, kTimes = 3;
  for (int time = 1;; time++) {
    each_part([&](u64 at, u64, u64 n) { memcpy(scratch + at, memory + at, n); });
    memcpy(host_fx, fx, 512);
    *state = in;
    const int vector = run_native();
    if (vector != kUndefined || time == kTimes) return vector;
  }
}

constexpr size_t kFpuImage = 160;  // bytes of the x87 state in the image, with MXCSR

/// Every rounding mode, flushing, denormals as zeroes; now and then exceptions that are not masked.
/// x87: all masked, values of every class in registers of every tag.
void random_float_state(u8* fx) {
  const auto set = [&](size_t at, auto v) { memcpy(fx + at, &v, sizeof v); };
  const u32 masks = rnd(4) ? 0x1f80 : static_cast<u32>(rnd()) & 0x1f80;
  set(24, masks | (static_cast<u32>(rnd()) & 0xe040) | (rnd(2) ? 0 : static_cast<u32>(rnd(64))));
  set(0, static_cast<u16>(0x7f | (rnd() & 0x0f00)));
  set(2, static_cast<u16>((rnd() & 0x7f40) | rnd(64)));
  set(4, static_cast<u8>(rnd(3) ? (rnd(2) ? 0xff : 0) : rnd()));
  for (size_t i = 0; i < 8; i++) {
    const u16 exponents[] = {0, 1, 0x3fff, 0x3ffe, 0x4001, 0x403e, 0x7ffe, 0x7fff};
    set(32 + 16 * i, operand() | (rnd(4) ? 1ull << 63 : 0));
    set(40 + 16 * i, static_cast<u16>(exponents[rnd(8)] | (rnd(2) << 15)));
  }
  const u64 doubles[] = {0x3ff0000000000000, 0x7ff0000000000000, 0x7ff8000000000001,
                         0x7ff0000000000001, 0x0000000000000001, 0x8000000000000000,
                         0x7fefffffffffffff, 0xc1e0000000000000, 0x3f8000003f800000,
                         0x7f8000007fc00001, 0x0000000100000001, 0xff7fffff80000000};
  for (size_t i = 0; i < 256; i += 8)
    if (rnd(2)) set(kXmmAt + i, doubles[rnd(12)]);
}

/// The x87 pointers are the host's own addresses.
bool float_state_differs(const Case& k, const u8* fx) {
  if (!k.float_state) return false;
  memset(host_fx + 6, 0, 18);
  memcpy(host_fx + 28, fx + 28, 4);
  return memcmp(host_fx, fx, kFpuImage) != 0;
}

void report(const Case& k, const State& in, const State& host, const soft::Cpu& c, u64 our_flags,
            u64 mask, int hv, int ov, const char* what) {
  if (failed++ >= 40) return;
  printf("FAIL %-10s", k.name);
  for (u8 b : k.bytes) printf(" %02x", b);
  printf("  %s; vector host %d ours %d, flags in %llx host %llx ours %llx mask %llx\n", what, hv,
         ov, (unsigned long long)in.flags, (unsigned long long)host.flags,
         (unsigned long long)our_flags, (unsigned long long)mask);
  for (int i = 0; i < 16; i++)
    if (host.r[i] != c.r[i])
      printf("    r%d in %llx host %llx ours %llx\n", i, (unsigned long long)in.r[i],
             (unsigned long long)host.r[i], (unsigned long long)c.r[i]);
}

/// A VEX prefix in place of those and of REX.
struct Vex {
  u8 map = 0;         // 0: none
  u8 pp = 0;          // its two bits for a mandatory prefix: none, 66, F3, F2
  bool third = true;  // the register in vvvv is an operand
};

/// Its three bytes; rex: W, R, X and B. vvvv: a random register, one of so many.
void put_vex(Bytes& bytes, const Vex& vex, int rex, u64 registers) {
  const int vvvv = vex.third ? static_cast<int>(rnd(registers)) : 0;
  bytes.push_back(0xc4);
  bytes.push_back(static_cast<u8>((~rex & 7) << 5 | vex.map));
  bytes.push_back(static_cast<u8>((rex & 8) << 4 | (~vvvv & 15) << 3 | vex.pp));
}

/// Builds encodings: prefixes, REX, opcode, ModRM with a random register or memory operand,
/// immediate.
struct Spec {
  const char* name;
  Bytes opcode;  // with 0F if any
  int ext = -1;  // ModRM.reg as opcode extension; -1: a register
  bool modrm = true;
  int imm = 0;  // immediate bytes; 9 = by operand size (at most 4)
  u64 defined = ALL;
  bool byte = false;  // operand size 1
  bool lock = false;
  bool memory_only = false, register_only = false;
  bool shift = false, rotate = false, by_one = false, bit_offset = false;
  Bytes prefix = {};
  bool float_state = false;
  Vex vex = {};
};

}  // namespace

#include "test/difftest_legacy.h"

namespace {

void run_case(Machine& m, const Case& k, int rounds) {
  if (!legacy) coverage.ran(k.bytes);
  const Bytes s = stub(k.host.empty() ? k.bytes : k.host);
  memcpy(reinterpret_cast<void*>(kCode), s.data(), s.size());
  const u64 code_gpa = kCodeGpa + (insn_at - kCode);
  memcpy(m.at(code_gpa, k.bytes.size()), k.bytes.data(), k.bytes.size());
  m.ram.mark_written(code_gpa, k.bytes.size());
  for (int round = 0; round < rounds; round++) {
    State in{};
    for (int i = 0; i < 16; i++) in.r[i] = k.fixed[i] ? k.r[i] : operand();
    for (int i = 0; i < 8 && legacy; i++) in.r[i] &= 0xffffffff;
    if (k.bounded_cx || (k.shift && !k.fixed[1] && rnd(2))) in.r[1] = rnd(40);
    in.flags = 0x202 | (rnd() & ALL);
    u64 fill[kScratchSize / 8];
    for (u64& v : fill) v = operand();
    if (!rnd(3)) memcpy(reinterpret_cast<u8*>(fill) + 0x1000 - 0x100, &in.r[0], 8);
    if (k.poked_at) memcpy(reinterpret_cast<u8*>(fill) + (k.poked_at - kScratch), &k.poked, 8);
    each_part(
        [&](u64 at, u64 gpa, u64 n) { memcpy(m.at(gpa, n), reinterpret_cast<u8*>(fill) + at, n); });

    soft::fx_reset(m.c.fx);
    for (size_t i = 0; i < 256; i += 8) {
      const u64 v = operand();
      memcpy(m.c.fx.bytes + kXmmAt + i, &v, 8);
    }
    if (k.float_state) random_float_state(m.c.fx.bytes);
    u8 fx[512];
    memcpy(fx, m.c.fx.bytes, sizeof fx);
    const int hv = ask_host(in, reinterpret_cast<u8*>(fill), fx);
    const State host = *state;

    for (int i = 0; i < 16; i++) m.c.r[i] = in.r[i];
    m.c.set_flags(in.flags & ~0x200ull);
    m.c.rip = insn_at;
    if (legacy) legacy->install(m.c);
    const vcpu::RunResult result = m.run(1);
    const int ov = result == vcpu::RunResult::Halted   ? m.vector()
                   : result == vcpu::RunResult::Budget ? -1
                                                       : 99;
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
      else if (float_state_differs(k, m.c.fx.bytes)) bad = "x87 or mxcsr";
    }
    if (bad) report(k, in, host, m.c, flags, mask, hv, ov, bad);
    else passed++;
  }
}

Case encode(const Spec& s, int size, bool memory, bool lock) {
  if (legacy) return encode_legacy(s, size, memory, lock);
  Case k;
  k.name = s.name;
  if (s.by_one) k.count_imm = 1;
  k.size = size, k.defined = s.defined, k.shift = s.shift, k.rotate = s.rotate;
  k.float_state = s.float_state;
  auto fix = [&](int reg, u64 v) { k.r[reg] = v, k.fixed[reg] = true; };
  const bool gs = memory && !rnd(6), narrow = memory && !rnd(8);
  if (lock) k.bytes.push_back(0xf0);
  if (gs) k.bytes.push_back(0x65);
  if (narrow) k.bytes.push_back(0x67);
  if (size == 2) k.bytes.push_back(0x66);
  k.bytes.insert(k.bytes.end(), s.prefix.begin(), s.prefix.end());
  int reg = static_cast<int>(rnd(16)), rm = static_cast<int>(rnd(16)),
      index = static_cast<int>(rnd(16));
  const bool no_rex = size != 8 && !rnd(3);
  if (no_rex) reg &= 7, rm &= 7, index &= 7;
  if (s.ext >= 0) reg = s.ext;
  const int mode =
      memory ? static_cast<int>(rnd(4)) : 3;  // 0 RIP-relative or disp32, 1 disp8, 2 disp32
  bool sib = false;
  const int scale = static_cast<int>(rnd(4));
  u64 target = kScratch + (rnd(3) ? 0xf00 + rnd(0x80) : 0x1000 - rnd(16));
  if (memory && mode != 0) {
    while ((s.bit_offset && rm == reg) || (rm & 7) == 4)
      rm = static_cast<int>(rnd(no_rex ? 8 : 16));
    sib = rnd(2);
    if (sib && (index == rm || index == 4 || (s.bit_offset && index == reg))) sib = false;
  }
  const int rex = (size == 8 ? 8 : 0) | (s.ext < 0 ? (reg >> 3) << 2 : 0) |
                  (sib ? (index >> 3) << 1 : 0) | (memory && mode == 0 ? 0 : rm >> 3);
  if (s.vex.map) put_vex(k.bytes, s.vex, rex, 16);
  else if (!no_rex || size == 8) k.bytes.push_back(static_cast<u8>(0x40 | rex));
  k.bytes.insert(k.bytes.end(), s.opcode.begin(), s.opcode.end());
  if (gs) target -= kGsBase;
  const int imm_size = s.imm == 9 ? (size == 8 ? 4 : size) : s.imm;
  auto little = [&](u64 v, int n) {
    for (int i = 0; i < n; i++) k.bytes.push_back(static_cast<u8>(v >> 8 * i));
  };
  if (s.modrm) {
    if (!memory) {
      k.bytes.push_back(static_cast<u8>(0xc0 | (reg & 7) << 3 | (rm & 7)));
    } else if (mode == 0) {
      const bool rip = rnd(2);
      k.bytes.push_back(static_cast<u8>((reg & 7) << 3 | (rip ? 5 : 4)));
      if (!rip) k.bytes.push_back(0x25);
      stub({});
      little(rip ? target - (insn_at + k.bytes.size() + 4 + static_cast<u64>(imm_size)) : target,
             4);
    } else {
      const i64 disp = mode == 1 ? static_cast<i8>(rnd()) : static_cast<i32>(rnd(0x10000)) - 0x8000;
      const u64 x = sib ? rnd(0x400) : 0;
      k.bytes.push_back(static_cast<u8>((mode == 2 || mode == 3 ? 0x80 : 0x40) | (reg & 7) << 3 |
                                        (sib ? 4 : rm & 7)));
      if (sib) k.bytes.push_back(static_cast<u8>(scale << 6 | (index & 7) << 3 | (rm & 7)));
      const bool wide = mode != 1;
      little(static_cast<u64>(wide ? disp : static_cast<i8>(disp)), wide ? 4 : 1);
      const u64 base =
          target - static_cast<u64>(wide ? disp : static_cast<i8>(disp)) - (x << scale);
      fix(rm, narrow ? (base & 0xffffffff) | rnd() << 32 : base);
      if (sib) fix(index, x);
    }
  }
  if (s.bit_offset && memory) {
    const u64 v = rnd(0x2000) - 0x1000;
    fix(reg, size == 8   ? v
             : size == 4 ? (v & 0xffffffff) | rnd() << 32
                         : (v & 0xffff) | rnd() << 16);
  }
  if (imm_size) {
    const u64 v = operand();
    little(v, imm_size);
    if (s.shift) k.count_imm = static_cast<int>(v & 0xff);
  }
  return k;
}

void setup_host() {
  void* code = mmap(reinterpret_cast<void*>(kCode), 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  void* data = mmap(reinterpret_cast<void*>(kState), 4096, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  void* mem = mmap(reinterpret_cast<void*>(kScratch), kScratchSize, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  if (code == MAP_FAILED || data == MAP_FAILED || mem == MAP_FAILED) abort();
  static u8 alternate[65536];
  stack_t stack{};
  stack.ss_sp = alternate, stack.ss_size = sizeof alternate;
  sigaltstack(&stack, nullptr);
  struct sigaction action{};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  for (int sig : {SIGSEGV, SIGILL, SIGFPE, SIGBUS, SIGTRAP}) sigaction(sig, &action, nullptr);
  syscall(SYS_arch_prctl, ARCH_SET_GS, kGsBase);
}

}  // namespace
