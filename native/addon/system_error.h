// Errors of system calls in Node's own shape, so that JavaScript treats them like those of fs and
// net.
#pragma once
#include <napi.h>
#include <uv.h>

#include <string>

namespace colo::addon {

/// "EACCES: permission denied, open '/dev/net/tun'" with code, errno, syscall and path.
inline Napi::Error system_error(Napi::Env env, int error, const std::string& syscall,
                                const std::string& path = "") {
  std::string code = uv_err_name(-error);
  std::string message =
      code + ": " + uv_strerror(-error) + ", " + syscall + (path.empty() ? "" : " '" + path + "'");
  Napi::Error e = Napi::Error::New(env, message);
  e.Set("code", Napi::String::New(env, code));
  e.Set("errno", Napi::Number::New(env, -error));
  e.Set("syscall", Napi::String::New(env, syscall));
  if (!path.empty()) e.Set("path", Napi::String::New(env, path));
  return e;
}

}  // namespace colo::addon
