// Moves, address folding, stack, extensions: everything that leaves the flags alone.
#include "soft/execute/handlers.h"
#include "soft/execute/ops.h"

namespace colo::soft {
namespace {

template <class T>
void mov_rr(OP_ARGS) {
  put<T>(c, o->d, get<T>(c, o->s));
  NEXT;
}
template <class T>
void mov_ri(OP_ARGS) {
  put<T>(c, o->d, static_cast<T>(o->imm));
  NEXT;
}
template <bool Indexed, class T>
void load(OP_ARGS) {
  READ(T, v, address<Indexed>(c, o));
  put<T>(c, o->d, v);
  NEXT;
}
template <bool Indexed, class T>
void store(OP_ARGS) {
  WRITE(T, p, address<Indexed>(c, o));
  *p = get<T>(c, o->s);
  NEXT;
}
template <bool Indexed, class T>
void store_imm(OP_ARGS) {
  WRITE(T, p, address<Indexed>(c, o));
  *p = static_cast<T>(o->imm);
  NEXT;
}
template <bool Indexed, class T>
void lea(OP_ARGS) {
  put<T>(c, o->d, static_cast<T>(address<Indexed>(c, o)));
  NEXT;
}
template <class T>
void xchg_rr(OP_ARGS) {
  const T a = get<T>(c, o->d), b = get<T>(c, o->s);
  put<T>(c, o->d, b);
  put<T>(c, o->s, a);
  NEXT;
}
template <class T>
void xchg_mr(OP_ARGS) {  // implies LOCK
  MODIFY(T, p, address(c, o));
  SETTLE_SPLIT(T, p)
  const T value = get<T>(c, o->s);
  T old = *p;
  if (splits_line<T>(p)) *p = value;
  else old = __atomic_exchange_n(reinterpret_cast<T*>(p), value, __ATOMIC_SEQ_CST);
  put<T>(c, o->s, old);
  NEXT;
}

void push(OP_ARGS) {
  const u64 to = c->r[RSP] - 8;
  WRITE(u64, p, to);
  *p = get<u64>(c, o->s);
  c->r[RSP] = to;
  NEXT;
}
void push_imm(OP_ARGS) {
  const u64 to = c->r[RSP] - 8;
  WRITE(u64, p, to);
  *p = static_cast<u64>(o->imm);
  c->r[RSP] = to;
  NEXT;
}
void pop(OP_ARGS) {
  READ(u64, v, c->r[RSP]);
  c->r[RSP] += 8;
  put<u64>(c, o->d, v);
  NEXT;
}
/// The popped value is already in s; the stack moves only once the store is done.
void pop_mem(OP_ARGS) {
  WRITE(u64, p, address(c, o));
  *p = get<u64>(c, o->s);
  c->r[RSP] += 8;
  NEXT;
}
void leave_frame(OP_ARGS) {
  READ(u64, v, c->r[RBP]);
  c->r[RSP] = c->r[RBP] + 8;
  c->r[RBP] = v;
  NEXT;
}
void nop(OP_ARGS) { NEXT; }
/// MFENCE, and SFENCE: other threads, vCPUs and devices, see what the host's memory order lets
/// them.
void fence(OP_ARGS) {
  asm volatile("mfence" ::: "memory");
  NEXT;
}

// Parts of an address, left in REG_TMP.
void fold_segment(OP_ARGS) {
  c->r[REG_TMP] = address(c, o) + c->seg[o->imm].base;
  NEXT;
}
void fold_32(OP_ARGS) {
  c->r[REG_TMP] = static_cast<u32>(address(c, o));
  NEXT;
}
void fold_16(OP_ARGS) {
  c->r[REG_TMP] = static_cast<u16>(address(c, o));
  NEXT;
}
void fold_imm(OP_ARGS) {
  c->r[REG_TMP] = static_cast<u64>(o->imm);
  NEXT;
}
void fold_linear(OP_ARGS) {
  const Access access = o->extra >> 16 ? Access::Write : Access::Read;
  u64& at = c->r[REG_TMP];  // no local: its address would keep the frame alive
  if (!c->linear(SegReg(o->imm), at, o->extra & 0xffff, access, at))
    return leave_fault(c, o, res, aux);
  NEXT;
}
/// The operand word that a signed register bit offset selects.
template <class T>
void fold_bit(OP_ARGS) {
  const i64 offset = static_cast<i64>(sign_extend(get<T>(c, o->s)));
  constexpr int log = sizeof(T) == 8 ? 6 : sizeof(T) == 4 ? 5 : 4;
  c->r[REG_TMP] = address(c, o) + static_cast<u64>((offset >> log) * static_cast<i64>(sizeof(T)));
  NEXT;
}
void fold_xlat(OP_ARGS) {
  const u64 base = o->imm == SEG_COUNT ? 0 : c->seg[o->imm].base;
  c->r[REG_TMP] = c->r[RBX] + get<u8>(c, RAX * 8) + base;
  NEXT;
}

template <class T>
COLO_INLINE T byte_swap(T v) {
  if constexpr (sizeof(T) == 8) return __builtin_bswap64(v);
  if constexpr (sizeof(T) == 4) return __builtin_bswap32(v);
  return __builtin_bswap16(v);
}
template <class T>
void bswap(OP_ARGS) {
  put<T>(c, o->d,
         sizeof(T) == 2
             ? T{0}
             : byte_swap(get<T>(c, o->d)));  // the 16-bit form is undefined; processors give 0
  NEXT;
}
template <class T>
void movbe_load(OP_ARGS) {
  READ(T, v, address(c, o));
  put<T>(c, o->d, byte_swap(v));
  NEXT;
}
template <class T>
void movbe_store(OP_ARGS) {
  WRITE(T, p, address(c, o));
  *p = byte_swap(get<T>(c, o->s));
  NEXT;
}

template <class To, class From, bool Sign>
COLO_INLINE To widen(From v) {
  return Sign ? static_cast<To>(sign_extend(v)) : static_cast<To>(v);
}
template <class To, class From, bool Sign>
void extend_rr(OP_ARGS) {
  put<To>(c, o->d, widen<To, From, Sign>(get<From>(c, o->s)));
  NEXT;
}
template <class To, class From, bool Sign, bool Indexed>
void extend_rm(OP_ARGS) {
  READ(From, v, address<Indexed>(c, o));
  put<To>(c, o->d, widen<To, From, Sign>(v));
  NEXT;
}
template <class From, bool Sign>
Handler extend_to(u8 to, bool memory, bool indexed) {
#define EXTEND(To)                                      \
  (!memory   ? Handler(extend_rr<To, From, Sign>)       \
   : indexed ? Handler(extend_rm<To, From, Sign, true>) \
             : Handler(extend_rm<To, From, Sign, false>))
  return to == 8 ? EXTEND(u64) : to == 4 ? EXTEND(u32) : EXTEND(u16);
#undef EXTEND
}

/// CBW CWDE CDQE: the lower half of the accumulator into all of it.
template <class Half, class T>
void widen_acc(OP_ARGS) {
  put<T>(c, RAX * 8, static_cast<T>(sign_extend(get<Half>(c, RAX * 8))));
  NEXT;
}
/// CWD CDQ CQO: its sign into RDX.
template <class T>
void sign_acc(OP_ARGS) {
  put<T>(c, RDX * 8, static_cast<T>(static_cast<i64>(sign_extend(get<T>(c, RAX * 8))) >> 63));
  NEXT;
}

}  // namespace

Handler pick_move(Move kind, u8 size, bool indexed) {
  switch (kind) {
    case Move::RegReg:
      return BY_SIZE(size, mov_rr);
    case Move::RegImm:
      return BY_SIZE(size, mov_ri);
    case Move::Load:
      return indexed ? BY_SIZE(size, load, true, ) : BY_SIZE(size, load, false, );
    case Move::Store:
      return indexed ? BY_SIZE(size, store, true, ) : BY_SIZE(size, store, false, );
    case Move::StoreImm:
      return indexed ? BY_SIZE(size, store_imm, true, ) : BY_SIZE(size, store_imm, false, );
    case Move::Lea:
      return indexed ? BY_WIDE_SIZE(size, lea, true, ) : BY_WIDE_SIZE(size, lea, false, );
    case Move::Xchg:
      return BY_SIZE(size, xchg_rr);
    case Move::XchgMem:
      return BY_SIZE(size, xchg_mr);
    case Move::Push:
      return push;
    case Move::PushImm:
      return push_imm;
    case Move::Pop:
      return pop;
    case Move::PopMem:
      return pop_mem;
    case Move::LeaveFrame:
      return leave_frame;
    case Move::Nop:
      return nop;
    case Move::Fence:
      return fence;
    case Move::FoldSegment:
      return fold_segment;
    case Move::Fold32:
      return fold_32;
    case Move::Fold16:
      return fold_16;
    case Move::FoldLinear:
      return fold_linear;
    case Move::FoldImm:
      return fold_imm;
    case Move::FoldBit:
      return BY_WIDE_SIZE(size, fold_bit);
    case Move::FoldXlat:
      return fold_xlat;
    case Move::Bswap:
      return BY_WIDE_SIZE(size, bswap);
    case Move::MovbeLoad:
      return BY_WIDE_SIZE(size, movbe_load);
    case Move::MovbeStore:
      return BY_WIDE_SIZE(size, movbe_store);
  }
  return nullptr;
}

Handler pick_extend(bool sign, bool memory, u8 from, u8 to, bool indexed) {
  switch (from) {
    case 1:
      return sign ? extend_to<u8, true>(to, memory, indexed)
                  : extend_to<u8, false>(to, memory, indexed);
    case 2:
      return sign ? extend_to<u16, true>(to, memory, indexed)
                  : extend_to<u16, false>(to, memory, indexed);
    default:
      return extend_to<u32, true>(to, memory, indexed);
  }
}

Handler pick_widen(u8 size) {
  return size == 8   ? Handler(widen_acc<u32, u64>)
         : size == 4 ? Handler(widen_acc<u16, u32>)
                     : Handler(widen_acc<u8, u16>);
}
Handler pick_sign(u8 size) { return BY_WIDE_SIZE(size, sign_acc); }

}  // namespace colo::soft
