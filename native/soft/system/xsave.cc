// XSAVE, XSAVEOPT, XSAVEC, XRSTOR, XGETBV, XSETBV (Intel SDM vol. 1, ch. 13) for x87, SSE and AVX,
// which is all that XCR0 can enable. They always count as in use and as changed, as a processor may
// have it, so that an image holds whatever was asked for and XSAVEOPT is XSAVE. Where x87 and SSE
// stand in the image is FXSAVE's (fxsave.cc).
#include "soft/system/system.h"

namespace colo::soft::sys {

namespace {

using F = vcpu::Features;

constexpr size_t kFip = 8, kFdp = 16, kMxcsr = 24, kMxcsrMaskAt = 28, kRegisters = 32, kXmm = 160,
                 kXmm8 = kXmm + 8 * 16;
constexpr u64 kCompact = 1ull << 63;  // of XCOMP_BV: an image of XSAVEC

bool extended_states_on(Cpu& c, const Op& o) {
  if ((c.cr4 & cr4::OSXSAVE) && !op_prefix(o)) return true;
  c.raise(UD);
  return false;
}

/// What the instructions with an image share, before they look at it.
bool image_allowed(Cpu& c, const Op& o, u64 at) {
  if (!extended_states_on(c, o)) return false;
  if (c.cr0 & cr0::TS) return c.raise(NM), false;
  return at & 63 ? fault(c, GP, 0) : true;
}

/// Code that is not 64-bit has eight of the registers, and leaves the others alone.
size_t xmm_end(const Cpu& c) { return c.code64() ? kFxBytes : kXmm8; }
size_t ymm_end(const Cpu& c) { return c.code64() ? kAvxBytes : kAvxBytes / 2; }

/// Without REX.W the pointers are 32-bit ones with segments, which are zero.
void narrow_pointers(const Op& o, u8* image) {
  if (!rex_w(o)) memset(image + kFip + 4, 0, 4), memset(image + kFdp + 4, 0, 4);
}

bool put_header(Cpu& c, u64 at, u64 wanted, u64 present, bool compact) {
  if (!c.store(at + kXsaveHeader, 8, present | wanted)) return false;
  return !compact || c.store(at + kXsaveHeader + 8, 8, kCompact | wanted);
}

/// What is not asked for stays as it is in memory, but for an image of XSAVEC, which says so. MXCSR
/// is SSE's and, but for XSAVEC, AVX's.
Step save(Cpu& c, const Op& o, bool compact) {
  const u64 at = ea(c, o), wanted = edx_eax(c) & c.xcr0;
  u64 present = 0;
  if (!image_allowed(c, o, at) || !c.probe(at, xsave_bytes(wanted), Access::Write))
    return Step::Fault;
  if (!compact && !c.load(at + kXsaveHeader, 8, present)) return Step::Fault;
  u8 image[kFxBytes];
  memcpy(image, c.fx.bytes, sizeof image);
  memcpy(image + kMxcsrMaskAt, &kMxcsrMask, 4);
  narrow_pointers(o, image);
  const auto put = [&](size_t from, size_t to) {
    return c.store_bytes(at + from, image + from, to - from);
  };
  if (wanted & kX87 && (!put(0, kMxcsr) || !put(kRegisters, kXmm))) return Step::Fault;
  const u32 with_mxcsr = compact ? kSse : kSse | kAvx;
  if (wanted & with_mxcsr && !put(kMxcsr, kRegisters)) return Step::Fault;
  if (wanted & kSse && !put(kXmm, xmm_end(c))) return Step::Fault;
  if (wanted & kAvx && !c.store_bytes(at + kAvxAt, c.ymm_high.bytes, ymm_end(c)))
    return Step::Fault;
  return done(put_header(c, at, wanted, present, compact));
}

/// 0F AE /4: XSAVE.
Step xsave(Cpu& c, const Op& o) { return save(c, o, false); }

/// 0F AE /6: XSAVEOPT.
Step xsaveopt(Cpu& c, const Op& o) {
  return c.model->features.xsave1 & F::XSAVEOPT ? save(c, o, false) : c.raise(UD);
}

/// 0F C7 /4: XSAVEC.
Step xsavec(Cpu& c, const Op& o) {
  return c.model->features.xsave1 & F::XSAVEC ? save(c, o, true) : c.raise(UD);
}

bool header_valid(const Cpu& c, const u64 header[8]) {
  const bool compact = header[1] & kCompact;
  if (compact && !(c.model->features.xsave1 & F::XSAVEC)) return false;
  const u64 may = compact ? header[1] & ~kCompact : c.xcr0;
  u64 reserved = header[2] | (compact ? 0 : header[1]);
  for (int i = 3; compact && i < 8; i++) reserved |= header[i];
  return !(reserved | (may & ~u64{c.xcr0}) | (header[0] & ~may));
}

/// 0F AE /5: XRSTOR. What is asked for and not there gets its initial state; MXCSR is there in
/// every image that is not XSAVEC's, and AVX's, too.
Step xrstor(Cpu& c, const Op& o) {
  const u64 at = ea(c, o), wanted = edx_eax(c) & c.xcr0;
  u8 image[kAvxAt];
  u64 header[8];
  YmmHigh high = {};
  if (!image_allowed(c, o, at) || !c.load_bytes(at, image, sizeof image)) return Step::Fault;
  memcpy(header, image + kXsaveHeader, sizeof header);
  if (!header_valid(c, header)) return c.raise(GP, 0);
  FxState initial;
  fx_reset(initial);
  u32 mxcsr;
  memcpy(&mxcsr, (header[1] & kCompact && !(header[0] & kSse) ? initial.bytes : image) + kMxcsr, 4);
  const u32 with_mxcsr = header[1] & kCompact ? kSse : kSse | kAvx;
  if (wanted & with_mxcsr && mxcsr & ~kMxcsrMask) return c.raise(GP, 0);
  if (wanted & header[0] & kAvx && !c.load_bytes(at + kAvxAt, high.bytes, ymm_end(c)))
    return Step::Fault;
  narrow_pointers(o, image);
  const auto take = [&](u32 part, size_t from, size_t to) {
    memcpy(c.fx.bytes + from, (header[0] & part ? image : initial.bytes) + from, to - from);
  };
  if (wanted & kX87) take(kX87, 0, kMxcsr), take(kX87, kRegisters, kXmm);
  if (wanted & kSse) take(kSse, kXmm, xmm_end(c));
  if (wanted & with_mxcsr) memcpy(c.fx.bytes + kMxcsr, &mxcsr, 4);
  if (wanted & kAvx) memcpy(c.ymm_high.bytes, high.bytes, ymm_end(c));
  return Step::Next;
}

/// 0F 01 D0: XGETBV. Register 1 says what of XCR0 is in use.
Step xgetbv(Cpu& c, const Op& o) {
  if (!extended_states_on(c, o)) return Step::Fault;
  const u32 which = static_cast<u32>(c.r[RCX]);
  if (which > (c.model->features.xsave1 & F::XGETBV1 ? 1 : 0)) return c.raise(GP, 0);
  set_edx_eax(c, c.xcr0);
  return Step::Next;
}

/// 0F 01 D1: XSETBV.
Step xsetbv(Cpu& c, const Op& o) {
  if (!extended_states_on(c, o)) return Step::Fault;
  const u64 value = edx_eax(c);
  if (c.cpl || static_cast<u32>(c.r[RCX]) || !xcr0_valid(c.model->features, value))
    return c.raise(GP, 0);
  c.xcr0 = static_cast<u8>(value);
  return Step::Next;
}

}  // namespace

SlowInsn xsave_insn(u8 opcode, u8 modrm) {
  switch (opcode) {
    case 0x01:
      return {modrm == 0xd0 ? xgetbv : xsetbv, false};
    case 0xc7:
      return {xsavec, false};
    default:
      break;
  }
  switch ((modrm >> 3) & 7) {
    case 4:
      return {xsave, false};
    case 5:
      return {xrstor, false};
    default:
      return {xsaveopt, false};
  }
}

}  // namespace colo::soft::sys
