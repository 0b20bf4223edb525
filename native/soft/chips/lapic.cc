// Local APIC: acceptance, priorities, EOI, IPIs, reset and state.
#include "soft/chips/lapic.h"

#include <cstring>

#include "soft/chips/irqchip.h"

namespace colo::soft {
namespace {

constexpr u32 kVersion = 0x50014;  // integrated, LVT entries 0..5, no EOI-broadcast suppression
constexpr u32 kExtIntUnmasked = 0x700;
constexpr u64 kBaseReserved = ~((1ull << 52) - 1) | 0x2ff;

DeliveryMode mode_of(u32 value) { return static_cast<DeliveryMode>(value >> 8 & 7); }

}  // namespace

/// The bootstrap processor's LINT0 starts as ExtINT, as firmware would leave it ("virtual wire")
/// and as KVM does: there is no firmware here.
void Lapic::reset() {
  base_ = kDefaultBase | kEnable | (bootstrap_ ? kBsp : 0);
  signals_ = 0;
  start_vector_ = 0;
  init();
}

void Lapic::init() {
  signals_ &= ~signal::NMI;
  reset_registers();
  if (bootstrap_) reg(apic::LVT_LINT0) = kExtIntUnmasked;
}

/// 11.4.7.1.
void Lapic::reset_registers() {
  std::memset(page_, 0, sizeof page_);
  reg(apic::ID) = id_ << 24;
  reg(apic::VERSION) = kVersion;
  reg(apic::DFR) = ~0u;
  reg(apic::SVR) = 0xff;
  for (const u32 lvt : apic::LVTS) reg(lvt) = apic::MASKED;
  deadline_ = ~0ull;
  tsc_deadline_ = 0;
  if (x2apic()) derive_x2apic_ids();
}

/// 11.12.5: the only forbidden moves are disabled -> x2APIC, x2APIC -> xAPIC, and x2APIC without
/// enable.
bool Lapic::set_base(u64 value) {
  const bool enable = value & kEnable, x2 = value & kX2apic, was_enabled = base_ & kEnable;
  if (value & kBaseReserved) return false;
  if (x2 && (!enable || !was_enabled)) return false;
  if (x2apic() && enable && !x2) return false;
  const bool entered_x2apic = x2 && !x2apic();
  base_ = value;
  if (was_enabled && !enable) reset_registers();
  if (entered_x2apic) derive_x2apic_ids();
  return true;
}

/// 11.12.10.2: the logical ID is read-only in x2APIC mode: a cluster of 16, and a bit in it.
void Lapic::derive_x2apic_ids() {
  reg(apic::ID) = id_;
  reg(apic::LDR) = id_ >> 4 << 16 | 1u << (id_ & 15);
}

int Lapic::highest(u32 bank) const {
  for (int word = 7; word >= 0; word--)
    if (const u32 bits = reg(bank + word * 16)) return word * 32 + 31 - __builtin_clz(bits);
  return -1;
}

u8 Lapic::processor_priority() const {
  const int in_service = highest(apic::ISR);
  const u8 service_class = in_service < 0 ? 0 : in_service & 0xf0;
  return (tpr() & 0xf0) >= service_class ? tpr() : service_class;
}

int Lapic::deliverable() const {
  if (!(base_ & kEnable)) return -1;
  const int vector = highest(apic::IRR);
  return vector >= 0 && (vector & 0xf0) > (processor_priority() & 0xf0) ? vector : -1;
}

int Lapic::acknowledge() {
  const int vector = deliverable();
  if (vector < 0) return -1;
  clear_bit(apic::IRR, static_cast<u8>(vector));
  set_bit(apic::ISR, static_cast<u8>(vector));
  return vector;
}

bool Lapic::accepts_extint() const {
  if (!(base_ & kEnable)) return bootstrap_;  // then INTR is wired straight to the processor
  const u32 lint0 = reg(apic::LVT_LINT0);
  return !(lint0 & apic::MASKED) && mode_of(lint0) == DeliveryMode::ExtInt;
}

void Lapic::lint0_rose() {
  const u32 lint0 = reg(apic::LVT_LINT0);
  if (!(base_ & kEnable) || (lint0 & apic::MASKED)) return;
  if (mode_of(lint0) == DeliveryMode::Fixed) local_interrupt(apic::LVT_LINT0);
  if (mode_of(lint0) == DeliveryMode::Nmi) signals_ |= signal::NMI;
}

/// 11.6.2. Eight-bit destinations (IOAPIC, MSI) address the first 255 x2APIC IDs; 0xff is a
/// broadcast in both modes.
bool Lapic::addressed(const ApicMessage& message) const {
  switch (message.shorthand) {
    case Shorthand::Self:
      return message.from == this;
    case Shorthand::All:
      return true;
    case Shorthand::Others:
      return message.from != this;
    case Shorthand::None:
      break;
  }
  const u32 dest = message.dest;
  if (dest == ~0u || (dest == 0xff && !message.logical)) return true;
  const u32 ldr = reg(apic::LDR);
  if (x2apic())
    return message.logical ? ldr >> 16 == dest >> 16 && (ldr & dest & 0xffff) : dest == id_;
  if (!message.logical) return dest == id_;
  const u8 logical = static_cast<u8>(ldr >> 24), wanted = static_cast<u8>(dest);
  if (reg(apic::DFR) >> 28 == 0xf) return logical & wanted;
  const bool cluster = wanted >> 4 == 0xf || wanted >> 4 == logical >> 4;
  return reg(apic::DFR) >> 28 == 0 && cluster && (logical & wanted & 0xf);
}

/// An APIC that software has disabled still takes what starts and stops its processor (11.4.7.2).
/// There is no SMM, and nothing sends ExtINT by message.
bool Lapic::take(const ApicMessage& message) {
  if (!(base_ & kEnable)) return false;
  switch (message.mode) {
    case DeliveryMode::Fixed:
    case DeliveryMode::Lowest:
      if (!software_enabled()) return false;
      accept(message.vector, message.level);
      return true;
    case DeliveryMode::Nmi:
      signals_ |= signal::NMI;
      return true;
    case DeliveryMode::Init:  // a start that has not begun is void
      signals_ = (signals_ & ~signal::SIPI) | signal::INIT;
      return true;
    case DeliveryMode::Startup:
      signals_ |= signal::SIPI;
      start_vector_ = message.vector;
      return true;
    case DeliveryMode::Smi:
    case DeliveryMode::ExtInt:
      break;
  }
  return false;
}

u8 Lapic::take_signal(u32 which) {
  signals_ &= ~which;
  return start_vector_;
}

void Lapic::accept(u8 vector, bool level) {
  if (vector < 16) return error(apic::RECEIVED_ILLEGAL);
  set_bit(apic::IRR, vector);
  if (level) set_bit(apic::TMR, vector);
  else clear_bit(apic::TMR, vector);
}

void Lapic::local_interrupt(u32 lvt) {
  if (!(reg(lvt) & apic::MASKED)) accept(static_cast<u8>(reg(lvt)), false);
}

void Lapic::error(u32 bit) {
  reg(apic::ESR_PENDING) |= bit;
  if (static_cast<u8>(reg(apic::LVT_ERROR)) >= 16)
    local_interrupt(apic::LVT_ERROR);  // an illegal error vector must not raise errors for ever
}

void Lapic::end_of_interrupt() {
  const int vector = highest(apic::ISR);
  if (vector < 0) return;
  clear_bit(apic::ISR, static_cast<u8>(vector));
  if (test_bit(apic::TMR, static_cast<u8>(vector))) bus_.end_of_interrupt(static_cast<u8>(vector));
}

/// 11.6.1. To itself alone an APIC sends fixed interrupts only. INIT level de-assert means nothing
/// to processors of today.
void Lapic::send_ipi(u32 low, u32 high) {
  constexpr u32 kAssert = 1 << 14, kLevel = 1 << 15;
  ApicMessage message{x2apic() ? high : high >> 24, (low >> 11 & 1) != 0, mode_of(low),
                      static_cast<u8>(low), false};
  message.shorthand = static_cast<Shorthand>(low >> 18 & 3), message.from = this;
  const bool fixed = message.mode == DeliveryMode::Fixed || message.mode == DeliveryMode::Lowest;
  if (fixed && message.vector < 16) return error(apic::SEND_ILLEGAL);
  if (!fixed && message.shorthand == Shorthand::Self) return;
  if (message.mode == DeliveryMode::Init && (low & kLevel) && !(low & kAssert)) return;
  bus_.send(message);
}

void Lapic::save(kvm_lapic_state& out, u64 now) const {
  std::memcpy(out.regs, page_, sizeof out.regs);
  const auto put = [&](u32 offset, u32 value) {
    std::memcpy(out.regs + offset, &value, sizeof value);
  };
  put(apic::ID, id_ << 24);  // as KVM has it, in either mode
  put(apic::PPR, processor_priority());
  put(apic::CURRENT_COUNT, current_count(now));
}

std::string Lapic::check(const kvm_lapic_state& in, u32 apic_id) {
  const auto get = [&](u32 offset) {
    u32 value;
    std::memcpy(&value, in.regs + offset, sizeof value);
    return value;
  };
  if (get(apic::ID) != apic_id << 24)
    return "lapic: ID is " + std::to_string(get(apic::ID) >> 24) + ", this vCPU's is " +
           std::to_string(apic_id);
  if (get(apic::TPR) > 0xff) return "lapic: task priority is out of range";
  if (get(apic::DIVIDE) & ~0xbu) return "lapic: timer divider is out of range";
  if (get(apic::CURRENT_COUNT) > get(apic::INITIAL_COUNT))
    return "lapic: current count is greater than initial count";
  if ((get(apic::ISR) | get(apic::IRR)) & 0xffff)
    return "lapic: a vector below 16 is pending or in service";
  return "";
}

void Lapic::load(const kvm_lapic_state& in, const LapicRest& rest, u64 now) {
  std::memcpy(page_, in.regs, sizeof page_);
  base_ = rest.base;
  tsc_offset_ = rest.tsc_offset;
  reg(apic::VERSION) = kVersion;
  signals_ = rest.nmi ? signal::NMI : 0;
  if (x2apic()) derive_x2apic_ids();
  deadline_ = ~0ull;
  tsc_deadline_ = 0;
  const u32 left = reg(apic::CURRENT_COUNT);
  if (timer_mode() == TimerMode::TscDeadline) set_tsc_deadline(rest.tsc_deadline, now);
  else
    count_from(timer_mode() == TimerMode::Periodic && !left ? reg(apic::INITIAL_COUNT) : left, now);
  reg(apic::CURRENT_COUNT) = 0;  // computed when read
}

}  // namespace colo::soft
