// Lazy status flags: two words instead of RFLAGS, valid for every operand size without remembering
// the operation.
//
//   res  the result, sign-extended to 64 bits: ZF = (res == 0), SF = its sign, PF = parity of its
//   low byte aux  bit 31 = CF, bit 30 = CF ^ OF, bit 3 = AF, bit 63 = correction to SF, bits 8..15
//   = correction to the parity byte
//
// The corrections are zero after every arithmetic operation; only a load of arbitrary flags (POPF,
// IRET, SAHF) sets them, since such flags need not belong to any result.
#pragma once
#include "soft/cpu/cpu.h"

namespace colo::soft {

constexpr u64 kAuxCf = 1u << 31;
constexpr u64 kAuxCfOf = 1u << 30;
constexpr u64 kAuxAf = 8;
constexpr u64 kAuxSign = 1ull << 63;

COLO_INLINE bool lazy_cf(u64 aux) { return (aux >> 31) & 1; }
COLO_INLINE bool lazy_of(u64 aux) { return ((aux + kAuxCfOf) >> 31) & 1; }
COLO_INLINE bool lazy_zf(u64 res) { return res == 0; }
COLO_INLINE bool lazy_sf(u64 res, u64 aux) { return static_cast<i64>(res ^ aux) < 0; }
COLO_INLINE bool lazy_pf(u64 res, u64 aux) {
  return !__builtin_parity(static_cast<u8>(res ^ (aux >> 8)));
}
COLO_INLINE bool lazy_af(u64 aux) { return aux & kAuxAf; }

/// CF and OF replaced, the rest of aux (corrections, AF) kept.
COLO_INLINE u64 aux_with_cf_of(u64 aux, bool cf, bool of) {
  return (aux & ~(kAuxCf | kAuxCfOf)) | (static_cast<u64>(cf) << 31) |
         (static_cast<u64>(cf ^ of) << 30);
}
/// CF replaced, OF and the rest kept.
COLO_INLINE u64 aux_with_cf(u64 aux, bool cf) {
  return lazy_cf(aux) == cf ? aux : aux ^ (kAuxCf | kAuxCfOf);
}

template <class T>
COLO_INLINE u64 sign_extend(T v) {
  return static_cast<u64>(static_cast<i64>(static_cast<std::make_signed_t<T>>(v)));
}

/// aux from a carry vector: bit i of v = carry (or borrow) out of bit i.
template <class T>
COLO_INLINE u64 aux_of_carries(T v) {
  if constexpr (sizeof(T) == 8) return ((v >> 32) & (kAuxCf | kAuxCfOf)) | (v & kAuxAf);
  else return ((static_cast<u64>(v) << (32 - 8 * sizeof(T))) & (kAuxCf | kAuxCfOf)) | (v & kAuxAf);
}

/// The sixteen conditions in encoding order (O NO B NB Z NZ BE NBE S NS P NP L NL LE NLE).
template <int CC>
COLO_INLINE bool condition(u64 res, u64 aux) {
  bool v;
  if constexpr (CC >> 1 == 0) v = lazy_of(aux);
  else if constexpr (CC >> 1 == 1) v = lazy_cf(aux);
  else if constexpr (CC >> 1 == 2) v = lazy_zf(res);
  else if constexpr (CC >> 1 == 3) v = lazy_cf(aux) || lazy_zf(res);
  else if constexpr (CC >> 1 == 4) v = lazy_sf(res, aux);
  else if constexpr (CC >> 1 == 5) v = lazy_pf(res, aux);
  else if constexpr (CC >> 1 == 6) v = lazy_sf(res, aux) != lazy_of(aux);
  else v = lazy_zf(res) || lazy_sf(res, aux) != lazy_of(aux);
  return CC & 1 ? !v : v;
}

COLO_INLINE u64 status_of_lazy(u64 res, u64 aux) {
  return (lazy_cf(aux) ? flag::CF : 0) | (lazy_pf(res, aux) ? flag::PF : 0) |
         (lazy_af(aux) ? flag::AF : 0) | (lazy_zf(res) ? flag::ZF : 0) |
         (lazy_sf(res, aux) ? flag::SF : 0) | (lazy_of(aux) ? flag::OF : 0);
}
/// Any combination of status bits as a (res, aux) pair.
COLO_INLINE void lazy_of_status(u64 status, u64& res, u64& aux) {
  const bool cf = status & flag::CF, of = status & flag::OF;
  res =
      status & flag::ZF ? 0 : 0x100;  // even parity, positive: SF and PF come from the corrections
  aux = (static_cast<u64>(cf) << 31) | (static_cast<u64>(cf ^ of) << 30) |
        (status & flag::AF ? kAuxAf : 0) | (status & flag::SF ? kAuxSign : 0) |
        (status & flag::PF ? 0 : 0x100);
}

}  // namespace colo::soft
