// IN, OUT, INS, OUTS with the I/O permission bitmap of the TSS (Intel SDM vol. 1, 19.5.2). The
// chips beside the CPU are asked first.
#include "soft/system/system.h"

namespace colo::soft::sys {

namespace {

/// IOPL, else the bitmap: every bit of the access must be clear. Two bytes are read, so the last
/// byte of the map needs one behind it.
bool port_allowed(Cpu& c, u16 port, u8 size) {
  if (io_privileged(c)) return true;
  u64 map, bits;
  const bool has_map = c.tr.type & 8;  // a 16-bit TSS has none
  if (c.tr.unusable || !has_map || c.tr.limit < 0x67) return fault(c, GP, 0);
  if (!c.load_sys(c.tr.base + 0x66, 2, map)) return false;
  const u64 at = map + port / 8;
  if (at + 1 > c.tr.limit) return fault(c, GP, 0);
  if (!c.load_sys(c.tr.base + at, 2, bits)) return false;
  const u64 mask = ((1u << size) - 1) << (port & 7);
  return (bits & mask) == 0 || fault(c, GP, 0);
}

u32 port_read(Cpu& c, u16 port, u8 size) {
  if (c.debugging) c.note_port(port, size);
  u32 value = 0;
  if (!c.chip->pio_read(port, size, value)) value = c.bus->pio_read(port, size);
  return value;
}

void port_write(Cpu& c, u16 port, u8 size, u32 value) {
  if (c.debugging) c.note_port(port, size);
  if (!c.chip->pio_write(port, size, value)) c.bus->pio_write(port, size, value);
}

/// Ports are accessed by 1, 2 or 4 bytes: REX.W changes nothing.
template <bool byte>
u8 port_size(const Op& o) {
  return byte ? 1 : op_size(o) == 2 && !rex_w(o) ? 2 : 4;
}

template <bool immediate>
u16 port_of(const Cpu& c, const Op& o) {
  return immediate ? static_cast<u8>(o.imm) : static_cast<u16>(c.r[RDX]);
}

/// E4 E5 (immediate), EC ED (DX): IN.
template <bool byte, bool immediate>
Step in(Cpu& c, const Op& o) {
  const u8 size = port_size<byte>(o);
  const u16 port = port_of<immediate>(c, o);
  if (!port_allowed(c, port, size)) return Step::Fault;
  reg_write(c, RAX * 8, size, port_read(c, port, size));
  return leave(c, o);
}

/// E6 E7 (immediate), EE EF (DX): OUT.
template <bool byte, bool immediate>
Step out(Cpu& c, const Op& o) {
  const u8 size = port_size<byte>(o);
  const u16 port = port_of<immediate>(c, o);
  if (!port_allowed(c, port, size)) return Step::Fault;
  port_write(c, port, size, reg_read(c, RAX * 8, size));
  return leave(c, o);
}

/// INS and OUTS count and address in registers of this width.
struct Registers {
  Cpu& c;
  u8 width;
  u64 get(Reg r) const { return reg_read(c, r * 8, width); }
  void set(Reg r, u64 value) { reg_write(c, r * 8, width, value); }
};

/// One element. The memory side is probed before the port is touched, since a port access cannot be
/// taken back.
bool input_one(Cpu& c, const Registers& r, u16 port, u8 size) {
  u64 va;
  if (!c.linear(ES, r.get(RDI), size, Access::Write, va) || !c.probe(va, size, Access::Write))
    return false;
  return c.store(va, size, port_read(c, port, size));
}

bool output_one(Cpu& c, const Registers& r, SegReg segment, u16 port, u8 size) {
  u64 va, value;
  if (!c.linear(segment, r.get(RSI), size, Access::Read, va) || !c.load(va, size, value))
    return false;
  port_write(c, port, size, static_cast<u32>(value));
  return true;
}

constexpr u64 kStringBatch = 256;  // elements between two looks at interrupts

/// 6C 6D: INS, 6E 6F: OUTS, with REP. Registers move with each element, so a fault or an interrupt
/// resumes where it stopped.
template <bool byte, bool input>
Step string_io(Cpu& c, const Op& o) {
  const u8 size = port_size<byte>(o);
  const u16 port = static_cast<u16>(c.r[RDX]);
  const bool repeat = op_prefix(o) == 0xf3 || op_prefix(o) == 0xf2;
  const u64 step = c.rflags & flag::DF ? -u64(size) : size;
  const u64 batch = c.rflags & flag::TF || c.debugging ? 1 : kStringBatch;
  Registers r{c, o.scale};
  if (repeat && r.get(RCX) == 0) return leave(c, o);
  if (!port_allowed(c, port, size)) return Step::Fault;
  for (u64 n = 0; n < batch; n++) {
    const bool moved = input ? input_one(c, r, port, size)
                             : output_one(c, r, static_cast<SegReg>(o.disp), port, size);
    if (!moved) return Step::Fault;
    const Reg pointer = input ? RDI : RSI;
    r.set(pointer, r.get(pointer) + step);
    if (!repeat) return leave(c, o);
    r.set(RCX, r.get(RCX) - 1);
    if (r.get(RCX) == 0) return leave(c, o);
  }
  return jump(c, insn_rip(c, o));
}

}  // namespace

SlowInsn io_insn(u8 opcode) {
  switch (opcode) {
    case 0x6c:
      return {string_io<true, true>, true};
    case 0x6d:
      return {string_io<false, true>, true};
    case 0x6e:
      return {string_io<true, false>, true};
    case 0x6f:
      return {string_io<false, false>, true};
    case 0xe4:
      return {in<true, true>, true};
    case 0xe5:
      return {in<false, true>, true};
    case 0xe6:
      return {out<true, true>, true};
    case 0xe7:
      return {out<false, true>, true};
    case 0xec:
      return {in<true, false>, true};
    case 0xed:
      return {in<false, false>, true};
    case 0xee:
      return {out<true, false>, true};
    case 0xef:
      return {out<false, false>, true};
    default:
      return {};
  }
}

}  // namespace colo::soft::sys
