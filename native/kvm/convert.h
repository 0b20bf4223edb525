// From what KVM tells to the form that both backends share: x87 and SSE always present in the XSAVE
// image, nothing that the model does not have, no interrupt named twice.
#pragma once
#include "vcpu/contract.h"

namespace colo::kvm {

/// A component that XSTATE_BV omits is in its initial state (SDM vol. 1, 13.6); written out, both
/// backends have one form of it.
void normalize(vcpu::XsaveArea& x);
void normalize(kvm_sregs& s);

// The APIC timer in one-shot mode. KVM has a place of its own for a timer that has fired and is not
// delivered yet, and no request shows it: an image says "one tick left" whenever that may be so,
// and a guest may get one interrupt too many but never one too few. The other way round, a count
// that has run out in an image has been delivered, and KVM would fire it again.
kvm_lapic_state lapic_from_kvm(const kvm_lapic_state& apic);
kvm_lapic_state lapic_for_kvm(const kvm_lapic_state& image);

}  // namespace colo::kvm
