// Local APIC of a vCPU, xAPIC and x2APIC (Intel SDM vol. 3, chapter 11). Its registers live
// in KVM's page image (register n at byte n*16); the twelve unused bytes behind ESR hold the errors
// that the next ESR write will show.
//
// Timer: the bus clock is 1 GHz and the divider runs freely, so a deadline is a multiple of the
// divider in guest ns and the current count alone restores it exactly.
#pragma once
#include <linux/kvm.h>

#include <string>

#include "soft/chips/apic_message.h"

namespace colo::soft {

struct LapicRest;

class Lapic {
 public:
  static constexpr u64 kDefaultBase = 0xfee00000;
  static constexpr u64 kBsp = 1 << 8, kX2apic = 1 << 10, kEnable = 1 << 11;

  /// bootstrap: it belongs to the processor that runs at once.
  Lapic(u32 id, bool bootstrap, ApicBus& bus) : bus_(bus), id_(id), bootstrap_(bootstrap) {
    reset();
  }
  void reset();
  /// Of its processor: base and ID stay. An NMI that waits is void, as KVM has it.
  void init();

  // --- interrupts in and out
  bool addressed(const ApicMessage& message) const;
  /// False if this APIC is disabled, or has no use for it.
  bool take(const ApicMessage& message);
  /// Bits of `signal` that wait for the processor.
  u32 signals() const { return signals_; }
  u8 take_signal(u32 which);
  /// Vector that the processor would be given now, or -1.
  int deliverable() const;
  int acknowledge();
  /// Does LINT0 pass the i8259's INTR to the processor?
  bool accepts_extint() const;
  void lint0_rose();  // matters only when LINT0 is programmed as a fixed interrupt

  // --- registers
  u64 base() const { return base_; }
  bool set_base(u64 value);
  bool xapic() const { return (base_ & (kEnable | kX2apic)) == kEnable; }
  bool x2apic() const { return base_ & kX2apic; }
  bool software_enabled() const { return reg(0x0f0) & 0x100; }
  u8 processor_priority() const;
  u8 tpr() const { return static_cast<u8>(reg(0x080)); }
  void set_tpr(u8 value) { reg(0x080) = value; }
  u32 mmio_read(u32 offset, u64 now);
  void mmio_write(u32 offset, u32 value, u64 now);
  bool msr_read(u32 msr, u64& value, u64 now);
  bool msr_write(u32 msr, u64 value, u64 now);

  // --- timer (lapic_timer.cc)
  u64 deadline() const;
  void service(u64 now);
  u64 tsc_deadline() const { return tsc_deadline_; }
  void set_tsc_deadline(u64 value, u64 now);
  void set_tsc_offset(u64 offset, u64 now);

  // --- state
  void save(kvm_lapic_state& out, u64 now) const;
  static std::string check(const kvm_lapic_state& in, u32 apic_id);
  void load(const kvm_lapic_state& in, const LapicRest& rest, u64 now);

 private:
  enum class TimerMode : u8 { OneShot, Periodic, TscDeadline, Reserved };
  u32& reg(u32 offset) { return page_[offset / 4]; }
  u32 reg(u32 offset) const { return page_[offset / 4]; }
  int highest(u32 bank) const;
  void set_bit(u32 bank, u8 vector) { reg(bank + (vector >> 5) * 16) |= 1u << (vector & 31); }
  void clear_bit(u32 bank, u8 vector) { reg(bank + (vector >> 5) * 16) &= ~(1u << (vector & 31)); }
  bool test_bit(u32 bank, u8 vector) const {
    return reg(bank + (vector >> 5) * 16) >> (vector & 31) & 1;
  }
  void accept(u8 vector, bool level);
  void local_interrupt(u32 lvt);
  void error(u32 bit);
  void end_of_interrupt();
  void send_ipi(u32 low, u32 high);
  void reset_registers();
  void derive_x2apic_ids();

  // lapic_access.cc
  u32 read_register(u32 offset, u64 now) const;
  void write_register(u32 offset, u32 value, u64 now);
  void write_lvt(u32 offset, u32 value, u64 now);
  void write_svr(u32 value);

  // lapic_timer.cc
  TimerMode timer_mode() const { return static_cast<TimerMode>(reg(0x320) >> 17 & 3); }
  u64 divider() const;
  void count_from(u64 count, u64 now);
  u32 current_count(u64 now) const;
  void write_timer_lvt(u32 value, u64 now);
  void space_out(u64 now);
  void write_initial_count(u32 value, u64 now);
  void write_divide(u32 value, u64 now);
  void arm_tsc_deadline(u64 now);

  ApicBus& bus_;
  const u32 id_;
  const bool bootstrap_;
  u32 signals_;
  u8 start_vector_;  // of the SIPI among them
  alignas(8) u32 page_[KVM_APIC_REG_SIZE / 4];
  u64 base_;
  u64 deadline_;  // guest ns, ~0 = not running
  u64 tsc_deadline_;
  u64 tsc_offset_ = 0;
};

/// Register offsets (SDM table 11-1).
namespace apic {
constexpr u32 ID = 0x020, VERSION = 0x030, TPR = 0x080, PPR = 0x0a0, EOI = 0x0b0, LDR = 0x0d0,
              DFR = 0x0e0, SVR = 0x0f0, ISR = 0x100, TMR = 0x180, IRR = 0x200, ESR = 0x280,
              ESR_PENDING = 0x284, CMCI = 0x2f0, ICR = 0x300, ICR_HIGH = 0x310, LVT_TIMER = 0x320,
              LVT_THERMAL = 0x330, LVT_PERF = 0x340, LVT_LINT0 = 0x350, LVT_LINT1 = 0x360,
              LVT_ERROR = 0x370, INITIAL_COUNT = 0x380, CURRENT_COUNT = 0x390, DIVIDE = 0x3e0,
              SELF_IPI = 0x3f0;
constexpr u32 MASKED = 1 << 16;
constexpr u32 LVTS[] = {CMCI, LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR};
// ESR (11.5.3)
constexpr u32 SEND_ILLEGAL = 1 << 5, RECEIVED_ILLEGAL = 1 << 6, ILLEGAL_REGISTER = 1 << 7;
}  // namespace apic

}  // namespace colo::soft
