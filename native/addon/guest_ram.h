// JS face of guest RAM. Converts and checks ranges; holds no policy.
#pragma once
#include <napi.h>

#include <memory>
#include <span>

#include "memory/ram.h"

namespace colo::addon {

class GuestRamWrap final : public Napi::ObjectWrap<GuestRamWrap> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit GuestRamWrap(const Napi::CallbackInfo& info);
  const std::shared_ptr<memory::GuestRam>& ram() const { return ram_; }

 private:
  using Info = const Napi::CallbackInfo&;
  Napi::Value windows(Info info);
  Napi::Value slots(Info info);
  Napi::Value populated(Info info);
  Napi::Value hash(Info info);
  void mark_written(Info info);
  void mark_offset_written(Info info);
  void set_map(Info info);
  void start_dirty_log(Info) { ram_->start_dirty_log(); }
  void stop_dirty_log(Info) { ram_->stop_dirty_log(); }
  Napi::Value logging(Info info) { return Napi::Boolean::New(info.Env(), ram_->logging()); }
  Napi::Value dirty_count(Info info) {
    return Napi::Number::New(info.Env(), static_cast<double>(ram_->dirty_count()));
  }
  Napi::Value take_dirty(Info info);
  void restore_dirty(Info info);
  void gather(Info info);
  void scatter(Info info);
  void zero(Info info);
  /// Every page exists and bytes has room for all, else throws.
  void check_pages(Napi::Env env, std::span<const u32> pages, size_t bytes) const;

  std::shared_ptr<memory::GuestRam> ram_;
};

}  // namespace colo::addon
