// Model-specific registers of model soft-v1 (Intel SDM vol. 4; AMD APM vol. 2, app. A; KVM's own:
// the kernel's msr.rst), and the time stamp counter. An unknown register is #GP, as on hardware:
// Linux probes with accessors that expect it.
#include "soft/system/system.h"

namespace colo::soft::sys {

namespace {

constexpr struct {
  u32 index;
  u64 value;
} kConstants[] = {
    {0x8b, 0x01000065},  // microcode patch level, the one KVM shows for AMD
    {0xfe, 0x508},       // MTRRcap: 8 variable ranges, fixed ranges, write-combining
    {0x179, 0},          // MCG_CAP: no machine-check banks
    {0x1db, 0},         {0x1dc, 0},
    {0x1dd, 0},         {0x1de, 0},       // last branch and last exception: not recorded
    {0xc0010010, 0},                      // SYSCFG
    {0xc001001a, 0},    {0xc001001d, 0},  // TOP_MEM, TOP_MEM2
    {0xc001001f, 0},                      // NB_CFG
    {0xc0010055, 0},  // interrupt pending message: C1E is off (Linux reads it for erratum 400)
    {0xc0010058, 0},  // MMIO configuration base: none
    {0xc0010112, 0},    {0xc0010113, 0},  // SMM segment: none
    {0xc0011022, 0},                      // DC_CFG
    {0xc0011029, 2},                      // DE_CFG: LFENCE serializes
    {0xc001102a, 0},                      // BU_CFG2
};

/// Registers that take writes and keep nothing.
bool ignores_write(u32 index, u64 value) {
  switch (index) {
    case msr::HWCR:
      return (value & ~0x148ull) ==
             0;  // TLB cache, flush filter and IGNNE controls, as KVM ignores them
    case msr::DEBUGCTL:
      return value == 0;
    case msr::PATCH_LOADER:
      return true;
    case 0xc0011029:
      return true;  // DE_CFG
    case 0xc0010000 ... 0xc0010007:
      return value == 0;  // performance counters, all of them off
    default:
      return false;
  }
}

bool memory_type(u64 t) { return t == 0 || t == 1 || t == 4 || t == 5 || t == 6; }

bool all_bytes(u64 value, bool (*ok)(u64)) {
  for (int i = 0; i < 8; i++)
    if (!ok(value >> 8 * i & 0xff)) return false;
  return true;
}

bool write_efer(Cpu& c, u64 value) {
  if (value & ~kEferAllowed) return false;
  if ((c.cr0 & cr0::PG) && ((c.efer ^ value) & efer::LME)) return false;
  value = (value & ~efer::LMA) | (c.efer & efer::LMA);  // LMA follows CR0.PG, never a write
  const u64 changed = c.efer ^ value;
  c.efer = value;
  if (changed & efer::NXE) c.tlb_flush(true);
  if (changed) c.mode_changed();
  return true;
}

bool write_base(kvm_segment& s, u64 value) {
  if (!canonical(value)) return false;
  s.base = value;
  return true;
}

/// Both ways of moving the TSC move TSC_ADJUST with it (SDM vol. 3, 18.17.3).
void move_tsc(Cpu& c, u64 delta) {
  if (delta == 0) return;
  c.msr.tsc_offset += delta;
  c.msr.tsc_adjust += delta;
  c.chip->set_tsc_offset(c.msr.tsc_offset);
  kvmclock_update(c);
}

bool write_system_time(Cpu& c, u64 value) {
  c.msr.kvm_system_time = value;
  kvmclock_update(c);
  return true;
}

bool write_wall_clock(Cpu& c, u64 value) {
  c.msr.kvm_wall_clock = value;
  kvmclock_wall(c, value);
  return true;
}

/// 0F 30: WRMSR.
Step wrmsr(Cpu& c, const Op& o) {
  if (c.cpl || !msr_write(c, static_cast<u32>(c.r[RCX]), edx_eax(c))) return c.raise(GP, 0);
  return leave(c, o);
}

/// 0F 32: RDMSR.
Step rdmsr(Cpu& c, const Op&) {
  u64 value;
  if (c.cpl || !msr_read(c, static_cast<u32>(c.r[RCX]), value)) return c.raise(GP, 0);
  set_edx_eax(c, value);
  return Step::Next;
}

/// 0F 31: RDTSC.
Step rdtsc(Cpu& c, const Op&) {
  if ((c.cr4 & cr4::TSD) && c.cpl) return c.raise(GP, 0);
  set_edx_eax(c, guest_tsc(c));
  return Step::Next;
}

/// 0F 33: RDPMC. There are no counters.
Step rdpmc(Cpu& c, const Op&) { return c.raise(GP, 0); }

}  // namespace

/// 0F 01 F9: RDTSCP.
Step rdtscp(Cpu& c, const Op& o) {
  if (!(c.model->features.edx81 & vcpu::Features::RDTSCP)) return c.raise(UD);
  if (rdtsc(c, o) == Step::Fault) return Step::Fault;
  set32(c, RCX, c.msr.tsc_aux);
  return Step::Next;
}

u64* msr_slot(Msrs& m, u32 index) {
  if (index >= 0x200 && index <= 0x20f) return &m.mtrr_var[index - 0x200];
  if (index >= 0x268 && index <= 0x26f) return &m.mtrr_fixed[3 + index - 0x268];
  switch (index) {
    case 0x174:
      return &m.sysenter_cs;
    case 0x175:
      return &m.sysenter_esp;
    case 0x176:
      return &m.sysenter_eip;
    case 0x17a:
      return &m.mcg_status;
    case 0x1a0:
      return &m.misc_enable;
    case 0x250:
      return &m.mtrr_fixed[0];
    case 0x258:
      return &m.mtrr_fixed[1];
    case 0x259:
      return &m.mtrr_fixed[2];
    case 0x277:
      return &m.pat;
    case 0x2ff:
      return &m.mtrr_def_type;
    case 0xc0000081:
      return &m.star;
    case 0xc0000082:
      return &m.lstar;
    case 0xc0000083:
      return &m.cstar;
    case 0xc0000084:
      return &m.fmask;
    case 0xc0000102:
      return &m.kernel_gs_base;
    case 0xc0000103:
      return &m.tsc_aux;
    default:
      return nullptr;
  }
}

bool msr_valid(u32 index, u64 value) {
  if (index >= 0x250 && index <= 0x26f) return all_bytes(value, memory_type);
  if (index >= 0x200 && index <= 0x20f) {
    if (value & ~kPhysMask) return false;
    return index & 1 ? (value & 0x7ff) == 0 : (value & 0xf00) == 0 && memory_type(value & 0xff);
  }
  switch (index) {
    case 0x17a:
      return value == 0;  // MCG_STATUS takes only zeroes from software
    case 0x277:
      return all_bytes(value, [](u64 t) { return memory_type(t) || t == 7; });
    case 0x2ff:
      return (value & ~0xcffull) == 0 && memory_type(value & 0xff);
    case 0x175:
    case 0x176:
    case 0xc0000082:
    case 0xc0000083:
    case 0xc0000102:
      return canonical(value);
    case 0x174:
    case 0xc0000084:
    case 0xc0000103:
      return value >> 32 == 0;
    default:
      return true;
  }
}

bool msr_constant(u32 index, u64& value) {
  if (index >= 0xc0010000 && index <= 0xc0010007) return value = 0, true;  // performance counters
  for (const auto& k : kConstants) {
    if (k.index != index) continue;
    value = k.value;
    return true;
  }
  return false;
}

bool apic_base_valid(u64 value) {
  constexpr u64 kBootstrap = 1 << 8, kX2apic = 1 << 10, kEnable = 1 << 11;
  if (value & ~(kPhysMask & kPageMask) & ~(kBootstrap | kX2apic | kEnable)) return false;
  return !(value & kX2apic) || (value & kEnable);
}

bool msr_read(Cpu& c, u32 index, u64& value) {
  if (const u64* slot = msr_slot(c.msr, index)) return value = *slot, true;
  if (index >= msr::X2APIC_FIRST && index <= msr::X2APIC_LAST)
    return c.chip->x2apic_read(index, value);
  switch (index) {
    case msr::TSC:
      value = guest_tsc(c);
      return true;
    case msr::TSC_ADJUST:
      value = c.msr.tsc_adjust;
      return true;
    case msr::APIC_BASE:
      value = c.chip->apic_base();
      return true;
    case msr::TSC_DEADLINE:
      value = c.chip->tsc_deadline();
      return true;
    case msr::EFER:
      value = c.efer;
      return true;
    case msr::FS_BASE:
      value = c.seg[FS].base;
      return true;
    case msr::GS_BASE:
      value = c.seg[GS].base;
      return true;
    case msr::HWCR:
    case msr::DEBUGCTL:
      value = 0;
      return true;
    case msr::SYSTEM_TIME_OLD:
    case msr::SYSTEM_TIME:
      value = c.msr.kvm_system_time;
      return true;
    case msr::WALL_CLOCK_OLD:
    case msr::WALL_CLOCK:
      value = c.msr.kvm_wall_clock;
      return true;
    default:
      return msr_constant(index, value);
  }
}

bool msr_write(Cpu& c, u32 index, u64 value) {
  if (u64* slot = msr_slot(c.msr, index)) {
    if (!msr_valid(index, value)) return false;
    *slot = value;
    return true;
  }
  if (index >= msr::X2APIC_FIRST && index <= msr::X2APIC_LAST)
    return c.chip->x2apic_write(index, value);
  switch (index) {
    case msr::TSC:
      move_tsc(c, value - guest_tsc(c));
      return true;
    case msr::TSC_ADJUST:
      move_tsc(c, value - c.msr.tsc_adjust);
      return true;
    case msr::APIC_BASE:
      return apic_base_valid(value) && c.chip->set_apic_base(value);
    case msr::TSC_DEADLINE:
      c.chip->set_tsc_deadline(value);
      return true;
    case msr::EFER:
      return write_efer(c, value);
    case msr::FS_BASE:
      return write_base(c.seg[FS], value);
    case msr::GS_BASE:
      return write_base(c.seg[GS], value);
    case msr::SYSTEM_TIME_OLD:
    case msr::SYSTEM_TIME:
      return write_system_time(c, value);
    case msr::WALL_CLOCK_OLD:
    case msr::WALL_CLOCK:
      return write_wall_clock(c, value);
    default:
      return ignores_write(index, value);
  }
}

SlowInsn msr_insn(u8 opcode) {
  switch (opcode) {
    case 0x30:
      return {wrmsr, true};
    case 0x31:
      return {rdtsc, false};
    case 0x32:
      return {rdmsr, false};
    case 0x33:
      return {rdpmc, false};
    default:
      return {};
  }
}

}  // namespace colo::soft::sys
