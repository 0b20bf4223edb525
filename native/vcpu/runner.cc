#include "vcpu/runner.h"

#include <utility>

namespace colo::vcpu {

Runner::Runner(std::shared_ptr<memory::GuestRam> ram, const MakeBackend& make, Mode mode,
               size_t cpus, RunnerHooks hooks)
    : mode_(mode), hooks_(std::move(hooks)), ram_(std::move(ram)), bells_([this] {
        if (!stepped()) return hooks_.notify();
        rang_ = true;
        steps_->kick();  // so that run_for() delivers it soon, and always at the same instruction
      }) {
  COLO_ASSERT(cpus >= 1);
  if (stepped()) clock_.reset(stepped_ = new SteppedClock);
  else if (mode == Mode::Lockstep) clock_.reset(counted_ = new CountedClock);
  else clock_ = std::make_unique<RealClock>();
  const Buses buses = make_buses(cpus);
  vm_ = make(*ram_, buses, *clock_);
  COLO_ASSERT(vm_->vcpu_count() == cpus);
  if (stepped()) steps_.emplace(*vm_, nullptr);
  else add_workers();
}

void Runner::add_workers() {
  const size_t count = counted_ ? 1 : seats_.size();
  try {
    for (size_t i = 0; i < count; i++) {
      Worker& worker = workers_.emplace_back();
      worker.thread = make_thread(i, [this, &worker](ParkReason why) {
        worker.parked.store(why, std::memory_order_release);
        hooks_.notify();
      });
    }
  } catch (...) {  // the host has no thread for one of them; the others know vm_
    shutdown();
    throw;
  }
}

std::unique_ptr<VcpuThread> Runner::make_thread(size_t index,
                                                std::function<void(ParkReason)> parked) {
  if (!counted_) return std::make_unique<VcpuThread>(*vm_, index, *clock_, std::move(parked));
  return std::make_unique<VcpuThread>(*vm_, std::make_unique<Lockstep>(*vm_, counted_), false,
                                      *clock_, std::move(parked));
}

Buses Runner::make_buses(size_t cpus) {
  seats_.resize(cpus);
  Buses buses;
  for (size_t i = 0; i < cpus; i++) {
    Seat& seat = seats_[i];
    if (stepped()) {
      seat.bus = std::make_unique<DirectBus>(bells_, [this, i] {
        if (hooks_.answer(i)) return true;
        give_up();
        return false;
      });
    } else {
      seat.bus.reset(seat.posted = new PostedBus(bells_, hooks_.notify));
    }
    buses.push_back(seat.bus.get());
  }
  return buses;
}

Runner::~Runner() { shutdown(); }

void Runner::add_bell(const Doorbell& bell) {
  bells_.add(bell);  // also if it is watched: the kernel may have heard the address for another
                     // bell already
  vm_->watch(bell);
}

void Runner::remove_bell(u32 id) {
  vm_->unwatch(id);
  bells_.remove(id);
}

void Runner::start() {
  COLO_ASSERT(!stepped() && !running_);
  running_ = true;
  stopping_ = false;
  vm_->before_run();
  for (Worker& worker : workers_) worker.thread->start();
}

void Runner::stop() {
  if (stepping_) return give_up();
  if (!running_) return;
  stopping_ = true;
  for (Worker& worker : workers_) worker.thread->stop();
}

void Runner::give_up() {
  gave_up_ = true;
  steps_->kick();
}

Park Runner::take_parked() {
  if (!running_) return {};
  Park park;
  size_t parked = 0;
  for (const Worker& worker : workers_) {
    const ParkReason why = worker.parked.load(std::memory_order_acquire);
    if (why == ParkReason::None) continue;
    parked++;
    if (park.why == ParkReason::None ||
        (park.why == ParkReason::Requested && why != ParkReason::Requested))
      park = {why, why == ParkReason::Requested ? 0 : worker.thread->stopped_by()};
  }
  if (parked == 0) return {};
  if (parked < workers_.size()) {
    if (!stopping_) stop();
    return {};
  }
  for (Worker& worker : workers_) worker.parked.store(ParkReason::None, std::memory_order_relaxed);
  running_ = false;
  return park;
}

void Runner::shutdown() {
  for (Seat& seat : seats_)
    if (seat.posted) seat.posted->abandon();
  for (Worker& worker : workers_)
    if (worker.thread) worker.thread->stop();  // all at once: each is then waited for
  for (Worker& worker : workers_)
    if (worker.thread) worker.thread->end();
  workers_.clear();
  running_ = false;
}

RunResult Runner::run_for(u64 instructions) {
  COLO_ASSERT(stepped() && !stepping_);
  struct Inside {
    bool& flag;
    explicit Inside(bool& f) : flag(f) { flag = true; }
    ~Inside() { flag = false; }
  } inside(stepping_);
  gave_up_ = false;  // what ended the last run by itself may have been told to end, too
  vm_->before_run();
  steps_->begin();
  const u64 end = steps_->icount() + instructions;
  for (;;) {
    const u64 now = steps_->icount();
    RunResult r = now < end ? steps_->run(end - now) : RunResult::Budget;
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
