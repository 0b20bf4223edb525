#include "vcpu/runner.h"

#include <utility>

namespace colo::vcpu {

Runner::Runner(std::shared_ptr<memory::GuestRam> ram, const MakeBackend& make, Mode mode,
               size_t cpus, RunnerHooks hooks)
    : mode_(mode), hooks_(std::move(hooks)), ram_(std::move(ram)), bells_([this] {
        if (mode_ == Mode::Threaded) return hooks_.notify();
        rang_ = true;
        cpu().kick();  // so that run_for() delivers it soon, and always at the same instruction
      }) {
  COLO_ASSERT(cpus >= 1 && (mode == Mode::Threaded || cpus == 1));
  if (stepped()) clock_.reset(stepped_ = new SteppedClock);
  else clock_ = std::make_unique<RealClock>();
  const Buses buses = make_buses(cpus);
  vm_ = make(*ram_, buses, *clock_);
  COLO_ASSERT(vm_->vcpu_count() == cpus);
  if (stepped()) return;
  for (size_t i = 0; i < cpus; i++)
    seats_[i].thread = std::make_unique<VcpuThread>(
        *vm_, i, *clock_, [this, parked = seats_[i].parked.get()](ParkReason why) {
          parked->store(why, std::memory_order_release);
          hooks_.notify();
        });
}

Buses Runner::make_buses(size_t cpus) {
  seats_.resize(cpus);
  Buses buses;
  for (Seat& seat : seats_) {
    if (stepped()) {
      seat.bus = std::make_unique<DirectBus>(bells_, [this] {
        if (hooks_.answer()) return true;
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
  for (Seat& seat : seats_) seat.thread->start();
}

void Runner::stop() {
  if (stepping_) return give_up();
  if (!running_) return;
  stopping_ = true;
  for (Seat& seat : seats_) seat.thread->stop();
}

void Runner::give_up() {
  gave_up_ = true;
  cpu().kick();
}

Park Runner::take_parked() {
  if (!running_) return {};
  Park park;
  size_t parked = 0;
  for (size_t i = 0; i < seats_.size(); i++) {
    const ParkReason why = seats_[i].parked->load(std::memory_order_acquire);
    if (why == ParkReason::None) continue;
    parked++;
    if (park.why == ParkReason::None ||
        (park.why == ParkReason::Requested && why != ParkReason::Requested))
      park = {why, i};
  }
  if (parked == 0) return {};
  if (parked < seats_.size()) {
    if (!stopping_) stop();
    return {};
  }
  for (Seat& seat : seats_) seat.parked->store(ParkReason::None, std::memory_order_relaxed);
  running_ = false;
  return park;
}

void Runner::shutdown() {
  for (Seat& seat : seats_)
    if (seat.posted) seat.posted->abandon();
  for (Seat& seat : seats_)
    if (seat.thread) seat.thread->stop();  // all at once: each is then waited for
  for (Seat& seat : seats_) {
    seat.thread.reset();
    seat.parked->store(ParkReason::None, std::memory_order_relaxed);
  }
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
