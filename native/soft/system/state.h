// The list of MSRs in a saved state, shared by state.cc (save, load) and check.cc. Private to
// native/soft/system.
#pragma once
#include "soft/system/system.h"

namespace colo::soft::sys {

/// Registers that are plain values, in the order of the image.
constexpr u32 kPlainMsrs[] = {
    0x174, 0x175, 0x176,      0x17a,      0x1a0,      0x277,      0x2ff,      0x200,
    0x201, 0x202, 0x203,      0x204,      0x205,      0x206,      0x207,      0x208,
    0x209, 0x20a, 0x20b,      0x20c,      0x20d,      0x20e,      0x20f,      0x250,
    0x258, 0x259, 0x268,      0x269,      0x26a,      0x26b,      0x26c,      0x26d,
    0x26e, 0x26f, 0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, 0xc0000102, 0xc0000103,
};

constexpr u8 kShadowFlags = KVM_X86_SHADOW_INT_MOV_SS | KVM_X86_SHADOW_INT_STI;
constexpr size_t kXstateBv = 512 / 4;  // region word of the XSAVE header
constexpr u64 kX2apicMode = 1 << 10;

}  // namespace colo::soft::sys
