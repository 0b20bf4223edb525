#include "addon/guest_ram.h"

#include <algorithm>
#include <cstring>

#include "addon/addon_data.h"
#include "addon/args.h"

namespace colo::addon {

namespace {

constexpr u64 kWindow =
    1ull << 30;  // well below the largest ArrayBuffer, and no slot begins inside one

Napi::Uint32Array to_array(Napi::Env env, const std::vector<u32>& values) {
  auto array = Napi::Uint32Array::New(env, values.size());
  if (!values.empty()) memcpy(array.Data(), values.data(), values.size() * sizeof(u32));
  return array;
}

}  // namespace

Napi::Function GuestRamWrap::define(Napi::Env env) {
  using W = GuestRamWrap;
  return DefineClass(
      env, "GuestRam",
      {InstanceMethod<&W::windows>("windows"), InstanceMethod<&W::slots>("slots"),
       InstanceMethod<&W::set_map>("setMap"), InstanceMethod<&W::populated>("populated"),
       InstanceMethod<&W::hash>("hash"), InstanceMethod<&W::mark_written>("markWritten"),
       InstanceMethod<&W::mark_offset_written>("markOffsetWritten"),
       InstanceMethod<&W::start_dirty_log>("startDirtyLog"),
       InstanceMethod<&W::stop_dirty_log>("stopDirtyLog"), InstanceMethod<&W::logging>("logging"),
       InstanceMethod<&W::dirty_count>("dirtyCount"), InstanceMethod<&W::take_dirty>("takeDirty"),
       InstanceMethod<&W::restore_dirty>("restoreDirty"), InstanceMethod<&W::gather>("gather"),
       InstanceMethod<&W::scatter>("scatter"), InstanceMethod<&W::zero>("zero")});
}

GuestRamWrap::GuestRamWrap(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  u64 size = to_u64(info[0], "sizeBytes");
  if (size == 0 || size % kPageSize)
    throw Napi::RangeError::New(info.Env(), "sizeBytes must be a multiple of 4096");
  const u64 extra = to_u64(info[1], "extraBytes");
  if (extra % kPageSize)
    throw Napi::RangeError::New(info.Env(), "extraBytes must be a multiple of 4096");
  if (size >> kPageShift > ~u32{0} || (size + extra) >> kPageShift > ~u32{0})
    throw Napi::RangeError::New(info.Env(), "sizeBytes is too large");  // page numbers are u32
  ram_ = std::make_shared<memory::GuestRam>(size, extra);
  info.This().As<Napi::Object>().TypeTag(&kRamTag);
}

/// Windows keep the RAM alive: JavaScript may hold one longer than the VM.
Napi::Value GuestRamWrap::windows(Info info) {
  Napi::Array out = Napi::Array::New(info.Env());
  for (u64 at = 0; at < ram_->size(); at += kWindow) {
    auto* keep = new std::shared_ptr<memory::GuestRam>(ram_);
    u64 len = std::min(kWindow, ram_->size() - at);
    auto release = [](Napi::Env, void*, std::shared_ptr<memory::GuestRam>* k) { delete k; };
    out.Set(out.Length(),
            Napi::ArrayBuffer::New(info.Env(), ram_->base() + at, len, release, keep));
  }
  return out;
}

Napi::Value GuestRamWrap::slots(Info info) {
  Napi::Array out = Napi::Array::New(info.Env());
  for (const memory::Slot& s : ram_->slots()) {
    Napi::Object slot = Napi::Object::New(info.Env());
    slot.Set("gpa", static_cast<double>(s.gpa));
    slot.Set("size", static_cast<double>(s.size));
    slot.Set("offset", static_cast<double>(s.offset));
    out.Set(out.Length(), slot);
  }
  return out;
}

void GuestRamWrap::set_map(Info info) {
  const auto list = info[0].As<Napi::Array>();
  std::vector<memory::Slot> slots(std::min<size_t>(list.Length(), memory::kMaxSlots + 1));
  for (u32 i = 0; i < slots.size(); i++) {
    const auto from = list.Get(i).As<Napi::Object>();
    slots[i].gpa = to_u64(from.Get("gpa"), "gpa");
    slots[i].size = to_u64(from.Get("size"), "size");
    slots[i].offset = to_u64(from.Get("offset"), "offset");
    slots[i].read_only = from.Get("readOnly").ToBoolean();
  }
  const std::string problem = ram_->set_map(slots);
  if (!problem.empty()) throw Napi::RangeError::New(info.Env(), "setMap: " + problem);
}

/// Pairs: first page, number of pages.
Napi::Value GuestRamWrap::populated(Info info) {
  std::vector<u32> pairs;
  for (const memory::Extent& e : ram_->populated()) {
    pairs.push_back(static_cast<u32>(e.first_page));
    pairs.push_back(static_cast<u32>(e.pages));
  }
  return to_array(info.Env(), pairs);
}

Napi::Value GuestRamWrap::hash(Info info) {
  return Napi::BigInt::New(info.Env(), static_cast<uint64_t>(ram_->hash()));
}

void GuestRamWrap::mark_written(Info info) {
  u64 gpa = to_u64(info[0], "gpa"), len = to_u64(info[1], "length");
  if (!ram_->hva(gpa, len)) throw Napi::RangeError::New(info.Env(), "markWritten: not RAM");
  ram_->mark_written(gpa, len);
}

void GuestRamWrap::mark_offset_written(Info info) {
  u64 offset = to_u64(info[0], "offset"), len = to_u64(info[1], "length");
  if (offset > ram_->size() || len > ram_->size() - offset)
    throw Napi::RangeError::New(info.Env(), "markOffsetWritten: outside of memory");
  ram_->mark_offset_written(offset, len);
}

Napi::Value GuestRamWrap::take_dirty(Info info) { return to_array(info.Env(), ram_->take_dirty()); }

void GuestRamWrap::restore_dirty(Info info) {
  auto pages = to_pages(info[0]);
  check_pages(info.Env(), pages, pages.size() * kPageSize);
  ram_->restore_dirty(pages.data(), pages.size());
}

void GuestRamWrap::gather(Info info) {
  auto pages = to_pages(info[0]);
  auto out = to_bytes(info[1]);
  check_pages(info.Env(), pages, out.size());
  ram_->gather(pages.data(), pages.size(), out.data());
}

void GuestRamWrap::scatter(Info info) {
  auto pages = to_pages(info[0]);
  auto in = to_bytes(info[1]);
  check_pages(info.Env(), pages, in.size());
  ram_->scatter(pages.data(), pages.size(), in.data());
}

void GuestRamWrap::zero(Info info) {
  auto pages = to_pages(info[0]);
  check_pages(info.Env(), pages, pages.size() * kPageSize);
  ram_->zero(pages.data(), pages.size());
}

void GuestRamWrap::check_pages(Napi::Env env, std::span<const u32> pages, size_t bytes) const {
  if (bytes < pages.size() * kPageSize)
    throw Napi::RangeError::New(env, "the buffer holds fewer than 4096 bytes for each page");
  u64 limit = ram_->page_count();
  if (std::any_of(pages.begin(), pages.end(), [limit](u32 p) { return p >= limit; }))
    throw Napi::RangeError::New(env, "page outside of RAM");
}

}  // namespace colo::addon
