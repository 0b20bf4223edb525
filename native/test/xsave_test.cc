// XSAVE and its kin, XCR0 and leaf D of CPUID: what an image holds, what comes back from it, and
// who may not.
#include "test/system_fixture.h"

namespace colo::test {

namespace {

using F = SystemFixture;

/// A model with all of XSAVE, and code that may use it.
struct ExtendedStates : F {
  vcpu::CpuModel model = vcpu::soft_v1();
  static constexpr Form kSave{.modrm = 0x24, .rex = 0x48}, kRestore{.modrm = 0x2c, .rex = 0x48},
      kOptimized{.modrm = 0x34, .rex = 0x48};
  ExtendedStates() {
    model.features.ecx1 |= vcpu::Features::XSAVE;
    model.features.xsave1 = 7;
    c.model = &model, c.cr4 |= cr4::OSXSAVE, c.xcr0 = 3;
    for (size_t i = 0; i < 416; i++) c.fx.bytes[i] = u8(i * 7 + 1);
    set<u32>(c.fx.bytes + 24, 0x1f80), set<u32>(c.fx.bytes + 28, 0xffff);
    memset(image(), 0xee, 576);
    memset(image() + 512, 0, 64);
  }
  template <class T>
  static void set(u8* at, T v) {
    memcpy(at, &v, sizeof v);
  }
  u8* image() { return ram.hva(at::DATA, 576); }
  Step with(u64 parts, Form f, u8 opcode = 0xae) {
    c.r[RAX] = parts & 0xffffffff, c.r[RDX] = parts >> 32, c.rip = at::CODE, c.pending = {};
    return run(1, opcode, f);
  }
  bool same(size_t from, size_t to, const u8* other) {
    return !memcmp(image() + from, other + from, to - from);
  }
};

void saved_states() {
  for (const Form& form : {ExtendedStates::kSave, ExtendedStates::kOptimized}) {
    ExtendedStates m;
    u8 untouched[576];
    memcpy(untouched, m.image(), sizeof untouched);
    m.set<u64>(m.image() + 512, 4), m.set<u64>(untouched + 512, 5);
    EXPECT(m.ok(m.with(~2ull, form)));  // x87, and what XCR0 does not know
    EXPECT(m.same(0, 24, m.c.fx.bytes) && m.same(32, 160, m.c.fx.bytes));
    EXPECT(m.same(24, 32, untouched) && m.same(160, 576, untouched));
    EXPECT(m.ok(m.with(2, form)));
    EXPECT(m.same(0, 416, m.c.fx.bytes) && m.same(416, 512, untouched));
    EQUAL(m.peek64(at::DATA + 512), 7);
  }
  ExtendedStates m;
  m.set<u64>(m.image() + 512, ~0ull);
  EXPECT(m.ok(m.with(2, {.modrm = 0x24}, 0xc7)));  // XSAVEC
  EXPECT(m.peek64(at::DATA + 512) == 2 && m.peek64(at::DATA + 520) == (1ull << 63 | 2));
  EXPECT(m.same(160, 416, m.c.fx.bytes) && m.image()[0] == 0xee);
  m.c.seg[CS] = sys::flat_code(sel::KERNEL32, 0, false);
  memset(m.image(), 0xee, 512);
  EXPECT(m.ok(m.with(3, {.modrm = 0x24})));
  EXPECT(m.same(160, 288, m.c.fx.bytes) && m.image()[288] == 0xee && !m.image()[12]);
}

void restored_states() {
  ExtendedStates m;
  FxState initial;
  fx_reset(initial);
  const FxState before = m.c.fx;
  const auto back = [&](u64 parts) { return m.c.fx = before, m.with(parts, m.kRestore); };
  EXPECT(m.ok(m.with(3, m.kSave)));
  memset(m.c.fx.bytes, 0, 24), memset(m.c.fx.bytes + 32, 0, 384);
  EXPECT(m.ok(m.with(3, m.kRestore)) && !memcmp(m.c.fx.bytes, before.bytes, 416));
  m.poke64(at::DATA + 512, 0);
  m.set<u32>(m.image() + 24, 0x1fa0);
  EXPECT(m.ok(back(1)) && !memcmp(m.c.fx.bytes + 24, before.bytes + 24, 8));
  EXPECT(!memcmp(m.c.fx.bytes, initial.bytes, 24) &&
         !memcmp(m.c.fx.bytes + 160, before.bytes + 160, 256));
  EXPECT(m.ok(back(2)) && !memcmp(m.c.fx.bytes + 160, initial.bytes + 160, 256));
  EXPECT(m.c.fx.bytes[24] == 0xa0 && !memcmp(m.c.fx.bytes + 32, before.bytes + 32, 128));
  m.poke64(at::DATA + 520, 1ull << 63 | 2);
  EXPECT(m.ok(back(2)) && m.c.fx.bytes[24] == 0x80);  // of XSAVEC: MXCSR is SSE's, too
  m.poke64(at::DATA + 512, 1);
  EXPECT(m.faults(back(3), GP, 0));
  m.poke64(at::DATA + 512, 2), m.poke64(at::DATA + 536, 1);
  EXPECT(m.faults(back(2), GP, 0));
  m.poke64(at::DATA + 536, 0), m.model.features.xsave1 = 1;
  EXPECT(m.faults(back(2), GP, 0));
  for (const u64 word : {1, 2}) {
    m.poke64(at::DATA + 520, 0), m.poke64(at::DATA + 512 + 8 * word, 4);
    EXPECT(m.faults(back(2), GP, 0));
  }
  m.poke64(at::DATA + 520, 0), m.poke64(at::DATA + 528, 0), m.poke64(at::DATA + 512, 6);
  EXPECT(m.faults(back(2), GP, 0));
  m.poke64(at::DATA + 512, 2), m.set<u32>(m.image() + 24, 0x10000);
  EXPECT(m.faults(back(2), GP, 0) && m.ok(back(1)));
}

/// A model with AVX: the upper halves of the YMM registers, 256 bytes behind the header.
struct WithAvx : ExtendedStates {
  WithAvx() {
    model.features.ecx1 |= vcpu::Features::AVX;
    c.xcr0 = 7;
    for (size_t i = 0; i < 256; i++) c.ymm_high.bytes[i] = u8(i * 5 + 3);
    memset(image() + 576, 0xee, 256);
  }
  u8* image() { return ram.hva(at::DATA, 832); }
  bool high_in_image(size_t to) {
    for (size_t i = to; i < 256; i++)
      if (image()[576 + i] != 0xee) return false;
    return !memcmp(image() + 576, c.ymm_high.bytes, to);
  }
};

void upper_halves_saved() {
  WithAvx m;
  EXPECT(m.ok(m.with(3, m.kSave)) && m.image()[576] == 0xee);
  memset(m.image(), 0xee, 512);
  EXPECT(m.ok(m.with(4, m.kSave)) && m.high_in_image(256));
  EXPECT(m.same(24, 32, m.c.fx.bytes) && m.image()[0] == 0xee && m.image()[160] == 0xee);
  EQUAL(m.peek64(at::DATA + 512), 7);
  memset(m.image(), 0xee, 832);
  EXPECT(m.ok(m.with(4, {.modrm = 0x24}, 0xc7)) && m.high_in_image(256));  // XSAVEC
  EXPECT(m.image()[24] == 0xee && m.peek64(at::DATA + 520) == (1ull << 63 | 4));
  memset(m.image(), 0xee, 832);
  m.c.seg[CS] = sys::flat_code(sel::KERNEL32, 0, false);
  EXPECT(m.ok(m.with(7, {.modrm = 0x24})) && m.high_in_image(128));
}

void upper_halves_restored() {
  WithAvx m;
  const YmmHigh before = m.c.ymm_high;
  const auto back = [&](u64 parts) {
    memset(m.c.ymm_high.bytes, 0x11, 256);
    return m.with(parts, m.kRestore);
  };
  const auto is = [&](size_t from, size_t to, auto byte) {
    for (size_t i = from; i < to; i++)
      if (m.c.ymm_high.bytes[i] != byte(i)) return false;
    return true;
  };
  const auto saved = [&](size_t i) { return before.bytes[i]; };
  const auto zero = [](size_t) { return u8{0}; };
  const auto own = [](size_t) { return u8{0x11}; };
  EXPECT(m.ok(m.with(7, m.kSave)) && m.ok(back(7)) && is(0, 256, saved));
  EXPECT(m.ok(back(3)) && is(0, 256, own));
  m.set<u32>(m.image() + 24, 0x1fa0);
  EXPECT(m.ok(back(4)) && m.c.fx.bytes[24] == 0xa0);  // MXCSR by AVX alone
  m.set<u32>(m.image() + 24, 0x10000);
  EXPECT(m.faults(back(4), GP, 0) && is(0, 256, own));
  m.set<u32>(m.image() + 24, 0x1f80);
  m.poke64(at::DATA + 512, 3);
  EXPECT(m.ok(back(4)) && is(0, 256, zero));
  m.poke64(at::DATA + 512, 4), m.poke64(at::DATA + 520, 1ull << 63 | 4);  // of XSAVEC
  m.set<u32>(m.image() + 24, 0x1fc0);
  EXPECT(m.ok(back(4)) && is(0, 256, saved) && m.c.fx.bytes[24] == 0x80);
  m.poke64(at::DATA + 520, 0);
  m.c.seg[CS] = sys::flat_code(sel::KERNEL32, 0, false);
  memset(m.c.ymm_high.bytes, 0x11, 256);
  EXPECT(m.ok(m.with(4, {.modrm = 0x2c})) && is(0, 128, saved) && is(128, 256, own));
  m.c.xcr0 = 3;
  EXPECT(m.faults(m.with(4, {.modrm = 0x2c}), GP, 0));
}

void upper_halves_offered() {
  WithAvx m;
  Cpu& c = m.c;
  const auto xsetbv = [&](u64 value) {
    c.r[RCX] = 0;
    return m.with(value, {.modrm = 0xd1}, 0x01);
  };
  u32 id[4];
  for (const u64 bad : {5, 6, 15}) EXPECT(m.faults(xsetbv(bad), GP, 0));
  for (const u64 good : {1, 3, 7}) {
    EXPECT(m.ok(xsetbv(good)) && c.xcr0 == good);
    cpuid(0xd, 0, id, c);
    EXPECT(id[0] == 7 && id[1] == (good == 7 ? 832 : 576) && id[2] == 832);
    cpuid(0xd, 1, id, c);
    EQUAL(id[1], good == 7 ? 832 : 576);
  }
  cpuid(0xd, 2, id, c);
  EXPECT(id[0] == 256 && id[1] == 576 && id[2] == 0);
  m.model.features.ecx1 &= ~u32{vcpu::Features::AVX};
  cpuid(0xd, 2, id, c);
  EXPECT(id[0] == 0 && id[1] == 0 && m.faults(xsetbv(7), GP, 0));
}

void extended_states_refused() {
  ExtendedStates m;
  Cpu& c = m.c;
  const auto xsetbv = [&](u64 value, u64 which = 0) {
    c.r[RCX] = which;
    return m.with(value, {.modrm = 0xd1}, 0x01);
  };
  EXPECT(m.ok(xsetbv(1)) && c.xcr0 == 1);
  for (const u64 bad : {0ull, 2ull, 7ull, 1ull << 63 | 3}) EXPECT(m.faults(xsetbv(bad), GP, 0));
  EXPECT(m.faults(xsetbv(3, 1), GP, 0) && c.xcr0 == 1 && m.ok(xsetbv(3)) && c.xcr0 == 3);
  for (const u64 which : {0, 1, 2}) {
    c.r[RCX] = which;
    const Step got = m.with(~0ull, {.modrm = 0xd0}, 0x01);
    EXPECT(which == 2 ? m.faults(got, GP, 0) : m.ok(got) && c.r[RAX] == 3 && c.r[RDX] == 0);
  }
  u32 id[4];
  cpuid(0xd, 0, id, c);
  EXPECT(id[0] == 3 && id[1] == 576 && id[2] == 576 && id[3] == 0);
  cpuid(0xd, 1, id, c);
  EXPECT(id[0] == 7 && id[1] == 576);
  cpuid(0, 0, id, c);
  EQUAL(id[0], 0xd);
  const auto shown = [&] { return cpuid(1, 0, id, c), id[2] >> 26 & 3; };
  EQUAL(shown(), 3);
  m.ring(3);
  EXPECT(m.faults(xsetbv(3), GP, 0) && m.ok(m.with(3, m.kSave)));
  const struct {
    Form form;
    u8 opcode;
  } all[] = {{m.kSave, 0xae}, {m.kRestore, 0xae}, {m.kOptimized, 0xae}, {{.modrm = 0x24}, 0xc7}};
  for (auto k : all) {
    c.cr0 |= cr0::TS;
    EXPECT(m.faults(m.with(3, k.form, k.opcode), NM));
    c.cr0 &= ~u64{cr0::TS};
    k.form.address = at::DATA + 32;
    EXPECT(m.faults(m.with(3, k.form, k.opcode), GP, 0));
    c.cr4 &= ~u64{cr4::OSXSAVE};
    EXPECT(m.faults(m.with(3, k.form, k.opcode), UD) && m.faults(xsetbv(3), UD));
    c.cr4 |= cr4::OSXSAVE;
  }
  m.model.features.xsave1 = 0;
  EXPECT(m.faults(m.with(3, m.kOptimized), UD) && m.faults(m.with(3, all[3].form, 0xc7), UD));
  c.cr4 &= ~u64{cr4::OSXSAVE};
  EQUAL(shown(), 1);
}

}  // namespace

void xsave_tests() {
  saved_states(), restored_states(), extended_states_refused();
  upper_halves_saved(), upper_halves_restored(), upper_halves_offered();
}

}  // namespace colo::test
