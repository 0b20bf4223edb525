// Frames from one thread to one other, in order, in a ring of bytes: neither of them waits for the
// other or allocates, and what does not fit is refused.
#pragma once
#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <memory>
#include <span>

#include "base/types.h"

namespace colo {

class FrameRing {
 public:
  /// Of each frame's length in front of it, as a batch has it too: little-endian.
  static constexpr size_t kHeader = 4;

  /// bytes: a power of two. Pages of the ring are the host's to give when they are first written.
  explicit FrameRing(size_t bytes) : bytes_(bytes), data_(new u8[bytes]) {}

  /// The writer's. False: no room.
  bool push(std::span<const u8> frame) {
    if (room() < kHeader + frame.size()) return false;
    const u64 tail = tail_.load(std::memory_order_relaxed);
    const u32 length = static_cast<u32>(frame.size());
    put(tail, &length, kHeader);
    put(tail + kHeader, frame.data(), frame.size());
    tail_.store(tail + kHeader + frame.size(), std::memory_order_release);
    return true;
  }

  /// The reader's: the next frame; its length, 0 if there is none. One that is longer than `frame`
  /// is cut off.
  size_t pop(std::span<u8> frame) {
    const size_t length = next();
    if (length == 0) return 0;
    const u64 head = head_.load(std::memory_order_relaxed);
    const size_t taken = std::min(length, frame.size());
    get(head + kHeader, frame.data(), taken);
    head_.store(head + kHeader + length, std::memory_order_release);
    return taken;
  }

  /// The reader's: at most so many frames, whole, each behind its length; the bytes of `batch` that
  /// they take.
  size_t drain(std::span<u8> batch, int most) {
    size_t filled = 0;
    for (; most > 0; most--) {
      const size_t length = next();
      if (length == 0 || batch.size() - filled < kHeader + length) break;
      const u64 head = head_.load(std::memory_order_relaxed);
      get(head, batch.data() + filled, kHeader + length);
      head_.store(head + kHeader + length, std::memory_order_release);
      filled += kHeader + length;
    }
    return filled;
  }

  bool empty() const {
    return head_.load(std::memory_order_acquire) == tail_.load(std::memory_order_acquire);
  }

  /// Bytes that are free at least.
  size_t room() const {
    return bytes_ - static_cast<size_t>(tail_.load(std::memory_order_acquire) -
                                        head_.load(std::memory_order_acquire));
  }

 private:
  static_assert(std::endian::native == std::endian::little);

  size_t next() const {
    if (empty()) return 0;
    u32 length;
    get(head_.load(std::memory_order_relaxed), &length, kHeader);
    return length;
  }

  void put(u64 at, const void* from, size_t n) {
    const size_t start = at & (bytes_ - 1), first = std::min(n, bytes_ - start);
    memcpy(data_.get() + start, from, first);
    memcpy(data_.get(), static_cast<const u8*>(from) + first, n - first);
  }

  void get(u64 at, void* to, size_t n) const {
    const size_t start = at & (bytes_ - 1), first = std::min(n, bytes_ - start);
    memcpy(to, data_.get() + start, first);
    memcpy(static_cast<u8*>(to) + first, data_.get(), n - first);
  }

  const size_t bytes_;
  const std::unique_ptr<u8[]> data_;
  std::atomic<u64> head_{0};  // the reader's; both only grow
  std::atomic<u64> tail_{0};  // the writer's
};

}  // namespace colo
