// 8254 programmable interval timer (Intel 231164) and the PC's port 0x61: channel 0 raises IRQ 0,
// channel 2 is gated and read by port 0x61. Counters are not stepped: each is a function of the
// time since its count was loaded, in KVM's image.
//
// As in KVM a new count takes effect at once (the chip waits for the end of a mode 2/3 period) and
// a control word stops the counter. Image: count 0 = control word written, count still missing.
// count_load_time = guest ns, comparable with clock_data.clock.
#pragma once
#include <linux/kvm.h>

#include <string>

#include "base/types.h"

namespace colo::soft {

class I8254 {
 public:
  static constexpr u64 kHz = 1193182;

  I8254() { reset(0); }
  void reset(u64 now);

  static bool owns(u16 port) { return (port >= 0x40 && port <= 0x43) || port == 0x61; }
  u8 read(u16 port, u64 now);
  void write(u16 port, u8 value, u64 now);

  /// Guest ns of channel 0's next rising edge, ~0 if none.
  u64 deadline() const { return next_edge_; }
  /// True if channel 0 rose since the last call; edges in between are merged into one.
  bool service(u64 now);

  void save(kvm_pit_state2& out, u64 now) const;
  static std::string check(const kvm_pit_state2& in, u64 saved_at);
  void load(const kvm_pit_state2& in, u64 saved_at, u64 now);

 private:
  struct Channel : kvm_pit_channel_state {
    i64 frozen = 0;  // ns counted before the gate stopped a gated counter
  };
  static bool stopped(const Channel& c);
  static bool counting(const Channel& c);
  static u64 reload(const Channel& c);
  static u64 ticks(const Channel& c, u64 now);
  static bool output(const Channel& c, u64 now);
  static u16 counter(const Channel& c, u64 now);
  static void latch_count(Channel& c, u64 now);
  static void latch_status(Channel& c, u64 now);
  static u8 read_counter(Channel& c, u64 now);

  void control(u8 value, u64 now);
  void read_back(u8 value, u64 now);
  void write_counter(Channel& c, u8 value, u64 now);
  void load_count(Channel& c, u32 count, u64 now);
  void set_gate(Channel& c, bool gate, u64 now);
  u64 edge_after(u64 now) const;

  Channel channel_[3];
  bool speaker_;
  u64 next_edge_;
};

}  // namespace colo::soft
