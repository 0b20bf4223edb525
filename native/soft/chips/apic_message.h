// An interrupt message as it travels from the IOAPIC, an MSI write or an ICR to a local APIC (Intel
// SDM vol. 3, 11.11 and 11.6.1).
#pragma once
#include "base/types.h"

namespace colo::soft {

enum class DeliveryMode : u8 {
  Fixed = 0,
  Lowest = 1,
  Smi = 2,
  Nmi = 4,
  Init = 5,
  Startup = 6,
  ExtInt = 7
};

struct ApicMessage {
  u32 dest = 0;
  bool logical = false;
  DeliveryMode mode = DeliveryMode::Fixed;
  u8 vector = 0;
  bool level = false;
};

}  // namespace colo::soft
