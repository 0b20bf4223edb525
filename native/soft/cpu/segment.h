// The checks of one segment's limit and type (Intel SDM vol. 3, 5.3 and 5.5).
#pragma once
#include "soft/cpu/cpu.h"

namespace colo::soft {

/// Does [offset, offset+n) lie within the limit? Data segments may grow downward.
inline bool within_limit(const kvm_segment& s, u64 offset, u64 n) {
  const u64 last = offset + n - 1;
  const bool expands_down = (s.type & 0xc) == 4;
  if (!expands_down) return last <= s.limit;
  return offset > s.limit && last <= (s.db ? 0xffffffffu : 0xffffu);
}

}  // namespace colo::soft
