#include "soft/chips/ioapic.h"

namespace colo::soft {
namespace {

constexpr u64 kRemoteIrr = 1 << 14, kLevel = 1 << 15, kMasked = 1 << 16, kDeliveryStatus = 1 << 12;
constexpr u64 kWritable = 0xff0000000001afffull;  // the rest of an entry is reserved or read-only
constexpr u32 kVersion = 0x11 | (Ioapic::kPins - 1) << 16;

}  // namespace

void Ioapic::reset() {
  for (u64& entry : redirection_) entry = kMasked;
  lines_ = 0;
  select_ = id_ = 0;
}

u32 Ioapic::read(u32 offset) const {
  if (offset == 0x00) return select_;
  return offset == 0x10 ? read_register() : 0;
}

void Ioapic::write(u32 offset, u32 value) {
  if (offset == 0x00) select_ = static_cast<u8>(value);
  else if (offset == 0x10) write_register(value);
}

u32 Ioapic::read_register() const {
  if (select_ == 0 || select_ == 2) return static_cast<u32>(id_) << 24;  // ID and arbitration ID
  if (select_ == 1) return kVersion;
  const u32 index = select_ - 0x10u;
  if (index >= 2 * kPins) return 0;
  return static_cast<u32>(redirection_[index / 2] >> (index % 2 * 32));
}

void Ioapic::write_register(u32 value) {
  if (select_ == 0) id_ = value >> 24 & 0xf;
  else if (select_ - 0x10u < 2 * kPins) write_redirection(select_ - 0x10u, value);
}

void Ioapic::write_redirection(u32 index, u32 value) {
  const u32 pin = index / 2;
  const u64 half = index % 2 ? 0xffffffff00000000ull : 0xffffffffull;
  const u64 mask = half & kWritable;
  u64& entry = redirection_[pin];
  entry = (entry & ~mask) | (static_cast<u64>(value) << (index % 2 * 32) & mask);
  // Drivers end a stuck level interrupt by switching the pin to edge and back, since version 0x11
  // has no EOI register.
  if (!(entry & kLevel)) entry &= ~kRemoteIrr;
  if (is_level(pin)) service(pin);
}

/// An edge on a masked pin is ignored (82093AA, "Interrupt Mask"): nothing remembers it.
void Ioapic::set_pin(u32 pin, bool level) {
  if (pin >= kPins) return;
  const u32 bit = 1u << pin;
  const bool rose = level && !(lines_ & bit);
  lines_ = level ? lines_ | bit : lines_ & ~bit;
  if (rose) service(pin);
}

void Ioapic::service(u32 pin) {
  u64& entry = redirection_[pin];
  const bool level = is_level(pin);
  if ((entry & kMasked) || !(lines_ >> pin & 1)) return;
  if (level && (entry & kRemoteIrr)) return;
  const ApicMessage message{static_cast<u32>(entry >> 56), (entry >> 11 & 1) != 0,
                            static_cast<DeliveryMode>(entry >> 8 & 7), static_cast<u8>(entry),
                            level};
  if (deliver_(message) && level) entry |= kRemoteIrr;
}

void Ioapic::end_of_interrupt(u8 vector) {
  for (u32 pin = 0; pin < kPins; pin++) {
    u64& entry = redirection_[pin];
    if (static_cast<u8>(entry) != vector || !(entry & kRemoteIrr)) continue;
    entry &= ~kRemoteIrr;
    service(pin);
  }
}

void Ioapic::retry() {
  for (u32 pin = 0; pin < kPins; pin++)
    if (is_level(pin)) service(pin);
}

u32 Ioapic::level_pins() const {
  u32 mask = 0;
  for (u32 pin = 0; pin < kPins; pin++) mask |= static_cast<u32>(is_level(pin)) << pin;
  return mask;
}

/// KVM's `irr` means "asserted and not yet sent", so that its loader may send what it finds: edges,
/// sent at once, are never in it.
void Ioapic::save(kvm_ioapic_state& out) const {
  out = {};
  out.base_address = kBase;
  out.ioregsel = select_;
  out.id = id_;
  out.irr = lines_ & level_pins();
  for (u32 pin = 0; pin < kPins; pin++) out.redirtbl[pin].bits = redirection_[pin];
}

std::string Ioapic::check(const kvm_ioapic_state& in) {
  if (in.base_address != kBase) return "ioapic: base address is not 0xfec00000";
  if (in.ioregsel > 0xff) return "ioapic: register index is out of range";
  if (in.id > 0xf) return "ioapic: ID is out of range";
  if (in.irr >> kPins) return "ioapic: a pin that does not exist is asserted";
  for (const auto& entry : in.redirtbl)
    if (entry.bits & ~(kWritable | kRemoteIrr | kDeliveryStatus))
      return "ioapic: reserved bits are set in a redirection entry";
  return "";
}

void Ioapic::load(const kvm_ioapic_state& in, u32 isa_lines) {
  select_ = static_cast<u8>(in.ioregsel);
  id_ = static_cast<u8>(in.id);
  for (u32 pin = 0; pin < kPins; pin++)
    redirection_[pin] = in.redirtbl[pin].bits & ~kDeliveryStatus;
  lines_ = in.irr | (isa_lines & ~level_pins());
  for (u32 pin = 0; pin < kPins; pin++)
    if (in.irr >> pin & 1) service(pin);
}

}  // namespace colo::soft
