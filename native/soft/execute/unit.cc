#include "soft/execute/unit.h"

#include <xmmintrin.h>

#include <cstring>

namespace colo::soft {
namespace {

// FXSAVE64 image
constexpr size_t kFcw = 0, kFsw = 2, kFtw = 4, kFop = 6, kMxcsr = 24, kSt = 32, kStBytes = 128;

template <class T>
T field(const FxState& fx, size_t at) {
  T v;
  memcpy(&v, fx.bytes + at, sizeof v);
  return v;
}

void give_x87_back(Cpu* c) {
  FxState now;
  asm volatile("fxsave64 %0" : "=m"(now));
  asm volatile("fninit; fldcw %0" ::"m"(c->host_cw));
  memcpy(c->fx.bytes + kFcw, now.bytes + kFcw, kFtw + 1 - kFcw);
  memset(c->fx.bytes + kFop, 0, kMxcsr - kFop);  // where the last instruction lay: in this process
  memcpy(c->fx.bytes + kSt, now.bytes + kSt, kStBytes);
}

}  // namespace

COLO_COLD void give_taken_units_back(Cpu* c) {
  if (c->units & kX87Unit) give_x87_back(c);
  if (c->units & kSimdUnit) {
    const u32 mxcsr = _mm_getcsr();
    memcpy(c->fx.bytes + kMxcsr, &mxcsr, sizeof mxcsr);
    _mm_setcsr(c->host_mxcsr);
  }
  c->units = 0;
}

COLO_COLD bool take_simd(Cpu* c) {
  constexpr u32 kMasks = 0x1f80, kReserved = 0xffff0000;
  const u32 mxcsr = field<u32>(c->fx, kMxcsr);
  if (c->cr0 & (cr0::EM | cr0::TS) || !(c->cr4 & cr4::OSFXSR)) return false;
  if ((mxcsr & (kMasks | kReserved)) != kMasks) return false;
  c->host_mxcsr = _mm_getcsr();
  _mm_setcsr(mxcsr);
  c->units |= kSimdUnit;
  return true;
}

/// FXRSTOR loads XMM and MXCSR besides; nothing lives in the former between two handlers.
COLO_COLD bool take_x87(Cpu* c) {
  constexpr u16 kMasks = 0x3f, kErrorSummary = 0x80;
  if (c->cr0 & (cr0::EM | cr0::TS) || field<u32>(c->fx, kMxcsr) >> 16) return false;
  if (~field<u16>(c->fx, kFcw) & kMasks || field<u16>(c->fx, kFsw) & kErrorSummary) return false;
  const u32 mxcsr = _mm_getcsr();
  asm volatile("fnstcw %0" : "=m"(c->host_cw));
  asm volatile("fxrstor64 %0" ::"m"(c->fx)
               : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
                 "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
  _mm_setcsr(mxcsr);
  c->units |= kX87Unit;
  return true;
}

}  // namespace colo::soft
