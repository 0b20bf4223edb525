// Calls from the event loop into JavaScript.
#pragma once
#include <napi.h>

#include <initializer_list>

namespace colo::addon {

/// A function that native events are delivered to. What it throws is an uncaught exception of the
/// process: nobody else is there to catch.
class Callback {
 public:
  void set(Napi::Function f) { ref_ = Napi::Persistent(f); }
  void clear() { ref_.Reset(); }
  explicit operator bool() const { return !ref_.IsEmpty(); }
  /// From the loop, with a handle scope open: microtasks run after it.
  void deliver(Napi::Env env, const Napi::AsyncContext& context,
               std::initializer_list<napi_value> args) const;
  /// From inside of a JavaScript call. Throws what it throws.
  void call(std::initializer_list<napi_value> args) const { ref_.Call(args); }

 private:
  Napi::FunctionReference ref_;
};

}  // namespace colo::addon
