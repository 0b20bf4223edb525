// KVM's paravirtual clock (the kernel's KVM msr.rst): the guest reads a record in its own RAM and
// adds the TSC ticks since. Guest ns and TSC ticks both come from one Clock, 1 GHz, and differ by
// tsc_offset only, so the guest's result is exactly Clock::now_ns().
#include <time.h>

#include <atomic>

#include "soft/system/system.h"

namespace colo::soft {

namespace {

constexpr u64 kEnable = 1;

struct TimeInfo {  // pvclock_vcpu_time_info
  u32 version, pad;
  u64 tsc_timestamp, system_time;
  u32 tsc_to_system_mul;
  i8 tsc_shift;
  u8 flags;
  u8 pad2[2];
};
static_assert(sizeof(TimeInfo) == 32);

struct WallClock {  // pvclock_wall_clock
  u32 version, sec, nsec;
};
static_assert(sizeof(WallClock) == 12);

// ns = ((ticks << 1) * 2^31) >> 32 = ticks, exact; what KVM itself computes for 1 GHz.
constexpr u32 kMul = 0x80000000;
constexpr i8 kShift = 1;
constexpr u8 kTscStable = 1, kGuestStopped = 2;

bool still_true(const TimeInfo& t, u64 offset) {
  return !(t.version & 1) && t.version && t.tsc_to_system_mul == kMul && t.tsc_shift == kShift &&
         (t.flags & ~kGuestStopped) == kTscStable && t.tsc_timestamp - offset == t.system_time;
}

/// An odd version tells readers to wait, an even one that differs to read again. The record may be
/// at any address.
template <class Record>
void publish(Cpu& c, u8* at, Record& record) {
  u32 version;
  memcpy(&version, at, 4);
  record.version = (version | 1) + 1;
  const u32 busy = version | 1;
  memcpy(at, &busy, 4);
  std::atomic_thread_fence(std::memory_order_release);
  memcpy(at + 4, reinterpret_cast<const u8*>(&record) + 4, sizeof record - 4);
  std::atomic_thread_fence(std::memory_order_release);
  memcpy(at, &record.version, 4);
  c.ram->mark_offset_written(static_cast<u64>(at - c.ram->base()), sizeof record);
}

}  // namespace

/// Brings the record up to date, with these flags beside those that the guest has not taken yet.
/// One that still says all of it is left alone: then a loaded checkpoint's RAM stays what it was,
/// byte for byte.
static void update(Cpu& c, u8 flags) {
  if (!(c.msr.kvm_system_time & kEnable)) return;
  const u64 gpa = c.msr.kvm_system_time & ~kEnable;
  u8* at = c.map.writable_hva(gpa, sizeof(TimeInfo));
  if (!at) return;  // not RAM: the guest's mistake
  TimeInfo t;
  memcpy(&t, at, sizeof t);
  const u8 all = kTscStable | flags | (t.flags & kGuestStopped);
  if (still_true(t, c.msr.tsc_offset) && t.flags == all) return;
  t = {};
  t.system_time = c.clock->now_ns();
  t.tsc_timestamp = t.system_time + c.msr.tsc_offset;
  t.tsc_to_system_mul = kMul;
  t.tsc_shift = kShift;
  t.flags = all;
  publish(c, at, t);
}

void kvmclock_update(Cpu& c) { update(c, 0); }
void kvmclock_guest_stopped(Cpu& c) { update(c, kGuestStopped); }

/// Wall time at guest ns 0, written once per request.
void kvmclock_wall(Cpu& c, u64 gpa) {
  u8* at = c.map.writable_hva(gpa, sizeof(WallClock));
  if (!gpa || !at) return;
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  const u64 ns = now.tv_sec * 1'000'000'000ull + now.tv_nsec - c.clock->now_ns();
  WallClock w = {0, static_cast<u32>(ns / 1'000'000'000), static_cast<u32>(ns % 1'000'000'000)};
  publish(c, at, w);
}

}  // namespace colo::soft
