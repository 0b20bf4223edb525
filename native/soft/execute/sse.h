// What the SSE handlers share: the XMM registers where they lie, in the FXSAVE image.
#pragma once
#include <emmintrin.h>

#include "soft/execute/ops.h"

namespace colo::soft {

constexpr size_t kFxXmm = 160;  // of XMM0 in the FXSAVE image

COLO_INLINE __m128i& xmm(Cpu* c, u8 offset) {
  return *reinterpret_cast<__m128i*>(c->fx.bytes + kFxXmm + offset);
}
#define NEED_ALIGNED(va) \
  if (COLO_UNLIKELY((va) & 15)) return raise_gp0(c, o, res, aux)

}  // namespace colo::soft
