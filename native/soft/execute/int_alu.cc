// ADD OR ADC SBB AND SUB XOR CMP TEST, INC DEC NOT NEG, and their locked memory forms.
#include "soft/execute/alu.h"

namespace colo::soft {
namespace {

template <int OP, Form F, class T>
void alu_op(OP_ARGS) {
  if constexpr (F == Form::RR || F == Form::RI) {
    const T b = F == Form::RR ? get<T>(c, o->s) : static_cast<T>(o->imm);
    const T r = alu<OP, T>(get<T>(c, o->d), b, res, aux);
    if (OP < ALU_CMP) put<T>(c, o->d, r);
  } else if constexpr (F == Form::RM) {
    READ(T, b, address(c, o));
    const T r = alu<OP, T>(get<T>(c, o->d), b, res, aux);
    if (OP < ALU_CMP) put<T>(c, o->d, r);
  } else if constexpr (OP >= ALU_CMP) {
    READ(T, a, address(c, o));
    alu<OP, T>(a, F == Form::MR ? get<T>(c, o->s) : static_cast<T>(o->imm), res, aux);
  } else {
    MODIFY(T, p, address(c, o));
    *p = alu<OP, T>(*p, F == Form::MR ? get<T>(c, o->s) : static_cast<T>(o->imm), res, aux);
  }
  NEXT;
}

/// The host's own atomic gives the old value; the flags follow from it.
template <int OP, class T>
COLO_INLINE T locked_old(Guest<T>* p, T b, u64 aux) {
  T* at = reinterpret_cast<T*>(p);
  if constexpr (OP == ALU_ADD) return __atomic_fetch_add(at, b, __ATOMIC_SEQ_CST);
  if constexpr (OP == ALU_SUB) return __atomic_fetch_sub(at, b, __ATOMIC_SEQ_CST);
  if constexpr (OP == ALU_AND) return __atomic_fetch_and(at, b, __ATOMIC_SEQ_CST);
  if constexpr (OP == ALU_OR) return __atomic_fetch_or(at, b, __ATOMIC_SEQ_CST);
  if constexpr (OP == ALU_XOR) return __atomic_fetch_xor(at, b, __ATOMIC_SEQ_CST);
  const T carry = static_cast<T>(lazy_cf(aux));
  return OP == ALU_ADC ? __atomic_fetch_add(at, static_cast<T>(b + carry), __ATOMIC_SEQ_CST)
                       : __atomic_fetch_sub(at, static_cast<T>(b + carry), __ATOMIC_SEQ_CST);
}

template <int OP, bool Imm, class T>
void alu_locked(OP_ARGS) {
  const T b = Imm ? static_cast<T>(o->imm) : get<T>(c, o->s);
  MODIFY(T, p, address(c, o));
  SETTLE_SPLIT(T, p)
  if (splits_line<T>(p)) *p = alu<OP, T>(*p, b, res, aux);
  else alu<OP, T>(locked_old<OP, T>(p, b, aux), b, res, aux);
  NEXT;
}

template <int OP, class T>
void unary_reg(OP_ARGS) {
  put<T>(c, o->d, unary<OP, T>(get<T>(c, o->d), res, aux));
  NEXT;
}
template <int OP, bool Locked, class T>
void unary_mem(OP_ARGS) {
  MODIFY(T, p, address(c, o));
  if constexpr (Locked) SETTLE_SPLIT(T, p)
  if (Locked && !splits_line<T>(p)) {
    T* at = reinterpret_cast<T*>(p);
    T old = *p, now;
    u64 r, a;
    do {
      r = res, a = aux;
      now = unary<OP, T>(old, r, a);
    } while (
        !__atomic_compare_exchange_n(at, &old, now, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
    res = r, aux = a;
  } else {
    *p = unary<OP, T>(*p, res, aux);
  }
  NEXT;
}

template <int OP>
Handler alu_of(Form form, u8 size) {
  switch (form) {
    case Form::RR:
      return BY_SIZE(size, alu_op, OP, Form::RR, );
    case Form::RI:
      return BY_SIZE(size, alu_op, OP, Form::RI, );
    case Form::RM:
      return BY_SIZE(size, alu_op, OP, Form::RM, );
    case Form::MR:
      return BY_SIZE(size, alu_op, OP, Form::MR, );
    default:
      return BY_SIZE(size, alu_op, OP, Form::MI, );
  }
}
template <int OP>
Handler locked_of(bool imm, u8 size) {
  return imm ? BY_SIZE(size, alu_locked, OP, true, ) : BY_SIZE(size, alu_locked, OP, false, );
}
template <int OP>
Handler unary_of(bool memory, bool locked, u8 size) {
  if (!memory) return BY_SIZE(size, unary_reg, OP, );
  return locked ? BY_SIZE(size, unary_mem, OP, true, ) : BY_SIZE(size, unary_mem, OP, false, );
}

}  // namespace

Handler pick_alu(int op, Form form, u8 size) {
  switch (op) {
    case ALU_ADD:
      return alu_of<ALU_ADD>(form, size);
    case ALU_OR:
      return alu_of<ALU_OR>(form, size);
    case ALU_ADC:
      return alu_of<ALU_ADC>(form, size);
    case ALU_SBB:
      return alu_of<ALU_SBB>(form, size);
    case ALU_AND:
      return alu_of<ALU_AND>(form, size);
    case ALU_SUB:
      return alu_of<ALU_SUB>(form, size);
    case ALU_XOR:
      return alu_of<ALU_XOR>(form, size);
    case ALU_CMP:
      return alu_of<ALU_CMP>(form, size);
    default:
      return alu_of<ALU_TEST>(form, size);
  }
}

Handler pick_alu_locked(int op, bool immediate, u8 size) {
  switch (op) {
    case ALU_ADD:
      return locked_of<ALU_ADD>(immediate, size);
    case ALU_OR:
      return locked_of<ALU_OR>(immediate, size);
    case ALU_ADC:
      return locked_of<ALU_ADC>(immediate, size);
    case ALU_SBB:
      return locked_of<ALU_SBB>(immediate, size);
    case ALU_AND:
      return locked_of<ALU_AND>(immediate, size);
    case ALU_SUB:
      return locked_of<ALU_SUB>(immediate, size);
    default:
      return locked_of<ALU_XOR>(immediate, size);
  }
}

Handler pick_unary(int op, bool memory, bool locked, u8 size) {
  switch (op) {
    case UN_INC:
      return unary_of<UN_INC>(memory, locked, size);
    case UN_DEC:
      return unary_of<UN_DEC>(memory, locked, size);
    case UN_NOT:
      return unary_of<UN_NOT>(memory, locked, size);
    default:
      return unary_of<UN_NEG>(memory, locked, size);
  }
}

}  // namespace colo::soft
