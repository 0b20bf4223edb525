// JS face of one VM: its events, its interrupt inputs, its doorbells, its chips and its clock.
#pragma once
#include <napi.h>

#include <memory>
#include <optional>

#include "addon/callbacks.h"
#include "addon/main_loop.h"
#include "vcpu/model.h"
#include "vcpu/runner.h"

namespace colo::addon {

class VmWrap final : public Napi::ObjectWrap<VmWrap> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit VmWrap(const Napi::CallbackInfo& info);
  ~VmWrap() override { shutdown(); }

  const std::shared_ptr<vcpu::Runner>& runner() const { return runner_; }
  bool closed() const { return closed_; }
  /// What an exit handler threw in stepped mode, once.
  std::optional<Napi::Error> take_thrown();

 private:
  using Info = const Napi::CallbackInfo&;
  void start(Info info);
  void stop(Info) { runner_->stop(); }
  Napi::Value apic_ids(Info info);
  Napi::Value thread_ids(Info info);
  void set_callbacks(Info info);
  Napi::Value exit_page(Info info);
  void set_irq(Info info);
  void signal_msi(Info info);
  void add_doorbell(Info info);
  void remove_doorbell(Info info);
  Napi::Value save_chips(Info info);
  Napi::Value check_chips(Info info);
  void load_chips(Info info);
  Napi::Value now(Info info);
  Napi::Value next_deadline(Info info);
  void continue_from(Info info);
  void advance(Info info);
  void reset(Info info);
  void guest_stopped(Info info);
  void close(Info) { shutdown(); }

  vcpu::RunnerHooks hooks();
  /// On the loop: doorbells, then exits, then the park, as the guest produced them.
  void on_event();
  void deliver_doorbells();
  void answer_exits();
  /// The vCPU whose exit is next, in turn; -1: none.
  int next_exit(bool linger);
  int pending_exit();
  void deliver_park();
  bool answer_directly(size_t cpu);
  /// vCPUs are about to run: from now until all have parked, neither the collector nor an idle loop
  /// may end the VM.
  void hold();
  void release();
  void shutdown();
  void require_stopped(Napi::Env env, const char* what) const;

  Napi::AsyncContext context_;
  Callback on_exit_, on_doorbell_, on_parked_;
  /// Device accesses come in bursts (a driver that sets up, a line of console output): after an
  /// answer the next one is often less than a microsecond away, which is far less than it takes the
  /// loop to come round again.
  vcpu::Lingering lingering_{5'000};
  std::optional<Napi::Error> thrown_;
  vcpu::CpuModel model_;
  size_t turn_ = 0;  // the vCPU that is looked at first
  bool held_ = false;
  bool closed_ = false;
  std::shared_ptr<vcpu::Runner> runner_;
  std::unique_ptr<MainLoop> loop_;
};

}  // namespace colo::addon
