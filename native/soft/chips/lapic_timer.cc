// Local APIC timer (Intel SDM vol. 3, 11.5.4): one-shot, periodic, TSC-deadline.
#include "soft/chips/lapic.h"
#include "soft/chips/timer_limits.h"

namespace colo::soft {

/// Divide configuration: bits 3, 1, 0; 111 means 1.
u64 Lapic::divider() const {
  const u32 code = (reg(apic::DIVIDE) & 3) | (reg(apic::DIVIDE) >> 1 & 4);
  return 1ull << ((code + 1) & 7);
}

void Lapic::count_from(u64 count, u64 now) {
  deadline_ = count ? (now / divider() + count) * divider() : ~0ull;
  space_out(now);
}

/// The next interrupt may be several periods away (see merged_period): the counter shows the end of
/// this one.
u32 Lapic::current_count(u64 now) const {
  if (timer_mode() == TimerMode::TscDeadline || deadline_ == ~0ull || deadline_ <= now) return 0;
  const u64 left = deadline_ / divider() - now / divider(), initial = reg(apic::INITIAL_COUNT);
  return static_cast<u32>(left > initial && initial ? (left - 1) % initial + 1 : left);
}

/// A masked timer runs on but nobody need wake for it.
u64 Lapic::deadline() const { return reg(apic::LVT_TIMER) & apic::MASKED ? ~0ull : deadline_; }

/// A period that is too short interrupts at its first end in each kMinPeriodNs of the clock: that
/// follows from the current count alone, as everything about this timer does, so a loaded state
/// goes on like the saved one. Otherwise the next end is meant.
void Lapic::space_out(u64 now) {
  const u64 period = reg(apic::INITIAL_COUNT) * divider();
  if (timer_mode() == TimerMode::TscDeadline || deadline_ == ~0ull || deadline_ <= now || !period)
    return;
  deadline_ = end_from(now + 1, deadline_, period);
  if (timer_mode() != TimerMode::Periodic || period >= kMinPeriodNs) return;
  const u64 window = now / kMinPeriodNs * kMinPeriodNs;
  const u64 first = end_from(window, deadline_, period);
  deadline_ = first > now ? first : end_from(window + kMinPeriodNs, deadline_, period);
}

/// Periods that passed while nobody looked are merged: IRR has one bit per vector.
void Lapic::service(u64 now) {
  if (deadline_ > now || deadline_ == ~0ull) return;
  const u64 period = reg(apic::INITIAL_COUNT) * divider();
  if (timer_mode() == TimerMode::Periodic && period)
    deadline_ += ((now - deadline_) / period + 1) * period;
  else deadline_ = ~0ull;
  space_out(now);
  tsc_deadline_ = 0;
  local_interrupt(apic::LVT_TIMER);
}

/// Entering or leaving TSC-deadline mode disarms the timer (11.5.4.1).
void Lapic::write_timer_lvt(u32 value, u64 now) {
  const bool was = timer_mode() == TimerMode::TscDeadline;
  reg(apic::LVT_TIMER) = value;
  if (was == (timer_mode() == TimerMode::TscDeadline)) return space_out(now);
  reg(apic::INITIAL_COUNT) = 0;
  deadline_ = ~0ull;
  tsc_deadline_ = 0;
}

void Lapic::write_initial_count(u32 value, u64 now) {
  if (timer_mode() == TimerMode::TscDeadline) return;
  reg(apic::INITIAL_COUNT) = value;
  count_from(value, now);
}

/// The count reached so far goes on at the new rate.
void Lapic::write_divide(u32 value, u64 now) {
  const u32 left = current_count(now);
  reg(apic::DIVIDE) = value;
  if (timer_mode() != TimerMode::TscDeadline) count_from(left, now);
}

void Lapic::set_tsc_deadline(u64 value, u64 now) {
  if (timer_mode() != TimerMode::TscDeadline) return;
  tsc_deadline_ = value;
  arm_tsc_deadline(now);
}

void Lapic::set_tsc_offset(u64 offset, u64 now) {
  tsc_offset_ = offset;
  if (tsc_deadline_) arm_tsc_deadline(now);
}

/// Tick = ns. The comparison is on TSC values, so that a deadline beyond the range of the clock
/// means "never" rather than "long ago".
void Lapic::arm_tsc_deadline(u64 now) {
  const u64 tsc = now + tsc_offset_;
  deadline_ = ~0ull;
  if (!tsc_deadline_) return;
  const u64 wait = tsc_deadline_ > tsc ? tsc_deadline_ - tsc : 0;
  if (__builtin_add_overflow(now, wait, &deadline_)) deadline_ = ~0ull;
}

}  // namespace colo::soft
