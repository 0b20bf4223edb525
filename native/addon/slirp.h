// JS face of a guest's user network.
#pragma once
#include <napi.h>

#include <memory>

#include "addon/callbacks.h"
#include "addon/main_loop.h"
#include "addon/slirp_thread.h"

namespace colo::addon {

/// `Slirp`, the class: undefined where this was built without libslirp's header, null where the
/// host has no libslirp.
void add_slirp(Napi::Env env, Napi::Object module);

#ifdef COLO_HAS_SLIRP
class SlirpWrap final : public Napi::ObjectWrap<SlirpWrap> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit SlirpWrap(const Napi::CallbackInfo& info);
  ~SlirpWrap() override { shut(); }

 private:
  using Info = const Napi::CallbackInfo&;
  Napi::Value send(Info info);
  Napi::Value receive(Info info);
  void set_reading(Info info);
  void add_forward(Info info);
  Napi::Value remove_forward(Info info);
  Napi::Value connections(Info info);
  Napi::Value dropped(Info info);
  void close(Info) { shut(); }

  void called();
  void shut();

  Napi::AsyncContext context_;
  Callback on_bell_;
  bool reading_ = false;
  MainLoop loop_;
  std::unique_ptr<SlirpThread> thread_;  // ends before the bell that it rings
};
#endif

}  // namespace colo::addon
