// Every x87, MMX and SSE instruction that the thunks know, what its operands are, and which CPUID
// feature offers it (Intel SDM vol. 2, appendices A and B). One table for the decoder's questions,
// the thunk builder and the tests.
#pragma once
#include <span>

#include "base/types.h"

namespace colo::soft {

/// CPUID features, as a mask of what is offered. Base = x87, MMX, SSE, SSE2.
enum FpFeature : u8 {
  kBase = 1,
  kSse3 = 2,
  kSsse3 = 4,
  kSse41 = 8,
  kSse42 = 16,
  kAes = 32,
  kPclmul = 64
};
constexpr u8 kSoftV1 = kBase;

/// Register kind of an operand: XMM, MMX, general (32 bits, 64 with REX.W); None = the field is an
/// opcode extension.
enum class FpKind : u8 { None, Xmm, Mmx, Gpr };

enum FpRowFlag : u16 {
  kReg = 1,         // a register form exists (mod = 3)
  kMem = 2,         // a memory form exists
  kStore = 4,       // the r/m operand is the destination (else the reg operand)
  kAligned = 8,     // 16-byte alignment is required
  kMxcsr = 16,      // reads MXCSR and may raise #XM
  kImm = 32,        // imm8 follows
  kFlags = 64,      // writes RFLAGS, and nothing else
  kRexSize = 128,   // the memory operand has 4 bytes, 8 with REX.W
  kXmm0 = 256,      // reads XMM0 implicitly
  kImplicit = 512,  // the memory operand is [RDI], partly written (MASKMOVQ, MASKMOVDQU)
  kString = 1024,   // PCMPxSTRx: RAX and RDX may be lengths; writes RFLAGS, and RCX or XMM0
  kBoth = kReg | kMem,
};

constexpr u8 kAnyExtension = 0xff;

/// Opcodes first..last under one mandatory prefix.
struct FpRow {
  u8 map, prefix, first, last;
  FpKind reg, rm;
  u8 bytes;  // of the memory operand
  u16 flags;
  u8 feature = kBase;
  u8 extensions = kAnyExtension;  // FpKind::None: bit mask of the legal ModRM.reg values
  u8 plain = 0;                   // opcode that does the same without the non-temporal hint
};
std::span<const FpRow> fp_rows();
const FpRow* find_row(u8 map, u8 opcode, u8 prefix, u8 modrm);
/// Does any prefix make this opcode ours?
bool fp_claims(u8 map, u8 opcode, u8 prefix);

/// x87 instruction with its memory operand or register form.
struct X87Insn {
  bool valid = false;
  u8 bytes = 0;
  bool read = false, write = false;
  bool waiting = true;  // takes a pending #MF first
  bool reads_flags = false, writes_flags = false;
  bool writes_ax = false;
  bool environment = false;  // stores FIP, FDP, FOP
  u8 feature = kBase;
};
/// opcode D8..DF. wide: no 66 prefix (28/108-byte environment, else 14/94).
X87Insn x87_insn(u8 opcode, u8 modrm, bool wide);

}  // namespace colo::soft
