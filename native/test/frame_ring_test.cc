// Goal: frames come out of a ring whole, in order and once, whatever their lengths, and what does
// not fit is refused. Method: one thread writes, one reads, with a small ring.
#include "base/frame_ring.h"

#include <array>
#include <thread>

#include "test/check.h"

namespace {
using namespace colo;

constexpr u32 kFrames = 200'000;
constexpr size_t kLongest = 300;

size_t length_of(u32 n) { return 1 + n * 7919 % kLongest; }
u8 byte_of(u32 n, size_t at) { return static_cast<u8>(n * 31 + at); }

std::span<const u8> frame(u32 n, std::array<u8, kLongest>& bytes) {
  for (size_t i = 0; i < length_of(n); i++) bytes[i] = byte_of(n, i);
  return {bytes.data(), length_of(n)};
}

bool is_frame(u32 n, std::span<const u8> got) {
  bool same = got.size() == length_of(n);
  for (size_t i = 0; same && i < got.size(); i++) same = got[i] == byte_of(n, i);
  return same;
}

void test_bounds() {
  FrameRing ring(64);
  const std::array<u8, 61> bytes{};
  std::array<u8, 64> out;
  CHECK(ring.empty() && ring.pop(out) == 0 && ring.drain(out, 9) == 0);
  CHECK(!ring.push(bytes) && ring.room() == 64);
  CHECK(ring.push(std::span(bytes).first(60)) && ring.room() == 0);
  CHECK(!ring.push(std::span(bytes).first(1)));
  CHECK(ring.drain(std::span(out).first(63), 9) == 0);
  CHECK(ring.pop(std::span(out).first(10)) == 10 && ring.empty());
}

void test_two_threads(bool batches) {
  FrameRing ring(1024);
  std::thread writer([&ring] {
    std::array<u8, kLongest> bytes;
    for (u32 n = 0; n < kFrames; n++)
      while (!ring.push(frame(n, bytes))) std::this_thread::yield();
  });
  std::array<u8, 700> out;
  bool same = true;
  for (u32 n = 0; n < kFrames;) {
    if (!batches) {
      const size_t length = ring.pop(out);
      if (length == 0) std::this_thread::yield();
      else same &= is_frame(n++, {out.data(), length});
      continue;
    }
    const size_t filled = ring.drain(out, 3);
    if (filled == 0) std::this_thread::yield();
    for (size_t at = 0; at < filled;) {
      u32 length;
      memcpy(&length, &out[at], sizeof length);
      same &= is_frame(n++, {&out[at + FrameRing::kHeader], length});
      at += FrameRing::kHeader + length;
    }
  }
  writer.join();
  CHECK(same && ring.empty());
}

}  // namespace

int main() {
  test_bounds();
  test_two_threads(false);
  test_two_threads(true);
  return colo::test::finish();
}
