#include "soft/chips/i8254.h"

#include <algorithm>

#include "soft/chips/timer_limits.h"

namespace colo::soft {
namespace {

constexpr u8 kUnprogrammed = 0xff;  // KVM's mode after reset
constexpr u32 kSecond = 1000000000;
/// 73 years: no counter is older, so that differences of times stay inside an i64.
constexpr i64 kLongAgo = 1ll << 61;
constexpr u64 kMinPeriodTicks = kMinPeriodNs * I8254::kHz / kSecond + 1;
enum Access : u8 { Lsb = 1, Msb = 2, WordLow = 3, WordHigh = 4 };

/// The first ns at which `ticks` input clocks have passed.
i64 ns_of(u64 ticks) {
  return static_cast<i64>((static_cast<u128>(ticks) * kSecond + I8254::kHz - 1) / I8254::kHz);
}

u32 from_bcd(u32 v) {
  return (v >> 12 & 15) * 1000 + (v >> 8 & 15) * 100 + (v >> 4 & 15) * 10 + (v & 15);
}
u32 to_bcd(u32 v) {
  return (v / 1000 % 10) << 12 | (v / 100 % 10) << 8 | (v / 10 % 10) << 4 | v % 10;
}

bool gate_triggered(u8 mode) { return mode == 1 || mode == 5; }

}  // namespace

void I8254::reset(u64 now) {
  for (int i = 0; i < 3; i++) {
    Channel& c = channel_[i] = {};
    c.mode = kUnprogrammed;
    c.gate = i != 2;
    c.count = 0x10000;
    c.count_load_time = static_cast<i64>(now);
  }
  speaker_ = false;
  next_edge_ = ~0ull;
}

bool I8254::stopped(const Channel& c) { return !c.gate && !gate_triggered(c.mode); }
bool I8254::counting(const Channel& c) { return c.mode <= 5 && c.count != 0; }

u64 I8254::reload(const Channel& c) {
  if (!c.bcd) return c.count;
  const u32 n = from_bcd(c.count);
  return n ? n : 10000;
}

u64 I8254::ticks(const Channel& c, u64 now) {
  const i64 elapsed = stopped(c) ? c.frozen : static_cast<i64>(now) - c.count_load_time;
  return elapsed <= 0 ? 0 : static_cast<u64>(static_cast<u128>(elapsed) * kHz / kSecond);
}

/// The OUT pin ("Mode Definitions").
bool I8254::output(const Channel& c, u64 now) {
  if (!counting(c)) return c.mode != 0;
  const u64 n = reload(c), t = ticks(c, now);
  switch (c.mode) {
    case 0:
    case 1:
      return t >= n;
    case 2:
      return !c.gate || t % n != n - 1;
    case 3:
      return !c.gate || t % n < (n + 1) / 2;
    default:
      return t != n;
  }
}

u16 I8254::counter(const Channel& c, u64 now) {
  if (!counting(c)) return 0;
  const u64 n = reload(c), t = ticks(c, now), wrap = c.bcd ? 10000 : 0x10000;
  u64 value;
  if (c.mode == 2) value = n - t % n;
  else if (c.mode == 3) value = n - t * 2 % n;  // counts by two, twice per period
  else value = (n + wrap - t % wrap) % wrap;
  return static_cast<u16>(c.bcd ? to_bcd(static_cast<u32>(value)) : value);
}

u64 I8254::edge_after(u64 now) const {
  const Channel& c = channel_[0];
  if (!counting(c) || stopped(c) || gate_triggered(c.mode)) return ~0ull;
  const u64 n = reload(c);
  u64 edge = n;
  if (c.mode == 4) edge = n + 1;  // the strobe is low for one clock
  if (c.mode == 2 || c.mode == 3) {
    const u64 step = merged_period(n, kMinPeriodTicks);
    edge = (ticks(c, now) / step + 1) * step;
  }
  const i64 at = c.count_load_time + ns_of(edge);
  return at > static_cast<i64>(now) ? static_cast<u64>(at) : ~0ull;
}

bool I8254::service(u64 now) {
  if (now < next_edge_) return false;
  next_edge_ = edge_after(now);
  return true;
}

void I8254::load_count(Channel& c, u32 count, u64 now) {
  c.count = count ? count : 0x10000;
  c.frozen = 0;
  c.count_load_time = static_cast<i64>(now);
  // A one-shot that waits for its trigger looks like one that has run out.
  if (gate_triggered(c.mode)) c.count_load_time -= ns_of(reload(c) + 2);
  next_edge_ = edge_after(now);
}

void I8254::set_gate(Channel& c, bool gate, u64 now) {
  const bool rose = gate && !c.gate, fell = !gate && c.gate;
  const i64 time = static_cast<i64>(now);
  if (fell) c.frozen = time - c.count_load_time;
  if (rose)
    c.count_load_time =
        c.mode == 0 || c.mode == 4 || c.mode == kUnprogrammed ? time - c.frozen : time;
  c.gate = gate;
}

u8 I8254::read(u16 port, u64 now) {
  if (port == 0x43) return 0xff;  // the control word cannot be read
  if (port != 0x61) return read_counter(channel_[port & 3], now);
  const bool refresh = now >> 14 & 1;  // toggles about every 15 us
  const Channel& c = channel_[2];
  return static_cast<u8>(c.gate | speaker_ << 1 | refresh << 4 | output(c, now) << 5);
}

void I8254::write(u16 port, u8 value, u64 now) {
  if (port == 0x61) {
    speaker_ = value >> 1 & 1;
    set_gate(channel_[2], value & 1, now);
  } else if (port == 0x43) {
    control(value, now);
  } else {
    write_counter(channel_[port & 3], value, now);
  }
}

void I8254::control(u8 value, u64 now) {
  if (value >> 6 == 3) return read_back(value, now);
  Channel& c = channel_[value >> 6];
  const u8 access = value >> 4 & 3;
  if (access == 0) return latch_count(c, now);
  c.rw_mode = c.read_state = c.write_state = access;
  c.mode = value >> 1 & 7;
  if (c.mode > 5) c.mode -= 4;  // 6 and 7 are 2 and 3: the top bit is "don't care"
  c.bcd = value & 1;
  c.count = 0;
  c.count_latched = c.status_latched = 0;
  next_edge_ = edge_after(now);
}

void I8254::read_back(u8 value, u64 now) {
  for (int i = 0; i < 3; i++) {
    if (!(value >> (i + 1) & 1)) continue;
    if (!(value & 0x20)) latch_count(channel_[i], now);
    if (!(value & 0x10)) latch_status(channel_[i], now);
  }
}

void I8254::latch_count(Channel& c, u64 now) {
  if (c.count_latched) return;  // held until it has been read
  c.latched_count = counter(c, now);
  c.count_latched = c.rw_mode;
}

void I8254::latch_status(Channel& c, u64 now) {
  if (c.status_latched) return;
  const bool null_count = c.count == 0;
  c.status = static_cast<u8>(output(c, now) << 7 | null_count << 6 | c.rw_mode << 4 |
                             (c.mode & 7) << 1 | c.bcd);
  c.status_latched = 1;
}

u8 I8254::read_counter(Channel& c, u64 now) {
  if (c.status_latched) {
    c.status_latched = 0;
    return c.status;
  }
  if (c.count_latched) {
    const bool high = c.count_latched == Msb;
    c.count_latched = c.count_latched == WordLow ? Msb : 0;
    return static_cast<u8>(c.latched_count >> (high ? 8 : 0));
  }
  const bool high = c.read_state == Msb || c.read_state == WordHigh;
  if (c.read_state == WordLow || c.read_state == WordHigh) c.read_state ^= WordLow ^ WordHigh;
  return static_cast<u8>(counter(c, now) >> (high ? 8 : 0));
}

void I8254::write_counter(Channel& c, u8 value, u64 now) {
  switch (c.write_state) {
    case Lsb:
      return load_count(c, value, now);
    case Msb:
      return load_count(c, static_cast<u32>(value) << 8, now);
    case WordLow:
      c.write_latch = value;
      c.write_state = WordHigh;
      break;
    case WordHigh:
      c.write_state = WordLow;
      load_count(c, static_cast<u32>(value) << 8 | c.write_latch, now);
      break;
    default:
      break;  // never programmed
  }
}

void I8254::save(kvm_pit_state2& out, u64 now) const {
  out = {};
  for (int i = 0; i < 3; i++) {
    const Channel& c = channel_[i];
    out.channels[i] = c;
    if (stopped(c)) out.channels[i].count_load_time = static_cast<i64>(now) - c.frozen;
  }
  out.flags = speaker_ ? KVM_PIT_FLAGS_SPEAKER_DATA_ON : 0;
}

/// Nothing here may depend on how far the clock has come, or a machine that was accepted could not
/// be saved later.
std::string I8254::check(const kvm_pit_state2& in, u64 saved_at) {
  if (saved_at >> 63) return "i8254: the time of saving is out of range";
  if (in.flags & ~static_cast<u32>(KVM_PIT_FLAGS_SPEAKER_DATA_ON))
    return "i8254: flags that this machine does not have are set";
  for (const kvm_pit_channel_state& c : in.channels) {
    if (c.mode > 5 && c.mode != kUnprogrammed) return "i8254: mode is out of range";
    if (c.count > 0x10000) return "i8254: count is out of range";
    if (c.rw_mode > 3 || c.read_state > WordHigh || c.write_state > WordHigh || c.count_latched > 3)
      return "i8254: access state is out of range";
    if (c.gate > 1 || c.bcd > 1 || c.status_latched > 1) return "i8254: a flag is neither 0 nor 1";
    if (c.count_load_time < -kLongAgo) return "i8254: count was loaded before time began";
    if (c.count_load_time > static_cast<i64>(saved_at))
      return "i8254: count was loaded after the state was saved";
  }
  return "";
}

void I8254::load(const kvm_pit_state2& in, u64 saved_at, u64 now) {
  for (int i = 0; i < 3; i++) {
    Channel& c = channel_[i];
    static_cast<kvm_pit_channel_state&>(c) = in.channels[i];
    c.frozen = static_cast<i64>(
        std::min(saved_at - static_cast<u64>(c.count_load_time), static_cast<u64>(kLongAgo)));
    c.count_load_time = static_cast<i64>(now) - c.frozen;
  }
  speaker_ = in.flags & KVM_PIT_FLAGS_SPEAKER_DATA_ON;
  next_edge_ = edge_after(now);
}

}  // namespace colo::soft
