#include "addon/page_codec.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "addon/addon_data.h"
#include "addon/args.h"
#include "addon/guest_ram.h"
#include "memory/page_delta.h"

namespace colo::addon {

namespace {

constexpr size_t kPagesMax = 256;
/// Tags of pages; 1 to kDeltaMax: so many bytes of runs.
constexpr u16 kZeroes = 0, kDeltaMax = 3072, kPacked = 0xfffe, kWhole = 0xffff;
/// Runs of more bytes only where the page itself is noise: else zstd does better with it whole.
constexpr size_t kSmallDelta = 1024;
constexpr size_t kSumBytes = 8, kHeadBytes = 4;
/// zstd is not asked for less.
constexpr size_t kSqueezeMin = 512;
constexpr u32 kSparedMax = 31;
constexpr int kLevel = 1;

std::span<u16> to_tags(const Napi::Value& v) {
  return to_span<u16, Napi::Uint16Array, napi_uint16_array>(v, "tags must be a Uint16Array");
}
std::span<const i32> to_slots(const Napi::Value& v) {
  return to_span<const i32, Napi::Int32Array, napi_int32_array>(v, "slots must be an Int32Array");
}

u32 swapped(u32 value) { return __builtin_bswap32(value); }
u64 swapped(u64 value) { return __builtin_bswap64(value); }
template <class T>
void store_be(u8* at, T value) {
  value = swapped(value);
  memcpy(at, &value, sizeof value);
}
template <class T>
T load_be(const u8* at) {
  T value;
  memcpy(&value, at, sizeof value);
  return swapped(value);
}

bool is_delta(u16 tag) { return tag > kZeroes && tag <= kDeltaMax; }

/// What stands for a page, in front of those that are whole: how many bytes were put to `out`.
size_t pack_page(const u8* base, const u8* page, u16& tag, u8* out) {
  if (memory::page_is_zero(page)) {
    tag = kZeroes;
    return 0;
  }
  const size_t runs =
      base ? memory::encode_delta(base, page, out + kSumBytes, kDeltaMax) : size_t{0};
  const bool small = runs > 0 && runs <= kSmallDelta;
  const bool noise = !small && memory::page_is_noise(page);
  if (small || (runs > 0 && noise)) {
    tag = static_cast<u16>(runs);
    store_be<u64>(out, memory::page_sum(page));
    return kSumBytes + runs;
  }
  tag = noise ? kWhole : kPacked;
  if (noise) return 0;
  memcpy(out, page, kPageSize);
  return kPageSize;
}

}  // namespace

Napi::Function PageCodecWrap::define(Napi::Env env) {
  using W = PageCodecWrap;
  return DefineClass(env, "PageCodec",
                     {InstanceMethod<&W::pack>("pack"), InstanceMethod<&W::unpack>("unpack")});
}

PageCodecWrap::PageCodecWrap(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  ram_ = unwrap<GuestRamWrap>(info[0], kRamTag, "the first argument must be a GuestRam")->ram();
}

size_t PageCodecWrap::squeeze(std::span<u8> bytes, Trial& trial) {
  if (bytes.size() < kSqueezeMin) return 0;
  if (trial.spared > 0) {
    trial.spared--;
    return 0;
  }
  if (!compress_) compress_.reset(ZSTD_createCCtx());
  if (!compress_) return 0;
  const size_t most = bytes.size() - bytes.size() / 8;
  if (scratch_.size() < most) scratch_.resize(kPagesMax * kPageSize);
  const size_t got =
      ZSTD_compressCCtx(compress_.get(), scratch_.data(), most, bytes.data(), bytes.size(), kLevel);
  if (ZSTD_isError(got)) {
    trial.in_vain = std::min(trial.in_vain * 2 + 1, kSparedMax);
    trial.spared = trial.in_vain;
    return 0;
  }
  trial.in_vain = 0;
  memcpy(bytes.data(), scratch_.data(), got);
  return got;
}

/// pack(data, tags, bases, keeps, store, out) -> bytes of out. A base or keep is a page of store or
/// -1; what is kept is the new content.
Napi::Value PageCodecWrap::pack(Info info) {
  const std::span<const u8> data = to_bytes(info[0]);
  const std::span<u16> tags = to_tags(info[1]);
  const std::span<const i32> bases = to_slots(info[2]), keeps = to_slots(info[3]);
  const std::span<u8> store = to_bytes(info[4]), out = to_bytes(info[5]);
  const size_t count = tags.size();
  const auto in_store = [&](i32 slot) {
    return slot < 0 || static_cast<size_t>(slot) < store.size() / kPageSize;
  };
  if (count > kPagesMax || data.size() != count * kPageSize || bases.size() != count ||
      keeps.size() != count || out.size() < kHeadBytes + count * kPageSize ||
      !std::all_of(bases.begin(), bases.end(), in_store) ||
      !std::all_of(keeps.begin(), keeps.end(), in_store))
    throw Napi::RangeError::New(info.Env(), "pack: sizes do not fit each other");
  u8* const from = out.data() + kHeadBytes;
  u8* at = from;
  for (size_t i = 0; i < count; i++) {
    const u8* page = data.data() + i * kPageSize;
    const u8* base =
        bases[i] < 0 ? nullptr : store.data() + static_cast<size_t>(bases[i]) * kPageSize;
    at += pack_page(base, page, tags[i], at);
    if (keeps[i] >= 0 && tags[i] != kZeroes)
      memcpy(store.data() + static_cast<size_t>(keeps[i]) * kPageSize, page, kPageSize);
  }
  const bool has_pages = std::find(tags.begin(), tags.end(), kPacked) != tags.end();
  const size_t squeezed = squeeze({from, at}, has_pages ? pages_ : changes_);
  store_be(out.data(), static_cast<u32>(squeezed));
  if (squeezed > 0) at = from + squeezed;
  for (size_t i = 0; i < count; i++) {
    if (tags[i] != kWhole) continue;
    memcpy(at, data.data() + i * kPageSize, kPageSize);
    at += kPageSize;
  }
  return Napi::Number::New(info.Env(), static_cast<double>(at - out.data()));
}

/// unpack(pages, tags, payload, out) -> undefined, or what is wrong with it. A peer's bytes. out
/// gets the pages that are not zeroes, one after the other.
Napi::Value PageCodecWrap::unpack(Info info) {
  const Napi::Env env = info.Env();
  const std::span<const u32> pages = to_pages(info[0]);
  const std::span<const u16> tags = to_tags(info[1]);
  const std::span<const u8> payload = to_bytes(info[2]);
  const std::span<u8> out = to_bytes(info[3]);
  if (pages.size() > kPagesMax || pages.size() != tags.size() || payload.size() < kHeadBytes ||
      std::any_of(pages.begin(), pages.end(), [&](u32 p) { return p >= ram_->page_count(); }))
    throw Napi::RangeError::New(env, "unpack: sizes do not fit each other");
  size_t packed = 0, whole = 0, filled = 0;
  for (u16 tag : tags) {
    if (is_delta(tag)) packed += kSumBytes + tag;
    else if (tag == kPacked) packed += kPageSize;
    else if (tag == kWhole) whole += kPageSize;
    else if (tag != kZeroes) throw Napi::RangeError::New(env, "unpack: a tag that is none");
    if (tag != kZeroes) filled += kPageSize;
  }
  if (out.size() != filled) throw Napi::RangeError::New(env, "unpack: out has another size");
  const auto wrong = [&](const std::string& why) -> Napi::Value {
    return Napi::String::New(env, why);
  };
  const size_t frame = load_be<u32>(payload.data());
  const std::span<const u8> rest = payload.subspan(kHeadBytes);
  if (whole > rest.size() || rest.size() - whole != (frame > 0 ? frame : packed))
    return wrong("its pages have another length");
  const u8* at = rest.data();
  if (frame > 0) {
    if (!expand_) expand_.reset(ZSTD_createDCtx());
    if (scratch_.size() < packed) scratch_.resize(kPagesMax * kPageSize);
    if (!expand_) return wrong("there is no memory for zstd");
    if (ZSTD_decompressDCtx(expand_.get(), scratch_.data(), packed, at, frame) != packed)
      return wrong("what zstd makes of it has another length");
    at = scratch_.data();
  }
  const u8* stored = rest.data() + rest.size() - whole;
  u8* to = out.data();
  for (size_t i = 0; i < pages.size(); i++) {
    if (tags[i] == kZeroes) continue;
    if (tags[i] == kWhole) {
      memcpy(to, stored, kPageSize);
      stored += kPageSize;
    } else if (tags[i] == kPacked) {
      memcpy(to, at, kPageSize);
      at += kPageSize;
    } else {
      memcpy(to, ram_->base() + (static_cast<u64>(pages[i]) << kPageShift), kPageSize);
      if (!memory::apply_delta(at + kSumBytes, tags[i], to))
        return wrong("the runs of page " + std::to_string(pages[i]) + " do not fit a page");
      if (memory::page_sum(to) != load_be<u64>(at))
        return wrong("page " + std::to_string(pages[i]) + " is not what its change was made from");
      at += kSumBytes + tags[i];
    }
    to += kPageSize;
  }
  return env.Undefined();
}

}  // namespace colo::addon
