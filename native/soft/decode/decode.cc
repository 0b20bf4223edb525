// Instruction lengths and fields (Intel SDM vol. 2, appendix A; 16-bit addresses: table 2-1).
#include <cstring>

#include "soft/decode/insn.h"

namespace colo::soft {
namespace {

// What follows the opcode: . nothing   M ModRM   b imm8   w imm16   z imm16/32   d imm32   v
// imm16/32/64   B ModRM+imm8   Z ModRM+immz e imm16+imm8   o moffs   3 ModRM, imm8 if /0 /1   4
// ModRM, immz if /0 /1   P far pointer   x undefined   p prefix or escape
constexpr char kOneByte[] =
    "MMMMbzxx"
    "MMMMbzxp"  // 00
    "MMMMbzxx"
    "MMMMbzxx"  // 10
    "MMMMbzpx"
    "MMMMbzpx"  // 20
    "MMMMbzpx"
    "MMMMbzpx"  // 30
    "pppppppp"
    "pppppppp"  // 40
    "........"
    "........"  // 50
    "xxxMpppp"
    "zZbB...."  // 60
    "bbbbbbbb"
    "bbbbbbbb"  // 70
    "BZxBMMMM"
    "MMMMMMMM"  // 80
    "........"
    "..x....."  // 90
    "oooo...."
    "bz......"  // A0
    "bbbbbbbb"
    "vvvvvvvv"  // B0
    "BBw.xxBZ"
    "e.w..bx."  // C0
    "MMMMxxx."
    "MMMMMMMM"  // D0
    "bbbbbbbb"
    "ddxb...."  // E0
    "p.pp..34"
    "......MM";  // F0
/// What 64-bit code has not: PUSH and POP of segments, BCD, INC and DEC of registers, PUSHA, BOUND,
/// far pointers, LES, LDS, INTO, SALC, and 82 as another 80.
constexpr char legacy_kind(u8 opcode) {
  switch (opcode) {
    case 0x06:
    case 0x07:
    case 0x0e:
    case 0x16:
    case 0x17:
    case 0x1e:
    case 0x1f:
    case 0x27:
    case 0x2f:
    case 0x37:
    case 0x3f:
    case 0x40 ... 0x4f:
    case 0x60:
    case 0x61:
    case 0xce:
    case 0xd6:
      return '.';
    case 0x62:
    case 0xc4:
    case 0xc5:
      return 'M';
    case 0x82:
      return 'B';
    case 0x9a:
    case 0xea:
      return 'P';
    case 0xd4:
    case 0xd5:
      return 'b';
    default:
      return kOneByte[opcode];
  }
}
constexpr char kTwoByte[] =
    "MMMMx..."
    "..x.xMxx"  // 00
    "MMMMMMMM"
    "MMMMMMMM"  // 10
    "MMMMxxxx"
    "MMMMMMMM"  // 20
    "......x."
    "pxpxxxxx"  // 30
    "MMMMMMMM"
    "MMMMMMMM"  // 40
    "MMMMMMMM"
    "MMMMMMMM"  // 50
    "MMMMMMMM"
    "MMMMMMMM"  // 60
    "BBBBMMM."
    "MMxxMMMM"  // 70
    "dddddddd"
    "dddddddd"  // 80
    "MMMMMMMM"
    "MMMMMMMM"  // 90
    "...MBMxx"
    "...MBMMM"  // A0
    "MMMMMMMM"
    "MMBMMMMM"  // B0
    "MMBMBBBM"
    "........"  // C0
    "MMMMMMMM"
    "MMMMMMMM"  // D0
    "MMMMMMMM"
    "MMMMMMMM"  // E0
    "MMMMMMMM"
    "MMMMMMMM";  // F0
static_assert(sizeof kOneByte == 257 && sizeof kTwoByte == 257);

/// Bytes of one instruction; reading past the end is remembered, not done.
struct Reader {
  const u8* bytes;
  size_t available;
  size_t pos = 0;
  bool past_end = false;

  u64 take(size_t n) {
    if (pos + n > available) {
      past_end = true;
      pos = available;
      return 0;
    }
    u64 v = 0;
    memcpy(&v, bytes + pos, n);
    pos += n;
    return v;
  }
  /// The next byte, or 0.
  u8 peek() const { return pos < available ? bytes[pos] : 0; }
  i64 take_signed(size_t n) {
    const u64 v = take(n);
    const int unused = static_cast<int>(64 - 8 * n);
    return static_cast<i64>(v << unused) >> unused;
  }
};

bool take_prefix(Insn& i, u8 b) {
  switch (b) {
    case 0x26:
    case 0x2e:
    case 0x36:
    case 0x3e:  // ES CS SS DS: no base in 64-bit mode, and they do not cancel FS or GS
      if (i.legacy()) i.segment = (b >> 3) & 3;
      return true;
    case 0x64:
      i.segment = FS;
      return true;
    case 0x65:
      i.segment = GS;
      return true;
    case 0x66:
      i.opsize = true;
      return true;
    case 0x67:
      i.address = i.code == CodeSize::Bits32 ? 2 : 4;
      return true;
    case 0xf0:
      i.lock = true;
      return true;
    case 0xf2:
    case 0xf3:
      i.repeat = b;
      return true;
    default:
      return false;
  }
}

u8 take_prefixes(Reader& r, Insn& i) {
  u8 b = static_cast<u8>(r.take(1));
  for (; !r.past_end; b = static_cast<u8>(r.take(1))) {
    if (take_prefix(i, b)) i.rex = 0;  // only the one directly before the opcode counts
    else if ((b & 0xf0) == 0x40 && !i.legacy()) i.rex = b;
    else break;
  }
  i.prefix = i.repeat ? i.repeat : i.opsize ? 0x66 : 0;
  return b;
}

/// C4 and C5: in legacy code LES and LDS, but where their operand would be a register.
bool begins_vex(const Reader& r, const Insn& i, u8 b) {
  return (b == 0xc4 || b == 0xc5) && (!i.legacy() || r.peek() >= 0xc0);
}

/// VEX in three bytes and in two (SDM vol. 2, 2.3.5), and the opcode. Other code than 64-bit has
/// eight registers and ignores W and B.
char take_vex(Reader& r, Insn& i, u8 b) {
  constexpr u8 kPrefixes[] = {0, 0x66, 0xf3, 0xf2};
  i.undefined = i.lock || i.prefix || i.rex;
  const u8 first = static_cast<u8>(r.take(1));
  const bool brief = b == 0xc5;
  const u8 last = brief ? first : static_cast<u8>(r.take(1));
  i.vex = true;
  i.rex = static_cast<u8>(~first >> 5 & (brief ? 4 : 7)) | (brief ? 0 : last >> 4 & 8);
  i.vvvv = ~last >> 3 & 15;
  if (i.legacy()) i.rex = 0, i.vvvv &= 7;
  i.long_vector = last & 4;
  i.prefix = kPrefixes[last & 3];
  i.map = brief ? 1 : first & 31;
  i.opcode = static_cast<u8>(r.take(1));
  if (i.map == 0 || i.map > 3) return 'x';
  return i.map == 1 ? kTwoByte[i.opcode] : i.map == 2 ? 'M' : 'B';
}

char take_opcode(Reader& r, Insn& i, u8 b) {
  if (begins_vex(r, i, b)) return take_vex(r, i, b);
  i.opcode = b;
  if (b != 0x0f) return i.legacy() ? legacy_kind(b) : kOneByte[b];
  i.map = 1;
  i.opcode = b = static_cast<u8>(r.take(1));
  if (b != 0x38 && b != 0x3a) return kTwoByte[b];
  i.map = b == 0x38 ? 2 : 3;
  i.opcode = static_cast<u8>(r.take(1));
  return i.map == 2 ? 'M' : 'B';
}

void take_16bit_operand(Reader& r, Insn& i) {
  constexpr u8 kBases[] = {RBX, RBX, RBP, RBP, RSI, RDI, RBP, RBX};
  constexpr u8 kIndices[] = {RSI, RDI, RSI, RDI, REG_ZERO, REG_ZERO, REG_ZERO, REG_ZERO};
  const u8 mod = i.modrm >> 6, rm = i.modrm & 7;
  i.memory = true;
  const bool absolute = mod == 0 && rm == 6;
  if (!absolute) i.base = kBases[rm], i.index = kIndices[rm];
  if (mod == 1) i.disp = static_cast<i32>(r.take_signed(1));
  if (mod == 2 || absolute) i.disp = static_cast<i32>(r.take_signed(2));
}

void take_memory_operand(Reader& r, Insn& i) {
  if (i.address == 2) return take_16bit_operand(r, i);
  const u8 mod = i.modrm >> 6, rm = i.modrm & 7;
  const u8 rex_b = (i.rex & 1) << 3, rex_x = (i.rex & 2) << 2;
  i.memory = true;
  bool no_base = false;
  if (rm == 4) {
    const u8 sib = static_cast<u8>(r.take(1));
    const u8 index = ((sib >> 3) & 7) | rex_x;
    if (index != 4) i.index = index, i.scale = sib >> 6;
    no_base = (sib & 7) == 5 && mod == 0;
    if (!no_base) i.base = (sib & 7) | rex_b;
  } else if (rm == 5 && mod == 0) {
    no_base = true;
    i.rip_relative = !i.legacy();
  } else {
    i.base = rm | rex_b;
  }
  if (mod == 1) i.disp = static_cast<i32>(r.take_signed(1));
  if (mod == 2 || no_base) i.disp = static_cast<i32>(r.take_signed(4));
}

void take_modrm(Reader& r, Insn& i) {
  i.has_modrm = true;
  i.modrm = static_cast<u8>(r.take(1));
  i.reg = i.ext() | ((i.rex & 4) << 1);
  if (i.modrm >> 6 == 3) i.rm = (i.modrm & 7) | ((i.rex & 1) << 3);
  else take_memory_operand(r, i);
}

void take_immediate(Reader& r, Insn& i, char kind) {
  const size_t z = i.size() == 2 ? 2 : 4;
  size_t n = 0;
  switch (kind) {
    case 'b':
    case 'B':
      n = 1;
      break;
    case 'w':
      n = 2;
      break;
    case 'd':  // 64-bit code: 32 bits whatever the prefixes say
      n = i.legacy() ? z : 4;
      break;
    case 'z':
    case 'Z':
      n = z;
      break;
    case 'v':
      n = i.rex_w() ? 8 : z;
      break;
    case 'o':
      n = i.address;
      break;
    case '3':
      n = i.ext() < 2 ? 1 : 0;
      break;
    case '4':
      n = i.ext() < 2 ? z : 0;
      break;
    case 'e': {
      const u64 frame = r.take(2);
      i.imm = static_cast<i64>(frame | r.take(1) << 16);
      i.has_imm = true;
      return;
    }
    case 'P': {
      const u64 offset = r.take(z);
      i.imm = static_cast<i64>(offset | r.take(2) << 32);
      i.has_imm = true;
      return;
    }
    default:
      return;
  }
  if (!n) return;
  i.has_imm = true;
  i.imm = kind == 'o' || kind == 'w' ? static_cast<i64>(r.take(n)) : r.take_signed(n);
}

}  // namespace

Parse parse(const u8* bytes, size_t available, Insn& i, CodeSize code) {
  i = {};
  i.code = code;
  i.address = code == CodeSize::Bits64 ? 8 : code == CodeSize::Bits32 ? 4 : 2;
  Reader r{bytes, available};
  const char kind = take_opcode(r, i, take_prefixes(r, i));
  if (kind == 'x') i.undefined = true;
  if (kind == 'M' || kind == 'B' || kind == 'Z' || kind == '3' || kind == '4') take_modrm(r, i);
  take_immediate(r, i, kind);
  i.length = static_cast<u8>(r.pos);
  if (!r.past_end) return Parse::Done;
  if (available >= kMaxInsnLength) {
    i.too_long = true;
    return Parse::Done;
  }
  return Parse::Truncated;
}

}  // namespace colo::soft
