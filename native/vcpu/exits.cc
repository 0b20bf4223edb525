#include "vcpu/exits.h"

#include <immintrin.h>

namespace colo::vcpu {

namespace {

/// How long a vCPU looks before it sleeps. An answer takes a few microseconds; sleeping and being woken costs about as much again, on
/// both sides. Longer would burn a core that the main thread may need.
constexpr int kSpins = 100;

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
  for (int i = 0; i < kSpins && !settled(); i++) _mm_pause();
  for (;;) {
    u32 armed = answered_.arm();
    if (settled()) break;
    answered_.wait(armed);
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
