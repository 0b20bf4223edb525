// Wiring of the interrupt and timer chips: address decoding, gsi routing, one mutex, and the two
// cached answers that the CPU polls.
#include "soft/chips/irqchip.h"

#include <algorithm>
#include <atomic>
#include <mutex>

#include "soft/chips/i8254.h"
#include "soft/chips/i8259.h"
#include "soft/chips/ioapic.h"
#include "soft/chips/lapic.h"

namespace colo::soft {
namespace {

constexpr u32 kPitPin = 2;  // ACPI interrupt source override: ISA IRQ 0 is IOAPIC pin 2

u64 truncate(u64 value, u8 size) { return size >= 8 ? value : value & ((1ull << size * 8) - 1); }

}  // namespace

struct Irqchip::State {
  State(vcpu::Clock& clock, std::function<void()> wake) : clock(clock), wake(std::move(wake)) {
    pit.reset(clock.now_ns());
  }

  vcpu::Clock& clock;
  const std::function<void()> wake;
  std::mutex mutex;
  std::atomic<bool> pending{false};
  std::atomic<u64> deadline{~0ull};
  bool intr = false;  // i8259 output as LINT0 last saw it

  I8259Pair pics;
  I8254 pit;
  Lapic lapic{[this](u8 vector) { ioapic.end_of_interrupt(vector); }};
  Ioapic ioapic{[this](const ApicMessage& message) { return lapic.deliver(message); }};

  /// Every public entry: timers that are due come first, so that registers read as of now; then
  /// what the CPU polls is refreshed.
  template <class F>
  auto enter(F f) {
    std::lock_guard lock(mutex);
    const u64 now = clock.now_ns();
    service(now);
    struct Refresh {
      State& s;
      ~Refresh() { s.refresh(); }
    } refresh{*this};
    return f(now);
  }

  void service(u64 now) {
    if (pit.service(now)) {
      set_line(0, true);
      set_line(0, false);
    }
    lapic.service(now);
  }

  void refresh() {
    const bool was = intr;
    intr = pics.output();
    if (intr && !was) lapic.lint0_rose();
    const bool now_pending = (intr && lapic.accepts_extint()) || lapic.deliverable() >= 0;
    const u64 next = std::min(pit.deadline(), lapic.deadline());
    const bool appeared = now_pending && !pending.load(std::memory_order_relaxed);
    const bool sooner = next < deadline.load(std::memory_order_relaxed);
    pending.store(now_pending, std::memory_order_release);
    deadline.store(next, std::memory_order_release);
    if (appeared || sooner) wake();
  }

  void set_line(u32 gsi, bool level) {
    if (gsi < 16) pics.set_irq(gsi, level);
    if (gsi != kPitPin) ioapic.set_pin(gsi == 0 ? kPitPin : gsi, level);
  }

  /// Level lines that a disabled APIC refused are offered again once it listens.
  void apic_changed() {
    if (lapic.software_enabled()) ioapic.retry();
  }

  bool in_lapic(u64 gpa) const {
    return lapic.xapic() && (gpa & kPageMask) == (lapic.base() & kPageMask);
  }
  static bool in_ioapic(u64 gpa) { return (gpa & kPageMask) == Ioapic::kBase; }

  u8 port_read(u16 port, u64 now) {
    if (I8259Pair::owns(port)) return pics.read(port);
    return I8254::owns(port) ? pit.read(port, now) : 0xff;
  }

  void port_write(u16 port, u8 value, u64 now) {
    if (I8259Pair::owns(port)) pics.write(port, value);
    else if (I8254::owns(port)) pit.write(port, value, now);
  }

  /// Pin levels of the ISA lines as the i8259 image knows them.
  u32 isa_pins() const {
    const u32 lines = pics.lines();
    return (lines & ~5u) | (lines & 1) << kPitPin;
  }
};

Irqchip::Irqchip(vcpu::Clock& clock, std::function<void()> wake)
    : s_(std::make_unique<State>(clock, std::move(wake))) {}
Irqchip::~Irqchip() = default;

// --- vCPU side

bool Irqchip::interrupt_pending() const { return s_->pending.load(std::memory_order_acquire); }

int Irqchip::take_interrupt() {
  return s_->enter([&](u64) -> int {
    if (s_->pics.output() && s_->lapic.accepts_extint()) return s_->pics.acknowledge();
    return s_->lapic.acknowledge();
  });
}

u64 Irqchip::cr8() const {
  std::lock_guard lock(s_->mutex);
  return s_->lapic.tpr() >> 4;
}

void Irqchip::set_cr8(u64 value) {
  s_->enter([&](u64) { s_->lapic.set_tpr(static_cast<u8>((value & 15) << 4)); });
}

u64 Irqchip::apic_base() const {
  std::lock_guard lock(s_->mutex);
  return s_->lapic.base();
}

bool Irqchip::set_apic_base(u64 value) {
  return s_->enter([&](u64) {
    const bool ok = s_->lapic.set_base(value);
    if (ok) s_->apic_changed();
    return ok;
  });
}

u64 Irqchip::tsc_deadline() const {
  std::lock_guard lock(s_->mutex);
  return s_->lapic.tsc_deadline();
}

void Irqchip::set_tsc_deadline(u64 value) {
  s_->enter([&](u64 now) {
    s_->lapic.set_tsc_deadline(value, now);
    s_->lapic.service(now);
  });
}

void Irqchip::set_tsc_offset(u64 offset) {
  s_->enter([&](u64 now) {
    s_->lapic.set_tsc_offset(offset, now);
    s_->lapic.service(now);
  });
}

bool Irqchip::x2apic_read(u32 msr, u64& value) {
  return s_->enter([&](u64 now) { return s_->lapic.msr_read(msr, value, now); });
}

bool Irqchip::x2apic_write(u32 msr, u64 value) {
  return s_->enter([&](u64 now) {
    const bool ok = s_->lapic.msr_write(msr, value, now);
    if (ok && msr == 0x800 + (apic::SVR >> 4)) s_->apic_changed();
    return ok;
  });
}

/// Registers are 32 bits wide; a narrower or wider read gets the bytes that are there.
bool Irqchip::mmio_read(u64 gpa, u8 size, u64& value) {
  if ((gpa >> 32) || size > 8) return false;
  return s_->enter([&](u64 now) {
    const u32 offset = gpa & ~kPageMask;
    if (s_->in_lapic(gpa)) value = s_->lapic.mmio_read(offset & ~3u, now);
    else if (State::in_ioapic(gpa)) value = s_->ioapic.read(offset & ~3u);
    else return false;
    value = truncate(value >> (offset & 3) * 8, size);
    return true;
  });
}

/// The local APIC takes aligned 32-bit stores only (11.4.1); the IOAPIC's index register is a byte
/// to some drivers.
bool Irqchip::mmio_write(u64 gpa, u8 size, u64 value) {
  if (gpa >> 32) return false;
  return s_->enter([&](u64 now) {
    const u32 offset = gpa & ~kPageMask;
    const u32 data = static_cast<u32>(truncate(value, size));
    if (s_->in_lapic(gpa)) {
      if (size == 4) s_->lapic.mmio_write(offset, data, now);
      if (offset == apic::SVR) s_->apic_changed();
      return true;
    }
    if (!State::in_ioapic(gpa)) return false;
    s_->ioapic.write(offset, data);
    return true;
  });
}

/// The chips sit on an 8-bit bus: a wider access is a run of byte accesses.
bool Irqchip::pio_read(u16 port, u8 size, u32& value) {
  if (!I8259Pair::owns(port) && !I8254::owns(port)) return false;
  s_->enter([&](u64 now) {
    value = 0;
    for (u32 i = 0; i < size && i < 4; i++)
      value |= static_cast<u32>(s_->port_read(static_cast<u16>(port + i), now)) << i * 8;
  });
  return true;
}

bool Irqchip::pio_write(u16 port, u8 size, u32 value) {
  if (!I8259Pair::owns(port) && !I8254::owns(port)) return false;
  s_->enter([&](u64 now) {
    for (u32 i = 0; i < size && i < 4; i++)
      s_->port_write(static_cast<u16>(port + i), static_cast<u8>(value >> i * 8), now);
  });
  return true;
}

// --- device side

void Irqchip::set_irq(u32 gsi, bool level) {
  s_->enter([&](u64) { s_->set_line(gsi, level); });
}

/// 11.11. Address: dest 19..12, destination mode 2. Data: vector, delivery mode 10..8, trigger 15.
void Irqchip::signal_msi(u64 address, u32 data) {
  if (address >> 20 != 0xfee) return;
  s_->enter([&](u64) {
    s_->lapic.deliver({static_cast<u32>(address >> 12) & 0xff, (address >> 2 & 1) != 0,
                       static_cast<DeliveryMode>(data >> 8 & 7), static_cast<u8>(data),
                       (data >> 15 & 1) != 0});
  });
}

// --- time

u64 Irqchip::next_deadline_ns() const { return s_->deadline.load(std::memory_order_acquire); }

void Irqchip::run_timers() {
  s_->enter([](u64) {});
}

// --- state

void Irqchip::save(vcpu::ChipState& out) const {
  s_->enter([&](u64 now) {
    out = {};
    out.pic_master.chip_id = KVM_IRQCHIP_PIC_MASTER;
    out.pic_slave.chip_id = KVM_IRQCHIP_PIC_SLAVE;
    out.ioapic.chip_id = KVM_IRQCHIP_IOAPIC;
    s_->pics.save(out.pic_master.chip.pic, out.pic_slave.chip.pic);
    s_->ioapic.save(out.ioapic.chip.ioapic);
    s_->pit.save(out.pit, now);
    out.clock.clock = now;
  });
}

void Irqchip::save_lapic(kvm_lapic_state& out) const {
  s_->enter([&](u64 now) { s_->lapic.save(out, now); });
}

std::string Irqchip::check(const vcpu::ChipState& in) {
  if (in.pic_master.chip_id != KVM_IRQCHIP_PIC_MASTER ||
      in.pic_slave.chip_id != KVM_IRQCHIP_PIC_SLAVE || in.ioapic.chip_id != KVM_IRQCHIP_IOAPIC)
    return "irqchip: the chip images are in the wrong places";
  for (std::string fault :
       {I8259Pair::check(in.pic_master.chip.pic, true),
        I8259Pair::check(in.pic_slave.chip.pic, false), Ioapic::check(in.ioapic.chip.ioapic),
        I8254::check(in.pit, in.clock.clock)})
    if (!fault.empty()) return fault;
  return "";
}

std::string Irqchip::check_lapic(const kvm_lapic_state& in, u32 apic_id) {
  return Lapic::check(in, apic_id);
}

void Irqchip::load(const vcpu::ChipState& in) {
  std::lock_guard lock(s_->mutex);
  s_->pics.load(in.pic_master.chip.pic, in.pic_slave.chip.pic);
  s_->ioapic.load(in.ioapic.chip.ioapic, s_->isa_pins());
  s_->pit.load(in.pit, in.clock.clock, s_->clock.now_ns());
  s_->intr = s_->pics.output();  // an INTR that was already high is no new edge on LINT0
  s_->refresh();
}

void Irqchip::load_lapic(const kvm_lapic_state& in, u64 apic_base, u64 tsc_deadline) {
  std::lock_guard lock(s_->mutex);
  s_->lapic.load(in, apic_base, tsc_deadline, s_->clock.now_ns());
  s_->refresh();
}

void Irqchip::reset() {
  std::lock_guard lock(s_->mutex);
  s_->pics.reset();
  s_->ioapic.reset();
  s_->lapic.reset();
  s_->pit.reset(s_->clock.now_ns());
  s_->refresh();
}

}  // namespace colo::soft
