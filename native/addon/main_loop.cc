#include "addon/main_loop.h"

#include "vcpu/signal.h"

namespace colo::addon {

MainLoop::MainLoop(Napi::Env env, std::function<void()> called, std::function<void()> torn_down)
    : handle_(new Handle) {
  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(env, &loop) != napi_ok ||
      uv_async_init(loop, &handle_->async, on_ring) != 0) {
    delete handle_;
    throw Napi::Error::New(env, "no event loop");
  }
  uv_prepare_init(loop, &handle_->prepare);  // cannot fail, nor can its start and stop
  uv_unref(reinterpret_cast<uv_handle_t*>(&handle_->prepare));
  handle_->open = 2;
  handle_->async.data = handle_->prepare.data = handle_;
  handle_->owner = this;
  handle_->called = std::move(called);
  handle_->torn_down = std::move(torn_down);
  hold(false);
  napi_add_async_cleanup_hook(env, on_teardown, handle_, &handle_->hook);
}

void MainLoop::hold(bool alive) {
  if (!handle_) return;
  auto* h = reinterpret_cast<uv_handle_t*>(&handle_->async);
  if (alive) {
    uv_ref(h);
    uv_prepare_start(&handle_->prepare, before_sleep);
  } else {
    uv_unref(h);
    uv_prepare_stop(&handle_->prepare);
  }
}

void MainLoop::watch(int fd) {
  if (uv_poll_init(handle_->async.loop, &handle_->poll, fd) != 0)
    return;  // unreachable for an epoll descriptor; then doorbells are heard at the next exit
  handle_->open++;
  handle_->poll.data = handle_;
  uv_unref(reinterpret_cast<uv_handle_t*>(&handle_->poll));
  uv_poll_start(&handle_->poll, UV_READABLE, on_readable);
}

void MainLoop::close() {
  if (!handle_) return;
  handle_->owner = nullptr;
  uv_close(reinterpret_cast<uv_handle_t*>(&handle_->prepare), on_closed);
  if (handle_->open > 2) uv_close(reinterpret_cast<uv_handle_t*>(&handle_->poll), on_closed);
  uv_close(reinterpret_cast<uv_handle_t*>(&handle_->async), on_closed);
  handle_ = nullptr;
}

void MainLoop::on_ring(uv_async_t* async) {
  auto* h = static_cast<Handle*>(async->data);
  if (h->owner) h->owner->deliver();
}

void MainLoop::before_sleep(uv_prepare_t* prepare) {
  auto* h = static_cast<Handle*>(prepare->data);
  if (h->owner && uv_backend_timeout(prepare->loop) != 0) h->owner->linger();
}

void MainLoop::linger() {
  const u64 look = spare_core_.there() ? lingering_.begin() : 0;
  if (look == 0) return;
  looking_.store(true, std::memory_order_seq_cst);
  const bool came =
      vcpu::spin_until([this] { return rung_.load(std::memory_order_acquire); }, look);
  looking_.store(false, std::memory_order_seq_cst);
  lingering_.end(came);
  if (rung_.load(std::memory_order_seq_cst)) deliver();
}

void MainLoop::deliver() {
  rung_.store(
      false,
      std::memory_order_seq_cst);  // before what rang is looked at: a ring from now on rings again
  handle_->called();
}

void MainLoop::on_readable(uv_poll_t* poll, int, int) {
  auto* h = static_cast<Handle*>(poll->data);
  if (h->owner) h->owner->deliver();
}

void MainLoop::on_teardown(napi_async_cleanup_hook_handle, void* data) {
  auto* h = static_cast<Handle*>(data);
  if (!h->owner) return;  // closing already: on_closed takes the hook out
  h->torn_down();
  if (h->owner) h->owner->close();
}

void MainLoop::on_closed(uv_handle_t* handle) {
  auto* h = static_cast<Handle*>(handle->data);
  if (--h->open > 0) return;
  napi_remove_async_cleanup_hook(h->hook);
  delete h;
}

}  // namespace colo::addon
