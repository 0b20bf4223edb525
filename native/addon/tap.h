// A Linux tap interface on the event loop. Node refuses a tun descriptor as a socket, so this is
// the one stream that it lacks.
#pragma once
#include <napi.h>
#include <uv.h>

#include <string>

#include "addon/callbacks.h"

namespace colo::addon {

class TapWrap final : public Napi::ObjectWrap<TapWrap> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit TapWrap(const Napi::CallbackInfo& info);
  ~TapWrap() override { shut(); }

 private:
  using Info = const Napi::CallbackInfo&;
  Napi::Value name(Info info) { return Napi::String::New(info.Env(), name_); }
  Napi::Value write(Info info);
  void set_reading(Info info);
  void close(Info) { shut(); }

  void open(Napi::Env env, const std::string& ifname);
  void begin_polling();
  void read_batch();
  void fail(int error);
  void shut();

  /// Lives until libuv has closed it, like MainLoop's.
  struct Poll {
    uv_poll_t poll;
    napi_async_cleanup_hook_handle hook = nullptr;
    TapWrap* owner = nullptr;
    int fd = -1;
  };
  static void on_readable(uv_poll_t* poll, int status, int events);
  static void on_teardown(napi_async_cleanup_hook_handle, void* data);
  static void on_closed(uv_handle_t* handle);

  Napi::AsyncContext context_;
  Callback on_frame_, on_error_;
  std::string name_;
  Poll* poll_ = nullptr;
  bool reading_ = false;
};

}  // namespace colo::addon
