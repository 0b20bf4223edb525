// Bit tests and scans, XADD, CMPXCHG, single flags.
#include "soft/execute/alu.h"

namespace colo::soft {
namespace {

template <int OP, class T>
COLO_INLINE T bit_result(T v, T mask) {
  return OP == BIT_BTS ? v | mask : OP == BIT_BTR ? v & ~mask : OP == BIT_BTC ? v ^ mask : v;
}
template <bool Imm, class T>
COLO_INLINE unsigned bit_number(const Cpu* c, const Op* o) {
  return (Imm ? static_cast<unsigned>(o->imm) : static_cast<unsigned>(get<T>(c, o->s))) &
         (8 * sizeof(T) - 1);
}

template <int OP, bool Imm, class T>
void bit_reg(OP_ARGS) {
  const unsigned n = bit_number<Imm, T>(c, o);
  const T v = get<T>(c, o->d);
  aux = aux_with_cf(aux, (v >> n) & 1);
  if (OP != BIT_BT) put<T>(c, o->d, bit_result<OP, T>(v, static_cast<T>(T{1} << n)));
  NEXT;
}
/// The address is already that of the selected word.
template <int OP, bool Imm, bool Locked, class T>
void bit_mem(OP_ARGS) {
  const unsigned n = bit_number<Imm, T>(c, o);
  const T mask = static_cast<T>(T{1} << n);
  if constexpr (OP == BIT_BT) {
    READ(T, v, address(c, o));
    aux = aux_with_cf(aux, (v >> n) & 1);
  } else {
    MODIFY(T, p, address(c, o));
    if constexpr (Locked) SETTLE_SPLIT(T, p)
    T old = *p;
    if (Locked && !splits_line<T>(p)) {
      T* at = reinterpret_cast<T*>(p);
      while (!__atomic_compare_exchange_n(at, &old, bit_result<OP, T>(old, mask), false,
                                          __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
      }
    } else {
      *p = bit_result<OP, T>(old, mask);
    }
    aux = aux_with_cf(aux, (old >> n) & 1);
  }
  NEXT;
}

/// BSF and BSR leave the destination alone when the source is 0, as every processor does.
template <Scan K, class T>
void scan(OP_ARGS) {
  const T v = get<T>(c, o->s);
  if constexpr (K == Scan::Popcnt) {
    const T n = static_cast<T>(__builtin_popcountll(v));
    put<T>(c, o->d, n);
    lazy_of_status(v ? 0 : flag::ZF, res, aux);  // all others are cleared, PF whatever the result
  } else if constexpr (K == Scan::Tzcnt || K == Scan::Lzcnt) {
    constexpr int bits = 8 * sizeof(T);
    const int n = !v                 ? bits
                  : K == Scan::Tzcnt ? __builtin_ctzll(v)
                                     : __builtin_clzll(v) - (64 - bits);
    put<T>(c, o->d, static_cast<T>(n));
    res = static_cast<u64>(n);
    aux = aux_with_cf_of(0, !v, false);  // CF and ZF are defined
  } else {
    if (v)
      put<T>(c, o->d,
             static_cast<T>(K == Scan::Bsf ? __builtin_ctzll(v) : 63 - __builtin_clzll(v)));
    res = v != 0;  // only ZF is defined
    aux = 0;
  }
  NEXT;
}

template <class T>
void xadd_reg(OP_ARGS) {
  const T a = get<T>(c, o->d), b = get<T>(c, o->s);
  const T sum = alu<ALU_ADD, T>(a, b, res, aux);
  put<T>(c, o->s, a);
  put<T>(c, o->d, sum);
  NEXT;
}
template <bool Locked, class T>
void xadd_mem(OP_ARGS) {
  const T b = get<T>(c, o->s);
  MODIFY(T, p, address(c, o));
  if constexpr (Locked) SETTLE_SPLIT(T, p)
  const bool atomic = Locked && !splits_line<T>(p);
  const T a = atomic ? __atomic_fetch_add(reinterpret_cast<T*>(p), b, __ATOMIC_SEQ_CST) : T{*p};
  const T sum = alu<ALU_ADD, T>(a, b, res, aux);
  if (!atomic) *p = sum;
  put<T>(c, o->s, a);
  NEXT;
}

/// Accumulator equal: destination = source; else accumulator = destination. Memory is written in
/// both cases.
template <class T>
void cmpxchg_reg(OP_ARGS) {
  const T acc = get<T>(c, RAX * 8), old = get<T>(c, o->d), src = get<T>(c, o->s);
  alu<ALU_CMP, T>(acc, old, res, aux);
  if (acc == old) put<T>(c, o->d, src);
  else put<T>(c, RAX * 8, old);
  NEXT;
}
template <bool Locked, class T>
void cmpxchg_mem(OP_ARGS) {
  const T acc = get<T>(c, RAX * 8), src = get<T>(c, o->s);
  MODIFY(T, p, address(c, o));
  if constexpr (Locked) SETTLE_SPLIT(T, p)
  T old;
  if (Locked && !splits_line<T>(p)) {
    old = acc;
    __atomic_compare_exchange_n(reinterpret_cast<T*>(p), &old, src, false, __ATOMIC_SEQ_CST,
                                __ATOMIC_SEQ_CST);
  } else {
    old = *p;
    if (old == acc) *p = src;
  }
  alu<ALU_CMP, T>(acc, old, res, aux);
  if (old != acc) put<T>(c, RAX * 8, old);
  NEXT;
}

void clc(OP_ARGS) {
  aux = aux_with_cf(aux, false);
  NEXT;
}
void stc(OP_ARGS) {
  aux = aux_with_cf(aux, true);
  NEXT;
}
void cmc(OP_ARGS) {
  aux = aux_with_cf(aux, !lazy_cf(aux));
  NEXT;
}
void cld(OP_ARGS) {
  c->rflags &= ~flag::DF;
  NEXT;
}
void std_(OP_ARGS) {
  c->rflags |= flag::DF;
  NEXT;
}
void lahf(OP_ARGS) {
  put<u8>(c, RAX * 8 + 1, static_cast<u8>((status_of_lazy(res, aux) & 0xd5) | 2));
  NEXT;
}
void sahf(OP_ARGS) {
  const u64 of = lazy_of(aux) ? flag::OF : 0;
  lazy_of_status((get<u8>(c, RAX * 8 + 1) & 0xd5) | of, res, aux);
  NEXT;
}

/// By the host's own instruction: a model has it only where the host does. The upper half of the
/// destination becomes zero with every operand size.
template <class T>
void crc32(OP_ARGS) {
  u32 sum = get<u32>(c, o->d);
  const T v = get<T>(c, o->s);
  if constexpr (sizeof(T) == 1) asm("crc32b %1, %0" : "+r"(sum) : "rm"(v));
  else if constexpr (sizeof(T) == 2) asm("crc32w %1, %0" : "+r"(sum) : "rm"(v));
  else if constexpr (sizeof(T) == 4) asm("crc32l %1, %0" : "+r"(sum) : "rm"(v));
  else {
    u64 wide = sum;
    asm("crc32q %1, %0" : "+r"(wide) : "rm"(v));
    sum = static_cast<u32>(wide);
  }
  put<u32>(c, o->d, sum);
  NEXT;
}

template <int OP>
Handler bit_of(bool immediate, bool memory, bool locked, u8 size) {
  if (!memory)
    return immediate ? BY_WIDE_SIZE(size, bit_reg, OP, true, )
                     : BY_WIDE_SIZE(size, bit_reg, OP, false, );
  if (locked)
    return immediate ? BY_WIDE_SIZE(size, bit_mem, OP, true, true, )
                     : BY_WIDE_SIZE(size, bit_mem, OP, false, true, );
  return immediate ? BY_WIDE_SIZE(size, bit_mem, OP, true, false, )
                   : BY_WIDE_SIZE(size, bit_mem, OP, false, false, );
}

}  // namespace

Handler pick_bit(int op, bool immediate, bool memory, bool locked, u8 size) {
  switch (op) {
    case BIT_BT:
      return bit_of<BIT_BT>(immediate, memory, false, size);
    case BIT_BTS:
      return bit_of<BIT_BTS>(immediate, memory, locked, size);
    case BIT_BTR:
      return bit_of<BIT_BTR>(immediate, memory, locked, size);
    default:
      return bit_of<BIT_BTC>(immediate, memory, locked, size);
  }
}
Handler pick_scan(Scan kind, u8 size) {
  switch (kind) {
    case Scan::Bsf:
      return BY_WIDE_SIZE(size, scan, Scan::Bsf, );
    case Scan::Bsr:
      return BY_WIDE_SIZE(size, scan, Scan::Bsr, );
    case Scan::Tzcnt:
      return BY_WIDE_SIZE(size, scan, Scan::Tzcnt, );
    case Scan::Lzcnt:
      return BY_WIDE_SIZE(size, scan, Scan::Lzcnt, );
    default:
      return BY_WIDE_SIZE(size, scan, Scan::Popcnt, );
  }
}
Handler pick_crc32(u8 size) { return BY_SIZE(size, crc32); }
Handler pick_swap(Swap kind, bool memory, bool locked, u8 size) {
  if (kind == Swap::Xadd)
    return !memory  ? BY_SIZE(size, xadd_reg)
           : locked ? BY_SIZE(size, xadd_mem, true, )
                    : BY_SIZE(size, xadd_mem, false, );
  return !memory  ? BY_SIZE(size, cmpxchg_reg)
         : locked ? BY_SIZE(size, cmpxchg_mem, true, )
                  : BY_SIZE(size, cmpxchg_mem, false, );
}
Handler pick_flag(FlagOp op) {
  switch (op) {
    case FlagOp::Clc:
      return clc;
    case FlagOp::Stc:
      return stc;
    case FlagOp::Cmc:
      return cmc;
    case FlagOp::Cld:
      return cld;
    case FlagOp::Std:
      return std_;
    case FlagOp::Lahf:
      return lahf;
    default:
      return sahf;
  }
}

}  // namespace colo::soft
