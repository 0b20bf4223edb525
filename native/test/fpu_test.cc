// Goal: a thunk does what the host's own units do, byte for byte, and no guest can make it trap.
// Method: every instruction of the table from random state, by reference and by thunk; register and
// memory forms; masked and unmasked exceptions. Not compared: FIP, FDP, FOP (kept at 0) and the
// MXCSR mask.
#include <chrono>
#include <cstring>

#include "soft/fpu/fpu_table.h"
#include "soft/system/contract.h"
#include "test/fpu_reference.h"

namespace colo::test {
namespace {

using soft::FpInsn;
using soft::FpKind;
using soft::FpPlan;
using soft::FpRow;
using soft::FxState;

constexpr u64 kStatusFlags = 0x8d5;
constexpr u8 kEveryFeature = 0xff;
/// Those of the host's that a CPU model can have.
const u8 kHostFeatures = soft::fp_features(vcpu::soft_features());
constexpr u32 kOverflow = 8, kUnderflow = 16, kPrecision = 32;
constexpr int kSigFpe = 8, kSigIll = 4;

constexpr u32 kFloats[] = {0,          0x80000000, 0x3f800000, 0xbfc00000, 0x7f800000,
                           0xff800000, 0x7fc00001, 0x7f800001, 0x00000001, 0x807fffff,
                           0x00800000, 0x7f7fffff, 0x4f000000, 0xcf000001, 0x5f000000,
                           0x00ffffff, 0x33800000, 0x3effffff, 0x1f800000, 0xa0000000};
constexpr u64 kDoubles[] = {0,
                            1ull << 63,
                            0x3ff0000000000000,
                            0xbff8000000000000,
                            0x7ff0000000000000,
                            0xfff0000000000000,
                            0x7ff8000000000001,
                            0x7ff0000000000001,
                            1,
                            0x800fffffffffffff,
                            0x0010000000000000,
                            0x7fefffffffffffff,
                            0x41e0000000000000,
                            0xc3e0000000000001,
                            0x36a0000000000000,
                            0x47f0000000000000,
                            0x1ff0000000000000,
                            0x3fdfffffffffffff};

u64 number(Random& random) {
  const auto single = [&] {
    return random.below(3) ? kFloats[random.below(std::size(kFloats))] : static_cast<u32>(random());
  };
  switch (random.below(3)) {
    case 0:
      return random();
    case 1:
      return single() | static_cast<u64>(single()) << 32;
    default:
      return kDoubles[random.below(std::size(kDoubles))];
  }
}

/// An 80-bit value: normal, zero, denormal, infinite, NaN, or one of the encodings that no 387
/// makes.
void extended(Random& random, u8* at) {
  constexpr u64 significands[] = {0, 1ull << 63,       3ull << 62, ~0ull,
                                  1, (1ull << 63) + 1, 1ull << 62, 0xaaaaaaaa00000000};
  constexpr u16 exponents[] = {0,      1,      0x3fff, 0x3ffe, 0x7fff, 0x7ffe,
                               0x401d, 0x403e, 0x3f81, 0x3c01, 0x43fe, 0x407e};
  const u64 significand = random.below(3) ? significands[random.below(8)] : random() | 1ull << 63;
  const u16 exponent =
      random.below(4) ? exponents[random.below(12)] : 0x3fff + random.below(80) - 40;
  const u16 top = static_cast<u16>(exponent | (random() & 0x8000));
  std::memcpy(at, &significand, 8);
  std::memcpy(at + 8, &top, 2);
}

template <class T>
void put(FxState& fx, size_t at, T value) {
  std::memcpy(fx.bytes + at, &value, sizeof value);
}

/// masks: which exceptions are masked (6 bits), for both units. No x87 exception is pending.
void random_image(Random& random, FxState& fx, u32 masks) {
  soft::fx_reset(fx);
  put<u16>(fx, 0, static_cast<u16>(0x40 | masks | (random() & 0x0f00)));
  put<u16>(fx, 2, static_cast<u16>((random() & 0x7f40) | (random() & masks)));
  put<u8>(fx, 4, random.below(3) ? (random.below(2) ? 0xff : 0) : static_cast<u8>(random()));
  put<u32>(fx, 24, masks << 7 | (random() & 0xe040) | (random.below(2) ? 0 : random() & masks));
  for (int i = 0; i < 8; i++) extended(random, fx.bytes + 32 + 16 * i);
  for (int i = 0; i < 32; i++) put(fx, 160 + 8 * i, number(random));
}

/// Memory in every type that an instruction may see there.
void random_memory(Random& random, u8* mem) {
  for (int i = 0; i < 64; i++) {
    const u64 value = number(random);
    std::memcpy(mem + 8 * i, &value, 8);
  }
  if (random.below(2)) extended(random, mem);
}

void hide(FxState& fx) {
  std::memset(fx.bytes + 6, 0, 18);
  put<u32>(fx, 28, 0xffff);
}

class Comparison {
 public:
  /// Trials of insn from random state; the caller has filled in all but the random parts.
  void trial(const FpInsn& insn, u32 masks) {
    FpPlan plan;
    if (!EXPECT(cache.plan(insn, plan))) return describe(insn);
    Lab& lab = reference.lab();
    random_image(random, lab.before, masks);
    random_memory(random, lab.mem);
    for (u64& r : lab.gprs) r = random.below(2) ? random() : random.below(1000);
    if (plan.implicit_rdi) lab.gprs[7] = reinterpret_cast<u64>(lab.mem);
    lab.flags = (random() & kStatusFlags) | 2;

    FxState fx = lab.before;
    alignas(64) u8 mem[512];
    u64 gprs[16], flags = lab.flags | 1 << 9;
    std::memcpy(mem, lab.mem, sizeof mem);
    std::memcpy(gprs, lab.gprs, sizeof gprs);

    const int signal = reference.run(insn);
    // The others would find the host's own state in the unit.
    const bool direct = plan.direct && !plan.mxcsr_exceptions && !plan.x87;
    const int result = direct ? (plan.direct(&fx, mem, gprs, &flags), 0)
                              : cache.execute(plan, fx, mem, gprs, flags);
    if (signal) return after_signal(insn, signal, result, fx);
    hide(lab.after);
    hide_environment(insn, lab.mem);
    bool ok = EXPECT(result == 0 || result == soft::kNothingStored);
    ok &= EXPECT(!std::memcmp(lab.after.bytes, fx.bytes, 416));
    ok &= EXPECT(!std::memcmp(lab.mem, mem, sizeof mem));
    ok &= EXPECT(same_registers(lab.gprs, gprs));
    ok &= EQUAL(flags & kStatusFlags, lab.flags & kStatusFlags);
    ok &= EXPECT(flags & 1 << 9);
    if (result == soft::kNothingStored) nothing_stored++;
    if (!ok) describe(insn), differences(lab.after, fx);
  }

  Reference reference;
  soft::ThunkCache cache{kHostFeatures};
  Random random{0x5eed0002};
  int signals = 0, nothing_stored = 0;

 private:
  void after_signal(const FpInsn& insn, int signal, int result, const FxState& fx) {
    signals++;
    u32 mxcsr;
    std::memcpy(&mxcsr, fx.bytes + 24, 4);
    // Whether an unmasked overflow or underflow is also inexact depends on a result with an
    // unbounded exponent: PE may be one too many.
    const u32 raised = reference.fault_mxcsr() & ~(mxcsr >> 7);
    const u32 compared = raised & (kOverflow | kUnderflow) ? ~kPrecision : ~0u;
    const bool dot_product =
        insn.map == 3 &&
        (insn.opcode & ~1) == 0x40;  // its steps raise one after the other; not in soft-v1
    bool ok = EQUAL(signal, kSigFpe);
    ok &= EQUAL(result, 19);
    if (!dot_product) ok &= EQUAL(mxcsr & compared, reference.fault_mxcsr() & compared);
    ok &= EXPECT(!std::memcmp(fx.bytes + 32, reference.lab().before.bytes + 32, 384));
    if (!ok) describe(insn);
  }

  static bool same_registers(u64* a, u64* b) {
    a[4] = b[4];  // RSP is not in the reference
    return !std::memcmp(a, b, 128);
  }

  static void hide_environment(const FpInsn& insn, u8* mem) {
    if (insn.map || insn.modrm >= 0xc0 || (insn.modrm >> 3 & 7) != 6 ||
        (insn.opcode != 0xd9 && insn.opcode != 0xdd))
      return;
    if (insn.prefix == 0x66) {
      std::memset(mem + 6, 0, 8);
    } else {
      std::memset(mem + 12, 0, 16);
      std::memset(mem + 26, 0xff, 2);
    }
  }

  static void describe(const FpInsn& i) {
    if (failed < 40)
      std::printf("  map %d prefix %02x rex %02x opcode %02x modrm %02x imm %02x\n", i.map,
                  i.prefix, i.rex, i.opcode, i.modrm, i.imm8);
  }
  static void differences(const FxState& wanted, const FxState& got) {
    for (int i = 0; i < 416 && failed < 40; i++)
      if (wanted.bytes[i] != got.bytes[i])
        std::printf("  byte %d: %02x, not %02x\n", i, got.bytes[i], wanted.bytes[i]);
  }
};

/// A random encoding of one opcode of a row. RSP as an operand is left to the test of its own.
FpInsn encoding(Random& random, const FpRow& row, u8 opcode, bool memory) {
  FpInsn insn{row.prefix,
              0,
              row.map,
              opcode,
              true,
              0,
              (row.flags & soft::kImm) != 0,
              static_cast<u8>(random())};
  do {
    insn.rex = random.below(2) ? static_cast<u8>(0x40 | random.below(16)) : 0;
    insn.modrm = static_cast<u8>(random());
    insn.modrm = memory ? (insn.modrm & 0x38) | 5 : insn.modrm | 0xc0;
    if (memory) insn.rex &= ~3;
  } while ((row.reg == FpKind::None && !(row.extensions >> (insn.modrm >> 3 & 7) & 1)) ||
           (row.reg == FpKind::Gpr && (insn.modrm >> 3 & 7) == 4 && !(insn.rex & 4)) ||
           (!memory && row.rm == FpKind::Gpr && (insn.modrm & 7) == 4 && !(insn.rex & 1)));
  return insn;
}

void vectors(Comparison& c, int trials, bool unmasked) {
  for (const FpRow& row : soft::fp_rows()) {
    if (!(row.feature & kHostFeatures) || (unmasked && !(row.flags & soft::kMxcsr))) continue;
    for (int opcode = row.first; opcode <= row.last; opcode++) {
      EXPECT(soft::ThunkCache::claims(row.map, static_cast<u8>(opcode), row.prefix));
      EQUAL(soft::ThunkCache::needs_imm8(row.map, static_cast<u8>(opcode)),
            (row.flags & soft::kImm) != 0);
      for (int i = 0; i < trials; i++)
        for (const u16 form : {soft::kReg, soft::kMem})
          if (row.flags & form)
            c.trial(encoding(c.random, row, static_cast<u8>(opcode), form == soft::kMem),
                    unmasked ? c.random.below(64) & 0x3f : 0x3f);
    }
  }
}

void x87(Comparison& c, int trials, bool unmasked) {
  for (int opcode = 0xd8; opcode <= 0xdf; opcode++)
    for (int modrm = 0; modrm < 256; modrm++) {
      if (modrm < 0xc0 && (modrm & 0xc7) != 5) continue;
      FpInsn insn{0, 0, 0, static_cast<u8>(opcode), true, static_cast<u8>(modrm), false, 0};
      const soft::X87Insn what = soft::x87_insn(insn.opcode, insn.modrm, true);
      if (!what.valid) {
        soft::fx_reset(c.reference.lab().before);
        if (!EQUAL(c.reference.run(insn), kSigIll)) std::printf("  %02x %02x\n", opcode, modrm);
        continue;
      }
      for (int i = 0; i < trials; i++) {
        insn.prefix = what.bytes >= 28 && i & 1 ? 0x66 : 0;
        c.trial(insn, unmasked ? c.random.below(64) : 0x3f);
      }
    }
  c.trial({0, 0, 1, 0x77, false, 0, false, 0}, 0x3f);
}

/// What a plan says about operands, and what is no instruction.
void sizes() {
  soft::ThunkCache cache;
  const auto plan = [&](FpInsn insn) {
    FpPlan out;
    EXPECT(cache.plan(insn, out));
    return out;
  };
  const FpPlan movaps = plan({0, 0, 1, 0x29, true, 0x05, false, 0});
  EXPECT(movaps.mem_size == 16 && movaps.mem_write && !movaps.mem_read && movaps.aligned16 &&
         !movaps.x87 && !movaps.mmx && movaps.direct);
  const FpPlan movq = plan({0x66, 0x48, 1, 0x6e, true, 0xc3, false, 0});
  EXPECT(movq.mem_size == 0 && movq.gpr_read == 3 && movq.gpr_write == -1);
  EQUAL(plan({0x66, 0x48, 1, 0x6e, true, 0x03, false, 0}).mem_size, 8);
  EQUAL(plan({0xf2, 0x4c, 1, 0x2c, true, 0xc3, false, 0}).gpr_write, 8);
  EQUAL(plan({0xf2, 0x40, 1, 0x2c, true, 0xc3, false, 0}).gpr_write_size, 4);
  EQUAL(plan({0, 0, 0, 0xdd, true, 0x30, false, 0}).mem_size, 108);
  EQUAL(plan({0x66, 0, 0, 0xd9, true, 0x30, false, 0}).mem_size, 14);
  EXPECT(plan({0, 0, 1, 0xc3, true, 0x05, false, 0}).integer);
  EXPECT(plan({0x66, 0, 1, 0xf7, true, 0xc8, false, 0}).implicit_rdi);
  EQUAL(plan({0, 0, 0, 0xdf, true, 0xe0, false, 0}).gpr_write_size, 2);
  FpPlan none;
  EXPECT(!cache.plan({0x66, 0, 2, 0x00, true, 0xc8, false, 0}, none));  // PSHUFB: not in soft-v1
  EXPECT(!cache.plan({0, 0, 0, 0xdb, true, 0x0d, false, 0}, none));     // FISTTP
  EXPECT(!cache.plan({0xf3, 0, 1, 0x54, true, 0xc8, false, 0}, none));
  EXPECT(!cache.plan({0, 0, 1, 0x13, true, 0xc8, false, 0}, none));
  EXPECT(!cache.plan({0, 0, 0, 0xd9, true, 0xd1, false, 0}, none));
  EXPECT(!soft::ThunkCache::claims(1, 0xae, 0) && !soft::ThunkCache::claims(1, 0xb8, 0xf3) &&
         !soft::ThunkCache::claims(0, 0x90, 0));
}

/// RSP is an operand like any other.
void stack_pointer() {
  soft::ThunkCache cache;
  FxState fx;
  soft::fx_reset(fx);
  u64 gprs[16] = {}, flags = 2;
  gprs[4] = 0x1122334455667788;
  FpPlan plan;
  EXPECT(cache.plan({0x66, 0x48, 1, 0x6e, true, 0xc4, false, 0}, plan));
  EQUAL(cache.execute(plan, fx, nullptr, gprs, flags), 0);
  gprs[4] = 1;
  EXPECT(cache.plan({0x66, 0x48, 1, 0x7e, true, 0xc4, false, 0}, plan));
  EQUAL(cache.execute(plan, fx, nullptr, gprs, flags), 0);
  EQUAL(gprs[4], 0x1122334455667788);
}

/// An unmasked x87 exception waits for the next waiting instruction, which is not executed; the
/// non-waiting ones are.
void pending_mf() {
  soft::ThunkCache cache;
  FxState fx;
  soft::fx_reset(fx);
  put<u16>(fx, 0, 0x37b);  // zero divide unmasked
  u64 gprs[16] = {}, flags = 2;
  u8 mem[16] = {};
  const auto run = [&](FpInsn insn) {
    FpPlan plan;
    EXPECT(cache.plan(insn, plan));
    return cache.execute(plan, fx, mem, gprs, flags);
  };
  const FpInsn fld1{0, 0, 0, 0xd9, true, 0xe8, false, 0}, fldz{0, 0, 0, 0xd9, true, 0xee, false, 0},
      fdivp{0, 0, 0, 0xde, true, 0xf9, false, 0};
  const FpInsn fwait{0, 0, 0, 0x9b, false, 0, false, 0},
      fnstsw{0, 0, 0, 0xdf, true, 0xe0, false, 0}, fnclex{0, 0, 0, 0xdb, true, 0xe2, false, 0};
  EQUAL(run(fld1), 0), EQUAL(run(fldz), 0), EQUAL(run(fwait), 0);
  EQUAL(run(fdivp), 0);  // 1/0: noted
  EQUAL(run(fnstsw), 0), EQUAL(gprs[0] & 0x80ff, 0x8084);
  EQUAL(run(fwait), 16), EQUAL(run(fld1), 16);
  EQUAL(run({0, 0, 1, 0x6f, true, 0xc1, false, 0}), 16);  // MMX waits
  EQUAL(run({0, 0, 1, 0x77, false, 0, false, 0}), 16);
  EQUAL(run({0, 0, 1, 0x58, true, 0xc1, false, 0}), 0);  // SSE does not
  EQUAL(run(fnclex), 0), EQUAL(run(fwait), 0);
}

/// The host's own control words and x87 stack come back.
void host_state() {
  soft::ThunkCache cache;
  FxState fx;
  u64 gprs[16] = {}, flags = 2;
  alignas(16) u8 mem[512] = {};
  Random random{7};
  const u32 odd_mxcsr = 0x7fa0;
  const u16 odd_cw = 0x27b;
  for (const FpInsn insn :
       {FpInsn{0, 0, 0, 0xd8, true, 0xc1, false, 0}, FpInsn{0, 0, 1, 0xfe, true, 0xc1, false, 0},
        FpInsn{0, 0, 1, 0x58, true, 0xc1, false, 0}}) {
    FpPlan plan;
    EXPECT(cache.plan(insn, plan));
    for (int i = 0; i < 50; i++) {
      random_image(random, fx, static_cast<u32>(random.below(64)));
      u32 mxcsr = 0;
      u16 cw = 0, env[14];
      asm volatile("ldmxcsr %0; fninit; fldcw %1" ::"m"(odd_mxcsr), "m"(odd_cw));
      cache.execute(plan, fx, mem, gprs, flags);
      asm volatile("stmxcsr %0; fnstcw %1; fnstenv %2; fninit" : "=m"(mxcsr), "=m"(cw), "=m"(env));
      const u32 usual = 0x1f80;
      asm volatile("ldmxcsr %0" ::"m"(usual));
      EQUAL(mxcsr, odd_mxcsr);
      EQUAL(cw, odd_cw);
      EQUAL(env[4], 0xffff);
    }
  }
}

/// Immediates that differ to the instruction.
u64 immediates_of(const FpRow& row) {
  if (!(row.flags & soft::kImm)) return 1;
  const u8 op = row.first;
  if (row.map == 1) return op == 0xc2 || op == 0xc4 || op == 0xc5 ? 8 : 256;
  return op == 0x44 ? 4 : 256;
}

/// Distinct thunks that a set of features can ask for.
u64 thunks_at_most(u8 features) {
  u64 count = 8 * 72 * 2;
  for (const FpRow& row : soft::fp_rows()) {
    if (!(row.feature & features)) continue;
    const bool gpr = row.reg == FpKind::Gpr || row.rm == FpKind::Gpr;
    const auto names = [](FpKind kind) {
      return kind == FpKind::Mmx || kind == FpKind::None ? 8 : 16;
    };
    const u64 forms =
        (row.flags & soft::kReg ? names(row.rm) : 0) + (row.flags & soft::kMem ? 1 : 0);
    count += static_cast<u64>(row.last - row.first + 1) * names(row.reg) * forms * (gpr ? 2 : 1) *
             immediates_of(row);
  }
  return count;
}

/// The arena cannot run out: 96 is the limit of ThunkCode, 256 MiB the arena.
void bounded() {
  EXPECT(thunks_at_most(kEveryFeature) * 96 < 256u << 20);
  std::printf("at most %llu thunks in soft-v1\n",
              static_cast<unsigned long long>(thunks_at_most(soft::kSoftV1)));
}

void cost(const char* name, const FpInsn& insn) {
  soft::ThunkCache cache;
  FxState fx;
  soft::fx_reset(fx);
  u64 gprs[16] = {}, flags = 2;
  alignas(16) u8 mem[512] = {};
  FpPlan plan;
  EXPECT(cache.plan(insn, plan));
  double best = 1e9;
  for (int round = 0; round < 7; round++) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < 100000; i++) cache.execute(plan, fx, mem, gprs, flags);
    const double ns =
        std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count() /
        100000;
    if (ns < best) best = ns;
  }
  std::printf("%-24s %6.1f ns\n", name, best);
}

void costs() {
  cost("addps xmm1, xmm2", {0, 0, 1, 0x58, true, 0xca, false, 0});
  cost("addsd xmm1, [mem]", {0xf2, 0, 1, 0x58, true, 0x0d, false, 0});
  cost("ucomisd xmm1, xmm2", {0x66, 0, 1, 0x2e, true, 0xca, false, 0});
  cost("pxor xmm1, xmm2", {0x66, 0, 1, 0xef, true, 0xca, false, 0});
  cost("movdqa xmm1, [mem]", {0x66, 0, 1, 0x6f, true, 0x0d, false, 0});
  cost("paddb mm1, mm2", {0, 0, 1, 0xfc, true, 0xca, false, 0});
  cost("fadd st, st(1)", {0, 0, 0, 0xd8, true, 0xc1, false, 0});
  cost("fld m80", {0, 0, 0, 0xdb, true, 0x2d, false, 0});
  cost("fnstsw ax", {0, 0, 0, 0xdf, true, 0xe0, false, 0});
}

}  // namespace
}  // namespace colo::test

int main() {
  using namespace colo::test;
  if (!__builtin_cpu_supports("sse4.2")) return std::puts("skipped: the host has no SSE4.2"), 0;
  Comparison comparison;
  vectors(comparison, 60, false);
  vectors(comparison, 60, true);
  x87(comparison, 120, false);
  x87(comparison, 120, true);
  EXPECT(comparison.signals > 100 && comparison.nothing_stored > 10);
  std::printf("%d SIMD exceptions, %d stores that did not happen\n", comparison.signals,
              comparison.nothing_stored);
  sizes(), stack_pointer(), pending_mf(), host_state(), bounded(), costs();
  return summary();
}
