// BMI1, BMI2 and ADX (Intel SDM vol. 2). Their memory operand has been loaded into REG_TMP by the
// operation before. In portable code: a model has them whatever the host is.
#include "soft/execute/handlers.h"
#include "soft/execute/ops.h"

namespace colo::soft {
namespace {

template <class T>
constexpr unsigned kBits = 8 * sizeof(T);

/// The low n bits, all of them from kBits on.
template <class T>
COLO_INLINE T low_bits(T v, unsigned n) {
  return n < kBits<T> ? v & static_cast<T>((T{1} << n) - 1) : v;
}
template <class T>
COLO_INLINE T extract(T v, u16 control) {
  const unsigned start = control & 0xff;
  return start < kBits<T> ? low_bits<T>(v >> start, control >> 8) : 0;
}

/// One step for each bit of the mask: the low bits of v to the places of the mask, and back.
template <class T>
COLO_INLINE T deposit(T v, T mask) {
  T out = 0;
  for (; mask; mask &= mask - 1, v >>= 1)
    if (v & 1) out |= mask & (0 - mask);
  return out;
}
template <class T>
COLO_INLINE T gather(T v, T mask) {
  T out = 0;
  for (T to = 1; mask; mask &= mask - 1, to <<= 1)
    if (v & mask & (0 - mask)) out |= to;
  return out;
}

/// SF and ZF of the result, CF; OF is cleared, AF and PF are undefined.
template <class T>
COLO_INLINE void set_flags(T result, bool cf, u64& res, u64& aux) {
  res = sign_extend(result);
  aux = aux_with_cf_of(0, cf, false);
}

/// With flags.
template <Bmi K, class T>
void logic(OP_ARGS) {
  const T v = get<T>(c, o->s), by = get<T>(c, o->b);
  T r;
  bool cf = false;
  if constexpr (K == Bmi::Andn) r = ~by & v;
  else if constexpr (K == Bmi::Bextr) r = extract<T>(v, static_cast<u16>(by));
  else if constexpr (K == Bmi::Blsi) r = v & (0 - v), cf = v != 0;
  else if constexpr (K == Bmi::Blsmsk) r = v ^ (v - 1), cf = v == 0;
  else if constexpr (K == Bmi::Blsr) r = v & (v - 1), cf = v == 0;
  else r = low_bits<T>(v, by & 0xff), cf = (by & 0xff) >= kBits<T>;
  set_flags(r, cf, res, aux);
  put<T>(c, o->d, r);
  NEXT;
}

/// Without.
template <Bmi K, class T>
void quiet(OP_ARGS) {
  const T v = get<T>(c, o->s), by = get<T>(c, o->b);
  const unsigned n = static_cast<unsigned>(by) & (kBits<T> - 1);
  T r;
  if constexpr (K == Bmi::Pdep) r = deposit<T>(by, v);
  else if constexpr (K == Bmi::Pext) r = gather<T>(by, v);
  else if constexpr (K == Bmi::Sarx) r = static_cast<T>(static_cast<i64>(sign_extend(v)) >> n);
  else if constexpr (K == Bmi::Shlx) r = v << n;
  else if constexpr (K == Bmi::Shrx) r = v >> n;
  else {
    const unsigned k = static_cast<unsigned>(o->imm) & (kBits<T> - 1);
    r = v >> k | v << ((kBits<T> - k) & (kBits<T> - 1));
  }
  put<T>(c, o->d, r);
  NEXT;
}

/// The low half first: where both are one register the high half stays.
template <class T>
void mulx(OP_ARGS) {
  using Wide = std::conditional_t<sizeof(T) == 8, u128, u64>;
  const Wide product = static_cast<Wide>(get<T>(c, RDX * 8)) * get<T>(c, o->s);
  put<T>(c, o->b, static_cast<T>(product));
  put<T>(c, o->d, static_cast<T>(product >> kBits<T>));
  NEXT;
}

template <bool Overflow, class T>
void adx(OP_ARGS) {
  const bool cf = lazy_cf(aux), of = lazy_of(aux);
  T sum;
  const bool first = __builtin_add_overflow(get<T>(c, o->d), get<T>(c, o->s), &sum);
  const bool second = __builtin_add_overflow(sum, static_cast<T>(Overflow ? of : cf), &sum);
  const bool carry = first || second;
  aux = aux_with_cf_of(aux, Overflow ? cf : carry, Overflow ? carry : of);
  put<T>(c, o->d, sum);
  NEXT;
}

void vex_mode(OP_ARGS) {
  if (COLO_UNLIKELY(!c->protected_mode())) return raise_vector<UD>(c, o, res, aux);
  NEXT;
}

#define BY_GPR_SIZE(size, F, ...) \
  ((size) == 8 ? Handler(F<__VA_ARGS__ u64>) : Handler(F<__VA_ARGS__ u32>))

}  // namespace

Handler pick_bmi(Bmi kind, u8 size) {
  switch (kind) {
    case Bmi::Andn:
      return BY_GPR_SIZE(size, logic, Bmi::Andn, );
    case Bmi::Bextr:
      return BY_GPR_SIZE(size, logic, Bmi::Bextr, );
    case Bmi::Blsi:
      return BY_GPR_SIZE(size, logic, Bmi::Blsi, );
    case Bmi::Blsmsk:
      return BY_GPR_SIZE(size, logic, Bmi::Blsmsk, );
    case Bmi::Blsr:
      return BY_GPR_SIZE(size, logic, Bmi::Blsr, );
    case Bmi::Bzhi:
      return BY_GPR_SIZE(size, logic, Bmi::Bzhi, );
    case Bmi::Pdep:
      return BY_GPR_SIZE(size, quiet, Bmi::Pdep, );
    case Bmi::Pext:
      return BY_GPR_SIZE(size, quiet, Bmi::Pext, );
    case Bmi::Sarx:
      return BY_GPR_SIZE(size, quiet, Bmi::Sarx, );
    case Bmi::Shlx:
      return BY_GPR_SIZE(size, quiet, Bmi::Shlx, );
    case Bmi::Shrx:
      return BY_GPR_SIZE(size, quiet, Bmi::Shrx, );
    case Bmi::Rorx:
      return BY_GPR_SIZE(size, quiet, Bmi::Rorx, );
    default:
      return BY_GPR_SIZE(size, mulx, );
  }
}
Handler pick_adx(bool overflow, u8 size) {
  return overflow ? BY_GPR_SIZE(size, adx, true, ) : BY_GPR_SIZE(size, adx, false, );
}
Handler pick_vex_mode() { return vex_mode; }

}  // namespace colo::soft
