// The frame of the native fuzzers: chance from a seed, and how a case fails.
#pragma once
#include <string>

#include "base/types.h"

namespace colo::fuzz {

/// xorshift64*: a case is its seed, on every machine.
class Random {
 public:
  explicit Random(u64 seed) : state_(seed * 0x9e3779b97f4a7c15 + 0x1234567) {}
  u64 next() {
    state_ ^= state_ >> 12, state_ ^= state_ << 25, state_ ^= state_ >> 27;
    return state_ * 0x2545f4914f6cdd1d;
  }
  u64 below(u64 n) { return (next() >> 11) % n; }
  bool one_in(u64 n) { return below(n) == 0; }
  u8 byte() { return static_cast<u8>(next()); }

 private:
  u64 state_;
};

/// Ends the process: prints what is wrong, and the command that shows it again.
[[noreturn]] void fail(const std::string& what);

/// What the guest runs in: a kick comes after seconds, and if that does not help either, the case
/// fails.
class Guarded {
 public:
  explicit Guarded(void (*kick)(void*), void* self);
  ~Guarded();
};

struct Target {
  const char* name;
  void (*run)(u64 seed);
};
/// Random code on a machine with devices, aliases, its own page tables and a dirty log.
void run_code(u64 seed);
/// Images of the vCPU and the chips with wrong bytes in them: what is accepted runs, and is
/// accepted again.
void run_state(u64 seed);

}  // namespace colo::fuzz
