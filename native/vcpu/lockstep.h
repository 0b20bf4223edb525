// Several vCPUs in turns on one thread: each runs the same number of instructions, then the next.
// Which instruction of one comes before which of another then follows from the machine's state and
// from what reaches it (device interrupts, answers of devices, RDRAND, stops), and from nothing
// that happens in the host. No other thread runs guest code meanwhile.
//
// Time is counted, too: a round of turns is as long as its longest turn, one instruction a ns. It
// stands still within a round, and goes on with the host's while all vCPUs halt, up to the next
// timer. So guest time is not the host's: while a guest computes it goes faster or slower, as the
// host runs more or fewer than 10^9 instructions of it a second.
#pragma once
#include <atomic>

#include "vcpu/clock.h"
#include "vcpu/executor.h"

namespace colo::vcpu {

class Lockstep final : public Executor {
 public:
  /// Instructions of a turn: short, for who waits for another's store wastes the rest of it, and
  /// a change of turns costs as much as some hundreds.
  static constexpr u64 kTurn = 4096;

  /// clock: moved and its timers fired after each round; nullptr: somebody else does.
  Lockstep(Vm& vm, CountedClock* clock);

  /// The next run() begins with the first vCPU. At every start, so that a state goes on in the same
  /// way wherever it was taken.
  void begin() override;
  /// budget: instructions for each vCPU, in whole rounds; the last one is shorter. Kicked: the next
  /// run() goes on in the middle of the round. Halted: all of them.
  RunResult run(u64 budget) override;
  void kick() override;
  /// Of the rounds that are complete.
  u64 icount() const { return rounds_length_; }
  size_t stopped_by() const override { return turn_; }
  u64 deadline_ns() const override { return vm_.next_deadline_ns(); }
  void set_wake(std::function<void()> wake) override;
  void falls_asleep(u64 until) override;
  void wakes_up() override;

 private:
  bool begin_round(u64 budget);
  void end_round();
  bool take_turn(RunResult& why);

  Vm& vm_;
  CountedClock* const clock_;
  const u64 turn_length_;
  std::atomic<bool> kicked_{false};
  u64 rounds_length_ = 0;  // instructions
  // The round that is under way, if turn_ is a vCPU's.
  size_t turn_;
  u64 round_ = 0;        // instructions of a turn
  u64 left_ = 0;         // of the present one
  u64 longest_ = 0;      // that a vCPU has run
  bool halted_ = false;  // all so far
};

}  // namespace colo::vcpu
