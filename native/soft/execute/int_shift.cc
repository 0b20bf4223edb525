// Shifts and rotates (Intel SDM vol. 2: SAL/SAR/SHL/SHR, RCL/RCR/ROL/ROR, SHLD, SHRD). Where the
// manual leaves OF undefined (counts above 1) these compute what current processors do.
#include "soft/execute/handlers.h"
#include "soft/execute/ops.h"

namespace colo::soft {
namespace {

enum { ROL, ROR, RCL, RCR, SHL, SHR, SAL, SAR };

template <class T>
constexpr unsigned kBits = 8 * sizeof(T);

/// Rotates leave SF ZF PF AF alone; a count of 0 leaves everything alone.
template <int OP, class T>
COLO_INLINE T rotate(T a, unsigned n, u64& aux) {
  constexpr unsigned w = kBits<T>;
  bool cf, of;
  T r;
  if constexpr (OP == ROL || OP == ROR) {
    const unsigned k = n & (w - 1);
    r = OP == ROL ? static_cast<T>(a << k | a >> ((w - k) & (w - 1)))
                  : static_cast<T>(a >> k | a << ((w - k) & (w - 1)));
    cf = OP == ROL ? r & 1 : (r >> (w - 1)) & 1;
    of = OP == ROL ? cf ^ ((r >> (w - 1)) & 1) : cf ^ ((r >> (w - 2)) & 1);
  } else {
    using Wide = std::conditional_t<sizeof(T) == 8, u128, u64>;
    const unsigned k = n % (w + 1);
    const Wide x = static_cast<Wide>(a) | static_cast<Wide>(lazy_cf(aux))
                                              << w;  // w + 1 bits, CF on top
    const Wide y = k == 0      ? x
                   : OP == RCL ? (x << k | x >> (w + 1 - k))
                               : (x >> k | x << (w + 1 - k));
    r = static_cast<T>(y);
    cf = (y >> w) & 1;
    of = OP == RCL ? cf ^ ((r >> (w - 1)) & 1) : ((r >> (w - 1)) ^ (r >> (w - 2))) & 1;
  }
  aux = aux_with_cf_of(aux, cf, of);
  return r;
}

template <int OP, class T>
COLO_INLINE T shift(T a, unsigned n, u64& res, u64& aux) {
  constexpr unsigned w = kBits<T>;
  T r;
  bool cf, of;
  if constexpr (OP == SHL || OP == SAL) {
    const u64 wide = n > w ? 0 : static_cast<u64>(a) << (n - 1);  // the last bit out is the top one
    cf = (wide >> (w - 1)) & 1;
    r = static_cast<T>(wide << 1);
    of = cf ^ ((r >> (w - 1)) & 1);
  } else if constexpr (OP == SHR) {
    const u64 wide = n > w ? 0 : static_cast<u64>(a) >> (n - 1);
    cf = wide & 1;
    r = static_cast<T>(wide >> 1);
    of = ((r >> (w - 1)) ^ (r >> (w - 2))) & 1;
  } else {
    const i64 wide = static_cast<i64>(sign_extend(a)) >> (n - 1);
    cf = wide & 1;
    r = static_cast<T>(wide >> 1);
    of = false;
  }
  res = sign_extend(r);
  aux = aux_with_cf_of(0, cf, of);
  return r;
}

template <int OP, class T>
COLO_INLINE T shift_or_rotate(T a, u8 count, u64& res, u64& aux) {
  const unsigned n = count & (sizeof(T) == 8 ? 63 : 31);
  if (n == 0) return a;
  if constexpr (OP < SHL) return rotate<OP, T>(a, n, aux);
  return shift<OP, T>(a, n, res, aux);
}

template <bool ByCl>
COLO_INLINE u8 count_of(const Cpu* c, const Op* o) {
  return ByCl ? get<u8>(c, RCX * 8) : static_cast<u8>(o->imm);
}

template <int OP, bool ByCl, class T>
void shift_reg(OP_ARGS) {
  put<T>(c, o->d, shift_or_rotate<OP, T>(get<T>(c, o->d), count_of<ByCl>(c, o), res, aux));
  NEXT;
}
template <int OP, bool ByCl, class T>
void shift_mem(OP_ARGS) {
  MODIFY(T, p, address(c, o));
  *p = shift_or_rotate<OP, T>(*p, count_of<ByCl>(c, o), res, aux);
  NEXT;
}

template <bool Left, class T>
COLO_INLINE T double_shift(T a, T b, u8 count, u64& res, u64& aux) {
  constexpr unsigned w = kBits<T>;
  const unsigned n = count & (w == 64 ? 63 : 31);
  if (n == 0) return a;
  T r;
  bool cf;
  if constexpr (sizeof(T) ==
                2) {  // counts 17..31 are undefined: the operand pair rotates, as in hardware
    const u64 x = static_cast<u64>(a) << 32 | static_cast<u64>(b) << 16 | a;
    r = Left ? static_cast<T>((x << n) >> 32) : static_cast<T>(x >> n);
    cf = Left ? ((x << (n - 1)) >> 47) & 1 : (x >> (n - 1)) & 1;
  } else {
    r = Left ? a << n | b >> (w - n) : a >> n | b << (w - n);
    cf = Left ? (a >> (w - n)) & 1 : (a >> (n - 1)) & 1;
  }
  const bool of = ((a ^ r) >> (w - 1)) & 1;
  res = sign_extend(r);
  aux = aux_with_cf_of(0, cf, of);
  return r;
}
template <bool Left, bool ByCl, class T>
void double_shift_reg(OP_ARGS) {
  put<T>(c, o->d,
         double_shift<Left, T>(get<T>(c, o->d), get<T>(c, o->s), count_of<ByCl>(c, o), res, aux));
  NEXT;
}
template <bool Left, bool ByCl, class T>
void double_shift_mem(OP_ARGS) {
  MODIFY(T, p, address(c, o));
  *p = double_shift<Left, T>(*p, get<T>(c, o->s), count_of<ByCl>(c, o), res, aux);
  NEXT;
}

template <int OP>
Handler shift_of(bool memory, bool by_cl, u8 size) {
  if (memory)
    return by_cl ? BY_SIZE(size, shift_mem, OP, true, ) : BY_SIZE(size, shift_mem, OP, false, );
  return by_cl ? BY_SIZE(size, shift_reg, OP, true, ) : BY_SIZE(size, shift_reg, OP, false, );
}
template <bool Left>
Handler double_of(bool memory, bool by_cl, u8 size) {
  if (memory)
    return by_cl ? BY_WIDE_SIZE(size, double_shift_mem, Left, true, )
                 : BY_WIDE_SIZE(size, double_shift_mem, Left, false, );
  return by_cl ? BY_WIDE_SIZE(size, double_shift_reg, Left, true, )
               : BY_WIDE_SIZE(size, double_shift_reg, Left, false, );
}

}  // namespace

Handler pick_shift(int op, bool memory, bool by_cl, u8 size) {
  switch (op) {
    case ROL:
      return shift_of<ROL>(memory, by_cl, size);
    case ROR:
      return shift_of<ROR>(memory, by_cl, size);
    case RCL:
      return shift_of<RCL>(memory, by_cl, size);
    case RCR:
      return shift_of<RCR>(memory, by_cl, size);
    case SHR:
      return shift_of<SHR>(memory, by_cl, size);
    case SAR:
      return shift_of<SAR>(memory, by_cl, size);
    default:
      return shift_of<SHL>(memory, by_cl, size);  // /4 and its alias /6
  }
}

Handler pick_double_shift(bool left, bool memory, bool by_cl, u8 size) {
  return left ? double_of<true>(memory, by_cl, size) : double_of<false>(memory, by_cl, size);
}

}  // namespace colo::soft
