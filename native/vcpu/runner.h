// One VM and everything that it runs by: RAM, clock, doorbells, backend, and for each vCPU a bus
// and a thread. Three modes: threaded (vCPUs have their threads and the host's time), lockstep (one
// thread runs them in turns, and time is counted) and stepped (they run in turns on the caller's
// thread, as many instructions as asked, and time stands still meanwhile).
//
// All methods belong to the main side's one thread, except that the hooks are called as they say.
#pragma once
#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "memory/ram.h"
#include "vcpu/clock.h"
#include "vcpu/contract.h"
#include "vcpu/doorbells.h"
#include "vcpu/exits.h"
#include "vcpu/lockstep.h"
#include "vcpu/thread.h"

namespace colo::vcpu {

using MakeBackend =
    std::function<std::unique_ptr<Vm>(memory::GuestRam&, const Buses&, SettableClock&)>;

struct RunnerHooks {
  /// But for stepped, any thread: there is an exit to answer, a doorbell or a park to take. Must
  /// not wait.
  std::function<void()> notify;
  /// Stepped, on the caller's thread: answer the access in page(cpu) now. False: there is no
  /// answer, and run_for() shall return Kicked.
  std::function<bool(size_t cpu)> answer;
  /// Stepped: doorbells rang.
  std::function<void()> rang;
};

/// All vCPUs have parked. why: of the first that stopped by itself, if one did.
struct Park {
  ParkReason why = ParkReason::None;
  size_t cpu = 0;
};

class Runner {
 public:
  enum class Mode : u8 { Threaded, Lockstep, Stepped };
  /// Only the software CPU, told so, takes turns.
  Runner(std::shared_ptr<memory::GuestRam> ram, const MakeBackend& make, Mode mode, size_t cpus,
         RunnerHooks hooks);
  ~Runner();
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;

  Vm& vm() { return *vm_; }
  size_t cpu_count() const { return seats_.size(); }
  Vcpu& cpu(size_t index = 0) { return vm_->vcpu(index); }
  SettableClock& clock() { return *clock_; }
  ExitPage& page(size_t cpu = 0) { return seats_[cpu].bus->page(); }
  bool stepped() const { return mode_ == Mode::Stepped; }
  /// From start() until the park has been taken. State may be saved and loaded only while this is
  /// false.
  bool running() const { return running_; }

  // --- doorbells
  void add_bell(const Doorbell& bell);
  void remove_bell(u32 id);
  /// Calls f(id) for each bell rung since the last take.
  template <class F>
  void take_bells(F&& f) {
    vm_->take_rung([this](u32 id) { bells_.note(id); });
    bells_.take(f);
  }

  // --- threaded and lockstep
  void start();
  /// All vCPUs are told to leave guest code; take_parked() says when the last of them has.
  void stop();
  int thread_id(size_t cpu) const {
    if (workers_.empty()) return 0;
    return workers_[workers_.size() > 1 ? cpu : 0].thread->thread_id();
  }
  bool exit_pending(size_t cpu) const {
    return seats_[cpu].posted && seats_[cpu].posted->pending();
  }
  void complete_exit(size_t cpu) { seats_[cpu].posted->complete(); }
  /// Once, when every vCPU has parked. One that stops by itself stops the others here.
  Park take_parked();
  /// Joins the threads whatever they do; nothing runs any more.
  void shutdown();

  // --- stepped
  /// Runs up to `instructions` of each vCPU; doorbells are delivered between blocks. Kicked: stop()
  /// was called from a hook, or an access had no answer.
  RunResult run_for(u64 instructions);
  /// Moves time and fires the timers that are due.
  void advance(u64 ns);

 private:
  /// What belongs to one vCPU.
  struct Seat {
    std::unique_ptr<ExitBus> bus;
    PostedBus* posted = nullptr;  // bus unless stepped
  };
  /// A thread, and why it has parked.
  struct Worker {
    std::atomic<ParkReason> parked{ParkReason::None};
    std::unique_ptr<VcpuThread> thread;
  };
  void add_workers();
  std::unique_ptr<VcpuThread> make_thread(size_t index, std::function<void(ParkReason)> parked);
  void give_up();
  Buses make_buses(size_t cpus);

  Mode mode_;
  RunnerHooks hooks_;
  std::shared_ptr<memory::GuestRam> ram_;
  Doorbells bells_;
  std::unique_ptr<SettableClock> clock_;
  SteppedClock* stepped_ = nullptr;  // clock_ when stepped
  CountedClock* counted_ = nullptr;  // clock_ in lockstep
  std::vector<Seat> seats_;
  std::unique_ptr<Vm> vm_;
  std::optional<Lockstep> steps_;  // stepped: all vCPUs
  std::deque<Worker> workers_;     // one for each vCPU, or one for all; none when stepped
  bool running_ = false;
  bool stopping_ = false;  // every thread has been told
  bool rang_ = false;      // stepped: since the last delivery
  bool gave_up_ = false;   // stepped: run_for() shall end
  bool stepping_ = false;  // inside run_for()
};

}  // namespace colo::vcpu
