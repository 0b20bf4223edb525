// Direct handlers for the hottest SSE2 moves and integer operations, working on the FXSAVE image.
// What is not here goes through thunks.
#include "soft/execute/sse.h"

#include "soft/execute/handlers.h"

namespace colo::soft {
namespace {

COLO_COLD void unit_off(OP_ARGS) {
  if (c->cr0 & cr0::EM || !(c->cr4 & cr4::OSFXSR)) return raise_vector<UD>(c, o, res, aux);
  return raise_vector<NM>(c, o, res, aux);
}
#define NEED_SSE                                                                \
  if (COLO_UNLIKELY((c->cr0 & (cr0::EM | cr0::TS)) || !(c->cr4 & cr4::OSFXSR))) \
  return unit_off(c, o, res, aux)

template <bool Aligned>
void load16(OP_ARGS) {
  NEED_SSE;
  const u64 va = address(c, o);
  if (Aligned) NEED_ALIGNED(va);
  TLB_LOOKUP(__m128i, read, slow_read, va)
  xmm(c, o->d) = _mm_loadu_si128(reinterpret_cast<const __m128i*>(va_ + entry_.addend));
  NEXT;
}
template <bool Aligned>
void store16(OP_ARGS) {
  NEED_SSE;
  const u64 va = address(c, o);
  if (Aligned) NEED_ALIGNED(va);
  TLB_LOOKUP(__m128i, write, slow_write, va)
  _mm_storeu_si128(reinterpret_cast<__m128i*>(va_ + entry_.addend), xmm(c, o->d));
  NEXT;
}
void move16(OP_ARGS) {
  NEED_SSE;
  xmm(c, o->d) = xmm(c, o->s);
  NEXT;
}
void move16_back(OP_ARGS) {  // the store opcodes between registers
  NEED_SSE;
  xmm(c, o->s) = xmm(c, o->d);
  NEXT;
}

/// MOVD, MOVQ: T = u32 or u64, the upper part of the register cleared.
template <class T>
void load_low(OP_ARGS) {
  NEED_SSE;
  READ(T, v, address(c, o));
  xmm(c, o->d) = _mm_cvtsi64_si128(static_cast<long long>(v));
  NEXT;
}
template <class T>
void store_low(OP_ARGS) {
  NEED_SSE;
  WRITE(T, p, address(c, o));
  *p = static_cast<T>(_mm_cvtsi128_si64(xmm(c, o->d)));
  NEXT;
}
template <class T>
void low_from_gpr(OP_ARGS) {
  NEED_SSE;
  xmm(c, o->d) =
      _mm_cvtsi64_si128(static_cast<long long>(get<T>(c, static_cast<u8>(o->extra >> 8))));
  NEXT;
}
template <class T>
void low_to_gpr(OP_ARGS) {
  NEED_SSE;
  put<T>(c, static_cast<u8>(o->extra >> 8), static_cast<T>(_mm_cvtsi128_si64(xmm(c, o->d))));
  NEXT;
}
void move_low(OP_ARGS) {  // MOVQ between registers
  NEED_SSE;
  xmm(c, o->d) = _mm_move_epi64(xmm(c, o->s));
  NEXT;
}
void move_low_back(OP_ARGS) {
  NEED_SSE;
  xmm(c, o->s) = _mm_move_epi64(xmm(c, o->d));
  NEXT;
}
/// MOVSS, MOVSD between registers: the low part alone. Whole registers are stored, so that the next
/// load of one need not wait for two stores.
template <class T>
COLO_INLINE __m128i merged(__m128i into, __m128i from) {
  if constexpr (sizeof(T) == 8)
    return _mm_castpd_si128(_mm_move_sd(_mm_castsi128_pd(into), _mm_castsi128_pd(from)));
  else return _mm_castps_si128(_mm_move_ss(_mm_castsi128_ps(into), _mm_castsi128_ps(from)));
}
template <class T>
void merge_low(OP_ARGS) {
  NEED_SSE;
  xmm(c, o->d) = merged<T>(xmm(c, o->d), xmm(c, o->s));
  NEXT;
}
template <class T>
void merge_low_back(OP_ARGS) {
  NEED_SSE;
  xmm(c, o->s) = merged<T>(xmm(c, o->s), xmm(c, o->d));
  NEXT;
}
void load_low_half(OP_ARGS) {  // MOVLPS, MOVLPD
  NEED_SSE;
  READ(u64, v, address(c, o));
  xmm(c, o->d) = merged<u64>(xmm(c, o->d), _mm_cvtsi64_si128(static_cast<long long>(v)));
  NEXT;
}
template <bool Store>
void high_half(OP_ARGS) {  // MOVHPS
  NEED_SSE;
  if constexpr (Store) {
    WRITE(u64, p, address(c, o));
    *p = static_cast<u64>(_mm_cvtsi128_si64(_mm_unpackhi_epi64(xmm(c, o->d), xmm(c, o->d))));
  } else {
    READ(u64, v, address(c, o));
    xmm(c, o->d) = _mm_unpacklo_epi64(xmm(c, o->d), _mm_cvtsi64_si128(static_cast<long long>(v)));
  }
  NEXT;
}
void byte_mask(OP_ARGS) {  // PMOVMSKB
  NEED_SSE;
  put<u32>(c, static_cast<u8>(o->extra), static_cast<u32>(_mm_movemask_epi8(xmm(c, o->s))));
  NEXT;
}

using Binary = __m128i (*)(__m128i, __m128i);
template <Binary F>
void binary_rr(OP_ARGS) {
  NEED_SSE;
  xmm(c, o->d) = F(xmm(c, o->d), xmm(c, o->s));
  NEXT;
}
template <Binary F>
void binary_rm(OP_ARGS) {
  NEED_SSE;
  const u64 va = address(c, o);
  NEED_ALIGNED(va);
  TLB_LOOKUP(__m128i, read, slow_read, va)
  xmm(c, o->d) =
      F(xmm(c, o->d), _mm_load_si128(reinterpret_cast<const __m128i*>(va_ + entry_.addend)));
  NEXT;
}
template <Binary F>
Handler binary(bool memory) {
  return memory ? Handler(binary_rm<F>) : Handler(binary_rr<F>);
}

#define LOGIC(name, f) \
  COLO_INLINE __m128i name(__m128i a, __m128i b) { return f(a, b); }
LOGIC(f_xor, _mm_xor_si128)
LOGIC(f_or, _mm_or_si128)
LOGIC(f_and, _mm_and_si128)
LOGIC(f_andnot, _mm_andnot_si128)
LOGIC(f_eqb, _mm_cmpeq_epi8)
LOGIC(f_eqw, _mm_cmpeq_epi16)
LOGIC(f_eqd, _mm_cmpeq_epi32)
LOGIC(f_gtb, _mm_cmpgt_epi8)
LOGIC(f_minub, _mm_min_epu8)
LOGIC(f_maxub, _mm_max_epu8)
LOGIC(f_addb, _mm_add_epi8)
LOGIC(f_addd, _mm_add_epi32)
LOGIC(f_addq, _mm_add_epi64)
LOGIC(f_subb, _mm_sub_epi8)
LOGIC(f_subd, _mm_sub_epi32)
LOGIC(f_subusb, _mm_subs_epu8)
LOGIC(f_unpcklbw, _mm_unpacklo_epi8)
LOGIC(f_unpcklwd, _mm_unpacklo_epi16)
LOGIC(f_unpckldq, _mm_unpacklo_epi32)
LOGIC(f_unpcklqdq, _mm_unpacklo_epi64)
LOGIC(f_unpckhqdq, _mm_unpackhi_epi64)

Handler pick_logic(u8 opcode, bool memory) {
  switch (opcode) {
    case 0x57:
    case 0xef:
      return binary<f_xor>(memory);
    case 0x56:
    case 0xeb:
      return binary<f_or>(memory);
    case 0x54:
    case 0xdb:
      return binary<f_and>(memory);
    case 0x55:
    case 0xdf:
      return binary<f_andnot>(memory);
    case 0x74:
      return binary<f_eqb>(memory);
    case 0x75:
      return binary<f_eqw>(memory);
    case 0x76:
      return binary<f_eqd>(memory);
    case 0x64:
      return binary<f_gtb>(memory);
    case 0xda:
      return binary<f_minub>(memory);
    case 0xde:
      return binary<f_maxub>(memory);
    case 0xfc:
      return binary<f_addb>(memory);
    case 0xfe:
      return binary<f_addd>(memory);
    case 0xd4:
      return binary<f_addq>(memory);
    case 0xf8:
      return binary<f_subb>(memory);
    case 0xfa:
      return binary<f_subd>(memory);
    case 0xd8:
      return binary<f_subusb>(memory);
    case 0x60:
      return binary<f_unpcklbw>(memory);
    case 0x61:
      return binary<f_unpcklwd>(memory);
    case 0x62:
      return binary<f_unpckldq>(memory);
    case 0x6c:
      return binary<f_unpcklqdq>(memory);
    case 0x6d:
      return binary<f_unpckhqdq>(memory);
    default:
      return nullptr;
  }
}

Handler pick_move16(bool aligned, bool store, bool memory) {
  if (!memory) return store ? move16_back : move16;
  if (store) return aligned ? store16<true> : store16<false>;
  return aligned ? load16<true> : load16<false>;
}

Handler pick_low(const Insn& i, bool store) {  // 66 0F 6E, 7E
  const bool wide = i.rex_w();
  if (i.memory)
    return store  ? (wide ? Handler(store_low<u64>) : Handler(store_low<u32>))
           : wide ? Handler(load_low<u64>)
                  : Handler(load_low<u32>);
  return store  ? (wide ? Handler(low_to_gpr<u64>) : Handler(low_to_gpr<u32>))
         : wide ? Handler(low_from_gpr<u64>)
                : Handler(low_from_gpr<u32>);
}

/// MOVSS and MOVSD: F3 and F2 0F 10, 11.
template <class T>
Handler pick_scalar_move(bool store, bool memory) {
  if (memory) return store ? Handler(store_low<T>) : Handler(load_low<T>);
  return store ? Handler(merge_low_back<T>) : Handler(merge_low<T>);
}
/// MOVLPx and MOVHPx with memory: 0F 12, 13, 16, 17.
Handler pick_half(u8 opcode) {
  switch (opcode) {
    case 0x12:
      return load_low_half;
    case 0x13:
      return store_low<u64>;
    case 0x16:
      return high_half<false>;
    default:
      return high_half<true>;
  }
}
bool is_half(const Insn& i) { return i.memory && (i.opcode & 0xfa) == 0x12; }
/// MOVNTPS, MOVNTPD, MOVNTDQ: stores whose hint about the cache is not passed on.
bool is_streaming(const Insn& i) {
  return i.memory && (i.opcode == 0x2b || (i.opcode == 0xe7 && i.prefix == 0x66));
}

}  // namespace

Handler pick_sse(const Insn& i) {
  if (i.map != 1) return nullptr;
  const u8 op = i.opcode;
  switch (i.prefix) {
    case 0:
      if (op == 0x28 || op == 0x29) return pick_move16(true, op & 1, i.memory);
      if (op == 0x10 || op == 0x11) return pick_move16(false, op & 1, i.memory);
      if (is_half(i)) return pick_half(op);
      if (is_streaming(i)) return store16<true>;
      return op >= 0x54 && op <= 0x57 ? pick_logic(op, i.memory) : nullptr;
    case 0x66:
      if (op == 0x28 || op == 0x29) return pick_move16(true, op & 1, i.memory);
      if (op == 0x10 || op == 0x11) return pick_move16(false, op & 1, i.memory);
      if (is_half(i)) return pick_half(op);
      if (is_streaming(i)) return store16<true>;
      if (op == 0x14 || op == 0x15)
        return op & 1 ? binary<f_unpckhqdq>(i.memory) : binary<f_unpcklqdq>(i.memory);
      if (op == 0x6f || op == 0x7f) return pick_move16(true, op == 0x7f, i.memory);
      if (op == 0x6e || op == 0x7e) return pick_low(i, op == 0x7e);
      if (op == 0xd6) return i.memory ? store_low<u64> : move_low_back;
      if (op == 0xd7) return i.memory ? nullptr : byte_mask;
      return pick_logic(op, i.memory);
    case 0xf3:
      if (op == 0x6f || op == 0x7f) return pick_move16(false, op == 0x7f, i.memory);
      if (op == 0x7e) return i.memory ? load_low<u64> : move_low;
      if (op == 0x10 || op == 0x11) return pick_scalar_move<u32>(op & 1, i.memory);
      return nullptr;
    case 0xf2:
      if (op == 0x10 || op == 0x11) return pick_scalar_move<u64>(op & 1, i.memory);
      return nullptr;
    default:
      return nullptr;
  }
}

}  // namespace colo::soft
