// What a CPU model has runs, and what it lacks raises #UD; and the host's floating-point units,
// which hold the guest's state from instruction to instruction, are the host's own whenever
// anything else runs.
#include <xmmintrin.h>

#include <cstdio>
#include <initializer_list>
#include <vector>

#include "soft/fpu/fpu_table.h"
#include "test/expect.h"
#include "test/machine.h"

namespace {
using namespace colo;
using namespace colo::soft;
using test::Machine;
using Bytes = std::vector<u8>;

constexpr u64 kCode = 0x10000000, kCodeGpa = 0x200000, kData = 0x20000000, kDataGpa = 0x300000,
              kDevice = 0x30000000, kDeviceGpa = 0xd0000000;
constexpr size_t kMxcsr = 24, kXmm = 160;
constexpr u32 kRoundUp = 0x5f80, kPrecision = 0x20;

struct Box : Machine {
  explicit Box(const vcpu::CpuModel& model) : Machine(32u << 20, model) {
    map(kCode, kCodeGpa, W);
    map(kData, kDataGpa, W);
    map(kDevice, kDeviceGpa, W);
    for (int i = 0; i < 16; i++) c.r[i] = kData + 0x100;
    fx_reset(c.fx);
  }
  /// Runs the instructions and a HLT, as one block; the exception's vector, or -1.
  int go(Bytes bytes) {
    bytes.push_back(0xf4);
    memcpy(at(kCodeGpa, bytes.size()), bytes.data(), bytes.size());
    ram.mark_written(kCodeGpa, bytes.size());
    revive();
    c.rip = kCode;
    run(1000);
    return vector();
  }
  template <class T>
  void set(size_t at, T v) {
    memcpy(c.fx.bytes + at, &v, sizeof v);
  }
  u32 mxcsr() const {
    u32 v;
    memcpy(&v, c.fx.bytes + kMxcsr, 4);
    return v;
  }
  void doubles(double a, double b) { set(kXmm, a), set(kXmm + 16, b); }
};

struct Part {
  const char* name;
  u32 vcpu::Features::* word;
  u32 bit;
  std::vector<Bytes> instructions;
};
using F = vcpu::Features;
const Part kParts[] = {
    {"sse3", &F::ecx1, F::SSE3, {{0x66, 0x0f, 0x7c, 0xc1}, {0xf2, 0x0f, 0xf0, 0x03}, {0xdb, 0x0b}}},
    {"ssse3", &F::ecx1, F::SSSE3, {{0x66, 0x0f, 0x38, 0x00, 0xc1}, {0x0f, 0x38, 0x1c, 0xc1}}},
    {"sse4.1",
     &F::ecx1,
     F::SSE41,
     {{0x66, 0x0f, 0x38, 0x17, 0xc1}, {0x66, 0x0f, 0x3a, 0x0b, 0xc1, 0}}},
    {"sse4.2",
     &F::ecx1,
     F::SSE42,
     {{0x66, 0x0f, 0x3a, 0x63, 0xc1, 0x0c},
      {0xf2, 0x0f, 0x38, 0xf1, 0xc1},
      {0x66, 0x0f, 0x38, 0x37, 0xc1}}},
    {"aes", &F::ecx1, F::AES, {{0x66, 0x0f, 0x38, 0xdc, 0xc1}, {0x66, 0x0f, 0x3a, 0xdf, 0x03, 1}}},
    {"pclmulqdq", &F::ecx1, F::PCLMULQDQ, {{0x66, 0x0f, 0x3a, 0x44, 0xc1, 0x10}}},
    {"popcnt", &F::ecx1, F::POPCNT, {{0xf3, 0x0f, 0xb8, 0xc1}}},
    {"movbe", &F::ecx1, F::MOVBE, {{0x0f, 0x38, 0xf0, 0x03}, {0x0f, 0x38, 0xf1, 0x03}}},
    {"cx16", &F::ecx1, F::CX16, {{0x48, 0x0f, 0xc7, 0x0b}}},
    {"rdrand", &F::ecx1, F::RDRAND, {{0x0f, 0xc7, 0xf0}}},
    {"lahf-lm", &F::ecx81, F::LAHF, {{0x9f}, {0x9e}}},
    {"rdtscp", &F::edx81, F::RDTSCP, {{0x0f, 0x01, 0xf9}}},
    {"fsgsbase", &F::ebx7, F::FSGSBASE, {{0xf3, 0x0f, 0xae, 0xc0}, {0xf3, 0x48, 0x0f, 0xae, 0xd1}}},
    {"smap", &F::ebx7, F::SMAP, {{0x0f, 0x01, 0xca}, {0x0f, 0x01, 0xcb}}},
    {"xsaveopt", &F::xsave1, F::XSAVEOPT, {{0x0f, 0xae, 0x33}}},
    {"xsavec", &F::xsave1, F::XSAVEC, {{0x0f, 0xc7, 0x23}, {0x48, 0x0f, 0xc7, 0x23}}},
    {"bmi1",
     &F::ebx7,
     F::BMI1,
     {{0xc4, 0xe2, 0x70, 0xf2, 0xc3},    // andn eax, ecx, ebx
      {0xc4, 0xe2, 0x78, 0xf3, 0x1b},    // blsi eax, [rbx]
      {0xc4, 0xe2, 0x78, 0xf7, 0xc1}}},  // bextr eax, ecx, eax
    {"bmi2",
     &F::ebx7,
     F::BMI2,
     {{0xc4, 0xe2, 0x78, 0xf5, 0xc1},        // bzhi eax, ecx, eax
      {0xc4, 0xe3, 0xfb, 0xf0, 0x03, 0x07},  // rorx rax, [rbx], 7
      {0xc4, 0xe2, 0x73, 0xf6, 0xc3}}},      // mulx eax, ecx, ebx
    {"adx", &F::ebx7, F::ADX, {{0x66, 0x0f, 0x38, 0xf6, 0xc1}, {0xf3, 0x0f, 0x38, 0xf6, 0x03}}},
    {"clflushopt", &F::ebx7, F::CLFLUSHOPT, {{0x66, 0x0f, 0xae, 0x3b}}},
};

void each_part_alone() {
  const vcpu::Features most = vcpu::soft_features();
  for (const Part& part : kParts) {
    if (!(most.*part.word & part.bit)) {
      printf("%s: not on this host\n", part.name);
      continue;
    }
    for (const bool has : {false, true}) {
      vcpu::CpuModel m = test::most_of_soft();
      if (!has) m.features.*part.word &= ~part.bit;
      Box box(m);
      if (has) box.c.cr4 |= cr4::FSGSBASE;
      box.c.cr4 |= cr4::OSXSAVE;
      for (const Bytes& bytes : part.instructions)
        if (!EXPECT(box.go(bytes) == (has ? -1 : UD))) printf("  %s\n", part.name);
    }
  }
}

/// F3 before BSF and BSR does nothing on a model without the instructions that it makes of them.
void counts_of_zeroes() {
  const Bytes tzcnt{0xf3, 0x0f, 0xbc, 0xc1}, lzcnt{0xf3, 0x0f, 0xbd, 0xc1};  // eax, ecx
  for (const bool has : {false, true}) {
    vcpu::CpuModel m = test::most_of_soft();
    if (!has) m.features.ebx7 &= ~F::BMI1, m.features.ecx81 &= ~F::ABM;
    Box box(m);
    const auto count = [&](const Bytes& bytes, u64 of) {
      box.c.r[RAX] = 77, box.c.r[RCX] = of;
      return box.go(bytes) == -1 ? box.c.r[RAX] : ~0ull;
    };
    EXPECT(count(tzcnt, 0x10) == 4 && count(lzcnt, 0x10) == (has ? 27 : 4));
    EXPECT(count(tzcnt, 0) == (has ? 32 : 77) && count(lzcnt, 0) == (has ? 32 : 77));
  }
}

/// They fault as a read of the byte does, and do nothing to it.
void cache_lines() {
  for (Bytes flush : {Bytes{0x0f, 0xae, 0x3b}, Bytes{0x66, 0x0f, 0xae, 0x3b}}) {
    Box box(test::most_of_soft());
    EXPECT(box.go(flush) == -1);
    box.c.r[RBX] = kDevice;
    EXPECT(box.go(flush) == -1);
    box.c.r[RBX] = kData + kPageSize;
    EXPECT(box.go(flush) == PF && box.c.cr2 == kData + kPageSize && box.fault_error() == 0);
    flush.insert(flush.begin(), 0xf3);
    EXPECT(box.go(flush) == UD);
  }
}

/// CR4.FSGSBASE exists with the feature, and switches the instructions.
void segment_bases() {
  vcpu::CpuModel without = test::most_of_soft();
  without.features.ebx7 &= ~F::FSGSBASE;
  Box no(without), box(test::most_of_soft());
  const Bytes mov_cr4_rax{0x0f, 0x22, 0xe0}, wrgsbase_rcx{0xf3, 0x48, 0x0f, 0xae, 0xd9},
      wrfsbase_ecx{0xf3, 0x0f, 0xae, 0xd1}, rdgsbase_rdx{0xf3, 0x48, 0x0f, 0xae, 0xca};
  no.c.r[RAX] = no.c.cr4 | cr4::FSGSBASE;
  EXPECT(no.go(mov_cr4_rax) == GP);
  EXPECT(box.go(wrgsbase_rcx) == UD);
  box.c.r[RAX] = box.c.cr4 | cr4::FSGSBASE;
  EXPECT(box.go(mov_cr4_rax) == -1);
  box.c.r[RCX] = 0xffff888812345678;
  EXPECT(box.go(wrgsbase_rcx) == -1 && box.c.seg[GS].base == 0xffff888812345678);
  EXPECT(box.go(wrfsbase_ecx) == -1 && box.c.seg[FS].base == 0x12345678);
  EXPECT(box.go(rdgsbase_rdx) == -1 && box.c.r[RDX] == 0xffff888812345678);
  box.c.r[RCX] = 0x8000000000000000;
  EXPECT(box.go(wrgsbase_rcx) == GP && box.c.seg[GS].base == 0xffff888812345678);
}

/// CR4.UMIP exists with the feature, and keeps what the five tell from user code alone.
void user_mode_is_told_nothing() {
  vcpu::CpuModel without = test::most_of_soft();
  without.features.ecx7 &= ~F::UMIP;
  Box no(without), box(test::most_of_soft());
  for (Box* b : {&no, &box}) {
    b->c.r[RAX] = b->c.cr4 | cr4::UMIP;
    EXPECT(b->go({0x0f, 0x22, 0xe0}) == (b == &no ? GP : -1));  // mov cr4, rax
  }
  const Bytes five[] = {{0x0f, 0x01, 0x03},   // sgdt [rbx]
                        {0x0f, 0x01, 0x0b},   // sidt [rbx]
                        {0x0f, 0x00, 0xc0},   // sldt eax
                        {0x0f, 0x00, 0xc8},   // str eax
                        {0x0f, 0x01, 0xe0}};  // smsw eax
  for (const bool user : {false, true})
    for (const bool on : {false, true})
      for (const Bytes& bytes : five) {
        Box m(test::most_of_soft());
        m.map(kCode, kCodeGpa, Machine::W | Machine::U);
        m.map(kData, kDataGpa, Machine::W | Machine::U);
        m.long_mode(user);
        if (on) m.c.cr4 |= cr4::UMIP;
        const int outcome = m.go(bytes);  // in user code the HLT behind it is a #GP, too
        EXPECT(outcome == (user ? GP : -1));
        if (user) EXPECT((m.fault_rip_with_error() == kCode) == on);
      }
}

/// INVPCID of each kind finds a page again that has moved; its memory operand faults as a read.
void moved_pages() {
  constexpr u64 kMoved = 0x50010000;  // not where the TLB has the code
  const Bytes invpcid_rax{0x66, 0x0f, 0x38, 0x82, 0x03}, mov_rcx{0x48, 0x8b, 0x0f};
  for (const u64 kind : {0, 1, 2, 3}) {
    Box box(test::most_of_soft());
    const auto has = [&] { return box.go(mov_rcx) == -1 ? box.c.r[RCX] : 0; };
    box.c.cr4 |= cr4::PCIDE, box.c.cr3 |= 7;
    box.put<u64>(0x500000, 1), box.put<u64>(0x501000, 2);
    box.map(kMoved, 0x500000, Machine::W);
    box.put<u64>(kDataGpa + 0x100, 7), box.put<u64>(kDataGpa + 0x108, kMoved);
    box.c.r[RDI] = kMoved, box.c.r[RAX] = kind;
    EXPECT(has() == 1);
    box.map(kMoved, 0x501000, Machine::W);
    EXPECT(has() == 1 && box.go(invpcid_rax) == -1 && has() == 2);
    box.c.r[RBX] = kData + kPageSize;
    EXPECT(box.go(invpcid_rax) == PF && box.c.cr2 == kData + kPageSize && box.fault_error() == 0);
  }
}

void random_numbers() {
  Box box(test::most_of_soft());
  u64 seen = 0;
  for (int i = 0; i < 64; i++) {
    box.c.r[RAX] = 0;
    EXPECT(box.go({0x48, 0x0f, 0xc7, 0xf0}) == -1 && (box.c.flags() & flag::STATUS) == flag::CF);
    seen |= box.c.r[RAX];
  }
  EXPECT(seen == ~0ull);
  box.c.r[RAX] = ~0ull;
  EXPECT(box.go({0x0f, 0xc7, 0xf0}) == -1 && box.c.r[RAX] >> 32 == 0);
  box.c.r[RAX] = 0x1122334455667788;
  EXPECT(box.go({0x66, 0x0f, 0xc7, 0xf0}) == -1 && box.c.r[RAX] >> 16 == 0x112233445566);
}

/// The host's own state, as far as the guest's could be in its place.
struct HostUnits {
  u32 mxcsr = _mm_getcsr();
  u16 control = 0;
  u8 tags = 0;
  HostUnits() {
    alignas(16) u8 image[512];
    asm volatile("fxsave64 %0" : "=m"(image));
    memcpy(&control, image, 2);
    tags = image[4];
  }
  bool operator==(const HostUnits&) const = default;
};

// addsd xmm0, xmm1; fld1; mov rax, [rbx]; addsd xmm0, xmm1; fld1
const Bytes kAcrossDevice{0xf2, 0x0f, 0x58, 0xc1, 0xd9, 0xe8, 0x48, 0x8b,
                          0x03, 0xf2, 0x0f, 0x58, 0xc1, 0xd9, 0xe8};

void host_state_where_others_run() {
  Box box(vcpu::soft_v1());
  const HostUnits host;
  int asked = 0;
  box.bus.read = [&](u64, u8) {
    asked++;
    EXPECT(HostUnits() == host);
    EXPECT(box.mxcsr() == (kRoundUp | kPrecision) && box.c.fx.bytes[4] == 0x80);
    return 0;
  };
  box.set(kMxcsr, kRoundUp);
  box.set<u16>(0, 0x7f);  // single precision, towards nearest
  box.doubles(1, 0x1p-60);
  box.c.r[RBX] = kDevice;
  EXPECT(box.go(kAcrossDevice) == -1);
  EXPECT(asked == 1 && HostUnits() == host);
  double sum;
  memcpy(&sum, box.c.fx.bytes + kXmm, 8);
  EXPECT(sum == 1 + 0x1p-51);  // rounded up twice
  EXPECT(box.c.fx.bytes[4] == 0xc0);
}

/// The unit is asked for anew when CR0, CR4 or MXCSR change.
void units_are_given_up() {
  Box box(vcpu::soft_v1());
  box.doubles(1, 3);
  // divsd xmm0, xmm1; stmxcsr [rbx]
  EXPECT(box.go({0xf2, 0x0f, 0x5e, 0xc1, 0x0f, 0xae, 0x1b}) == -1);
  EXPECT(box.get<u32>(kDataGpa + 0x100) == (0x1f80 | kPrecision));
  // divsd; ldmxcsr [rbx] with PE unmasked; divsd; the exception comes with the flag set
  box.doubles(1, 10);
  box.put<u32>(kDataGpa + 0x100, 0x0f80);
  EXPECT(box.go({0xf2, 0x0f, 0x5e, 0xc1, 0x0f, 0xae, 0x13, 0xf2, 0x0f, 0x5e, 0xc1}) == XM);
  EXPECT(box.mxcsr() == (0x0f80 | kPrecision));
  box.set<u32>(kMxcsr, 0x1f80);
  // addsd; fld1; mov cr0, rax with TS; addsd
  box.c.r[RAX] = box.c.cr0 | cr0::TS;
  const Bytes to_ts{0xf2, 0x0f, 0x58, 0xc1, 0xd9, 0xe8, 0x0f, 0x22, 0xc0, 0xf2, 0x0f, 0x58, 0xc1};
  EXPECT(box.go(to_ts) == NM);
  EXPECT(box.go({0xd9, 0xe8}) == NM);
  box.c.cr0 &= ~cr0::TS;
  // fldcw [rbx] that unmasks division by zero; fld1; fldz; fdivp; fwait
  fx_reset(box.c.fx);
  box.put<u16>(kDataGpa + 0x100, 0x37b);
  EXPECT(box.go({0xd9, 0xe8, 0xd9, 0x2b, 0xd9, 0xee, 0xde, 0xf9, 0x9b}) == MF);
}

}  // namespace

int main() {
  each_part_alone();
  counts_of_zeroes();
  cache_lines();
  segment_bases();
  user_mode_is_told_nothing();
  moved_pages();
  random_numbers();
  host_state_where_others_run();
  units_are_given_up();
  return test::summary();
}
