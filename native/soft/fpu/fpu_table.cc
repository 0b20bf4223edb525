#include "soft/fpu/fpu_table.h"

namespace colo::soft {
namespace {

constexpr auto X = FpKind::Xmm, M = FpKind::Mmx, G = FpKind::Gpr, N = FpKind::None;
constexpr u16 kVec = kBoth | kAligned;  // xmm, xmm/m128

constexpr FpRow kRows[] = {
    // --- moves
    {1, 0x00, 0x10, 0x10, X, X, 16, kBoth},
    {1, 0x66, 0x10, 0x10, X, X, 16, kBoth},
    {1, 0xf3, 0x10, 0x10, X, X, 4, kBoth},
    {1, 0xf2, 0x10, 0x10, X, X, 8, kBoth},
    {1, 0x00, 0x11, 0x11, X, X, 16, kBoth | kStore},
    {1, 0x66, 0x11, 0x11, X, X, 16, kBoth | kStore},
    {1, 0xf3, 0x11, 0x11, X, X, 4, kBoth | kStore},
    {1, 0xf2, 0x11, 0x11, X, X, 8, kBoth | kStore},
    {1, 0x00, 0x12, 0x12, X, X, 8, kBoth},  // register form: MOVHLPS
    {1, 0x66, 0x12, 0x12, X, X, 8, kMem},
    {1, 0xf3, 0x12, 0x12, X, X, 16, kVec, kSse3},
    {1, 0xf2, 0x12, 0x12, X, X, 8, kBoth, kSse3},
    {1, 0x00, 0x13, 0x13, X, X, 8, kMem | kStore},
    {1, 0x66, 0x13, 0x13, X, X, 8, kMem | kStore},
    {1, 0x00, 0x16, 0x16, X, X, 8, kBoth},  // register form: MOVLHPS
    {1, 0x66, 0x16, 0x16, X, X, 8, kMem},
    {1, 0xf3, 0x16, 0x16, X, X, 16, kVec, kSse3},
    {1, 0x00, 0x17, 0x17, X, X, 8, kMem | kStore},
    {1, 0x66, 0x17, 0x17, X, X, 8, kMem | kStore},
    {1, 0x00, 0x28, 0x28, X, X, 16, kVec},
    {1, 0x66, 0x28, 0x28, X, X, 16, kVec},
    {1, 0x00, 0x29, 0x29, X, X, 16, kVec | kStore},
    {1, 0x66, 0x29, 0x29, X, X, 16, kVec | kStore},
    {1, 0x00, 0x2b, 0x2b, X, X, 16, kMem | kAligned | kStore, kBase, kAnyExtension, 0x29},
    {1, 0x66, 0x2b, 0x2b, X, X, 16, kMem | kAligned | kStore, kBase, kAnyExtension, 0x29},
    {1, 0x00, 0x50, 0x50, G, X, 0, kReg},
    {1, 0x66, 0x50, 0x50, G, X, 0, kReg},
    {1, 0x00, 0x6e, 0x6e, M, G, 4, kBoth | kRexSize},
    {1, 0x66, 0x6e, 0x6e, X, G, 4, kBoth | kRexSize},
    {1, 0x00, 0x6f, 0x6f, M, M, 8, kBoth},
    {1, 0x66, 0x6f, 0x6f, X, X, 16, kVec},
    {1, 0xf3, 0x6f, 0x6f, X, X, 16, kBoth},
    {1, 0x00, 0x7e, 0x7e, M, G, 4, kBoth | kStore | kRexSize},
    {1, 0x66, 0x7e, 0x7e, X, G, 4, kBoth | kStore | kRexSize},
    {1, 0xf3, 0x7e, 0x7e, X, X, 8, kBoth},
    {1, 0x00, 0x7f, 0x7f, M, M, 8, kBoth | kStore},
    {1, 0x66, 0x7f, 0x7f, X, X, 16, kVec | kStore},
    {1, 0xf3, 0x7f, 0x7f, X, X, 16, kBoth | kStore},
    {1, 0x66, 0xd6, 0xd6, X, X, 8, kBoth | kStore},
    {1, 0xf3, 0xd6, 0xd6, X, M, 0, kReg},
    {1, 0xf2, 0xd6, 0xd6, M, X, 0, kReg},
    {1, 0x00, 0xd7, 0xd7, G, M, 0, kReg},
    {1, 0x66, 0xd7, 0xd7, G, X, 0, kReg},
    {1, 0x00, 0xe7, 0xe7, M, M, 8, kMem | kStore, kBase, kAnyExtension, 0x7f},
    {1, 0x66, 0xe7, 0xe7, X, X, 16, kMem | kAligned | kStore, kBase, kAnyExtension, 0x7f},
    {1, 0xf2, 0xf0, 0xf0, X, X, 16, kMem, kSse3},
    {1, 0x00, 0xf7, 0xf7, M, M, 8, kReg | kImplicit},
    {1, 0x66, 0xf7, 0xf7, X, X, 16, kReg | kImplicit},
    // --- conversions
    {1, 0x00, 0x2a, 0x2a, X, M, 8, kBoth | kMxcsr},
    {1, 0x66, 0x2a, 0x2a, X, M, 8, kBoth},
    {1, 0xf3, 0x2a, 0x2a, X, G, 4, kBoth | kMxcsr | kRexSize},
    {1, 0xf2, 0x2a, 0x2a, X, G, 4, kBoth | kMxcsr | kRexSize},
    {1, 0x00, 0x2c, 0x2d, M, X, 8, kBoth | kMxcsr},
    {1, 0x66, 0x2c, 0x2d, M, X, 16, kVec | kMxcsr},
    {1, 0xf3, 0x2c, 0x2d, G, X, 4, kBoth | kMxcsr},
    {1, 0xf2, 0x2c, 0x2d, G, X, 8, kBoth | kMxcsr},
    {1, 0x00, 0x5a, 0x5a, X, X, 8, kBoth | kMxcsr},
    {1, 0x66, 0x5a, 0x5a, X, X, 16, kVec | kMxcsr},
    {1, 0xf3, 0x5a, 0x5a, X, X, 4, kBoth | kMxcsr},
    {1, 0xf2, 0x5a, 0x5a, X, X, 8, kBoth | kMxcsr},
    {1, 0x00, 0x5b, 0x5b, X, X, 16, kVec | kMxcsr},
    {1, 0x66, 0x5b, 0x5b, X, X, 16, kVec | kMxcsr},
    {1, 0xf3, 0x5b, 0x5b, X, X, 16, kVec | kMxcsr},
    {1, 0x66, 0xe6, 0xe6, X, X, 16, kVec | kMxcsr},
    {1, 0xf3, 0xe6, 0xe6, X, X, 8, kBoth},
    {1, 0xf2, 0xe6, 0xe6, X, X, 16, kVec | kMxcsr},
    // --- floating-point arithmetic
    {1, 0x00, 0x2e, 0x2f, X, X, 4, kBoth | kMxcsr | kFlags},
    {1, 0x66, 0x2e, 0x2f, X, X, 8, kBoth | kMxcsr | kFlags},
    {1, 0x00, 0x51, 0x51, X, X, 16, kVec | kMxcsr},
    {1, 0x66, 0x51, 0x51, X, X, 16, kVec | kMxcsr},
    {1, 0xf3, 0x51, 0x51, X, X, 4, kBoth | kMxcsr},
    {1, 0xf2, 0x51, 0x51, X, X, 8, kBoth | kMxcsr},
    {1, 0x00, 0x52, 0x53, X, X, 16, kVec},
    {1, 0xf3, 0x52, 0x53, X, X, 4, kBoth},
    {1, 0x00, 0x54, 0x57, X, X, 16, kVec},
    {1, 0x66, 0x54, 0x57, X, X, 16, kVec},
    {1, 0x00, 0x58, 0x59, X, X, 16, kVec | kMxcsr},
    {1, 0x66, 0x58, 0x59, X, X, 16, kVec | kMxcsr},
    {1, 0xf3, 0x58, 0x59, X, X, 4, kBoth | kMxcsr},
    {1, 0xf2, 0x58, 0x59, X, X, 8, kBoth | kMxcsr},
    {1, 0x00, 0x5c, 0x5f, X, X, 16, kVec | kMxcsr},
    {1, 0x66, 0x5c, 0x5f, X, X, 16, kVec | kMxcsr},
    {1, 0xf3, 0x5c, 0x5f, X, X, 4, kBoth | kMxcsr},
    {1, 0xf2, 0x5c, 0x5f, X, X, 8, kBoth | kMxcsr},
    {1, 0x66, 0x7c, 0x7d, X, X, 16, kVec | kMxcsr, kSse3},
    {1, 0xf2, 0x7c, 0x7d, X, X, 16, kVec | kMxcsr, kSse3},
    {1, 0x00, 0xc2, 0xc2, X, X, 16, kVec | kMxcsr | kImm},
    {1, 0x66, 0xc2, 0xc2, X, X, 16, kVec | kMxcsr | kImm},
    {1, 0xf3, 0xc2, 0xc2, X, X, 4, kBoth | kMxcsr | kImm},
    {1, 0xf2, 0xc2, 0xc2, X, X, 8, kBoth | kMxcsr | kImm},
    {1, 0x66, 0xd0, 0xd0, X, X, 16, kVec | kMxcsr, kSse3},
    {1, 0xf2, 0xd0, 0xd0, X, X, 16, kVec | kMxcsr, kSse3},
    // --- shuffles
    {1, 0x00, 0x14, 0x15, X, X, 16, kVec},
    {1, 0x66, 0x14, 0x15, X, X, 16, kVec},
    {1, 0x00, 0x70, 0x70, M, M, 8, kBoth | kImm},
    {1, 0x66, 0x70, 0x70, X, X, 16, kVec | kImm},
    {1, 0xf3, 0x70, 0x70, X, X, 16, kVec | kImm},
    {1, 0xf2, 0x70, 0x70, X, X, 16, kVec | kImm},
    {1, 0x00, 0xc4, 0xc4, M, G, 2, kBoth | kImm},
    {1, 0x66, 0xc4, 0xc4, X, G, 2, kBoth | kImm},
    {1, 0x00, 0xc5, 0xc5, G, M, 0, kReg | kImm},
    {1, 0x66, 0xc5, 0xc5, G, X, 0, kReg | kImm},
    {1, 0x00, 0xc6, 0xc6, X, X, 16, kVec | kImm},
    {1, 0x66, 0xc6, 0xc6, X, X, 16, kVec | kImm},
    // --- integer vectors
    {1, 0x00, 0x60, 0x62, M, M, 4, kBoth},
    {1, 0x00, 0x63, 0x6b, M, M, 8, kBoth},
    {1, 0x66, 0x60, 0x6d, X, X, 16, kVec},
    {1, 0x00, 0x71, 0x72, N, M, 0, kReg | kImm | kStore, kBase, 1 << 2 | 1 << 4 | 1 << 6},
    {1, 0x66, 0x71, 0x72, N, X, 0, kReg | kImm | kStore, kBase, 1 << 2 | 1 << 4 | 1 << 6},
    {1, 0x00, 0x73, 0x73, N, M, 0, kReg | kImm | kStore, kBase, 1 << 2 | 1 << 6},
    {1, 0x66, 0x73, 0x73, N, X, 0, kReg | kImm | kStore, kBase, 1 << 2 | 1 << 3 | 1 << 6 | 1 << 7},
    {1, 0x00, 0x74, 0x76, M, M, 8, kBoth},
    {1, 0x66, 0x74, 0x76, X, X, 16, kVec},
    {1, 0x00, 0xd1, 0xd5, M, M, 8, kBoth},
    {1, 0x66, 0xd1, 0xd5, X, X, 16, kVec},
    {1, 0x00, 0xd8, 0xe5, M, M, 8, kBoth},
    {1, 0x66, 0xd8, 0xe5, X, X, 16, kVec},
    {1, 0x00, 0xe8, 0xef, M, M, 8, kBoth},
    {1, 0x66, 0xe8, 0xef, X, X, 16, kVec},
    {1, 0x00, 0xf1, 0xf6, M, M, 8, kBoth},
    {1, 0x66, 0xf1, 0xf6, X, X, 16, kVec},
    {1, 0x00, 0xf8, 0xfe, M, M, 8, kBoth},
    {1, 0x66, 0xf8, 0xfe, X, X, 16, kVec},
    // --- SSSE3
    {2, 0x00, 0x00, 0x0b, M, M, 8, kBoth, kSsse3},
    {2, 0x66, 0x00, 0x0b, X, X, 16, kVec, kSsse3},
    {2, 0x00, 0x1c, 0x1e, M, M, 8, kBoth, kSsse3},
    {2, 0x66, 0x1c, 0x1e, X, X, 16, kVec, kSsse3},
    {3, 0x00, 0x0f, 0x0f, M, M, 8, kBoth | kImm, kSsse3},
    {3, 0x66, 0x0f, 0x0f, X, X, 16, kVec | kImm, kSsse3},
    // --- SSE4.1 and SSE4.2
    {2, 0x66, 0x10, 0x10, X, X, 16, kVec | kXmm0, kSse41},
    {2, 0x66, 0x14, 0x15, X, X, 16, kVec | kXmm0, kSse41},
    {2, 0x66, 0x17, 0x17, X, X, 16, kVec | kFlags, kSse41},
    {2, 0x66, 0x20, 0x20, X, X, 8, kBoth, kSse41},
    {2, 0x66, 0x21, 0x21, X, X, 4, kBoth, kSse41},
    {2, 0x66, 0x22, 0x22, X, X, 2, kBoth, kSse41},
    {2, 0x66, 0x23, 0x23, X, X, 8, kBoth, kSse41},
    {2, 0x66, 0x24, 0x24, X, X, 4, kBoth, kSse41},
    {2, 0x66, 0x25, 0x25, X, X, 8, kBoth, kSse41},
    {2, 0x66, 0x28, 0x29, X, X, 16, kVec, kSse41},
    {2, 0x66, 0x2a, 0x2a, X, X, 16, kMem | kAligned, kSse41},
    {2, 0x66, 0x2b, 0x2b, X, X, 16, kVec, kSse41},
    {2, 0x66, 0x30, 0x30, X, X, 8, kBoth, kSse41},
    {2, 0x66, 0x31, 0x31, X, X, 4, kBoth, kSse41},
    {2, 0x66, 0x32, 0x32, X, X, 2, kBoth, kSse41},
    {2, 0x66, 0x33, 0x33, X, X, 8, kBoth, kSse41},
    {2, 0x66, 0x34, 0x34, X, X, 4, kBoth, kSse41},
    {2, 0x66, 0x35, 0x35, X, X, 8, kBoth, kSse41},
    {2, 0x66, 0x37, 0x37, X, X, 16, kVec, kSse42},
    {2, 0x66, 0x38, 0x41, X, X, 16, kVec, kSse41},
    {3, 0x66, 0x08, 0x09, X, X, 16, kVec | kMxcsr | kImm, kSse41},
    {3, 0x66, 0x0a, 0x0a, X, X, 4, kBoth | kMxcsr | kImm, kSse41},
    {3, 0x66, 0x0b, 0x0b, X, X, 8, kBoth | kMxcsr | kImm, kSse41},
    {3, 0x66, 0x0c, 0x0e, X, X, 16, kVec | kImm, kSse41},
    {3, 0x66, 0x14, 0x14, X, G, 1, kBoth | kStore | kImm, kSse41},
    {3, 0x66, 0x15, 0x15, X, G, 2, kBoth | kStore | kImm, kSse41},
    {3, 0x66, 0x16, 0x16, X, G, 4, kBoth | kStore | kImm | kRexSize, kSse41},
    {3, 0x66, 0x17, 0x17, X, G, 4, kBoth | kStore | kImm, kSse41},
    {3, 0x66, 0x20, 0x20, X, G, 1, kBoth | kImm, kSse41},
    {3, 0x66, 0x21, 0x21, X, X, 4, kBoth | kImm, kSse41},
    {3, 0x66, 0x22, 0x22, X, G, 4, kBoth | kImm | kRexSize, kSse41},
    {3, 0x66, 0x40, 0x41, X, X, 16, kVec | kMxcsr | kImm, kSse41},
    {3, 0x66, 0x42, 0x42, X, X, 16, kVec | kImm, kSse41},
    {3, 0x66, 0x60, 0x63, X, X, 16, kBoth | kImm | kString, kSse42},
    // --- AES, PCLMULQDQ
    {2, 0x66, 0xdb, 0xdf, X, X, 16, kVec, kAes},
    {3, 0x66, 0xdf, 0xdf, X, X, 16, kVec | kImm, kAes},
    {3, 0x66, 0x44, 0x44, X, X, 16, kVec | kImm, kPclmul},
    // --- a general register to memory, without a cache hint
    {1, 0x00, 0xc3, 0xc3, G, G, 4, kMem | kStore | kRexSize},
};

/// claims() is asked for every instruction decoded: bit per (map, opcode, prefix).
struct Claims {
  u8 bits[4][256] = {};
  constexpr Claims() {
    for (const FpRow& row : kRows)
      for (int opcode = row.first; opcode <= row.last; opcode++)
        bits[row.map][opcode] |= bit(row.prefix);
    bits[1][0x77] |= 1;
  }
  static constexpr u8 bit(u8 prefix) {
    return prefix == 0 ? 1 : prefix == 0x66 ? 2 : prefix == 0xf2 ? 4 : 8;
  }
};
constexpr Claims kClaims;

// --- x87: memory forms by opcode - D8 and ModRM.reg. r = read, w = write, n = non-waiting, e =
// environment.
struct X87Memory {
  u8 bytes;
  char kind;  // 'r', 'w', 'n' (non-waiting write), 'E' (FLDENV), 'e' (FNSTENV), 'S' (FRSTOR), 's'
              // (FNSAVE), 't' (FISTTP), 0 = #UD
};
constexpr X87Memory kMemory[8][8] = {
    {{4, 'r'}, {4, 'r'}, {4, 'r'}, {4, 'r'}, {4, 'r'}, {4, 'r'}, {4, 'r'}, {4, 'r'}},
    {{4, 'r'}, {0, 0}, {4, 'w'}, {4, 'w'}, {28, 'E'}, {2, 'r'}, {28, 'e'}, {2, 'n'}},
    {{4, 'r'}, {4, 'r'}, {4, 'r'}, {4, 'r'}, {4, 'r'}, {4, 'r'}, {4, 'r'}, {4, 'r'}},
    {{4, 'r'}, {4, 't'}, {4, 'w'}, {4, 'w'}, {0, 0}, {10, 'r'}, {0, 0}, {10, 'w'}},
    {{8, 'r'}, {8, 'r'}, {8, 'r'}, {8, 'r'}, {8, 'r'}, {8, 'r'}, {8, 'r'}, {8, 'r'}},
    {{8, 'r'}, {8, 't'}, {8, 'w'}, {8, 'w'}, {108, 'S'}, {0, 0}, {108, 's'}, {2, 'n'}},
    {{2, 'r'}, {2, 'r'}, {2, 'r'}, {2, 'r'}, {2, 'r'}, {2, 'r'}, {2, 'r'}, {2, 'r'}},
    {{2, 'r'}, {2, 't'}, {2, 'w'}, {2, 'w'}, {10, 'r'}, {8, 'r'}, {10, 'w'}, {8, 'w'}},
};

/// Legal register forms: bit n = ModRM 0xc0 + n. The aliases that every processor executes are
/// included.
constexpr u64 bits(int first, int last) { return (~0ull >> (63 - last)) & ~((1ull << first) - 1); }
constexpr u64 kRegister[8] = {
    ~0ull,
    bits(0x00, 0x10) | bits(0x18, 0x21) | bits(0x24, 0x25) | bits(0x28, 0x2e) | bits(0x30, 0x3f),
    bits(0x00, 0x1f) | bits(0x29, 0x29),
    bits(0x00, 0x24) | bits(0x28, 0x37),
    ~0ull,
    bits(0x00, 0x2f),
    bits(0x00, 0x17) | bits(0x19, 0x19) | bits(0x20, 0x3f),
    bits(0x00, 0x20) | bits(0x28, 0x37),
};

X87Insn memory_form(const X87Memory& m, bool wide) {
  X87Insn insn;
  if (!m.kind) return insn;
  insn.valid = true;
  insn.bytes = wide || m.bytes < 28 ? m.bytes : m.bytes - 14;
  insn.read = m.kind == 'r' || m.kind == 'E' || m.kind == 'S';
  insn.write = !insn.read;
  insn.waiting = m.kind != 'n' && m.kind != 'e' && m.kind != 's';
  insn.environment = m.kind == 'e' || m.kind == 's';
  if (m.kind == 't') insn.feature = kSse3;
  return insn;
}

X87Insn register_form(u8 opcode, u8 form) {
  X87Insn insn;
  insn.valid = kRegister[opcode - 0xd8] >> form & 1;
  insn.reads_flags = (opcode == 0xda || opcode == 0xdb) && form < 0x20;  // FCMOVcc
  insn.writes_flags =
      (opcode == 0xdb || opcode == 0xdf) && form >= 0x28 && form < 0x38;  // F(U)COMI(P)
  insn.writes_ax = opcode == 0xdf && form == 0x20;
  insn.waiting = !insn.writes_ax && !(opcode == 0xdb && form >= 0x20 &&
                                      form < 0x28);  // FNSTSW AX, FNCLEX, FNINIT and the 287's
  return insn;
}

}  // namespace

std::span<const FpRow> fp_rows() { return kRows; }

bool fp_claims(u8 map, u8 opcode, u8 prefix) {
  if (map == 0) return opcode == 0x9b || (opcode >= 0xd8 && opcode <= 0xdf);
  return kClaims.bits[map & 3][opcode] & Claims::bit(prefix);
}

const FpRow* find_row(u8 map, u8 opcode, u8 prefix, u8 modrm) {
  const u16 form = modrm >= 0xc0 ? kReg : kMem;
  for (const FpRow& row : kRows) {
    if (row.map != map || row.prefix != prefix || opcode < row.first || opcode > row.last) continue;
    const bool extension = row.reg != FpKind::None || row.extensions >> (modrm >> 3 & 7) & 1;
    return (row.flags & form) && extension ? &row : nullptr;
  }
  return nullptr;
}

X87Insn x87_insn(u8 opcode, u8 modrm, bool wide) {
  if (modrm >= 0xc0) return register_form(opcode, modrm & 0x3f);
  return memory_form(kMemory[opcode - 0xd8][modrm >> 3 & 7], wide);
}

}  // namespace colo::soft
