// Executable memory: one memfd mapped twice, writable here and executable there, so that no page is
// ever both (W^X). Pages are committed when first written. Nothing is freed before the arena is.
#pragma once
#include <span>

#include "base/types.h"

namespace colo::soft {

class CodeArena {
 public:
  explicit CodeArena(size_t capacity);
  ~CodeArena();
  CodeArena(const CodeArena&) = delete;
  CodeArena& operator=(const CodeArena&) = delete;

  /// Copies code in, 16-byte aligned; returns where it may be called. Null when the arena is full.
  const void* add(std::span<const u8> code);
  size_t used() const { return used_; }

 private:
  const size_t capacity_;
  size_t used_ = 0;
  u8* write_ = nullptr;
  u8* exec_ = nullptr;
};

}  // namespace colo::soft
