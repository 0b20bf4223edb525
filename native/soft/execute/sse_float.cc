// Direct handlers for SSE and SSE2 floating point, with the unit taken (unit.h). The instruction
// itself stands in each, not an expression: a compiler may swap the operands of an addition, and of
// two NaNs the first is the result.
#include "soft/cpu/flags.h"
#include "soft/execute/handlers.h"
#include "soft/execute/sse.h"

namespace colo::soft {
namespace {

/// Operand in memory: T bytes that the instruction reads by itself.
template <class T>
COLO_INLINE const Guest<T>& source(u64 host) {
  return *reinterpret_cast<const Guest<T>*>(host);
}
using Packed = unsigned __int128;

/// destination = destination OP source, source of type T.
#define FLOAT_OP(name, insn)                                     \
  struct name {                                                  \
    template <class T>                                           \
    static COLO_INLINE void run(__m128i& d, const Guest<T>& s) { \
      asm volatile(insn " %1, %0" : "+x"(d) : "m"(s));           \
    }                                                            \
  };
#define FLOAT_OPS(name, insn)   \
  FLOAT_OP(name##Ps, insn "ps") \
  FLOAT_OP(name##Pd, insn "pd") \
  FLOAT_OP(name##Ss, insn "ss") \
  FLOAT_OP(name##Sd, insn "sd")
FLOAT_OPS(Sqrt, "sqrt")
FLOAT_OPS(Add, "add")
FLOAT_OPS(Mul, "mul")
FLOAT_OPS(Sub, "sub")
FLOAT_OPS(Min, "min")
FLOAT_OPS(Div, "div")
FLOAT_OPS(Max, "max")
FLOAT_OP(SdToSs, "cvtsd2ss")
FLOAT_OP(SsToSd, "cvtss2sd")
FLOAT_OP(I32ToSd, "cvtsi2sdl")
FLOAT_OP(I64ToSd, "cvtsi2sdq")
FLOAT_OP(I32ToSs, "cvtsi2ssl")
FLOAT_OP(I64ToSs, "cvtsi2ssq")

template <class F, class T>
void float_rr(OP_ARGS) {
  NEED_UNIT(kSimdUnit);
  __m128i d = xmm(c, o->d);
  F::template run<T>(d, source<T>(reinterpret_cast<u64>(&xmm(c, o->s))));
  xmm(c, o->d) = d;
  NEXT;
}
template <class F, class T>
void float_rm(OP_ARGS) {
  NEED_UNIT(kSimdUnit);
  const u64 va = address(c, o);
  if (sizeof(T) == 16) NEED_ALIGNED(va);
  TLB_LOOKUP(T, read, slow_read, va)
  __m128i d = xmm(c, o->d);
  F::template run<T>(d, source<T>(va_ + entry_.addend));
  xmm(c, o->d) = d;
  NEXT;
}
/// From a general register.
template <class F, class T>
void float_rg(OP_ARGS) {
  NEED_UNIT(kSimdUnit);
  __m128i d = xmm(c, o->d);
  F::template run<T>(d, source<T>(reinterpret_cast<u64>(c->r) + (o->extra >> 8)));
  xmm(c, o->d) = d;
  NEXT;
}
template <class F, class T>
Handler either(bool memory) {
  return memory ? Handler(float_rm<F, T>) : Handler(float_rr<F, T>);
}
template <class F, class T>
Handler from_integer(bool memory) {
  return memory ? Handler(float_rm<F, T>) : Handler(float_rg<F, T>);
}

/// To a general register, by truncation or as MXCSR says. S = type of the source, G of the result.
#define TO_INTEGER(name, insn)                         \
  struct name {                                        \
    template <class S, class G>                        \
    static COLO_INLINE G run(const Guest<S>& s) {      \
      G g;                                             \
      asm volatile(insn " %1, %0" : "=r"(g) : "m"(s)); \
      return g;                                        \
    }                                                  \
  };
TO_INTEGER(TruncSd, "cvttsd2si")
TO_INTEGER(RoundSd, "cvtsd2si")
TO_INTEGER(TruncSs, "cvttss2si")
TO_INTEGER(RoundSs, "cvtss2si")

template <class F, class S, class G>
void integer_rr(OP_ARGS) {
  NEED_UNIT(kSimdUnit);
  const u64 at = reinterpret_cast<u64>(&xmm(c, o->s));
  put<G>(c, static_cast<u8>(o->extra), F::template run<S, G>(source<S>(at)));
  NEXT;
}
template <class F, class S, class G>
void integer_rm(OP_ARGS) {
  NEED_UNIT(kSimdUnit);
  const u64 va = address(c, o);
  TLB_LOOKUP(S, read, slow_read, va)
  put<G>(c, static_cast<u8>(o->extra), F::template run<S, G>(source<S>(va_ + entry_.addend)));
  NEXT;
}
template <class F, class S>
Handler to_integer(const Insn& i) {
  if (i.rex_w()) return i.memory ? Handler(integer_rm<F, S, u64>) : Handler(integer_rr<F, S, u64>);
  return i.memory ? Handler(integer_rm<F, S, u32>) : Handler(integer_rr<F, S, u32>);
}

/// COMISx and UCOMISx: ZF, PF and CF from the instruction, the other status flags clear.
#define COMPARE(name, insn)                                                                  \
  struct name {                                                                              \
    template <class S>                                                                       \
    static COLO_INLINE u64 run(const __m128i& d, const Guest<S>& s) {                        \
      bool zf, pf, cf;                                                                       \
      asm volatile(insn " %4, %3" : "=@ccz"(zf), "=@ccp"(pf), "=@ccc"(cf) : "x"(d), "m"(s)); \
      return (zf ? flag::ZF : 0) | (pf ? flag::PF : 0) | (cf ? flag::CF : 0);                \
    }                                                                                        \
  };
COMPARE(ComiSd, "comisd")
COMPARE(UcomiSd, "ucomisd")
COMPARE(ComiSs, "comiss")
COMPARE(UcomiSs, "ucomiss")

template <class F, class S>
void compare_rr(OP_ARGS) {
  NEED_UNIT(kSimdUnit);
  const u64 at = reinterpret_cast<u64>(&xmm(c, o->s));
  lazy_of_status(F::template run<S>(xmm(c, o->d), source<S>(at)), res, aux);
  NEXT;
}
template <class F, class S>
void compare_rm(OP_ARGS) {
  NEED_UNIT(kSimdUnit);
  const u64 va = address(c, o);
  TLB_LOOKUP(S, read, slow_read, va)
  lazy_of_status(F::template run<S>(xmm(c, o->d), source<S>(va_ + entry_.addend)), res, aux);
  NEXT;
}
template <class F, class S>
Handler compare(bool memory) {
  return memory ? Handler(compare_rm<F, S>) : Handler(compare_rr<F, S>);
}

/// 51 58..5F without the conversions among them, by one list of operations for each prefix.
#define PICK_ARITHMETIC(suffix, T)              \
  switch (i.opcode) {                           \
    case 0x51:                                  \
      return either<Sqrt##suffix, T>(i.memory); \
    case 0x58:                                  \
      return either<Add##suffix, T>(i.memory);  \
    case 0x59:                                  \
      return either<Mul##suffix, T>(i.memory);  \
    case 0x5c:                                  \
      return either<Sub##suffix, T>(i.memory);  \
    case 0x5d:                                  \
      return either<Min##suffix, T>(i.memory);  \
    case 0x5e:                                  \
      return either<Div##suffix, T>(i.memory);  \
    case 0x5f:                                  \
      return either<Max##suffix, T>(i.memory);  \
    default:                                    \
      break;                                    \
  }

Handler pick_ps(const Insn& i) {
  PICK_ARITHMETIC(Ps, Packed)
  if (i.opcode == 0x2e) return compare<UcomiSs, u32>(i.memory);
  if (i.opcode == 0x2f) return compare<ComiSs, u32>(i.memory);
  return nullptr;
}
Handler pick_pd(const Insn& i) {
  PICK_ARITHMETIC(Pd, Packed)
  if (i.opcode == 0x2e) return compare<UcomiSd, u64>(i.memory);
  if (i.opcode == 0x2f) return compare<ComiSd, u64>(i.memory);
  return nullptr;
}
Handler pick_ss(const Insn& i) {
  PICK_ARITHMETIC(Ss, u32)
  if (i.opcode == 0x5a) return either<SsToSd, u32>(i.memory);
  if (i.opcode == 0x2a)
    return i.rex_w() ? from_integer<I64ToSs, u64>(i.memory) : from_integer<I32ToSs, u32>(i.memory);
  if (i.opcode == 0x2c) return to_integer<TruncSs, u32>(i);
  if (i.opcode == 0x2d) return to_integer<RoundSs, u32>(i);
  return nullptr;
}
Handler pick_sd(const Insn& i) {
  PICK_ARITHMETIC(Sd, u64)
  if (i.opcode == 0x5a) return either<SdToSs, u64>(i.memory);
  if (i.opcode == 0x2a)
    return i.rex_w() ? from_integer<I64ToSd, u64>(i.memory) : from_integer<I32ToSd, u32>(i.memory);
  if (i.opcode == 0x2c) return to_integer<TruncSd, u64>(i);
  if (i.opcode == 0x2d) return to_integer<RoundSd, u64>(i);
  return nullptr;
}

}  // namespace

Handler pick_sse_float(const Insn& i) {
  switch (i.prefix) {
    case 0:
      return pick_ps(i);
    case 0x66:
      return pick_pd(i);
    case 0xf3:
      return pick_ss(i);
    default:
      return pick_sd(i);
  }
}

}  // namespace colo::soft
