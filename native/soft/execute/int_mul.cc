// Multiplication and division. A memory operand has been loaded into REG_TMP by the operation
// before.
#include "soft/execute/handlers.h"
#include "soft/execute/ops.h"

namespace colo::soft {
namespace {

template <class T>
using Wider = std::conditional_t<
    sizeof(T) == 8, u128,
    std::conditional_t<sizeof(T) == 4, u64, std::conditional_t<sizeof(T) == 2, u32, u16>>>;
template <class T>
struct SignedOf {
  using type = std::make_signed_t<T>;
};
template <>
struct SignedOf<u128> {
  using type = i128;
};
template <class T>
using Signed = typename SignedOf<T>::type;

/// The accumulator pair: AX, DX:AX, EDX:EAX, RDX:RAX.
template <class T>
COLO_INLINE Wider<T> pair(const Cpu* c) {
  if constexpr (sizeof(T) == 1) return get<u16>(c, RAX * 8);
  else
    return static_cast<Wider<T>>(static_cast<Wider<T>>(get<T>(c, RDX * 8)) << (8 * sizeof(T)) |
                                 get<T>(c, RAX * 8));
}
template <class T>
COLO_INLINE void put_pair(Cpu* c, T low, T high) {
  if constexpr (sizeof(T) == 1) {
    put<u16>(c, RAX * 8, static_cast<u16>(low | high << 8));
  } else {
    put<T>(c, RAX * 8, low);
    put<T>(c, RDX * 8, high);
  }
}
/// CF = OF = overflow; the other flags are undefined: SF ZF PF follow the low half.
template <class T>
COLO_INLINE void mul_flags(T low, bool overflow, u64& res, u64& aux) {
  res = sign_extend(low);
  aux = overflow ? kAuxCf : 0;
}

template <class T>
void mul(OP_ARGS) {
  const Wider<T> p =
      static_cast<Wider<T>>(static_cast<Wider<T>>(get<T>(c, RAX * 8)) * get<T>(c, o->s));
  const T low = static_cast<T>(p), high = static_cast<T>(p >> (8 * sizeof(T)));
  put_pair<T>(c, low, high);
  mul_flags(low, high != 0, res, aux);
  NEXT;
}
template <class T>
void imul(OP_ARGS) {
  using S = Signed<T>;
  using W = Signed<Wider<T>>;
  const W p = static_cast<W>(static_cast<W>(static_cast<S>(get<T>(c, RAX * 8))) *
                             static_cast<S>(get<T>(c, o->s)));
  const T low = static_cast<T>(p);
  put_pair<T>(c, low, static_cast<T>(p >> (8 * sizeof(T))));
  mul_flags(low, p != static_cast<S>(low), res, aux);
  NEXT;
}
template <bool Imm, class T>
void imul_to(OP_ARGS) {
  using S = Signed<T>;
  const S a = static_cast<S>(get<T>(c, o->s)),
          b = static_cast<S>(Imm ? static_cast<T>(o->imm) : get<T>(c, o->d));
  S r;
  const bool overflow = __builtin_mul_overflow(a, b, &r);
  put<T>(c, o->d, static_cast<T>(r));
  mul_flags(static_cast<T>(r), overflow, res, aux);
  NEXT;
}

template <class T>
void div(OP_ARGS) {
  const T divisor = get<T>(c, o->s);
  const Wider<T> dividend = pair<T>(c);
  // the quotient fits exactly when the upper half is below the divisor
  if (COLO_UNLIKELY(static_cast<T>(dividend >> (8 * sizeof(T))) >= divisor))
    return raise_vector<DE>(c, o, res, aux);
  if constexpr (sizeof(T) == 8) {
    if (dividend >> 64 == 0) {  // far cheaper than the 128-bit library routine
      const u64 n = static_cast<u64>(dividend);
      put_pair<T>(c, n / divisor, n % divisor);
      NEXT;
    }
  }
  put_pair<T>(c, static_cast<T>(dividend / divisor), static_cast<T>(dividend % divisor));
  NEXT;
}
template <class T>
void idiv(OP_ARGS) {
  using S = Signed<T>;
  using W = Signed<Wider<T>>;
  const S divisor = static_cast<S>(get<T>(c, o->s));
  const W dividend = static_cast<W>(pair<T>(c));
  constexpr W lowest = static_cast<W>(static_cast<Wider<T>>(1) << (16 * sizeof(T) - 1));
  if (COLO_UNLIKELY(divisor == 0 || (dividend == lowest && divisor == -1)))
    return raise_vector<DE>(c, o, res, aux);
  const W q = static_cast<W>(dividend / divisor), rest = static_cast<W>(dividend % divisor);
  if (COLO_UNLIKELY(q != static_cast<S>(q))) return raise_vector<DE>(c, o, res, aux);
  put_pair<T>(c, static_cast<T>(q), static_cast<T>(rest));
  NEXT;
}

}  // namespace

Handler pick_mul(Mul kind, u8 size) {
  switch (kind) {
    case Mul::Mul:
      return BY_SIZE(size, mul);
    case Mul::Imul:
      return BY_SIZE(size, imul);
    case Mul::Div:
      return BY_SIZE(size, div);
    case Mul::Idiv:
      return BY_SIZE(size, idiv);
    case Mul::Imul2:
      return BY_WIDE_SIZE(size, imul_to, false, );
    default:
      return BY_WIDE_SIZE(size, imul_to, true, );
  }
}

}  // namespace colo::soft
