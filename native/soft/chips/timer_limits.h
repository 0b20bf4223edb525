// How often the chips' periodic timers may interrupt.
#pragma once
#include "base/types.h"

namespace colo::soft {

/// KVM's default (its min_timer_period_us): 5 kHz is beyond any guest's tick, and a guest that asks
/// for more, even while it sleeps with interrupts off, cannot keep the host's threads busy.
/// One-shot timers need no limit: the guest must run to set each.
constexpr u64 kMinPeriodNs = 200'000;

/// Of periods that are too short some ends are left out, so that counters read as the chip's own.
/// Of ends that lie `period` apart, one of them at `end`: the first at or behind `from`.
constexpr u64 end_from(u64 from, u64 end, u64 period) {
  return end >= from ? end - (end - from) / period * period
                     : end + (from - end + period - 1) / period * period;
}
/// The multiple of `period` that is at least `least`.
constexpr u64 merged_period(u64 period, u64 least) {
  return period >= least ? period : (least + period - 1) / period * period;
}

}  // namespace colo::soft
