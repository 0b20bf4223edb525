// Wiring of the interrupt and timer chips: address decoding, gsi routing, one mutex, and the
// cached answers that the CPUs poll.
#include "soft/chips/irqchip.h"

#include <algorithm>
#include <atomic>
#include <deque>
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

/// A vCPU's local APIC, and what its thread polls.
struct Local {
  Local(u32 id, bool bootstrap, ApicBus& bus) : apic(id, bootstrap, bus) {}
  Lapic apic;
  std::atomic<bool> pending{false};
  std::atomic<u32> signals{0};
  std::atomic<u64> deadline{~0ull};
};

struct Chips final : ApicBus {
  Chips(vcpu::Clock& clock, const std::vector<u32>& apic_ids, std::function<void(u32)> wake)
      : clock(clock), wake(std::move(wake)) {
    for (const u32 id : apic_ids) locals.emplace_back(id, locals.empty(), *this);
    pit.reset(clock.now_ns());
  }

  vcpu::Clock& clock;
  const std::function<void(u32)> wake;
  std::mutex mutex;
  bool intr = false;  // i8259 output as LINT0 last saw it

  I8259Pair pics;
  I8254 pit;
  std::deque<Local> locals;
  Ioapic ioapic{[this](const ApicMessage& message) { return send(message); }};

  /// Every public entry: timers that are due come first, so that registers read as of now; then
  /// what the CPUs poll is refreshed.
  template <class F>
  auto enter(F f) {
    std::lock_guard lock(mutex);
    const u64 now = clock.now_ns();
    service(now);
    struct Refresh {
      Chips& s;
      ~Refresh() { s.refresh(); }
    } refresh{*this};
    return f(now);
  }

  void service(u64 now) {
    if (pit.service(now)) {
      set_line(0, true);
      set_line(0, false);
    }
    for (Local& local : locals) local.apic.service(now);
  }

  void refresh() {
    const bool was = intr;
    intr = pics.output();
    for (u32 i = 0; i < locals.size(); i++) {
      if (intr && !was) locals[i].apic.lint0_rose();
      refresh(i);
    }
  }

  void refresh(u32 index) {
    Local& local = locals[index];
    const Lapic& apic = local.apic;
    const bool now_pending = (intr && apic.accepts_extint()) || apic.deliverable() >= 0;
    const u32 now_signals = apic.signals();
    const u64 next = index == 0 ? std::min(pit.deadline(), apic.deadline()) : apic.deadline();
    const bool appeared = (now_pending && !local.pending.load(std::memory_order_relaxed)) ||
                          (now_signals & ~local.signals.load(std::memory_order_relaxed));
    const bool sooner = next < local.deadline.load(std::memory_order_relaxed);
    local.pending.store(now_pending, std::memory_order_release);
    local.signals.store(now_signals, std::memory_order_release);
    local.deadline.store(next, std::memory_order_release);
    if (appeared || sooner) wake(index);
  }

  /// To all that it addresses, or to the least busy of them. False: none took it.
  bool send(const ApicMessage& message) override {
    if (message.mode == DeliveryMode::Lowest) {
      Lapic* least = nullptr;
      for (Local& local : locals) {
        Lapic& apic = local.apic;
        if (!apic.addressed(message) || !apic.software_enabled()) continue;
        if (!least || apic.processor_priority() < least->processor_priority()) least = &apic;
      }
      return least && least->take(message);
    }
    bool taken = false;
    for (Local& local : locals)
      if (local.apic.addressed(message)) taken |= local.apic.take(message);
    return taken;
  }
  void end_of_interrupt(u8 vector) override { ioapic.end_of_interrupt(vector); }

  void set_line(u32 gsi, bool level) {
    if (gsi < 16) pics.set_irq(gsi, level);
    if (gsi != kPitPin) ioapic.set_pin(gsi == 0 ? kPitPin : gsi, level);
  }

  /// Level lines that a disabled APIC refused are offered again once it listens.
  void apic_changed(const Lapic& lapic) {
    if (lapic.software_enabled()) ioapic.retry();
  }

  static bool in_lapic(const Lapic& lapic, u64 gpa) {
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

Irqchip::Irqchip(vcpu::Clock& clock, const std::vector<u32>& apic_ids,
                 std::function<void(u32)> wake)
    : s_(std::make_unique<Chips>(clock, apic_ids, std::move(wake))) {
  for (u32 i = 0; i < apic_ids.size(); i++) ports_.emplace_back(*s_, i);
}
Irqchip::~Irqchip() = default;

Lapic& ChipPort::apic() const { return chips_.locals[index_].apic; }

// --- vCPU side

bool ChipPort::interrupt_pending() const {
  return chips_.locals[index_].pending.load(std::memory_order_acquire);
}
u32 ChipPort::signals() const {
  return chips_.locals[index_].signals.load(std::memory_order_acquire);
}
u64 ChipPort::next_deadline_ns() const {
  return chips_.locals[index_].deadline.load(std::memory_order_acquire);
}

u8 ChipPort::take_signal(u32 which) {
  return chips_.enter([&](u64) { return apic().take_signal(which); });
}

void ChipPort::init() {
  chips_.enter([&](u64) { apic().init(); });
}

int ChipPort::take_interrupt() {
  return chips_.enter([&](u64) -> int {
    if (chips_.pics.output() && apic().accepts_extint()) return chips_.pics.acknowledge();
    return apic().acknowledge();
  });
}

u64 ChipPort::cr8() const {
  std::lock_guard lock(chips_.mutex);
  return apic().tpr() >> 4;
}

void ChipPort::set_cr8(u64 value) {
  chips_.enter([&](u64) { apic().set_tpr(static_cast<u8>((value & 15) << 4)); });
}

u64 ChipPort::apic_base() const {
  std::lock_guard lock(chips_.mutex);
  return apic().base();
}

bool ChipPort::set_apic_base(u64 value) {
  return chips_.enter([&](u64) {
    const bool ok = apic().set_base(value);
    if (ok) chips_.apic_changed(apic());
    return ok;
  });
}

u64 ChipPort::tsc_deadline() const {
  std::lock_guard lock(chips_.mutex);
  return apic().tsc_deadline();
}

void ChipPort::set_tsc_deadline(u64 value) {
  chips_.enter([&](u64 now) {
    apic().set_tsc_deadline(value, now);
    apic().service(now);
  });
}

void ChipPort::set_tsc_offset(u64 offset) {
  chips_.enter([&](u64 now) {
    apic().set_tsc_offset(offset, now);
    apic().service(now);
  });
}

bool ChipPort::x2apic_read(u32 msr, u64& value) {
  return chips_.enter([&](u64 now) { return apic().msr_read(msr, value, now); });
}

bool ChipPort::x2apic_write(u32 msr, u64 value) {
  return chips_.enter([&](u64 now) {
    const bool ok = apic().msr_write(msr, value, now);
    if (ok && msr == 0x800 + (apic::SVR >> 4)) chips_.apic_changed(apic());
    return ok;
  });
}

/// Registers are 32 bits wide; a narrower or wider read gets the bytes that are there.
bool ChipPort::mmio_read(u64 gpa, u8 size, u64& value) {
  if ((gpa >> 32) || size > 8) return false;
  return chips_.enter([&](u64 now) {
    const u32 offset = gpa & ~kPageMask;
    if (Chips::in_lapic(apic(), gpa)) value = apic().mmio_read(offset & ~3u, now);
    else if (Chips::in_ioapic(gpa)) value = chips_.ioapic.read(offset & ~3u);
    else return false;
    value = truncate(value >> (offset & 3) * 8, size);
    return true;
  });
}

/// The local APIC takes aligned 32-bit stores only (11.4.1); the IOAPIC's index register is a byte
/// to some drivers.
bool ChipPort::mmio_write(u64 gpa, u8 size, u64 value) {
  if (gpa >> 32) return false;
  return chips_.enter([&](u64 now) {
    const u32 offset = gpa & ~kPageMask;
    const u32 data = static_cast<u32>(truncate(value, size));
    if (Chips::in_lapic(apic(), gpa)) {
      if (size == 4) apic().mmio_write(offset, data, now);
      if (offset == apic::SVR) chips_.apic_changed(apic());
      return true;
    }
    if (!Chips::in_ioapic(gpa)) return false;
    chips_.ioapic.write(offset, data);
    return true;
  });
}

/// The chips sit on an 8-bit bus: a wider access is a run of byte accesses.
bool ChipPort::pio_read(u16 port, u8 size, u32& value) {
  if (!I8259Pair::owns(port) && !I8254::owns(port)) return false;
  chips_.enter([&](u64 now) {
    value = 0;
    for (u32 i = 0; i < size && i < 4; i++)
      value |= static_cast<u32>(chips_.port_read(static_cast<u16>(port + i), now)) << i * 8;
  });
  return true;
}

bool ChipPort::pio_write(u16 port, u8 size, u32 value) {
  if (!I8259Pair::owns(port) && !I8254::owns(port)) return false;
  chips_.enter([&](u64 now) {
    for (u32 i = 0; i < size && i < 4; i++)
      chips_.port_write(static_cast<u16>(port + i), static_cast<u8>(value >> i * 8), now);
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
    s_->send({static_cast<u32>(address >> 12) & 0xff, (address >> 2 & 1) != 0,
              static_cast<DeliveryMode>(data >> 8 & 7), static_cast<u8>(data),
              (data >> 15 & 1) != 0});
  });
}

// --- time

u64 Irqchip::next_deadline_ns() const {
  u64 next = ~0ull;
  for (const ChipPort& port : ports_) next = std::min(next, port.next_deadline_ns());
  return next;
}

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

void ChipPort::save_lapic(kvm_lapic_state& out) const {
  chips_.enter([&](u64 now) { apic().save(out, now); });
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

/// Not by enter(): a timer of the old state that is due must not reach into the new one.
void ChipPort::load_lapic(const kvm_lapic_state& in, const LapicRest& rest) {
  std::lock_guard lock(chips_.mutex);
  apic().load(in, rest, chips_.clock.now_ns());
  chips_.refresh();
}

void Irqchip::reset() {
  std::lock_guard lock(s_->mutex);
  s_->pics.reset();
  s_->ioapic.reset();
  for (Local& local : s_->locals) local.apic.reset();
  s_->pit.reset(s_->clock.now_ns());
  s_->refresh();
}

}  // namespace colo::soft
