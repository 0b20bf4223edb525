#include "vcpu/exits.h"

namespace colo::vcpu {

namespace {

u64 cut(u64 value, u8 size) { return size >= 8 ? value : value & ((1ull << (size * 8)) - 1); }

}  // namespace

u64 ExitBus::exchange(ExitKind kind, u64 address, u8 size, u64 data) {
  page_ = {kind, size, static_cast<double>(address), data};
  u64 value = answer() ? page_.data : ~0ull;
  return cut(value, size);
}

bool PostedBus::answer() {
  // Release: the page goes with it. seq_cst against abandon(), which looks the other way round.
  state_.store(State::Posted, std::memory_order_seq_cst);
  if (!abandoned_.load(std::memory_order_seq_cst)) post_();
  u64 from = host_now_ns();
  u64 look = patience_.begin();
  while (!spin_until([this] { return settled(); }, look)) {
    u32 armed = answered_.arm();
    if (!settled()) answered_.wait(armed);
    look = 0;
  }
  patience_.end(host_now_ns() - from);
  return state_.load(std::memory_order_acquire) == State::Idle;
}

void PostedBus::complete() {
  state_.store(State::Idle, std::memory_order_release);
  answered_.notify();
}

void PostedBus::abandon() {
  abandoned_.store(true, std::memory_order_seq_cst);
  answered_.notify();
}

}  // namespace colo::vcpu
