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

/// Instead of a destination.
enum class Shorthand : u8 { None, Self, All, Others };

class Lapic;

struct ApicMessage {
  u32 dest = 0;
  bool logical = false;
  DeliveryMode mode = DeliveryMode::Fixed;
  u8 vector = 0;
  bool level = false;
  Shorthand shorthand = Shorthand::None;
  const Lapic* from = nullptr;  // of an IPI
};

/// Where a local APIC's messages go.
struct ApicBus {
  virtual ~ApicBus() = default;
  /// False: no APIC took it.
  virtual bool send(const ApicMessage& message) = 0;
  /// A level-triggered vector has ended.
  virtual void end_of_interrupt(u8 vector) = 0;
};

}  // namespace colo::soft
