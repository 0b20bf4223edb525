#include "addon/files.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/file.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "addon/args.h"
#include "addon/system_error.h"

namespace colo::addon {

namespace {

using Info = const Napi::CallbackInfo&;

enum class Lock { Shared, Exclusive, None };

Lock to_lock(const Napi::Value& v) {
  std::string kind = to_string(v, "kind");
  if (kind == "shared") return Lock::Shared;
  if (kind == "exclusive") return Lock::Exclusive;
  if (kind == "unlock") return Lock::None;
  throw Napi::TypeError::New(v.Env(), "kind must be shared, exclusive or unlock");
}

/// True: done. False: somebody else holds a lock that conflicts.
Napi::Value locked(Napi::Env env, int result, const char* syscall) {
  if (result == 0) return Napi::Boolean::New(env, true);
  if (errno == EAGAIN || errno == EACCES) return Napi::Boolean::New(env, false);
  throw system_error(env, errno, syscall);
}

/// flock(fd, kind) -> boolean. Never waits.
Napi::Value do_flock(Info info) {
  static constexpr int kOperation[] = {LOCK_SH, LOCK_EX, LOCK_UN};
  int result = ::flock(to_fd(info[0]), kOperation[static_cast<int>(to_lock(info[1]))] | LOCK_NB);
  return locked(info.Env(), result, "flock");
}

/// ofdLock(fd, kind, offset, length) -> boolean. Never waits. Belongs to the open file, not to the
/// process; length 0 = to the end.
Napi::Value do_ofd_lock(Info info) {
  static constexpr short kType[] = {F_RDLCK, F_WRLCK, F_UNLCK};
  struct flock range{};
  range.l_type = kType[static_cast<int>(to_lock(info[1]))];
  range.l_whence = SEEK_SET;
  range.l_start = static_cast<off_t>(to_u64(info[2], "offset"));
  range.l_len = static_cast<off_t>(to_u64(info[3], "length"));
  return locked(info.Env(), fcntl(to_fd(info[0]), F_OFD_SETLK, &range), "fcntl");
}

/// ofdLockFree(fd, offset, length) -> boolean: would an exclusive lock of the range be granted?
/// Locks of this open file do not count.
Napi::Value do_ofd_lock_free(Info info) {
  struct flock range{};
  range.l_type = F_WRLCK;
  range.l_whence = SEEK_SET;
  range.l_start = static_cast<off_t>(to_u64(info[1], "offset"));
  range.l_len = static_cast<off_t>(to_u64(info[2], "length"));
  if (fcntl(to_fd(info[0]), F_OFD_GETLK, &range) < 0)
    throw system_error(info.Env(), errno, "fcntl");
  return Napi::Boolean::New(info.Env(), range.l_type == F_UNLCK);
}

int to_mode(const Napi::Value& v) {
  std::string mode = to_string(v, "mode");
  if (mode == "punch-hole") return FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  if (mode == "zero-range") return FALLOC_FL_ZERO_RANGE;
  if (mode == "zero-range-keep-size") return FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
  if (mode == "allocate") return 0;
  if (mode == "allocate-keep-size") return FALLOC_FL_KEEP_SIZE;
  throw Napi::TypeError::New(v.Env(), "unknown fallocate mode");
}

struct Allocation {
  int fd, mode;
  off_t offset, length;
};

int run(const Allocation& a) {
  int result;
  do result = ::fallocate(a.fd, a.mode, a.offset, a.length);
  while (result < 0 && errno == EINTR);
  return result == 0 ? 0 : errno;
}

/// On libuv's pool: a hole in a large file can take the disk a while.
class Fallocate final : public Napi::AsyncWorker {
 public:
  Fallocate(Napi::Env env, Allocation a)
      : AsyncWorker(env, "colo:fallocate"), a_(a), done_(Napi::Promise::Deferred::New(env)) {}
  Napi::Promise promise() const { return done_.Promise(); }

 protected:
  void Execute() override { error_ = run(a_); }
  void OnOK() override {
    if (error_ == 0) done_.Resolve(Env().Undefined());
    else done_.Reject(system_error(Env(), error_, "fallocate").Value());
  }

 private:
  Allocation a_;
  Napi::Promise::Deferred done_;
  int error_ = 0;
};

/// fallocate(fd, mode, offset, length) -> Promise<void>. EOPNOTSUPP is the caller's to handle: not
/// every file system can.
Napi::Value do_fallocate(Info info) {
  Allocation a{to_fd(info[0]), to_mode(info[1]), static_cast<off_t>(to_u64(info[2], "offset")),
               static_cast<off_t>(to_u64(info[3], "length"))};
  auto* worker = new Fallocate(info.Env(), a);
  worker->Queue();
  return worker->promise();
}

/// preadNow(fd, buffer, offset) -> bytes read without waiting for a disk: what the page cache
/// holds, which may be less than asked; -1 when it would have to wait, or when the file system
/// cannot tell. Whoever gets less asks again where waiting harms nobody.
Napi::Value do_pread_now(Info info) {
  std::span<u8> buffer = to_bytes(info[1]);
  iovec part{buffer.data(), buffer.size()};
  ssize_t got = ::preadv2(to_fd(info[0]), &part, 1, static_cast<off_t>(to_u64(info[2], "offset")),
                          RWF_NOWAIT);
  return Napi::Number::New(info.Env(), static_cast<double>(got));
}

/// pageOffset(buffer) -> how far its bytes lie past the start of a page of 4 KiB: O_DIRECT takes
/// only memory that is aligned.
Napi::Value do_page_offset(Info info) {
  return Napi::Number::New(
      info.Env(),
      static_cast<double>(reinterpret_cast<std::uintptr_t>(to_bytes(info[0]).data()) % 4096));
}

/// dataAt(fd, offset) -> [start, end] of the next data at or after offset, or undefined: only a
/// hole follows. A file system that does not know holes calls everything data.
Napi::Value do_data_at(Info info) {
  int fd = to_fd(info[0]);
  off_t start = lseek(fd, static_cast<off_t>(to_u64(info[1], "offset")), SEEK_DATA);
  if (start < 0 && errno == ENXIO) return info.Env().Undefined();
  if (start < 0) throw system_error(info.Env(), errno, "lseek");
  off_t end = lseek(fd, start, SEEK_HOLE);
  if (end < 0) throw system_error(info.Env(), errno, "lseek");
  Napi::Array found = Napi::Array::New(info.Env(), 2);
  found.Set(0u, Napi::Number::New(info.Env(), static_cast<double>(start)));
  found.Set(1u, Napi::Number::New(info.Env(), static_cast<double>(end)));
  return found;
}

}  // namespace

void add_files(Napi::Env env, Napi::Object module) {
  module.Set("flock", Napi::Function::New<do_flock>(env, "flock"));
  module.Set("ofdLock", Napi::Function::New<do_ofd_lock>(env, "ofdLock"));
  module.Set("ofdLockFree", Napi::Function::New<do_ofd_lock_free>(env, "ofdLockFree"));
  module.Set("dataAt", Napi::Function::New<do_data_at>(env, "dataAt"));
  module.Set("fallocate", Napi::Function::New<do_fallocate>(env, "fallocate"));
  module.Set("pageOffset", Napi::Function::New<do_page_offset>(env, "pageOffset"));
  module.Set("preadNow", Napi::Function::New<do_pread_now>(env, "preadNow"));
}

}  // namespace colo::addon
