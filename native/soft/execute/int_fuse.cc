// CMP or TEST fused with the conditional branch behind it: the branch looks at the operands, the
// flags are left for whoever asks.
#include "soft/execute/alu.h"

namespace colo::soft {
namespace {

template <int OP, int CC, class T>
COLO_INLINE bool holds(T a, T b, T r) {
  using S = std::make_signed_t<T>;
  bool v;
  if constexpr (OP == ALU_CMP) {
    if constexpr (CC >> 1 == 1) v = a < b;
    else if constexpr (CC >> 1 == 2) v = a == b;
    else if constexpr (CC >> 1 == 3) v = a <= b;
    else if constexpr (CC >> 1 == 4) v = static_cast<S>(r) < 0;
    else if constexpr (CC >> 1 == 6) v = static_cast<S>(a) < static_cast<S>(b);
    else v = static_cast<S>(a) <= static_cast<S>(b);
  } else {  // CF = OF = 0
    if constexpr (CC >> 1 == 1) v = false;
    else if constexpr (CC >> 1 == 2 || CC >> 1 == 3) v = r == 0;
    else if constexpr (CC >> 1 == 4 || CC >> 1 == 6) v = static_cast<S>(r) < 0;
    else v = static_cast<S>(r) <= 0;
  }
  return CC & 1 ? !v : v;
}

#define BRANCH_ON(a, b)                                               \
  const T r = alu<OP, T>(a, b, res, aux);                             \
  if (holds<OP, CC, T>(a, b, r)) return take_exit<1>(c, o, res, aux); \
  return take_exit<0>(c, o, res, aux)

template <int OP, int CC, Form F, bool Indexed, class T>
void fused(OP_ARGS) {
  if constexpr (F == Form::RR || F == Form::RI) {
    const T a = get<T>(c, o->d);
    const T b = F == Form::RR ? get<T>(c, o->s) : static_cast<T>(o->imm);
    BRANCH_ON(a, b);
  } else {
    READ(T, m, address<Indexed>(c, o));
    const T a = F == Form::RM ? get<T>(c, o->d) : m;
    const T b = F == Form::RM ? m : F == Form::MR ? get<T>(c, o->s) : static_cast<T>(o->imm);
    BRANCH_ON(a, b);
  }
}

/// 16-bit compares are rare enough to stay unfused.
#define NARROW_SIZE(size, F, ...)              \
  ((size) == 8   ? Handler(F<__VA_ARGS__ u64>) \
   : (size) == 4 ? Handler(F<__VA_ARGS__ u32>) \
                 : Handler(F<__VA_ARGS__ u8>))

template <int OP, int CC>
Handler by_form(Form form, u8 size, bool indexed) {
  switch (form) {
    case Form::RR:
      return NARROW_SIZE(size, fused, OP, CC, Form::RR, false, );
    case Form::RI:
      return NARROW_SIZE(size, fused, OP, CC, Form::RI, false, );
    case Form::RM:
      return NARROW_SIZE(size, fused, OP, CC, Form::RM, true, );
    case Form::MR:
      return indexed ? NARROW_SIZE(size, fused, OP, CC, Form::MR, true, )
                     : NARROW_SIZE(size, fused, OP, CC, Form::MR, false, );
    default:
      return indexed ? NARROW_SIZE(size, fused, OP, CC, Form::MI, true, )
                     : NARROW_SIZE(size, fused, OP, CC, Form::MI, false, );
  }
}

template <int OP>
Handler by_condition(int cc, Form form, u8 size, bool indexed) {
  switch (cc) {
#define CASE(n) \
  case n:       \
    return by_form<OP, n>(form, size, indexed);
    // clang-format off
    CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7)
    CASE(8) CASE(9) CASE(12) CASE(13) CASE(14) CASE(15)
    // clang-format on
#undef CASE
        default : return nullptr;  // overflow and parity
  }
}

}  // namespace

Handler pick_fused(int op, int cc, Form form, u8 size, bool indexed) {
  if (size == 2) return nullptr;
  return op == ALU_CMP ? by_condition<ALU_CMP>(cc, form, size, indexed)
                       : by_condition<ALU_TEST>(cc, form, size, indexed);
}

}  // namespace colo::soft
