// An interrupt or exception on its way into its handler. Private to native/soft/system.
#pragma once
#include "soft/system/frame.h"

namespace colo::soft::sys {

struct Event {
  u8 vector = 0;
  bool has_error = false;
  u32 error = 0;
  bool software = false;  // INT n, INT3: DPL is checked, and nested errors are not marked external
  u64 return_rip = 0;
  u64 flags_image = 0;
};

/// Flags that a handler begins without; none of them is a status bit.
inline u64 handler_clears(bool masks_interrupts) {
  return flag::TF | flag::NT | flag::RF | flag::VM | (masks_interrupts ? flag::IF : 0);
}
/// Through the vector table of real mode, and through the IDT of protected mode. False: as
/// enter_handler of deliver.cc.
bool enter_real(Cpu& c, const Event& e);
bool enter_protected(Cpu& c, const Event& e);

}  // namespace colo::soft::sys
