// 82093AA I/O APIC: 24 pins at 0xfec00000. Version 0x11, so no EOI register: a level interrupt is
// ended by the local APIC's broadcast. Polarity is stored but not applied: callers drive logical
// levels (true = asserted), as with KVM.
#pragma once
#include <linux/kvm.h>

#include <functional>
#include <string>

#include "soft/chips/apic_message.h"

namespace colo::soft {

class Ioapic {
 public:
  static constexpr u64 kBase = 0xfec00000;
  static constexpr u32 kPins = KVM_IOAPIC_NUM_PINS;

  /// deliver: sends a message to the local APICs; false if none took it.
  explicit Ioapic(std::function<bool(const ApicMessage&)> deliver) : deliver_(std::move(deliver)) {
    reset();
  }
  void reset();

  u32 read(u32 offset) const;
  void write(u32 offset, u32 value);
  void set_pin(u32 pin, bool level);
  void end_of_interrupt(u8 vector);
  /// Offers every asserted level pin again (a local APIC that refused it may accept now).
  void retry();

  void save(kvm_ioapic_state& out) const;
  static std::string check(const kvm_ioapic_state& in);
  /// isa_lines: levels of pins 0..15 as far as the i8259 knows them, because the image does not
  /// keep the level of an edge pin.
  void load(const kvm_ioapic_state& in, u32 isa_lines);

 private:
  u32 read_register() const;
  void write_register(u32 value);
  void write_redirection(u32 index, u32 value);
  void service(u32 pin);
  bool is_level(u32 pin) const { return redirection_[pin] >> 15 & 1; }
  u32 level_pins() const;

  const std::function<bool(const ApicMessage&)> deliver_;
  u64 redirection_[kPins];
  u32 lines_;
  u8 select_;
  u8 id_;
};

}  // namespace colo::soft
