// Thunk cache: plans, keys, and what must happen around a thunk (pending #MF, MMX entry, unmasked
// SIMD exceptions).
#include "soft/fpu/fpu.h"

#include <xmmintrin.h>

#include <cstring>
#include <deque>
#include <optional>
#include <unordered_map>

#include "soft/fpu/code_arena.h"
#include "soft/fpu/fpu_table.h"
#include "soft/fpu/thunk_emit.h"

namespace colo::soft {
namespace {

/// Address space, not memory (a kernel and its userland use some 100 KiB of it). The table has a
/// finite number of distinct encodings after normalisation and fpu_test proves that all of them
/// fit, so the end cannot be reached even by a guest that tries.
constexpr size_t kArenaBytes = 256 << 20;

enum ThunkTrait : u8 {
  kSimd = 1,
  kWaits = 2,
  kEntersMmx = 4,
  kOnX87 = 8,
  kEnvironment = 16,
  kX87Store = 32
};

struct Thunk {
  void (*code)(FxState*, void*, u64*, u64*) = nullptr;
  u8 traits = 0;
  u8 bytes = 0;
};

template <class T>
T get(const FxState& fx, size_t at) {
  T value;
  std::memcpy(&value, fx.bytes + at, sizeof value);
  return value;
}
template <class T>
void put(FxState& fx, size_t at, T value) {
  std::memcpy(fx.bytes + at, &value, sizeof value);
}

constexpr size_t kFcw = 0, kFsw = 2, kFtw = 4, kFop = 6, kFip = 8, kFdp = 16, kMxcsrAt = 24,
                 kMxcsrMaskAt = 28, kSt = 32;
constexpr u16 kErrorSummary = 0x80, kTop = 7 << 11;
constexpr u32 kSimdMasks = 0x1f80, kSimdFlags = 0x3f, kFlushToZero = 0x8000, kMxcsrMask = 0xffff;
constexpr u32 kPreComputation = 7, kUnderflow = 1 << 4;  // IE, DE, ZE are found before the result

bool mf_pending(const FxState& fx) {
  const u16 sw = get<u16>(fx, kFsw);
  return (sw & kErrorSummary) || (sw & ~get<u16>(fx, kFcw) & 0x3f);
}

/// What every MMX instruction but EMMS does to the x87 state (SDM vol. 1, 9.5.1): all valid, top 0.
/// The image holds ST(i), and MMi is physical register i, so that a top other than 0 means turning
/// the stack.
void enter_mmx(FxState& fx) {
  const u16 sw = get<u16>(fx, kFsw);
  put<u8>(fx, kFtw, 0xff);
  const int top = sw >> 11 & 7;
  if (!top) return;
  u8 turned[128];
  for (int i = 0; i < 8; i++)
    std::memcpy(turned + 16 * i, fx.bytes + kSt + 16 * ((i - top) & 7), 16);
  std::memcpy(fx.bytes + kSt, turned, sizeof turned);
  put<u16>(fx, kFsw, sw & ~kTop);
}

/// Pointers are not ours to show, and a host's own MXCSR mask is not the model's.
void hide_host(FxState& fx) {
  put<u16>(fx, kFop, 0);
  put<u64>(fx, kFip, 0);
  put<u64>(fx, kFdp, 0);
  put<u32>(fx, kMxcsrMaskAt, kMxcsrMask);
}

/// The pointers in an FNSTENV or FNSAVE image, 32-bit or 16-bit format.
void hide_pointers(u8* image, bool wide) {
  if (!wide) {
    std::memset(image + 6, 0, 8);
    return;
  }
  std::memset(image + 12, 0, 16);
  std::memset(image + 26, 0xff, 2);  // the reserved half above the data selector
}

/// The host unit runs with the guest's own control word: an unmasked x87 exception changes the
/// image and traps nobody, because no waiting instruction follows before FXSAVE.
void run_x87(const Thunk& t, FxState& fx, void* mem, u64* gprs, u64& flags) {
  const u32 mxcsr = get<u32>(fx, kMxcsrAt);
  if (mxcsr & ~kMxcsrMask) put<u32>(fx, kMxcsrAt, mxcsr & kMxcsrMask);
  hide_host(fx);
  t.code(&fx, mem, gprs, &flags);
  hide_host(fx);
  if (t.traits & kEnvironment)
    hide_pointers(static_cast<u8*>(mem), t.bytes == 28 || t.bytes == 108);
}

/// With exceptions unmasked a store may leave memory as it was; two runs over different bytes tell.
int run_x87_store(const Thunk& t, FxState& fx, void* mem, u64* gprs, u64& flags) {
  FxState trial = fx;
  u8 first[16], second[16];
  std::memset(first, 0x55, sizeof first);
  std::memset(second, 0xaa, sizeof second);
  run_x87(t, trial, first, gprs, flags);
  run_x87(t, fx, second, gprs, flags);
  if (std::memcmp(first, second, t.bytes) != 0) return kNothingStored;
  std::memcpy(mem, first, t.bytes);
  return 0;
}

/// Runs a thunk under this MXCSR and returns what it is then.
u32 run_simd(const Thunk& t, FxState& fx, void* mem, u64* gprs, u64& flags, u32 mxcsr) {
  const u32 host = _mm_getcsr();
  _mm_setcsr(mxcsr);
  t.code(&fx, mem, gprs, &flags);
  const u32 after = _mm_getcsr();
  _mm_setcsr(host);
  return after;
}

/// One run on copies, all exceptions masked and no flag set; returns the flags raised.
struct Trial {
  FxState fx;
  u64 gprs[16];
  u64 flags;
  u32 run(const Thunk& t, const FxState& from, void* mem, const u64* from_gprs, u64 from_flags,
          u32 mxcsr) {
    fx = from;
    std::memcpy(gprs, from_gprs, sizeof gprs);
    flags = from_flags;
    if (t.traits & kEntersMmx) enter_mmx(fx);
    const u32 masked = (mxcsr | kSimdMasks) & kMxcsrMask & ~kSimdFlags;
    return run_simd(t, fx, mem, gprs, flags, masked) & kSimdFlags;
  }
};

/// Unmasked SIMD exceptions (SDM vol. 1, 11.5.2 and 11.5.3) without ever unmasking one here. With
/// underflow unmasked "tiny" is enough (masked it takes "tiny and inexact") and flush-to-zero does
/// not count: a run that flushes tells whether any result is tiny, for then, and only then, it
/// reports underflow. Not modelled: PE beside an unmasked OE or UE is that of the masked result,
/// and DPPS/DPPD (not in soft-v1) report their steps together.
int run_unmasked(const Thunk& t, FxState& fx, void* mem, u64* gprs, u64& flags) {
  const u32 mxcsr = get<u32>(fx, kMxcsrAt) & kMxcsrMask;
  const u32 unmasked = ~(mxcsr >> 7) & kSimdFlags;
  const bool underflow_counts = unmasked & kUnderflow;
  Trial trial;
  u32 raised = trial.run(t, fx, mem, gprs, flags, underflow_counts ? mxcsr & ~kFlushToZero : mxcsr);
  if (raised & kPreComputation & unmasked) {
    raised &= kPreComputation;
  } else if (underflow_counts) {
    Trial flushing;
    raised |= flushing.run(t, fx, mem, gprs, flags, mxcsr | kFlushToZero) & kUnderflow;
  }
  put<u32>(trial.fx, kMxcsrAt, mxcsr | raised);
  if (raised & unmasked) {
    put<u32>(fx, kMxcsrAt, mxcsr | raised);
    return 19;
  }
  fx = trial.fx;
  std::memcpy(gprs, trial.gprs, sizeof trial.gprs);
  flags = trial.flags;
  return 0;
}

/// Bits that do not change the thunk are dropped, so that they do not multiply thunks.
u64 key_of(const FpInsn& insn, u8 rex, u8 modrm, u8 imm8) {
  return insn.prefix | static_cast<u64>(rex) << 8 | static_cast<u64>(insn.map) << 16 |
         static_cast<u64>(insn.opcode) << 24 | static_cast<u64>(modrm) << 32 |
         static_cast<u64>(imm8) << 40;
}

bool has_gpr(const FpRow& row) { return row.reg == FpKind::Gpr || row.rm == FpKind::Gpr; }

/// Of an x87 instruction's second thunk, which finds the guest's state in the unit.
constexpr u64 kBareKey = 1ull << 48;

/// May it run with the guest's state in the unit? Not what loads or stores the environment, nor
/// FLDCW: they may unmask an exception, or know where an instruction lies.
bool keeps_unit(const FpInsn& insn, const X87Insn& what) {
  const bool fldcw = insn.opcode == 0xd9 && insn.modrm < 0xc0 && (insn.modrm >> 3 & 7) == 5;
  return what.bytes <= 10 && !fldcw && !what.writes_flags && !what.reads_flags;
}

/// Immediate bits that the instruction ignores.
u8 significant_imm(const FpInsn& insn) {
  if (insn.map == 3 && insn.opcode == 0x44) return insn.imm8 & 0x11;  // PCLMULQDQ
  if (insn.map != 1) return insn.imm8;
  if (insn.opcode == 0xc4 || insn.opcode == 0xc5 || insn.opcode == 0xc2) return insn.imm8 & 7;
  return insn.opcode == 0xc6 && insn.prefix == 0x66 ? insn.imm8 & 3 : insn.imm8;
}

FpInsn normalised(const FpInsn& insn, const FpRow& row) {
  FpInsn n = insn;
  const bool memory = insn.modrm < 0xc0;
  u8 keep = has_gpr(row) ? 8 : 0;
  if (row.flags & kString && !(insn.opcode & 2)) keep |= 8;  // the width of explicit lengths
  if (row.reg == FpKind::Xmm || row.reg == FpKind::Gpr) keep |= 4;
  if (!memory && row.rm != FpKind::Mmx) keep |= 1;
  n.rex = insn.rex & keep;
  n.modrm = memory ? (insn.modrm & 0x38) | 6 : insn.modrm;
  n.imm8 = row.flags & kImm ? significant_imm(insn) : 0;
  return n;
}

}  // namespace

void fx_reset(FxState& fx) {
  std::memset(fx.bytes, 0, sizeof fx.bytes);
  put<u16>(fx, kFcw, 0x37f);  // as a KVM vCPU starts; the chip itself says 0x40 until FNINIT
  put<u32>(fx, kMxcsrAt, 0x1f80);
  put<u32>(fx, kMxcsrMaskAt, kMxcsrMask);
}

struct ThunkCache::Impl {
  explicit Impl(u8 features) : features(features) {}
  u8 features;
  std::optional<CodeArena> arena{std::in_place, kArenaBytes};
  std::unordered_map<u64, Thunk*> by_key;
  std::deque<Thunk> thunks;  // stable addresses

  template <class Emit>
  Thunk* find(u64 key, u8 traits, u8 bytes, Emit emit) {
    Thunk*& slot = by_key[key];
    if (!slot) {
      const ThunkCode code = emit();
      const void* at = arena->add(code.bytes());
      COLO_ASSERT(at);
      slot = &thunks.emplace_back(
          Thunk{reinterpret_cast<decltype(Thunk::code)>(const_cast<void*>(at)), traits, bytes});
    }
    return slot;
  }

  bool plan_vector(const FpInsn& given, FpPlan& out);
  bool plan_x87(const FpInsn& insn, FpPlan& out);
  bool plan_emms(const FpInsn& insn, FpPlan& out);
};

ThunkCache::ThunkCache(u8 features) : impl_(new Impl(features)) {}
ThunkCache::~ThunkCache() { delete impl_; }

void ThunkCache::offer(u8 features) { impl_->features = features; }

size_t ThunkCache::bytes() const {
  constexpr size_t kMapNode = 64;  // key, value, links and bucket of one entry, about
  return impl_->arena->used() + impl_->thunks.size() * (sizeof(Thunk) + kMapNode);
}

/// A new arena, not the old one again: bytes that this processor has run are never changed under
/// it.
void ThunkCache::clear() {
  impl_->by_key.clear();
  impl_->thunks.clear();
  impl_->arena.emplace(kArenaBytes);
}

bool ThunkCache::claims(u8 map, u8 opcode, u8 prefix) { return fp_claims(map, opcode, prefix); }
bool ThunkCache::needs_modrm(u8 map, u8 opcode) {
  return !(map == 0 && opcode == 0x9b) && !(map == 1 && opcode == 0x77);
}
bool ThunkCache::needs_imm8(u8 map, u8 opcode) {
  if (map == 1)
    return (opcode >= 0x70 && opcode <= 0x73) || opcode == 0xc2 ||
           (opcode >= 0xc4 && opcode <= 0xc6);
  return map == 3;
}

bool ThunkCache::plan(const FpInsn& insn, FpPlan& out) {
  out = {};
  if (insn.map == 0) return impl_->plan_x87(insn, out);
  if (insn.map == 1 && insn.opcode == 0x77) return impl_->plan_emms(insn, out);
  return impl_->plan_vector(insn, out);
}

bool ThunkCache::Impl::plan_vector(const FpInsn& given, FpPlan& out) {
  const FpRow* row = find_row(given.map, given.opcode, given.prefix, given.modrm);
  if (!row || !(row->feature & features)) return false;
  const FpInsn insn = normalised(given, *row);
  const bool memory = insn.modrm < 0xc0, stores = row->flags & kStore, wide = insn.rex & 8;
  const u8 reg = (insn.modrm >> 3 & 7) | (insn.rex & 4 ? 8 : 0),
           rm = (insn.modrm & 7) | (insn.rex & 1 ? 8 : 0);

  out.implicit_rdi = row->flags & kImplicit;
  if (memory || out.implicit_rdi) {
    out.mem_size = row->flags & kRexSize && wide ? 8 : row->bytes;
    out.mem_read = !stores;
    out.mem_write = stores || out.implicit_rdi;
    out.aligned16 = row->flags & kAligned;
  }
  out.mmx = row->reg == FpKind::Mmx || (!memory && row->rm == FpKind::Mmx);
  out.waits = out.mmx;
  out.mxcsr_exceptions = row->flags & kMxcsr;
  out.writes_flags = row->flags & (kFlags | kString);
  out.integer = row->map == 1 && row->first == 0xc3;
  if (row->reg == FpKind::Gpr && !stores) out.gpr_write = static_cast<i8>(reg);
  if (row->reg == FpKind::Gpr && stores) out.gpr_read = static_cast<i8>(reg);
  if (row->rm == FpKind::Gpr && !memory)
    (stores ? out.gpr_write : out.gpr_read) = static_cast<i8>(rm);
  if (row->flags & kString && insn.opcode & 1) out.gpr_write = 1;  // ECX: an index
  if (out.gpr_write >= 0) out.gpr_write_size = wide ? 8 : 4;

  const u8 traits = (out.mxcsr_exceptions ? kSimd : 0) | (out.mmx ? kWaits | kEntersMmx : 0);
  Thunk* thunk = find(key_of(insn, insn.rex, insn.modrm, insn.imm8), traits, 0, [&] {
    return row->flags & kString ? emit_string(insn, *row) : emit_vector(insn, *row);
  });
  out.thunk = thunk;
  if (!(traits & ~kSimd)) out.direct = thunk->code;
  return true;
}

bool ThunkCache::Impl::plan_x87(const FpInsn& given, FpPlan& out) {
  FpInsn insn = given;
  if (insn.prefix != 0x66) insn.prefix = 0;
  const bool fwait = insn.opcode == 0x9b;
  X87Insn what = fwait ? X87Insn{} : x87_insn(insn.opcode, insn.modrm, !insn.prefix);
  if (fwait) what.valid = true, insn.modrm = 0;
  if (!what.valid || !(what.feature & features)) return false;
  if (insn.modrm < 0xc0) insn.modrm = (insn.modrm & 0x38) | 6;
  if (what.bytes < 14) insn.prefix = 0;
  out.x87 = true;
  out.waits = what.waiting;
  out.mem_size = what.bytes;
  out.mem_read = what.read;
  out.mem_write = what.write;
  out.writes_flags = what.writes_flags;
  out.reads_flags = what.reads_flags;
  if (what.writes_ax) out.gpr_write = 0, out.gpr_write_size = 2;

  u8 traits = what.waiting ? kWaits : 0;
  const bool copies_word = what.writes_ax || (what.write && what.bytes == 2 && !what.waiting);
  if (!fwait && !copies_word) traits |= kOnX87;
  if (what.environment) traits |= kEnvironment;
  if (what.write && what.waiting) traits |= kX87Store;
  const auto emit = [&] {
    if (!fwait) return emit_x87(insn, what);
    ThunkCode nothing;
    nothing.byte(0xc3);
    return nothing;
  };
  out.thunk = find(key_of(insn, 0, insn.modrm, 0), traits, what.bytes, emit);
  if (keeps_unit(insn, what) && !fwait) {
    const u64 key = key_of(insn, 0, insn.modrm, 0) | kBareKey;
    out.direct = find(key, 0, 0, [&] { return emit_x87_bare(insn, what); })->code;
  }
  return true;
}

bool ThunkCache::Impl::plan_emms(const FpInsn& insn, FpPlan& out) {
  if (insn.prefix) return false;
  out.mmx = out.waits = true;
  out.thunk = find(key_of(insn, 0, 0, 0), kWaits | kOnX87, 0, [&] { return emit_x87(insn, {}); });
  return true;
}

int ThunkCache::execute(const FpPlan& plan, FxState& fx, void* mem, u64* gprs, u64& flags) {
  const Thunk& t = *static_cast<const Thunk*>(plan.thunk);
  if ((t.traits & kWaits) && mf_pending(fx)) return 16;
  if (t.traits & kOnX87) {
    if ((t.traits & kX87Store) && (get<u16>(fx, kFcw) & 0x3f) != 0x3f)
      return run_x87_store(t, fx, mem, gprs, flags);
    run_x87(t, fx, mem, gprs, flags);
    return 0;
  }
  const u32 mxcsr = get<u32>(fx, kMxcsrAt);
  if (t.traits & kSimd && (mxcsr & (kSimdMasks | ~kMxcsrMask)) != kSimdMasks)
    return run_unmasked(t, fx, mem, gprs, flags);
  if (t.traits & kEntersMmx) enter_mmx(fx);
  if (t.traits & kSimd) put<u32>(fx, kMxcsrAt, run_simd(t, fx, mem, gprs, flags, mxcsr));
  else t.code(&fx, mem, gprs, &flags);
  return 0;
}

}  // namespace colo::soft
