#include "soft/memory/world.h"

#include "soft/cpu/block.h"
#include "soft/memory/mmu.h"
#include "vcpu/signal.h"

namespace colo::soft {
namespace {

/// Others come to their block's end within a microsecond, if they have a core; to be woken takes
/// tens of them.
constexpr u64 kLookNs = 20'000;

}  // namespace

void World::join(Cpu& c) {
  cpus_.push_back(&c);
  for (Cpu* each : cpus_) each->alone = single() || in_turns_;
  if (cpus_.size() == 2) writers_.reset(new std::atomic<u8>[ram_.page_count()]());
}

void World::enter(Cpu& c) {
  if (single() || in_turns_) return;
  vcpu::spin_until([this] { return !owner_.load(std::memory_order_relaxed); }, kLookNs);
  std::unique_lock lock(mutex_);
  moved_.wait(lock, [this] { return !owner_.load(std::memory_order_relaxed); });
  c.running.store(true, std::memory_order_relaxed);
}

void World::leave(Cpu& c) {
  if (single() || in_turns_) return;
  std::lock_guard lock(mutex_);
  c.running.store(false, std::memory_order_relaxed);
  if (owner_.load(std::memory_order_relaxed)) moved_.notify_all();
}

bool World::others_stand(const Cpu& c) const {
  for (const Cpu* each : cpus_)
    if (each != &c && each->running.load(std::memory_order_relaxed)) return false;
  return true;
}

void World::begin_alone(Cpu& c) {
  COLO_ASSERT(!c.alone);
  leave(c);
  {
    std::unique_lock lock(mutex_);
    moved_.wait(lock, [this] { return !owner_.load(std::memory_order_relaxed); });
    owner_.store(&c, std::memory_order_relaxed);
    for (Cpu* each : cpus_)
      if (each != &c) each->poke();
  }
  vcpu::spin_until([&] { return others_stand(c); }, kLookNs);
  std::unique_lock lock(mutex_);  // orders what they did before what comes now
  moved_.wait(lock, [&] { return others_stand(c); });
  c.alone = true;
}

void World::end_alone(Cpu& c) {
  std::lock_guard lock(mutex_);
  c.alone = false;
  c.running.store(true, std::memory_order_relaxed);
  owner_.store(nullptr, std::memory_order_relaxed);
  moved_.notify_all();
}

bool World::announce_writer(const Cpu& c, u64 page) {
  if (writers_[page].load(std::memory_order_relaxed) & c.bit()) return true;
  writers_[page].fetch_or(c.bit());
  return !ram_.code_flag(page).load();
}

/// Who writes through a tag does not look at the flag: such tags must be gone, and what was written
/// through them be visible, before the first byte is read.
void World::claim_code(Cpu& c, u64 page) {
  ram_.code_flag(page).fetch_or(c.bit());
  if (single() || !(writers_[page].load() & ~c.bit())) return;
  const Alone alone(c);
  for (Cpu* each : cpus_)
    if (each != &c) each->mmu->drop_write_tags(page << kPageShift);
  writers_[page].fetch_and(c.bit());
}

/// The bytes must be visible before the flag is read: see GuestRam::mark_offset_written.
void World::tell_others(const Cpu& c, u64 offset, u64 len) {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  const u8 flags = ram_.code_flag(offset >> kPageShift).load() & static_cast<u8>(~c.bit());
  if (COLO_LIKELY(!flags)) return;
  for (Cpu* each : cpus_) {
    if (!(flags & each->bit())) continue;
    each->blocks->queue_written(offset, len);
    each->poke();
  }
}

}  // namespace colo::soft
