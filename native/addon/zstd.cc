#include "addon/zstd.h"

#include <zstd.h>

#include <memory>
#include <vector>

#include "addon/args.h"

namespace colo::addon {

namespace {

/// Longest result; a caller's mistake must not become an allocation.
constexpr u64 kMaxBytes = 64 << 20;
/// A frame that asks for a window of more than 8 MiB is refused: a hostile one could ask for 128.
constexpr int kWindowLogMax = 23;

/// What a worker works on. `from` is a copy: the caller's buffer may be collected or changed.
struct Work {
  std::vector<u8> from, to;
  std::string error;
};

void decompress(Work& work) {
  std::unique_ptr<ZSTD_DCtx, size_t (*)(ZSTD_DCtx*)> context(ZSTD_createDCtx(), ZSTD_freeDCtx);
  if (!context) {
    work.error = "no memory for zstd";
    return;
  }
  ZSTD_DCtx_setParameter(context.get(), ZSTD_d_windowLogMax, kWindowLogMax);
  ZSTD_inBuffer in{work.from.data(), work.from.size(), 0};
  ZSTD_outBuffer out{work.to.data(), work.to.size(), 0};
  while (out.pos < out.size) {
    size_t before = out.pos;
    size_t result = ZSTD_decompressStream(context.get(), &out, &in);
    if (ZSTD_isError(result)) {
      work.error = ZSTD_getErrorName(result);
      break;
    }
    // The end of a frame, or all read: what follows is not ours.
    if (result == 0 || (in.pos == in.size && out.pos == before)) break;
  }
  work.to.resize(out.pos);
}

void compress(Work& work) {
  size_t result = ZSTD_compress(work.to.data(), work.to.size(), work.from.data(), work.from.size(),
                                ZSTD_CLEVEL_DEFAULT);
  if (ZSTD_isError(result)) work.error = ZSTD_getErrorName(result);
  else work.to.resize(result);
}

/// On libuv's pool: a cluster of 2 MiB takes milliseconds.
class Worker final : public Napi::AsyncWorker {
 public:
  Worker(Napi::Env env, void (*run)(Work&), std::span<const u8> from, size_t to)
      : AsyncWorker(env, "colo:zstd"), run_(run), done_(Napi::Promise::Deferred::New(env)) {
    work_.from.assign(from.begin(), from.end());
    work_.to.resize(to);
  }
  Napi::Promise promise() const { return done_.Promise(); }

 protected:
  void Execute() override { run_(work_); }
  void OnOK() override {
    if (work_.error.empty())
      done_.Resolve(Napi::Buffer<u8>::Copy(Env(), work_.to.data(), work_.to.size()));
    else done_.Reject(Napi::Error::New(Env(), work_.error).Value());
  }

 private:
  void (*run_)(Work&);
  Work work_;
  Napi::Promise::Deferred done_;
};

Napi::Value start(Napi::Env env, void (*run)(Work&), std::span<const u8> from, size_t to) {
  auto* worker = new Worker(env, run, from, to);
  worker->Queue();
  return worker->promise();
}

/// zstdDecompress(bytes, most) -> Promise<Buffer>: the first frame, at most so many bytes of it;
/// what follows the frame is ignored.
Napi::Value do_decompress(const Napi::CallbackInfo& info) {
  u64 most = to_u64(info[1], "most");
  if (most > kMaxBytes) throw Napi::TypeError::New(info.Env(), "most is too large");
  return start(info.Env(), decompress, to_bytes(info[0]), most);
}

/// zstdCompress(bytes) -> Promise<Buffer>: one frame that says how long its content is.
Napi::Value do_compress(const Napi::CallbackInfo& info) {
  std::span<const u8> bytes = to_bytes(info[0]);
  if (bytes.size() > kMaxBytes) throw Napi::TypeError::New(info.Env(), "too many bytes at once");
  return start(info.Env(), compress, bytes, ZSTD_compressBound(bytes.size()));
}

}  // namespace

void add_zstd(Napi::Env env, Napi::Object module) {
  module.Set("zstdDecompress", Napi::Function::New<do_decompress>(env, "zstdDecompress"));
  module.Set("zstdCompress", Napi::Function::New<do_compress>(env, "zstdCompress"));
}

}  // namespace colo::addon
