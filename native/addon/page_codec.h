// JS face of packed pages (src/migration/packed-pages.ts has the format): one call for each chunk,
// without an allocation for a page. Holds no policy: TypeScript says which former content counts.
#pragma once
#include <napi.h>
#include <zstd.h>

#include <memory>
#include <span>
#include <vector>

#include "memory/ram.h"

namespace colo::addon {

class PageCodecWrap final : public Napi::ObjectWrap<PageCodecWrap> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit PageCodecWrap(const Napi::CallbackInfo& info);

 private:
  using Info = const Napi::CallbackInfo&;
  template <class T>
  using Context = std::unique_ptr<T, size_t (*)(T*)>;
  Napi::Value pack(Info info);
  Napi::Value unpack(Info info);
  /// Chunks in a row that zstd made no shorter, and how many are not tried because of that.
  struct Trial {
    u32 in_vain = 0, spared = 0;
  };
  /// In place, if it gets shorter by an eighth. 0: it does not.
  size_t squeeze(std::span<u8> bytes, Trial& trial);

  std::shared_ptr<memory::GuestRam> ram_;
  Context<ZSTD_CCtx> compress_{nullptr, ZSTD_freeCCtx};
  Context<ZSTD_DCtx> expand_{nullptr, ZSTD_freeDCtx};
  std::vector<u8> scratch_;
  /// What is in vain for changes says nothing of pages.
  Trial changes_, pages_;
};

}  // namespace colo::addon
