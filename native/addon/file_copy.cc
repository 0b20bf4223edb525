#include "addon/file_copy.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <vector>

#include "addon/args.h"
#include "addon/system_error.h"

namespace colo::addon {

namespace {

using Info = const Napi::CallbackInfo&;

/// So much is read before it is looked at: the processor still has it then.
constexpr u64 kPiece = 256 << 10;
/// The longest cluster of a qcow2 image.
constexpr u64 kLongestUnit = 2 << 20;
constexpr u64 kLongest = 1ull << 30;

/// A range of an open file.
struct Place {
  int fd;
  u64 offset;
};

struct Failure {
  int error;
  const char* syscall;
};

/// Of one thread of libuv's pool; `which`: of two at once.
std::span<u8> room(int which, u64 length) {
  static thread_local std::vector<u8> rooms[2];
  std::vector<u8>& found = rooms[which];
  if (found.size() < length) found.resize(length);
  return {found.data(), length};
}

/// What is beyond the end of the file reads as zeroes.
std::optional<Failure> read_all(Place from, std::span<u8> to) {
  for (size_t done = 0; done < to.size();) {
    ssize_t got = ::pread(from.fd, to.data() + done, to.size() - done,
                          static_cast<off_t>(from.offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Failure{errno, "read"};
    if (got == 0) {
      std::memset(to.data() + done, 0, to.size() - done);
      break;
    }
    done += static_cast<size_t>(got);
  }
  return std::nullopt;
}

std::optional<Failure> write_all(Place to, std::span<const u8> from) {
  for (size_t done = 0; done < from.size();) {
    ssize_t put = ::pwrite(to.fd, from.data() + done, from.size() - done,
                           static_cast<off_t>(to.offset + done));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return Failure{errno, "write"};
    if (put == 0) return Failure{ENOSPC, "write"};
    done += static_cast<size_t>(put);
  }
  return std::nullopt;
}

bool is_zero(std::span<const u8> bytes) {
  return bytes[0] == 0 && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
}

/// On libuv's pool. What it gives stands in `to_js`.
class FileWork : public Napi::AsyncWorker {
 public:
  FileWork(Napi::Env env, const char* name)
      : AsyncWorker(env, name), done_(Napi::Promise::Deferred::New(env)) {}
  Napi::Promise start() {
    Queue();
    return done_.Promise();
  }

 protected:
  virtual std::optional<Failure> work() = 0;
  virtual Napi::Value to_js() = 0;
  void Execute() override { failure_ = work(); }
  void OnOK() override {
    if (failure_) done_.Reject(system_error(Env(), failure_->error, failure_->syscall).Value());
    else done_.Resolve(to_js());
  }

 private:
  Napi::Promise::Deferred done_;
  std::optional<Failure> failure_;
};

class CopyUnits final : public FileWork {
 public:
  CopyUnits(Napi::Env env, Place from, Place to, u64 length, u64 unit, bool packed)
      : FileWork(env, "colo:copyUnits"),
        from_(from),
        to_(to),
        length_(length),
        unit_(unit),
        packed_(packed),
        written_((length + unit - 1) / unit) {}

 protected:
  std::optional<Failure> work() override {
    u64 piece = std::max(unit_, kPiece - kPiece % unit_);
    for (u64 at = 0; at < length_; at += piece) {
      std::span<u8> data = room(0, std::min(piece, length_ - at));
      if (auto failure = read_all({from_.fd, from_.offset + at}, data)) return failure;
      if (auto failure = write_data(at, data)) return failure;
    }
    return std::nullopt;
  }
  Napi::Value to_js() override {
    return Napi::Buffer<u8>::Copy(Env(), written_.data(), written_.size());
  }

 private:
  /// Neighbouring units that are not all zeroes in one write.
  std::optional<Failure> write_data(u64 at, std::span<const u8> data) {
    auto zero = [&](u64 start) {
      return is_zero(data.subspan(start, std::min(unit_, data.size() - start)));
    };
    for (u64 start = 0; start < data.size();) {
      if (zero(start)) {
        start += unit_;
        continue;
      }
      u64 end = start;
      for (; end < data.size() && !zero(end); end += unit_) written_[(at + end) / unit_] = 1;
      u64 bytes = std::min<u64>(end, data.size()) - start;
      u64 where = packed_ ? packed_bytes_ : at + start;
      if (auto failure = write_all({to_.fd, to_.offset + where}, data.subspan(start, bytes)))
        return failure;
      packed_bytes_ += bytes;
      start = end;
    }
    return std::nullopt;
  }

  Place from_, to_;
  u64 length_, unit_;
  bool packed_;
  u64 packed_bytes_ = 0;
  std::vector<u8> written_;
};

class Difference final : public FileWork {
 public:
  Difference(Napi::Env env, Place one, std::optional<Place> two, u64 length)
      : FileWork(env, "colo:differenceAt"), one_(one), two_(two), length_(length) {}

 protected:
  std::optional<Failure> work() override {
    for (u64 at = 0; at < length_ && found_ < 0; at += kPiece) {
      u64 bytes = std::min(kPiece, length_ - at);
      std::span<u8> one = room(0, bytes), two = room(1, bytes);
      if (auto failure = read_all({one_.fd, one_.offset + at}, one)) return failure;
      if (!two_) std::ranges::fill(two, u8{0});
      else if (auto failure = read_all({two_->fd, two_->offset + at}, two)) return failure;
      if (std::memcmp(one.data(), two.data(), bytes) == 0) continue;
      found_ = static_cast<double>(at) +
               static_cast<double>(std::ranges::mismatch(one, two).in1 - one.begin());
    }
    return std::nullopt;
  }
  Napi::Value to_js() override { return Napi::Number::New(Env(), found_); }

 private:
  Place one_;
  std::optional<Place> two_;
  u64 length_;
  double found_ = -1;
};

u64 to_length(const Napi::Value& v) {
  u64 length = to_u64(v, "length");
  if (length > kLongest) throw Napi::TypeError::New(v.Env(), "length is too large");
  return length;
}

Place to_place(const Napi::Value& fd, const Napi::Value& offset) {
  return {to_fd(fd), to_u64(offset, "offset")};
}

/// copyUnits(fromFd, fromOffset, toFd, toOffset, length, unit, packed) -> Promise<Uint8Array>: unit
/// by unit, a flag for each: 0 = it is all zeroes and was left out. packed: those written follow
/// each other without gaps.
Napi::Value do_copy_units(Info info) {
  u64 unit = to_u64(info[5], "unit");
  if (unit == 0 || unit > kLongestUnit)
    throw Napi::TypeError::New(info.Env(), "unit must be from 1 to 2 MiB");
  return (new CopyUnits(info.Env(), to_place(info[0], info[1]), to_place(info[2], info[3]),
                        to_length(info[4]), unit, info[6].ToBoolean()))
      ->start();
}

/// differenceAt(fd, offset, otherFd | undefined, otherOffset, length) -> Promise<number>: the first
/// byte that differs, counted from the offsets, or -1. Without another file: the first that is not
/// zero.
Napi::Value do_difference_at(Info info) {
  std::optional<Place> two;
  if (!info[2].IsUndefined()) two = to_place(info[2], info[3]);
  return (new Difference(info.Env(), to_place(info[0], info[1]), two, to_length(info[4])))->start();
}

}  // namespace

void add_file_copy(Napi::Env env, Napi::Object module) {
  module.Set("copyUnits", Napi::Function::New<do_copy_units>(env, "copyUnits"));
  module.Set("differenceAt", Napi::Function::New<do_difference_at>(env, "differenceAt"));
}

}  // namespace colo::addon
