// 0F AE: FXSAVE, FXRSTOR, LDMXCSR, STMXCSR, CLFLUSH, CLFLUSHOPT (Intel SDM vol. 1, 10.5; vol. 2).
// The CPU's own image is FXSAVE64's; the form without REX.W holds 32-bit instruction and data
// pointers and their segments, which this CPU keeps as zero. Outside 64-bit code there are eight
// XMM registers.
#include "soft/system/system.h"

namespace colo::soft::sys {

namespace {

constexpr size_t kXmm8 = 160 + 8 * 16;  // the first that only 64-bit code has
constexpr size_t kFip = 8, kFdp = 16, kMxcsr = 24, kMxcsrMaskAt = 28;

bool fpu_available(Cpu& c) { return !(c.cr0 & (cr0::EM | cr0::TS)) || (c.raise(NM), false); }

/// LDMXCSR and STMXCSR are SSE instructions.
bool sse_available(Cpu& c) {
  if ((c.cr0 & cr0::EM) || !(c.cr4 & cr4::OSFXSR)) return c.raise(UD), false;
  return !(c.cr0 & cr0::TS) || (c.raise(NM), false);
}

/// /0: FXSAVE. Bytes 416..511 are not written: the kernel keeps things of its own there.
Step fxsave(Cpu& c, const Op& o) {
  if (!fpu_available(c)) return Step::Fault;
  const u64 at = ea(c, o);
  if (at & 15) return c.raise(GP, 0);
  if (!c.probe(at, 512, Access::Write)) return Step::Fault;
  u8 image[kFxBytes];
  memcpy(image, c.fx.bytes, sizeof image);
  memcpy(image + kMxcsrMaskAt, &kMxcsrMask, 4);
  if (!rex_w(o)) memset(image + kFip + 4, 0, 4), memset(image + kFdp + 4, 0, 4);
  return done(c.store_bytes(at, image, c.code64() ? sizeof image : kXmm8));
}

/// /1: FXRSTOR.
Step fxrstor(Cpu& c, const Op& o) {
  if (!fpu_available(c)) return Step::Fault;
  const u64 at = ea(c, o);
  if (at & 15) return c.raise(GP, 0);
  u8 image[512];
  if (!c.load_bytes(at, image, sizeof image)) return Step::Fault;
  u32 mxcsr;
  memcpy(&mxcsr, image + kMxcsr, 4);
  if (mxcsr & ~kMxcsrMask) return c.raise(GP, 0);
  memcpy(image + kMxcsrMaskAt, &kMxcsrMask, 4);
  if (!rex_w(o)) memset(image + kFip + 4, 0, 4), memset(image + kFdp + 4, 0, 4);
  memcpy(c.fx.bytes, image, c.code64() ? kFxBytes : kXmm8);
  return Step::Next;
}

/// /2: LDMXCSR.
Step ldmxcsr(Cpu& c, const Op& o) {
  u64 value;
  if (!sse_available(c) || !c.load(ea(c, o), 4, value)) return Step::Fault;
  if (value & ~u64(kMxcsrMask)) return c.raise(GP, 0);
  memcpy(c.fx.bytes + kMxcsr, &value, 4);
  return Step::Next;
}

/// /3: STMXCSR.
Step stmxcsr(Cpu& c, const Op& o) {
  if (!sse_available(c)) return Step::Fault;
  u32 value;
  memcpy(&value, c.fx.bytes + kMxcsr, 4);
  return done(c.store(ea(c, o), 4, value));
}

/// /7: CLFLUSH and, with prefix 66, CLFLUSHOPT: no cache, but the faults of a read of one byte.
Step clflush(Cpu& c, const Op& o) { return done(c.probe(ea(c, o), 1, Access::Read)); }

/// F3, register form. /0: RDFSBASE, /1: RDGSBASE, /2: WRFSBASE, /3: WRGSBASE. A CPU model that has
/// not the instructions has not the bit of CR4 either.
Step segment_base(Cpu& c, const Op& o) {
  if (!(c.cr4 & cr4::FSGSBASE) || !c.code64()) return c.raise(UD);
  const u8 which = reg_field(o) & 3, size = rex_w(o) ? 8 : 4;
  auto& base = c.seg[which & 1 ? GS : FS].base;
  if (which < 2) return reg_write(c, o.d, size, base), Step::Next;
  const u64 value = reg_read(c, o.d, size);
  if (!canonical(value)) return c.raise(GP, 0);
  base = value;
  return Step::Next;
}

}  // namespace

/// Fences, and CLFLUSHOPT on a model without it, are the block builder's.
SlowInsn group_0fae(u8 modrm, u8 prefix) {
  const u8 which = (modrm >> 3) & 7;
  if (prefix == 0xf3 && modrm >= 0xc0 && which < 4) return {segment_base, false};
  if (modrm >= 0xc0) return {};
  if (prefix == 0x66 && which == 7) return {clflush, false};
  if (prefix) return {};
  switch (which) {
    case 0:
      return {fxsave, false};
    case 1:
      return {fxrstor, false};
    case 2:
      return {ldmxcsr, false};
    case 3:
      return {stmxcsr, false};
    case 7:
      return {clflush, false};
    default:
      return xsave_insn(0xae, modrm);
  }
}

}  // namespace colo::soft::sys
