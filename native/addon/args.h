// Arguments from JavaScript to clean C++ values. TypeScript has validated what they mean; this only
// makes sure that a wrong call ends in a TypeError instead of in somebody's memory.
#pragma once
#include <napi.h>

#include <span>
#include <string>

#include "base/types.h"

namespace colo::addon {

/// A whole number from 0 to 2^53, or a BigInt of 64 bits.
inline u64 to_u64(const Napi::Value& v, const char* name) {
  if (v.IsBigInt()) {
    bool lossless = false;
    u64 n = v.As<Napi::BigInt>().Uint64Value(&lossless);
    if (lossless) return n;
  } else if (v.IsNumber()) {
    double d = v.As<Napi::Number>().DoubleValue();
    if (d >= 0 && d <= 9007199254740992.0 && d == static_cast<double>(static_cast<u64>(d)))
      return static_cast<u64>(d);
  }
  throw Napi::TypeError::New(v.Env(), std::string(name) + " must be a whole number, not negative");
}

inline u32 to_u32(const Napi::Value& v, const char* name) {
  u64 n = to_u64(v, name);
  if (n > ~u32{0}) throw Napi::TypeError::New(v.Env(), std::string(name) + " is too large");
  return static_cast<u32>(n);
}

inline int to_fd(const Napi::Value& v) { return static_cast<int>(to_u32(v, "fd") & 0x7fffffff); }

inline std::string to_string(const Napi::Value& v, const char* name) {
  if (!v.IsString()) throw Napi::TypeError::New(v.Env(), std::string(name) + " must be a string");
  return v.As<Napi::String>().Utf8Value();
}

inline Napi::Function to_function(const Napi::Value& v, const char* name) {
  if (!v.IsFunction())
    throw Napi::TypeError::New(v.Env(), std::string(name) + " must be a function");
  return v.As<Napi::Function>();
}

template <class T, class Array, napi_typedarray_type... kinds>
std::span<T> to_span(const Napi::Value& v, const char* what) {
  if (v.IsTypedArray()) {
    auto kind = v.As<Napi::TypedArray>().TypedArrayType();
    if (((kind == kinds) || ...))
      return {reinterpret_cast<T*>(v.As<Array>().Data()), v.As<Array>().ElementLength()};
  }
  throw Napi::TypeError::New(v.Env(), std::string(what));
}

inline std::span<u8> to_bytes(const Napi::Value& v) {
  return to_span<u8, Napi::Uint8Array, napi_uint8_array>(v, "bytes must be a Uint8Array");
}
inline std::span<const u32> to_pages(const Napi::Value& v) {
  return to_span<const u32, Napi::Uint32Array, napi_uint32_array>(v, "pages must be a Uint32Array");
}

}  // namespace colo::addon
