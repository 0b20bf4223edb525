#include "vcpu/doorbells.h"

#include <algorithm>
#include <tuple>

namespace colo::vcpu {

namespace {

struct Before {
  bool operator()(const Doorbell& a, const Doorbell& b) const {
    return std::tie(a.space, a.address) < std::tie(b.space, b.address);
  }
};

bool matches(const Doorbell& bell, u8 size, u64 value) {
  if (bell.size != 0 && bell.size != size) return false;
  return !bell.datamatch || *bell.datamatch == value;
}

}  // namespace

void Doorbells::add(const Doorbell& bell) {
  COLO_ASSERT(bell.id < kMaxDoorbells);
  std::lock_guard lock(mutex_);
  bells_.insert(std::upper_bound(bells_.begin(), bells_.end(), bell, Before{}), bell);
}

void Doorbells::remove(u32 id) {
  COLO_ASSERT(id < kMaxDoorbells);
  std::lock_guard lock(mutex_);
  std::erase_if(bells_, [id](const Doorbell& b) { return b.id == id; });
  rung_bits_[id >> 6].fetch_and(~(1ull << (id & 63)), std::memory_order_relaxed);
}

bool Doorbells::ring(Space space, u64 address, u8 size, u64 value) {
  {
    std::lock_guard lock(mutex_);
    auto [from, to] = std::equal_range(bells_.begin(), bells_.end(),
                                       Doorbell{space, address, 0, {}, 0}, Before{});
    auto hit = std::find_if(from, to, [&](const Doorbell& b) { return matches(b, size, value); });
    if (hit == to) return false;
    // Set under the lock, so that remove() cannot be followed by a late ring of the same id.
    u64 before =
        rung_bits_[hit->id >> 6].fetch_or(1ull << (hit->id & 63), std::memory_order_release);
    if (before >> (hit->id & 63) & 1)
      return true;  // whoever set it told the main side, which has not looked yet
  }
  rung_();
  return true;
}

}  // namespace colo::vcpu
