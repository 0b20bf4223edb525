// From bytes to one instruction: parse() splits it into prefixes, opcode and operands.
#pragma once
#include "soft/cpu/cpu.h"

namespace colo::soft {

constexpr size_t kMaxInsnLength = 15;

/// What CS says of its code; in 64-bit mode operands have 32 bits by default and addresses 64.
enum class CodeSize : u8 { Bits64, Bits32, Bits16 };

/// One instruction, split.
struct Insn {
  CodeSize code = CodeSize::Bits64;
  u8 length = 0;
  u8 prefix = 0;  // mandatory-prefix view: 0, 0x66, 0xf2, 0xf3 (the last F2/F3 wins over 66)
  u8 repeat = 0;  // 0, 0xf2, 0xf3
  bool opsize = false, lock = false;
  u8 address = 8;          // bytes of an address
  u8 segment = SEG_COUNT;  // of an override; 64-bit code: FS or GS, the others have base 0
  u8 rex = 0;              // of a VEX prefix: its W, R, X and B
  u8 map = 0;              // 0: one-byte, 1: 0F, 2: 0F38, 3: 0F3A
  bool vex = false;
  bool long_vector = false;  // VEX.L
  u8 vvvv = 0;               // VEX: the register that is a third operand
  u8 opcode = 0;
  bool has_modrm = false;
  u8 modrm = 0;
  bool memory = false;  // modrm.mod != 3
  u8 reg = 0, rm = 0;   // register numbers, REX applied (rm: mod == 3 only)
  u8 base = REG_ZERO, index = REG_ZERO, scale = 0;
  i32 disp = 0;
  bool rip_relative = false;
  bool has_imm = false;
  i64 imm = 0;  // sign-extended; moffs: the address; far pointer: selector << 32 | offset
  bool undefined = false;  // no such instruction in this mode
  bool too_long = false;

  bool rex_w() const { return rex & 8; }
  u8 ext() const { return (modrm >> 3) & 7; }  // opcode extension
  bool legacy() const { return code != CodeSize::Bits64; }
  bool narrow() const { return opsize != (code == CodeSize::Bits16); }  // 16-bit operands
  u8 size() const { return rex_w() ? 8 : narrow() ? 2 : 4; }
  /// The segment of its memory operand.
  SegReg data_segment() const {
    if (segment != SEG_COUNT) return SegReg(segment);
    return memory && (base == RSP || base == RBP) ? SS : DS;
  }
};

enum class Parse : u8 { Done, Truncated };
/// Splits the instruction at bytes; at most `available` of them may be looked at.
Parse parse(const u8* bytes, size_t available, Insn& out, CodeSize code = CodeSize::Bits64);

}  // namespace colo::soft
