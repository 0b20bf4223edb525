// Control and debug registers (Intel SDM vol. 3, 2.5 and ch. 18; AMD APM vol. 2, 3.1 and 13.1), the
// machine status word, table registers, INVLPG, INVPCID and HLT.
#include "soft/system/system.h"

namespace colo::soft::sys {

namespace {

/// Paging goes on or off, and with EFER.LME set long mode with it (SDM vol. 3, 10.8.5). False: the
/// write is a #GP(0).
bool switch_paging(Cpu& c, u64 value) {
  const bool on = value & cr0::PG;
  if (on == bool(c.cr0 & cr0::PG)) return true;
  if (!on) {
    if (c.code64() || c.cr4 & cr4::PCIDE) return false;
    c.efer &= ~efer::LMA;
    return true;
  }
  if (c.efer & efer::LME) {
    if (!(c.cr4 & cr4::PAE) || c.code64()) return false;
    c.efer |= efer::LMA;
  }
  return true;
}

bool write_cr0(Cpu& c, u64 value) {
  if (value >> 32) return false;
  value = (value & kCr0Known) | cr0::ET;
  if ((value & cr0::PG) && !(value & cr0::PE)) return false;
  if ((value & cr0::NW) && !(value & cr0::CD)) return false;
  if (!switch_paging(c, value)) return false;
  const u64 changed = c.cr0 ^ value;
  c.cr0 = value;
  if (changed & value & cr0::PE) c.seg[CS].type |= type::CODE;  // an image may have it as data
  if (changed & (cr0::PG | cr0::WP | cr0::PE)) c.tlb_flush(true);
  if (changed) c.mode_changed();
  return true;
}

constexpr u64 kPcid = 0xfff;

/// With CR4.PCIDE bit 63 says that translations of the new address space may stay. None outlives a
/// change of CR3, so all that the TLB holds is always the current one's.
bool write_cr3(Cpu& c, u64 value) {
  if (c.cr4 & cr4::PCIDE) value &= ~(1ull << 63);
  if (value & ~kPhysMask) return false;
  c.cr3 = value;
  c.tlb_flush(false);
  return true;
}

bool write_cr4(Cpu& c, u64 value) {
  if (value & ~allowed_cr4(c.model->features)) return false;
  if (c.long_mode() && !(value & cr4::PAE)) return false;
  const u64 changed = c.cr4 ^ value;
  if (changed & value & cr4::PCIDE && (!c.long_mode() || c.cr3 & kPcid)) return false;
  c.cr4 = value;
  if (changed & (cr4::PGE | cr4::PSE | cr4::PAE | cr4::PCIDE | cr4::SMEP | cr4::SMAP))
    c.tlb_flush(true);
  if (changed) c.mode_changed();
  return true;
}

bool write_cr8(Cpu& c, u64 value) {
  if (value > 15) return false;
  c.chip->set_cr8(value);
  return true;
}

/// What moves to a control or debug register: 64 bits in 64-bit code, else 32.
u64 register_value(const Cpu& c, const Op& o) { return c.r[rm_field(o)] & c.rip_mask; }

/// 0F 20: MOV r64, CRn. ModRM.mod is ignored.
Step read_cr(Cpu& c, const Op& o) {
  if (c.cpl) return c.raise(GP, 0);
  u64& to = c.r[rm_field(o)];
  switch (reg_field(o)) {
    case 0:
      to = c.cr0;
      break;
    case 2:
      to = c.cr2;
      break;
    case 3:
      to = c.cr3;
      break;
    case 4:
      to = c.cr4;
      break;
    case 8:
      to = c.chip->cr8();
      break;
    default:
      return c.raise(UD);
  }
  to &= c.rip_mask;
  return Step::Next;
}

/// 0F 22: MOV CRn, r64.
Step write_cr(Cpu& c, const Op& o) {
  if (c.cpl) return c.raise(GP, 0);
  const u64 value = register_value(c, o);
  bool ok = true;
  switch (reg_field(o)) {
    case 0:
      ok = write_cr0(c, value);
      break;
    case 2:
      c.cr2 = value;
      break;
    case 3:
      ok = write_cr3(c, value);
      break;
    case 4:
      ok = write_cr4(c, value);
      break;
    case 8:
      ok = write_cr8(c, value);
      break;
    default:
      return c.raise(UD);
  }
  return ok ? leave(c, o) : c.raise(GP, 0);
}

constexpr u64 kDr7GeneralDetect = 1 << 13, kDr6Detected = 1 << 13;

/// Shared entry of 0F 21 and 0F 23. DR4 and DR5 are DR6 and DR7 unless CR4.DE is set. False:
/// pending set.
bool debug_register(Cpu& c, const Op& o, u8& index) {
  index = reg_field(o);
  if (index >= 8 || ((index == 4 || index == 5) && (c.cr4 & cr4::DE))) return c.raise(UD), false;
  if (index == 4 || index == 5) index += 2;
  if (c.cpl) return fault(c, GP, 0);
  if (c.dr7 & kDr7GeneralDetect) {
    c.dr6 |= kDr6Detected;
    c.dr7 &= ~kDr7GeneralDetect;
    return c.raise(DB), false;
  }
  return true;
}

/// 0F 21: MOV r64, DRn.
Step read_dr(Cpu& c, const Op& o) {
  u8 index;
  if (!debug_register(c, o, index)) return Step::Fault;
  c.r[rm_field(o)] = (index < 4 ? c.dr[index] : index == 6 ? c.dr6 : c.dr7) & c.rip_mask;
  return Step::Next;
}

/// 0F 23: MOV DRn, r64.
Step write_dr(Cpu& c, const Op& o) {
  u8 index;
  if (!debug_register(c, o, index)) return Step::Fault;
  const u64 value = register_value(c, o);
  if (index >= 6 && value >> 32) return c.raise(GP, 0);
  if (index < 4) c.dr[index] = value;
  else if (index == 6) c.dr6 = dr6_fixed(value);
  else c.dr7 = dr7_fixed(value);
  c.arm_breakpoints();
  c.mode_changed();
  return leave(c, o);
}

/// 0F 06: CLTS.
Step clts(Cpu& c, const Op& o) {
  if (c.cpl) return c.raise(GP, 0);
  if (c.cr0 & cr0::TS) {
    c.cr0 &= ~cr0::TS;
    c.mode_changed();
  }
  return leave(c, o);
}

/// 0F 08, 09: INVD, WBINVD. There is no cache to write back.
Step cache_nop(Cpu& c, const Op&) { return c.cpl ? c.raise(GP, 0) : Step::Next; }

}  // namespace

/// 0F 01 /4 SMSW, /6 LMSW. LMSW sets PE but cannot clear it.
Step machine_status_word(Cpu& c, const Op& o) {
  if (((op_modrm(o) >> 3) & 7) == 4)
    return hidden_from_user(c) ? c.raise(GP, 0) : done(rm16_write(c, o, c.cr0));
  if (c.cpl) return c.raise(GP, 0);
  u16 value;
  if (!rm16_read(c, o, value)) return Step::Fault;
  const u64 low = cr0::PE | cr0::MP | cr0::EM | cr0::TS;
  const u64 next = (c.cr0 & ~low) | (value & low) | (c.cr0 & cr0::PE);
  return write_cr0(c, next) ? leave(c, o) : c.raise(GP, 0);
}

/// 0F 01 /0 SGDT, /1 SIDT, /2 LGDT, /3 LIDT: a 16-bit limit, then a 64-bit base; outside 64-bit
/// code a 32-bit one, of which LGDT and LIDT with 16-bit operands take 24 bits.
Step table_register(Cpu& c, const Op& o) {
  const u8 which = (op_modrm(o) >> 3) & 7;
  kvm_dtable& table = which & 1 ? c.idt : c.gdt;
  const u64 at = ea(c, o);
  const size_t bytes = c.code64() ? 10 : 6;
  u8 image[10] = {};
  if (which < 2) {
    if (hidden_from_user(c)) return c.raise(GP, 0);
    memcpy(image, &table.limit, 2);
    memcpy(image + 2, &table.base, 8);
    return done(c.store_bytes(at, image, bytes));
  }
  if (c.cpl) return c.raise(GP, 0);
  if (!c.load_bytes(at, image, bytes)) return Step::Fault;
  u64 base;
  memcpy(&base, image + 2, 8);
  if (bytes == 6 && op_size(o) == 2) base &= 0xffffff;
  if (!canonical(base)) return c.raise(GP, 0);
  table = {};
  table.base = base;
  memcpy(&table.limit, image, 2);
  return Step::Next;
}

/// 0F 01 /7: INVLPG. A non-canonical address has no translation to drop.
Step invlpg(Cpu& c, const Op& o) {
  if (c.cpl) return c.raise(GP, 0);
  const u64 va = ea(c, o) & c.rip_mask;
  if (canonical(va)) c.tlb_flush_page(va);
  return leave(c, o);
}

/// 66 0F 38 82: INVPCID. What belongs to another address space is not in the TLB.
Step invpcid(Cpu& c, const Op& o) {
  enum Kind : u64 { kAddress, kContext, kAll, kAllButGlobal };
  if (!(c.model->features.ebx7 & vcpu::Features::INVPCID)) return c.raise(UD);
  const u64 kind = c.r[reg_field(o)] & c.rip_mask;
  if (c.cpl || kind > kAllButGlobal) return c.raise(GP, 0);
  u64 descriptor[2];
  if (!c.load_bytes(ea(c, o), descriptor, sizeof descriptor)) return Step::Fault;
  const auto [pcid, va] = descriptor;
  const bool tagged = c.cr4 & cr4::PCIDE, names = kind <= kContext;
  if (pcid & ~kPcid || (names && pcid && !tagged) || (kind == kAddress && !canonical(va)))
    return c.raise(GP, 0);
  if (names && pcid != (tagged ? c.cr3 & kPcid : 0)) return leave(c, o);
  if (kind == kAddress) c.tlb_flush_page(va);
  else c.tlb_flush(kind == kAll);
  return leave(c, o);
}

SlowInsn control_insn(u8 opcode) {
  switch (opcode) {
    case 0x06:
      return {clts, true};
    case 0x08:
    case 0x09:
      return {cache_nop, false};
    case 0x20:
      return {read_cr, false};
    case 0x21:
      return {read_dr, false};
    case 0x22:
      return {write_cr, true};
    case 0x23:
      return {write_dr, true};
    default:
      return {};
  }
}

}  // namespace colo::soft::sys
