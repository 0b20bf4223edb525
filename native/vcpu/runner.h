// One VM and everything that it runs by: RAM, clock, doorbells, bus, backend, vCPU thread. Two modes: threaded (the vCPU has its thread
// and the host's time) and stepped (it runs on the caller's thread, as many instructions as asked, and time stands still meanwhile).
//
// All methods belong to the main side's one thread, except that the hooks are called as they say.
#pragma once
#include <atomic>
#include <functional>
#include <memory>
#include <optional>

#include "memory/ram.h"
#include "vcpu/clock.h"
#include "vcpu/contract.h"
#include "vcpu/doorbells.h"
#include "vcpu/exits.h"
#include "vcpu/thread.h"

namespace colo::vcpu {

using MakeBackend = std::function<std::unique_ptr<Vm>(memory::GuestRam&, Bus&, SettableClock&)>;

struct RunnerHooks {
  /// Threaded, any thread: there is an exit to answer, a doorbell or a park to take. Must not wait.
  std::function<void()> notify;
  /// Stepped, on the caller's thread: answer the access in page() now. False: there is no answer, and run_for() shall return Kicked.
  std::function<bool()> answer;
  /// Stepped: doorbells rang.
  std::function<void()> rang;
};

class Runner {
 public:
  enum class Mode : u8 { Threaded, Stepped };
  Runner(std::shared_ptr<memory::GuestRam> ram, const MakeBackend& make, Mode mode, RunnerHooks hooks);
  ~Runner();
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;

  Vm& vm() { return *vm_; }
  Vcpu& cpu() { return vm_->vcpu(0); }
  SettableClock& clock() { return *clock_; }
  Doorbells& bells() { return bells_; }
  ExitPage& page() { return bus_->page(); }
  bool stepped() const { return mode_ == Mode::Stepped; }
  /// From start() until the park has been taken. State may be saved and loaded only while this is false.
  bool running() const { return running_; }

  // --- threaded
  void start();
  void stop();
  bool exit_pending() const { return posted_ && posted_->pending(); }
  void complete_exit() { posted_->complete(); }
  /// Why the vCPU has parked, once.
  ParkReason take_parked();
  /// Joins the threads whatever they do; nothing runs any more.
  void shutdown();

  // --- stepped
  /// Runs up to `instructions`; doorbells are delivered between blocks. Kicked: stop() was called from a hook, or an access had no answer.
  RunResult run_for(u64 instructions);
  /// Moves time and fires the timers that are due.
  void advance(u64 ns);

 private:
  void give_up();

  Mode mode_;
  RunnerHooks hooks_;
  std::shared_ptr<memory::GuestRam> ram_;
  Doorbells bells_;
  std::unique_ptr<SettableClock> clock_;
  std::unique_ptr<ExitBus> bus_;
  PostedBus* posted_ = nullptr;      // bus_ when threaded
  SteppedClock* stepped_ = nullptr;  // clock_ when stepped
  std::unique_ptr<Vm> vm_;
  std::atomic<ParkReason> parked_{ParkReason::None};
  bool running_ = false;
  bool rang_ = false;      // stepped: since the last delivery
  bool gave_up_ = false;   // stepped: run_for() shall end
  bool stepping_ = false;  // inside run_for()
  std::optional<VcpuThread> thread_;
};

}  // namespace colo::vcpu
