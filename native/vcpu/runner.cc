#include "vcpu/runner.h"

#include <utility>

namespace colo::vcpu {

Runner::Runner(std::shared_ptr<memory::GuestRam> ram, const MakeBackend& make, Mode mode, RunnerHooks hooks)
    : mode_(mode), hooks_(std::move(hooks)), ram_(std::move(ram)), bells_([this] {
        if (mode_ == Mode::Threaded) return hooks_.notify();
        rang_ = true;
        cpu().kick();  // so that run_for() delivers it soon, and always at the same instruction
      }) {
  if (stepped()) {
    clock_.reset(stepped_ = new SteppedClock);
    bus_ = std::make_unique<DirectBus>(bells_, [this] {
      if (hooks_.answer()) return true;
      give_up();
      return false;
    });
  } else {
    clock_ = std::make_unique<RealClock>();
    bus_.reset(posted_ = new PostedBus(bells_, hooks_.notify));
  }
  vm_ = make(*ram_, *bus_, *clock_);
  if (stepped()) return;
  thread_.emplace(*vm_, 0, *clock_, [this](ParkReason why) {
    parked_.store(why, std::memory_order_release);
    hooks_.notify();
  });
}

Runner::~Runner() { shutdown(); }

void Runner::start() {
  COLO_ASSERT(thread_ && !running_);
  running_ = true;
  thread_->start();
}

void Runner::stop() {
  if (stepping_) give_up();
  else if (running_) thread_->stop();
}

void Runner::give_up() {
  gave_up_ = true;
  cpu().kick();
}

ParkReason Runner::take_parked() {
  ParkReason why = parked_.exchange(ParkReason::None, std::memory_order_acquire);
  if (why != ParkReason::None) running_ = false;
  return why;
}

void Runner::shutdown() {
  if (!thread_) return;
  posted_->abandon();
  thread_.reset();
  parked_.store(ParkReason::None, std::memory_order_relaxed);
  running_ = false;
}

RunResult Runner::run_for(u64 instructions) {
  COLO_ASSERT(stepped() && !stepping_);
  struct Inside {
    bool& flag;
    explicit Inside(bool& f) : flag(f) { flag = true; }
    ~Inside() { flag = false; }
  } inside(stepping_);
  u64 end = cpu().icount() + instructions;
  for (;;) {
    u64 now = cpu().icount();
    RunResult r = now < end ? cpu().run(end - now) : RunResult::Budget;
    if (rang_) {
      rang_ = false;
      hooks_.rang();
    }
    if (r != RunResult::Kicked || std::exchange(gave_up_, false)) return r;
  }
}

void Runner::advance(u64 ns) {
  COLO_ASSERT(stepped());
  stepped_->advance(ns);
  if (vm_->next_deadline_ns() <= clock_->now_ns()) vm_->run_timers();
}

}  // namespace colo::vcpu
