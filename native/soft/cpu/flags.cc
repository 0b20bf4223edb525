// RFLAGS as a whole, from and to its lazy parts.
#include "soft/cpu/flags.h"

namespace colo::soft {

u64 Cpu::flags() const { return rflags | status_of_lazy(res, aux); }

void Cpu::set_flags(u64 value) {
  const bool alignment = (rflags ^ value) & flag::AC;
  lazy_of_status(value, res, aux);
  rflags = (value & ~flag::STATUS) | 2;
  if (alignment) alignment_flag_changed();
}

}  // namespace colo::soft
