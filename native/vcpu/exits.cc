#include "vcpu/exits.h"

namespace colo::vcpu {

namespace {

/// How long a vCPU looks for its answer before it sleeps. Measured with 2 cores (round trip of an exit, median): accesses 5 us apart
/// 1.3 us instead of 60, 100 us apart 27 instead of 65; beyond this the main thread is busy with something else, and needs the core.
constexpr u64 kSpinNs = 50'000;

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
  while (!spin_until([this] { return settled(); }, kSpinNs)) {
    u32 armed = answered_.arm();
    if (!settled()) answered_.wait(armed);
  }
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
