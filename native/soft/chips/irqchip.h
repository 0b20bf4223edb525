// The interrupt and timer chips that live beside the software CPU: local APICs (xAPIC and x2APIC,
// Intel SDM vol. 3 ch. 11), IOAPIC (82093AA), i8259 pair, i8254 PIT, port 0x61 speaker gate. Laid
// out as KVM's state images on save. One mutex inside; every public method may be called on any
// thread, and none calls out with the mutex held except `wake`.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "vcpu/contract.h"

namespace colo::soft {

struct Chips;
class Lapic;

/// What one vCPU is told beside interrupts, as bits.
namespace signal {
constexpr u32 NMI = 1, INIT = 2, SIPI = 4;
}

/// What belongs to a local APIC's state and is not in KVM's page image.
struct LapicRest {
  u64 base = 0;          // IA32_APIC_BASE
  u64 tsc_offset = 0;    // of its processor: guest TSC = guest ns + tsc_offset
  u64 tsc_deadline = 0;  // in ticks of that TSC
  bool nmi = false;      // one waits for the processor; that the APIC is disabled does not matter
};

/// The chips as one vCPU sees them: its local APIC, and those that all vCPUs share.
class ChipPort {
 public:
  ChipPort(Chips& chips, u32 index) : chips_(chips), index_(index) {}

  /// Cheap (one atomic load): may an interrupt be deliverable? False positives are allowed, false
  /// negatives are not.
  bool interrupt_pending() const;
  /// As cheap: bits of `signal` that wait.
  u32 signals() const;
  /// Takes one of them back. SIPI: its vector.
  u8 take_signal(u32 which);
  /// Acknowledges the highest deliverable interrupt: its vector, or -1.
  int take_interrupt();
  /// The processor got an INIT: its local APIC begins anew, but for its base and its ID.
  void init();
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
  /// Guest ns of the next timer that this vCPU's thread cares for: of its own APIC, and the first
  /// vCPU's for the PIT too.
  u64 next_deadline_ns() const;

  // State: see Irqchip.
  void save_lapic(kvm_lapic_state& out) const;
  void load_lapic(const kvm_lapic_state& in, const LapicRest& rest);

 private:
  Lapic& apic() const;
  Chips& chips_;
  const u32 index_;
};

class Irqchip {
 public:
  /// apic_ids: one for each vCPU. wake: something changed that vCPU `index` should look at (an
  /// interrupt became deliverable, its deadline moved). Must be thread-safe and quick (it stores a
  /// flag and signals); it may be called with the chip's mutex held.
  Irqchip(vcpu::Clock& clock, const std::vector<u32>& apic_ids,
          std::function<void(u32 index)> wake);
  ~Irqchip();
  ChipPort& port(size_t index) { return ports_[index]; }
  const ChipPort& port(size_t index) const { return ports_[index]; }

  // --- device side
  void set_irq(u32 gsi, bool level);
  void signal_msi(u64 address, u32 data);

  // --- time
  u64 next_deadline_ns() const;  // of all
  void run_timers();

  // --- state
  // Save with the clock stopped, or in the order save, save_lapic, tsc_deadline: a timer that fires
  // in between is then in a later image (twice at worst, which merges) and never lost. Load in the
  // order load_lapic of all, load: the IOAPIC may have an interrupt to hand over at once. Neither
  // looks whether a timer is due: until the last of them, timers are another state's.
  // The PIT's count_load_time is guest ns, comparable with clock.clock (KVM's own image has host
  // ns: the KVM backend converts).
  void save(vcpu::ChipState& out) const;  // clock.clock included
  static std::string check(const vcpu::ChipState& in);
  static std::string check_lapic(const kvm_lapic_state& in, u32 apic_id = 0);
  void load(const vcpu::ChipState& in);
  void reset();

 private:
  std::unique_ptr<Chips> s_;
  std::vector<ChipPort> ports_;
};

}  // namespace colo::soft
