// The host's floating-point units in the guest's mode. Swapping MXCSR or the x87 state costs more
// than the operations that it is swapped for, so the first of them takes the unit and it stays
// taken from handler to handler. Whatever else runs must find the host's own state, since it may
// use floating point itself, and the guest's in the image: every way out of the handlers gives the
// units back first. Threads that run vCPUs block all signals, so no signal handler comes between.
#pragma once
#include "soft/cpu/cpu.h"

namespace colo::soft {

/// In Cpu::units. The XMM registers stay in the image always.
constexpr u8 kSimdUnit = 1, kX87Unit = 2;

void give_taken_units_back(Cpu* c);
COLO_INLINE void give_units_back(Cpu* c) {
  if (COLO_UNLIKELY(c->units)) give_taken_units_back(c);
}

/// False: the unit is switched off, or an exception is unmasked or pending. Then the operation goes
/// through a thunk that works on the image (thunk_ops.cc), which finds out what it raises.
bool take_simd(Cpu* c);
bool take_x87(Cpu* c);

}  // namespace colo::soft
