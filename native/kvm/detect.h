// What is /dev/kvm worth? Found out by running code at ring 0 in long mode, for a KVM that
// interprets kernel code answers every ioctl like one that does not.
#pragma once
#include <string>

#include "kvm/device.h"

namespace colo::kvm {

enum class Kind : u8 {
  None,         // cannot be used
  Interpreted,  // runs ring 0 by interpreting it: a thousand times too slow, and not all
                // instructions
  Full,
};

struct Finding {
  Kind kind = Kind::None;
  std::string reason;  // a sentence without a full stop
};

/// Takes a few ms, on a full KVM some 50 more. Never throws.
Finding detect(const Source& source = {});

}  // namespace colo::kvm
