// Two-operand arithmetic on (res, aux) flags, shared by the plain, the locked and the fused
// handlers.
#pragma once
#include "soft/execute/handlers.h"
#include "soft/execute/ops.h"

namespace colo::soft {

template <int OP, class T>
COLO_INLINE T alu(T a, T b, u64& res, u64& aux) {
  T r;
  const T carry = (OP == ALU_ADC || OP == ALU_SBB) ? static_cast<T>(lazy_cf(aux)) : 0;
  if constexpr (OP == ALU_ADD || OP == ALU_ADC) {
    r = a + b + carry;
    aux = aux_of_carries<T>((a & b) | ((a | b) & ~r));
  } else if constexpr (OP == ALU_SUB || OP == ALU_CMP || OP == ALU_SBB) {
    r = a - b - carry;
    aux = aux_of_carries<T>((~a & b) | ((~a | b) & r));
  } else {
    r = OP == ALU_OR ? a | b : OP == ALU_XOR ? a ^ b : a & b;
    aux = 0;
  }
  res = sign_extend(r);
  return r;
}

/// INC and DEC keep CF; both are their own flags otherwise.
template <int OP, class T>
COLO_INLINE T unary(T a, u64& res, u64& aux) {
  if constexpr (OP == UN_NOT) return ~a;
  if constexpr (OP == UN_NEG) return alu<ALU_SUB, T>(0, a, res, aux);
  const bool cf = lazy_cf(aux);
  const T r = OP == UN_INC ? a + 1 : a - 1;
  constexpr T top = static_cast<T>(T{1} << (8 * sizeof(T) - 1));
  res = sign_extend(r);
  aux = aux_with_cf_of(((a ^ r ^ 1) >> 1) & kAuxAf, cf, OP == UN_INC ? r == top : a == top);
  return r;
}

}  // namespace colo::soft
