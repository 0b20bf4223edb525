// The interrupt and timer chips that live beside the software CPU: local APIC (xAPIC and x2APIC,
// Intel SDM vol. 3 ch. 11), IOAPIC (82093AA), i8259 pair, i8254 PIT, port 0x61 speaker gate. Laid
// out as KVM's state images on save. One mutex inside; every public method may be called on any
// thread, and none calls out with the mutex held except `wake`.
#pragma once
#include <functional>
#include <memory>
#include <string>

#include "vcpu/contract.h"

namespace colo::soft {

class Irqchip {
 public:
  /// wake: something changed that a vCPU should look at (an interrupt became deliverable, a
  /// deadline moved). Must be thread-safe and quick (it stores a flag and signals); it may be
  /// called with the chip's mutex held.
  Irqchip(vcpu::Clock& clock, std::function<void()> wake);
  ~Irqchip();

  // --- vCPU side
  /// Cheap (one atomic load): may an interrupt be deliverable? False positives are allowed, false
  /// negatives are not.
  bool interrupt_pending() const;
  /// Acknowledges the highest deliverable interrupt: its vector, or -1. NMI / INIT / SIPI are not
  /// delivered here (one vCPU: ignored, traced).
  int take_interrupt();
  u64 cr8() const;
  void set_cr8(u64 value);
  u64 apic_base() const;
  bool set_apic_base(u64 value);  // false = #GP
  u64 tsc_deadline() const;       // in TSC ticks; TSC = guest ns (1 GHz) + tsc_offset
  void set_tsc_deadline(u64 value);
  void set_tsc_offset(u64 offset);
  bool x2apic_read(u32 msr, u64& value);  // msr 0x800..0x8ff; false = #GP
  bool x2apic_write(u32 msr, u64 value);
  /// True if a chip claims the access (and then it is done).
  bool mmio_read(u64 gpa, u8 size, u64& value);
  bool mmio_write(u64 gpa, u8 size, u64 value);
  bool pio_read(u16 port, u8 size, u32& value);
  bool pio_write(u16 port, u8 size, u32 value);

  // --- device side
  void set_irq(u32 gsi, bool level);
  void signal_msi(u64 address, u32 data);

  // --- time
  u64 next_deadline_ns() const;
  void run_timers();

  // --- state
  // Save with the clock stopped, or in the order save, save_lapic, tsc_deadline: a timer that fires
  // in between is then in a later image (twice at worst, which merges) and never lost. Load in the
  // order set_tsc_offset, load_lapic, load: the IOAPIC may have an interrupt to hand over at once.
  // The PIT's count_load_time is guest ns, comparable with clock.clock (KVM's own image has host
  // ns: the KVM backend converts).
  void save(vcpu::ChipState& out) const;  // clock.clock included
  void save_lapic(kvm_lapic_state& out) const;
  static std::string check(const vcpu::ChipState& in);
  static std::string check_lapic(const kvm_lapic_state& in, u32 apic_id = 0);
  void load(const vcpu::ChipState& in);
  void load_lapic(const kvm_lapic_state& in, u64 apic_base, u64 tsc_deadline);
  void reset();

 private:
  struct State;
  std::unique_ptr<State> s_;
};

}  // namespace colo::soft
