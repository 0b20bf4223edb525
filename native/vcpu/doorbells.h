// Doorbells: guest writes that only say "look at the queue" (ioeventfd semantics). They are matched
// here, on the vCPU's thread, set a bit, and never make the vCPU wait. A backend whose kernel
// matches them itself takes most of that work away (Vm::watch).
#pragma once
#include <atomic>
#include <functional>
#include <mutex>
#include <optional>
#include <vector>

#include "base/types.h"

namespace colo::vcpu {

enum class Space : u8 { Mmio, Pio };

struct Doorbell {
  Space space = Space::Mmio;
  u64 address = 0;
  u8 size = 0;                   // bytes of the write, 0 = any
  std::optional<u64> datamatch;  // only this value
  u32 id = 0;                    // the bit to set, < kMaxDoorbells
};

constexpr u32 kMaxDoorbells = 1024;

class Doorbells {
 public:
  /// rung: called after a bit was set, on the vCPU's thread; it must not wait.
  explicit Doorbells(std::function<void()> rung) : rung_(std::move(rung)) {}

  /// Several doorbells may share an id. Takes effect before it returns.
  void add(const Doorbell& bell);
  /// Removes every doorbell of this id; a ring that nobody has taken yet is forgotten.
  void remove(u32 id);
  /// vCPU side: true if the write rang a bell, and then it is complete.
  bool ring(Space space, u64 address, u8 size, u64 value);
  /// It rang elsewhere (the kernel heard it). Main side, which does not need to be told.
  void note(u32 id) { rung_bits_[id >> 6].fetch_or(1ull << (id & 63), std::memory_order_acquire); }
  /// Main side: calls f(id) for each bell rung since the last take.
  template <class F>
  void take(F&& f) {
    for (u32 w = 0; w < kWords; w++) {
      if (rung_bits_[w].load(std::memory_order_relaxed) == 0) continue;
      // acquire, to pair with ring(): what the guest wrote to its queue before the doorbell is
      // visible to f.
      for (u64 bits = rung_bits_[w].exchange(0, std::memory_order_acquire); bits; bits &= bits - 1)
        f(w * 64 + static_cast<u32>(__builtin_ctzll(bits)));
    }
  }

 private:
  static constexpr u32 kWords = kMaxDoorbells / 64;
  std::function<void()> rung_;
  std::mutex mutex_;  // over bells_ only, held for a search: nobody waits for JavaScript with it
  std::vector<Doorbell> bells_;  // by (space, address)
  std::atomic<u64> rung_bits_[kWords] = {};
};

}  // namespace colo::vcpu
