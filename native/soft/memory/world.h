// The vCPUs of one VM, as far as they must know of each other: who has decoded which page, and how
// one of them gets to be alone.
//
// A vCPU in guest code can be told something only at its next block end. What must not wait so long
// is done alone: the others are held at their next block end, and go on when it is done. That is
// rare. It takes a LOCK over two cache lines (a bus lock, on hardware too), and a page to become
// code that another vCPU may be writing through a write tag.
#pragma once
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <vector>

#include "soft/cpu/cpu.h"

namespace colo::soft {

class World {
 public:
  /// in_turns: one thread runs all of them, one after the other. Then each is always alone.
  explicit World(memory::GuestRam& ram, bool in_turns) : ram_(ram), in_turns_(in_turns) {}
  World(const World&) = delete;

  /// Before the first of them runs.
  void join(Cpu& c);
  bool single() const { return cpus_.size() == 1; }
  bool in_turns() const { return in_turns_; }

  // --- alone. The caller keeps no pointer into guest RAM and relies on no TLB entry across these.
  /// About to run guest code: waits while another one is alone.
  void enter(Cpu& c);
  /// Runs none for a while.
  void leave(Cpu& c);
  /// At a block end: lets the one that wants to be alone be so.
  void yield(Cpu& c) {
    if (COLO_LIKELY(!owner_.load(std::memory_order_relaxed))) return;
    leave(c);
    enter(c);
  }
  /// In guest code. On return no other vCPU runs, until end_alone().
  void begin_alone(Cpu& c);
  void end_alone(Cpu& c);

  // --- decoded code: GuestRam::code_flag has a bit for each vCPU
  /// Before c reads bytes of this page to decode them: from now on every write to it comes to know.
  void claim_code(Cpu& c, u64 page);
  void release_code(const Cpu& c, u64 page) {
    ram_.code_flag(page).fetch_and(static_cast<u8>(~c.bit()));
  }
  /// May c have a write tag for this page, as far as code goes? Then it is known to have one.
  bool may_tag_write(const Cpu& c, u64 page) {
    if (ram_.code_flag(page).load(std::memory_order_relaxed)) return false;
    return single() || announce_writer(c, page);
  }
  /// c has written [offset, offset+len) within a page, not through a write tag.
  void written(const Cpu& c, u64 offset, u64 len) {
    if (!single()) tell_others(c, offset, len);
  }

 private:
  bool announce_writer(const Cpu& c, u64 page);
  void tell_others(const Cpu& c, u64 offset, u64 len);
  bool others_stand(const Cpu& c) const;

  memory::GuestRam& ram_;
  const bool in_turns_;
  std::vector<Cpu*> cpus_;
  /// By page, a bit for each vCPU that may hold a write tag. Set before code_flag is read, as
  /// claim_code sets that before it reads this: one of the two sees the other.
  std::unique_ptr<std::atomic<u8>[]> writers_;
  std::mutex mutex_;  // over owner_ and Cpu::running
  std::condition_variable moved_;
  std::atomic<Cpu*> owner_{nullptr};  // who is alone, or waits for the others to stand
};

/// Alone for as long as it lives.
class Alone {
 public:
  explicit Alone(Cpu& c) : c_(c), was_(c.alone) {
    if (!was_) c.world->begin_alone(c);
  }
  ~Alone() {
    if (!was_) c_.world->end_alone(c_);
  }
  Alone(const Alone&) = delete;

 private:
  Cpu& c_;
  const bool was_;
};

/// A vCPU's bus where there are several: who waits for a device keeps none of the others waiting.
class SharedBus final : public vcpu::Bus {
  template <class F>
  auto outside(F access) {
    if (c_.alone) return access();
    world_.leave(c_);
    const auto got = access();
    world_.enter(c_);
    return got;
  }

 public:
  SharedBus(World& world, Cpu& c, vcpu::Bus& bus) : world_(world), c_(c), bus_(bus) {}
  u32 pio_read(u16 port, u8 size) override {
    return outside([&] { return bus_.pio_read(port, size); });
  }
  void pio_write(u16 port, u8 size, u32 value) override {
    outside([&] { return bus_.pio_write(port, size, value), 0; });
  }
  u64 mmio_read(u64 gpa, u8 size) override {
    return outside([&] { return bus_.mmio_read(gpa, size); });
  }
  void mmio_write(u64 gpa, u8 size, u64 value) override {
    outside([&] { return bus_.mmio_write(gpa, size, value), 0; });
  }

 private:
  World& world_;
  Cpu& c_;
  vcpu::Bus& bus_;
};

}  // namespace colo::soft
