#include "vcpu/lockstep.h"

#include <algorithm>

namespace colo::vcpu {

/// One vCPU whose time another moves needs no turns.
Lockstep::Lockstep(Vm& vm, CountedClock* clock)
    : vm_(vm),
      clock_(clock),
      turn_length_(clock || vm.vcpu_count() > 1 ? kTurn : ~0ull),
      turn_(vm.vcpu_count()) {}

void Lockstep::begin() { turn_ = vm_.vcpu_count(); }

/// Whoever runs now leaves guest code; the others return at once when their turn comes, and begin
/// it again.
void Lockstep::kick() {
  kicked_.store(true);
  for (size_t i = 0; i < vm_.vcpu_count(); i++) vm_.vcpu(i).kick();
}

void Lockstep::set_wake(std::function<void()> wake) {
  for (size_t i = 0; i < vm_.vcpu_count(); i++) vm_.set_wake(i, wake);
}

void Lockstep::falls_asleep(u64 until) {
  if (clock_) clock_->follow_host(until);
}

void Lockstep::wakes_up() {
  if (clock_) clock_->stand_still();
}

bool Lockstep::begin_round(u64 budget) {
  round_ = std::min(budget, turn_length_);
  if (round_ == 0) return false;
  turn_ = 0, left_ = round_, longest_ = 0, halted_ = true;
  return true;
}

void Lockstep::end_round() {
  rounds_length_ += longest_;
  if (!clock_) return;
  clock_->count(longest_);
  if (vm_.next_deadline_ns() <= clock_->now_ns()) vm_.run_timers();
}

/// True: run() shall return. A halt ends the turn, but only a round in which all halt and none has
/// run anything is the end of all work: one may have woken another whose turn was over. What is
/// left of the turn of one that halts is not made up for.
bool Lockstep::take_turn(RunResult& why) {
  Vcpu& cpu = vm_.vcpu(turn_);
  for (;;) {
    if (kicked_.exchange(false)) return why = RunResult::Kicked, true;
    const u64 before = cpu.icount();
    why = cpu.run(left_);
    left_ -= std::min(left_, cpu.icount() - before);
    longest_ = std::max(longest_, round_ - left_);
    if (why == RunResult::Shutdown || why == RunResult::InternalError) return true;
    if (why == RunResult::Kicked) continue;
    if (why != RunResult::Halted) halted_ = false;
    return false;
  }
}

RunResult Lockstep::run(u64 budget) {
  for (RunResult why;;) {
    if (turn_ == vm_.vcpu_count() && !begin_round(budget)) return RunResult::Budget;
    for (; turn_ < vm_.vcpu_count(); turn_++, left_ = round_)
      if (take_turn(why)) return why;
    end_round();
    if (halted_ && longest_ == 0) return RunResult::Halted;
    budget -= std::min(budget, longest_);
  }
}

}  // namespace colo::vcpu
