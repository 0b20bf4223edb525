#include "addon/xattr.h"

#include <sys/xattr.h>

#include <cerrno>
#include <string>
#include <vector>

#include "addon/args.h"
#include "addon/system_error.h"

namespace colo::addon {

namespace {

using Info = const Napi::CallbackInfo&;

/// Longest value that is read or written: the kernel's own limit.
constexpr size_t kMaxBytes = 64 << 10;

/// What a worker works on. `bytes` is a copy: the caller's buffer may be collected or changed.
struct Attribute {
  int fd;
  std::string name;
  std::vector<u8> bytes;
  /// Reading: it has a value. Writing: it is to have one.
  bool present;
};

int get(Attribute& a) {
  a.bytes.resize(kMaxBytes);
  ssize_t length = ::fgetxattr(a.fd, a.name.c_str(), a.bytes.data(), a.bytes.size());
  a.present = length >= 0;
  a.bytes.resize(a.present ? static_cast<size_t>(length) : 0);
  return a.present || errno == ENODATA ? 0 : errno;
}

int set(Attribute& a) {
  int result = a.present ? ::fsetxattr(a.fd, a.name.c_str(), a.bytes.data(), a.bytes.size(), 0)
                         : ::fremovexattr(a.fd, a.name.c_str());
  return result == 0 || (!a.present && errno == ENODATA) ? 0 : errno;
}

/// On libuv's pool: the file system may have to read the disk, or wait for its journal.
class Worker final : public Napi::AsyncWorker {
 public:
  Worker(Napi::Env env, int (*run)(Attribute&), const char* syscall, Attribute attribute)
      : AsyncWorker(env, "colo:xattr"),
        run_(run),
        syscall_(syscall),
        attribute_(std::move(attribute)),
        done_(Napi::Promise::Deferred::New(env)) {}
  Napi::Promise promise() const { return done_.Promise(); }

 protected:
  void Execute() override { error_ = run_(attribute_); }
  void OnOK() override {
    const Attribute& a = attribute_;
    if (error_ != 0) done_.Reject(system_error(Env(), error_, syscall_).Value());
    else if (run_ != get || !a.present) done_.Resolve(Env().Undefined());
    else done_.Resolve(Napi::Buffer<u8>::Copy(Env(), a.bytes.data(), a.bytes.size()));
  }

 private:
  int (*run_)(Attribute&);
  const char* syscall_;
  Attribute attribute_;
  Napi::Promise::Deferred done_;
  int error_ = 0;
};

Napi::Value start(Napi::Env env, int (*run)(Attribute&), const char* syscall, Attribute a) {
  auto* worker = new Worker(env, run, syscall, std::move(a));
  worker->Queue();
  return worker->promise();
}

/// getXattr(fd, name) -> Promise<Buffer | undefined>; undefined: the file has none of that name.
Napi::Value do_get(Info info) {
  Attribute a{to_fd(info[0]), to_string(info[1], "name"), {}, false};
  return start(info.Env(), get, "fgetxattr", std::move(a));
}

/// setXattr(fd, name, bytes | undefined) -> Promise<void>; undefined takes it away. Not durable by
/// itself.
Napi::Value do_set(Info info) {
  Attribute a{to_fd(info[0]), to_string(info[1], "name"), {}, !info[2].IsUndefined()};
  if (a.present) {
    std::span<u8> bytes = to_bytes(info[2]);
    if (bytes.size() > kMaxBytes) throw Napi::TypeError::New(info.Env(), "too many bytes");
    a.bytes.assign(bytes.begin(), bytes.end());
  }
  return start(info.Env(), set, "fsetxattr", std::move(a));
}

}  // namespace

void add_xattr(Napi::Env env, Napi::Object module) {
  module.Set("getXattr", Napi::Function::New<do_get>(env, "getXattr"));
  module.Set("setXattr", Napi::Function::New<do_set>(env, "setXattr"));
}

}  // namespace colo::addon
