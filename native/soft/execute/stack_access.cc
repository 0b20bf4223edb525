// Which segment an access went through, found out afterwards: a non-canonical address is #SS(0) on
// the stack and #GP(0) elsewhere (Intel SDM vol. 1, 3.3.7.1), and that is all that the stack
// segment still means in 64-bit mode.
#include "soft/execute/stack_access.h"

#include "soft/decode/insn.h"
#include "soft/memory/mmu.h"

namespace colo::soft {
namespace {

/// Bytes below and above RSP that one instruction reaches: ENTER with 31 levels, IRET.
constexpr u64 kBelow = 33 * 8, kAbove = 5 * 8;

/// PUSH, POP, CALL, RET, ENTER, PUSHF, POPF, far RET, IRET; PUSH and POP of FS and GS.
bool uses_stack(const Insn& i) {
  if (i.map == 1)
    return i.opcode == 0xa0 || i.opcode == 0xa1 || i.opcode == 0xa8 || i.opcode == 0xa9;
  if (i.map != 0) return false;
  switch (i.opcode) {
    case 0x50 ... 0x5f:
    case 0x68:
    case 0x6a:
    case 0x8f:
    case 0x9c:
    case 0x9d:
    case 0xc2:
    case 0xc3:
    case 0xc8:
    case 0xca:
    case 0xcb:
    case 0xcf:
    case 0xe8:
      return true;
    case 0xff:
      return i.ext() == 2 || i.ext() == 3 || i.ext() == 6;
    default:
      return false;
  }
}

u64 address_of(const Cpu& c, const Insn& i) {
  return c.r[i.base] + (c.r[i.index] << i.scale) + static_cast<u64>(static_cast<i64>(i.disp));
}

bool within(u64 va, u64 from, u64 bytes) { return va - from < bytes; }

}  // namespace

bool is_stack_access(Cpu& c, u64 va) {
  const Exception met = c.pending;
  u8 bytes[kMaxInsnLength];
  Insn i;
  Parse got = Parse::Truncated;
  for (size_t n = 0; got == Parse::Truncated && n < sizeof bytes;
       n++) {  // byte by byte: what follows it may be a device
    Place place;
    const u8* at = c.mmu->at(c.rip + n, Access::Exec, c.rights(), place);
    if (!at) break;
    bytes[n] = *at;
    got = parse(bytes, n + 1, i);
  }
  c.pending = met;  // RIP itself may be the address that is none
  if (got != Parse::Done) return false;
  const bool by_base = i.memory && (i.base == RSP || i.base == RBP) && i.segment == SEG_COUNT;
  if (by_base && within(va, address_of(c, i), kPageSize)) return true;
  if (i.map == 0 && i.opcode == 0xc9) return va - c.r[RBP] < 8;  // LEAVE
  if (i.map == 0 && i.opcode == 0xc8 && within(va, c.r[RBP] - kBelow, kBelow)) return true;
  return uses_stack(i) && within(va, c.r[RSP] - kBelow, kBelow + kAbove);
}

}  // namespace colo::soft
