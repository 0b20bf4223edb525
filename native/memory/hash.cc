// A 64-bit hash of all RAM, to prove that two machines hold the same memory. Not cryptographic: it
// looks for our own mistakes.
#include <cstring>

#include "memory/ram.h"

namespace colo::memory {

namespace {

constexpr u64 kSeed[4] = {0x9e3779b97f4a7c15ull, 0xc2b2ae3d27d4eb4full, 0x165667b19e3779f9ull,
                          0xd6e8feb86659fd93ull};

/// 64x64 -> 128 multiply, halves folded: one multiply mixes sixteen bytes.
COLO_INLINE u64 fold(u64 a, u64 b) {
  u128 p = static_cast<u128>(a) * b;
  return static_cast<u64>(p) ^ static_cast<u64>(p >> 64);
}

/// Four independent lanes, so that the multiplier's latency does not bound the scan. 0 for a page
/// of zeroes.
u64 hash_page(const u8* bytes) {
  u64 lane[4] = {kSeed[0], kSeed[1], kSeed[2], kSeed[3]};
  u64 any = 0;
  for (size_t at = 0; at < kPageSize; at += 64) {
    u64 w[8];
    memcpy(w, bytes + at, sizeof w);
    any |= w[0] | w[1] | w[2] | w[3] | w[4] | w[5] | w[6] | w[7];
    for (size_t i = 0; i < 4; i++)
      lane[i] = fold(w[2 * i] ^ lane[i], w[2 * i + 1] ^ kSeed[i]) + lane[i];
  }
  if (any == 0) return 0;
  return fold(lane[0] ^ lane[2], lane[1] ^ kSeed[3]) ^ fold(lane[3], lane[2] ^ kSeed[1]);
}

}  // namespace

// A sum over pages: order does not matter, and a page of zeroes adds nothing, so that it equals a
// hole.
u64 GuestRam::hash() const {
  u64 sum = fold(size_ ^ kSeed[0], kSeed[1]);
  for (const Extent& e : populated()) {
    for (u64 page = e.first_page; page < e.first_page + e.pages; page++) {
      u64 h = hash_page(base_ + (page << kPageShift));
      if (h) sum += fold(h ^ kSeed[2], (page + 1) * kSeed[0]);
    }
  }
  return sum;
}

}  // namespace colo::memory
