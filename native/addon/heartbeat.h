// JS face of the signs of life.
#pragma once
#include <napi.h>

#include <memory>

#include "addon/heartbeat_thread.h"

namespace colo::addon {

class HeartbeatWrap final : public Napi::ObjectWrap<HeartbeatWrap> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit HeartbeatWrap(const Napi::CallbackInfo& info);

 private:
  using Info = const Napi::CallbackInfo&;
  Napi::Value port(Info info) { return Napi::Number::New(info.Env(), port_); }
  void aim(Info info);
  void turned(Info info);
  void set_interval(Info info);
  Napi::Value silent_ms(Info info);
  void close(Info) { thread_.reset(); }

  std::unique_ptr<HeartbeatThread> thread_;
  u32 port_ = 0;
};

}  // namespace colo::addon
