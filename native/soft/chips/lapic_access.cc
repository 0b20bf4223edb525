// Local APIC register access: memory page (Intel SDM vol. 3, 11.4.1) and x2APIC MSRs (11.12.1.2).
#include "soft/chips/lapic.h"

namespace colo::soft {
namespace {

enum : u8 { R = 1, W = 2, RW = 3 };

/// What each interface allows. mask: bits that software may set; the memory page drops others, an
/// MSR write faults.
struct Rule {
  u16 first, last;
  u8 page, msr;
  u32 mask;
};
constexpr Rule kRules[] = {
    {apic::ID, apic::VERSION, R, R, 0},
    {apic::TPR, apic::TPR, RW, RW, 0xff},
    {0x090, 0x090, R, 0, 0},  // arbitration priority: always 0 on an integrated APIC
    {apic::PPR, apic::PPR, R, R, 0},
    {apic::EOI, apic::EOI, W, W, 0},
    {apic::LDR, apic::LDR, RW, R, 0xff000000},
    {apic::DFR, apic::DFR, RW, 0, 0xf0000000},
    {apic::SVR, apic::SVR, RW, RW, 0x3ff},
    {apic::ISR, apic::IRR + 0x70, R, R, 0},
    {apic::ESR, apic::ESR, RW, RW, 0},
    {apic::ICR, apic::ICR, RW, RW, 0xcdfff},
    {apic::ICR_HIGH, apic::ICR_HIGH, RW, 0, 0xff000000},
    {apic::LVT_TIMER, apic::LVT_TIMER, RW, RW, 0x700ff},
    {apic::LVT_THERMAL, apic::LVT_PERF, RW, RW, 0x107ff},
    {apic::LVT_LINT0, apic::LVT_LINT1, RW, RW, 0x1a7ff},
    {apic::LVT_ERROR, apic::LVT_ERROR, RW, RW, 0x100ff},
    {apic::INITIAL_COUNT, apic::INITIAL_COUNT, RW, RW, 0xffffffff},
    {apic::CURRENT_COUNT, apic::CURRENT_COUNT, R, R, 0},
    {apic::DIVIDE, apic::DIVIDE, RW, RW, 0xb},
    {apic::SELF_IPI, apic::SELF_IPI, 0, W, 0xff},
};

const Rule* rule_for(u32 offset) {
  for (const Rule& rule : kRules)
    if (offset >= rule.first && offset <= rule.last) return &rule;
  return nullptr;
}

}  // namespace

u32 Lapic::mmio_read(u32 offset, u64 now) {
  const u32 within = offset & 0xc;  // the upper three words of a register read as 0
  const Rule* rule = rule_for(offset & 0xff0);
  if (rule && (rule->page & R)) return within ? 0 : read_register(offset & 0xff0, now);
  if (!rule) error(apic::ILLEGAL_REGISTER);
  return 0;
}

void Lapic::mmio_write(u32 offset, u32 value, u64 now) {
  if (offset & 0xf) return;
  const Rule* rule = rule_for(offset);
  if (!rule) return error(apic::ILLEGAL_REGISTER);
  if (!(rule->page & W)) return;
  const u32 fixed = offset == apic::DFR ? 0x0fffffff : 0;
  write_register(offset, (value & rule->mask) | fixed, now);
}

bool Lapic::msr_read(u32 msr, u64& value, u64 now) {
  const u32 offset = (msr - 0x800) << 4;
  const Rule* rule = x2apic() ? rule_for(offset) : nullptr;
  if (!rule || !(rule->msr & R)) return false;
  value = read_register(offset, now);
  if (offset == apic::ICR) value |= static_cast<u64>(reg(apic::ICR_HIGH)) << 32;
  return true;
}

bool Lapic::msr_write(u32 msr, u64 value, u64 now) {
  const u32 offset = (msr - 0x800) << 4;
  const Rule* rule = x2apic() ? rule_for(offset) : nullptr;
  if (!rule || !(rule->msr & W)) return false;
  if (offset >= apic::LVT_TIMER && offset <= apic::LVT_ERROR)
    value &= ~0x5000ull;  // delivery status and remote IRR: Linux writes them back
  const u64 allowed = offset == apic::ICR ? 0xffffffff00000000ull | rule->mask : rule->mask;
  if (value & ~allowed) return false;
  if (offset == apic::ICR) reg(apic::ICR_HIGH) = static_cast<u32>(value >> 32);
  write_register(offset, static_cast<u32>(value), now);
  return true;
}

u32 Lapic::read_register(u32 offset, u64 now) const {
  switch (offset) {
    case apic::PPR:
      return processor_priority();
    case apic::CURRENT_COUNT:
      return current_count(now);
    default:
      return reg(offset);
  }
}

void Lapic::write_register(u32 offset, u32 value, u64 now) {
  switch (offset) {
    case apic::EOI:
      return end_of_interrupt();
    case apic::SVR:
      return write_svr(value);
    case apic::ESR:  // a write shows what has gathered since the last one
      reg(apic::ESR) = reg(apic::ESR_PENDING);
      reg(apic::ESR_PENDING) = 0;
      return;
    case apic::ICR:
      reg(apic::ICR) = value & ~(1u << 12);  // delivery is never pending
      return send_ipi(value, reg(apic::ICR_HIGH));
    case apic::SELF_IPI:
      return send_ipi(value | 1 << 18, 0);
    case apic::INITIAL_COUNT:
      return write_initial_count(value, now);
    case apic::DIVIDE:
      return write_divide(value, now);
    case apic::LVT_TIMER:
    case apic::LVT_THERMAL:
    case apic::LVT_PERF:
    case apic::LVT_LINT0:
    case apic::LVT_LINT1:
    case apic::LVT_ERROR:
      return write_lvt(offset, value, now);
    default:
      reg(offset) = value;
  }
}

/// While the APIC is disabled by software the mask bits cannot be cleared (11.4.7.2).
void Lapic::write_lvt(u32 offset, u32 value, u64 now) {
  if (!software_enabled()) value |= apic::MASKED;
  if (offset == apic::LVT_TIMER) write_timer_lvt(value, now);
  else reg(offset) = value;
}

void Lapic::write_svr(u32 value) {
  reg(apic::SVR) = value;
  if (software_enabled()) return;
  for (const u32 lvt : apic::LVTS) reg(lvt) |= apic::MASKED;
}

}  // namespace colo::soft
