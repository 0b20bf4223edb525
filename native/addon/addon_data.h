// What belongs to one environment (the main thread, or a worker): never a C++ global, for an addon
// is loaded once per environment.
#pragma once
#include <napi.h>

namespace colo::addon {

/// Proves to C++ that an object is what it is taken for, before it is unwrapped.
constexpr napi_type_tag kRamTag{0x636f6c6f2d72616dull, 0x9d0f35b1a02c4e11ull};
constexpr napi_type_tag kVmTag{0x636f6c6f2d2d766dull, 0x52e1c7a884b9d3f6ull};

template <class Wrap>
Wrap* unwrap(const Napi::Value& v, const napi_type_tag& tag, const char* what) {
  if (!v.IsObject() || !v.As<Napi::Object>().CheckTypeTag(&tag))
    throw Napi::TypeError::New(v.Env(), what);
  return Wrap::Unwrap(v.As<Napi::Object>());
}

Napi::Object vm_module(Napi::Env env);
Napi::Object host_module(Napi::Env env);

}  // namespace colo::addon
