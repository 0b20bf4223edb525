#include "memory/page_delta.h"

#include <bit>
#include <cstring>

namespace colo::memory {

namespace {

constexpr size_t kWordBytes = 8;
constexpr size_t kPageWords = kPageSize / kWordBytes;
constexpr size_t kRunMax = 255;
/// Words that are compared at once while they are equal.
constexpr size_t kStride = 8;

constexpr u32 kPrime[3] = {2654435761u, 2246822519u, 3266489917u};
constexpr size_t kLanes = 8;

/// One byte of every 16, at another place in each.
constexpr size_t kSamples = 256;
/// Noise has 162 different bytes in so many samples, give or take 5.
constexpr int kNoiseBytes = 140;

COLO_INLINE u64 word_at(const u8* page, size_t word) {
  u64 value;
  memcpy(&value, page + word * kWordBytes, sizeof value);
  return value;
}

COLO_INLINE bool stride_equal(const u8* a, const u8* b, size_t word) {
  u64 differ = 0;
  for (size_t i = 0; i < kStride; i++) differ |= word_at(a, word + i) ^ word_at(b, word + i);
  return differ == 0;
}

/// The first word from here on that differs.
size_t equal_until(const u8* base, const u8* page, size_t word) {
  while (word < kPageWords) {
    if (word % kStride == 0 && stride_equal(base, page, word)) {
      word += kStride;
      continue;
    }
    if (word_at(base, word) != word_at(page, word)) break;
    word++;
  }
  return word;
}

}  // namespace

u64 page_sum(const u8* page) {
  u32 lane[kLanes];
  for (u32 i = 0; i < kLanes; i++) lane[i] = kPrime[i % 3] + i;
  for (size_t at = 0; at < kPageSize; at += sizeof lane) {
    u32 words[kLanes];
    memcpy(words, page + at, sizeof words);
    for (size_t i = 0; i < kLanes; i++) lane[i] = std::rotl(lane[i] ^ words[i], 13) * kPrime[0];
  }
  u32 high = kPrime[1], low = kPrime[2];
  for (u32 l : lane) {
    high = std::rotl(high ^ l, 15) * kPrime[1];
    low = std::rotl(low + l, 7) * kPrime[2];
  }
  return static_cast<u64>(high) << 32 | low;
}

bool page_is_zero(const u8* page) {
  for (size_t word = 0; word < kPageWords; word += kStride) {
    u64 any = 0;
    for (size_t i = 0; i < kStride; i++) any |= word_at(page, word + i);
    if (any) return false;
  }
  return true;
}

bool page_is_noise(const u8* page) {
  u64 seen[4] = {};
  for (size_t i = 0; i < kSamples; i++) {
    const u8 byte = page[i * 16 + i % 16];
    seen[byte >> 6] |= 1ull << (byte & 63);
  }
  int different = 0;
  for (u64 bits : seen) different += std::popcount(bits);
  return different >= kNoiseBytes;
}

size_t encode_delta(const u8* base, const u8* page, u8* out, size_t most) {
  size_t used = 0, word = 0;
  do {
    const size_t from = word;
    word = equal_until(base, page, word);
    if (word == kPageWords && used > 0) break;
    size_t equal = word == kPageWords ? 0 : word - from;
    for (; equal > kRunMax; equal -= kRunMax, used += 2) {
      if (used + 2 > most) return 0;
      out[used] = kRunMax;
      out[used + 1] = 0;
    }
    const size_t head = used;
    if ((used += 2) > most) return 0;
    size_t count = 0;
    for (; word < kPageWords && count < kRunMax; word++, count++) {
      const u64 change = word_at(base, word) ^ word_at(page, word);
      if (change == 0) break;
      if (used + kWordBytes > most) return 0;
      memcpy(out + used, &change, kWordBytes);
      used += kWordBytes;
    }
    out[head] = static_cast<u8>(equal);
    out[head + 1] = static_cast<u8>(count);
  } while (word < kPageWords);
  return used;
}

bool apply_delta(const u8* runs, size_t length, u8* page) {
  size_t word = 0;
  for (size_t at = 0; at < length;) {
    if (length - at < 2) return false;
    const size_t count = runs[at + 1];
    word += runs[at];
    at += 2;
    if (word + count > kPageWords || length - at < count * kWordBytes) return false;
    for (const size_t end = word + count; word < end; word++, at += kWordBytes) {
      u64 change;
      memcpy(&change, runs + at, sizeof change);
      change ^= word_at(page, word);
      memcpy(page + word * kWordBytes, &change, sizeof change);
    }
  }
  return true;
}

}  // namespace colo::memory
