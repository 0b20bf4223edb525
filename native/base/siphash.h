// SipHash-2-4 (Aumasson, Bernstein: "SipHash: a fast short-input PRF", 2012): a keyed checksum of a
// few words, which who lacks the key cannot make.
#pragma once
#include <array>
#include <bit>
#include <span>

#include "base/types.h"

namespace colo {

using SipKey = std::array<u64, 2>;

namespace siphash {

struct State {
  u64 v0, v1, v2, v3;

  constexpr void round() {
    v0 += v1, v1 = std::rotl(v1, 13), v1 ^= v0, v0 = std::rotl(v0, 32);
    v2 += v3, v3 = std::rotl(v3, 16), v3 ^= v2;
    v0 += v3, v3 = std::rotl(v3, 21), v3 ^= v0;
    v2 += v1, v1 = std::rotl(v1, 17), v1 ^= v2, v2 = std::rotl(v2, 32);
  }
  constexpr void word(u64 m) {
    v3 ^= m;
    round(), round();
    v0 ^= m;
  }
};

}  // namespace siphash

/// Of whole words, each little-endian as the specification reads bytes.
constexpr u64 siphash24(const SipKey& key, std::span<const u64> words) {
  siphash::State s{key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d,
                   key[0] ^ 0x6c7967656e657261, key[1] ^ 0x7465646279746573};
  for (u64 word : words) s.word(word);
  s.word(static_cast<u64>(words.size() * 8) << 56);
  s.v2 ^= 0xff;
  for (int i = 0; i < 4; i++) s.round();
  return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

/// The reference implementation's own vector for 16 bytes.
static_assert(siphash24({0x0706050403020100, 0x0f0e0d0c0b0a0908},
                        std::array<u64, 2>{0x0706050403020100, 0x0f0e0d0c0b0a0908}) ==
              0x3f2acc7f57c29bdb);

}  // namespace colo
