// A bell between native threads and one environment's event loop.
#pragma once
#include <napi.h>
#include <uv.h>

#include <atomic>
#include <functional>
#include <memory>

#include "vcpu/patience.h"
#include "vcpu/spare_core.h"

namespace colo::addon {

class MainLoop {
 public:
  /// called: on the loop's thread after ring(), several rings perhaps as one. torn_down: the
  /// environment ends; when it returns, nothing may ring any more.
  MainLoop(Napi::Env env, std::function<void()> called, std::function<void()> torn_down);
  ~MainLoop() { close(); }
  MainLoop(const MainLoop&) = delete;
  MainLoop& operator=(const MainLoop&) = delete;

  /// Any thread.
  void ring() {
    // seq_cst on both: either we see that the loop is looking, or the loop, which looks once more
    // when it stops, sees our ring.
    rung_.store(true, std::memory_order_seq_cst);
    if (!looking_.load(std::memory_order_seq_cst)) uv_async_send(&handle_->async);
  }
  /// A descriptor that rings too, for as long as it is readable.
  void watch(int fd);
  /// Whether the bell keeps the process alive. While it does, a ring is expected at any time.
  void hold(bool alive);
  /// Precondition: nothing rings any more. Idempotent.
  void close();

 private:
  /// libuv wants the handles' memory until it has closed them, and Node waits for that at the end
  /// of the environment.
  struct Handle {
    uv_async_t async;
    uv_prepare_t prepare;
    uv_poll_t poll;
    int open = 0;  // handles that libuv has
    napi_async_cleanup_hook_handle hook = nullptr;
    MainLoop* owner = nullptr;  // null once closed
    std::function<void()> called, torn_down;
  };
  static void on_ring(uv_async_t* async);
  static void before_sleep(uv_prepare_t* prepare);
  static void on_readable(uv_poll_t* poll, int status, int events);
  static void on_teardown(napi_async_cleanup_hook_handle, void* data);
  static void on_closed(uv_handle_t* handle);

  void linger();
  void deliver();

  Handle* handle_;
  std::atomic<bool> rung_{false};
  std::atomic<bool> looking_{false};
  /// How long the loop looks for a ring before it sleeps: to wake it takes 5 to 15 us, of which the
  /// ringing vCPU spends most in the kernel.
  vcpu::Lingering lingering_{50'000};
  vcpu::SpareCore spare_core_;
};

}  // namespace colo::addon
