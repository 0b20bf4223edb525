// x87, MMX and SSE..SSE4.2 by the host's own units: a floating-point or vector instruction is
// re-encoded into an executable thunk whose memory operand is a bounce buffer and whose general
// registers are the guest's, run on the guest's FXSAVE image, and read back. Bit-exact on an x86-64
// host (RCPPS, RSQRTPS and the x87 transcendentals: on the same host model only).
//
// The x87 instruction and data pointers and opcode (FIP, FDP, FOP) are kept at 0: they would be
// addresses of this process. Plans stay valid until clear(). The instruction set itself bounds the
// thunks (see kArenaBytes in fpu.cc), the owner bounds them sooner. A cache belongs to one thread
// at a time.
#pragma once
#include "base/types.h"

namespace colo::soft {

/// The FXSAVE64 image (Intel SDM vol. 1, 10.5.1). 16-byte aligned.
struct alignas(16) FxState {
  u8 bytes[512];
};
void fx_reset(FxState& fx);

/// Bits 255:128 of the YMM registers, whose lower halves are FxState's XMM registers.
struct alignas(16) YmmHigh {
  u8 bytes[256];
};

/// One instruction as the integer decoder sees it, prefixes already split off.
struct FpInsn {
  u8 prefix = 0;  // mandatory prefix in force: 0, 0x66, 0xf2, 0xf3 (the last F2/F3 wins over 66)
  u8 rex = 0;     // 0 or 0x40..0x4f
  u8 map = 0;     // 0: one-byte (D8..DF, 9B), 1: 0F, 2: 0F38, 3: 0F3A
  u8 opcode = 0;
  bool has_modrm = false;
  u8 modrm = 0;
  bool has_imm8 = false;
  u8 imm8 = 0;
};

/// What the CPU must do around an execution.
struct FpPlan {
  void* thunk = nullptr;  // opaque; owned by the ThunkCache and valid as long as it
  /// If set, it may be called instead of execute() while the host's unit has the guest's state and
  /// masks all exceptions. For x87 that is the x87 state (fx is not looked at), else MXCSR: the
  /// instruction touches nothing beside its operands and MXCSR's flags.
  void (*direct)(FxState* fx, void* mem, u64* gprs, u64* flags) = nullptr;
  u16 mem_size = 0;  // bytes at the effective address, 0 = no memory operand (max 512)
  bool mem_read = false;
  bool mem_write = false;
  bool aligned16 = false;  // #GP(0) if the address is not 16-byte aligned (legacy SSE memory
                           // operands, MOVAPS, FXSAVE)
  bool x87 = false;  // #NM rule: CR0.EM or CR0.TS; SSE: #UD if CR0.EM or !CR4.OSFXSR, #NM if CR0.TS
  bool mmx = false;
  bool mxcsr_exceptions = false;  // reads MXCSR and may raise #XM: direct must find it loaded
  i8 gpr_write =
      -1;  // general register written (0..15), with gpr_write_size bytes (4 -> zero-extended to 8)
  u8 gpr_write_size = 0;
  i8 gpr_read = -1;           // general register read
  bool writes_flags = false;  // COMISS/UCOMISS/PTEST/FCOMI: flags replaced from the thunk
  bool reads_flags = false;   // FCMOVcc
  bool waits = false;  // takes a pending x87 exception first (FWAIT does nothing else; its #NM rule
                       // is CR0.MP && CR0.TS)
  bool implicit_rdi = false;  // MASKMOVQ, MASKMOVDQU: the memory operand is DS:[RDI]; read, merged
                              // and written back (not atomically)
  bool integer = false;       // MOVNTI: none of the #UD / #NM rules of CR0 and CR4 apply
};

/// execute(): done, but an x87 store raised an unmasked exception and stored nothing. Skip the
/// write of the memory operand.
constexpr int kNothingStored = -1;

class ThunkCache {
 public:
  /// features: mask of FpFeature (fpu_table.h); the default is CPU model soft-v1.
  explicit ThunkCache(u8 features = 1);
  ~ThunkCache();
  /// Before the first plan.
  void offer(u8 features);
  ThunkCache(const ThunkCache&) = delete;
  ThunkCache& operator=(const ThunkCache&) = delete;
  /// Is this an instruction for us, and does it need ModRM / imm8? Asked before operands are
  /// fetched. map/opcode/prefix given.
  static bool claims(u8 map, u8 opcode, u8 prefix);
  static bool needs_modrm(u8 map, u8 opcode);
  static bool needs_imm8(u8 map, u8 opcode);
  /// Builds (or finds) the thunk. False: #UD (not an instruction of the features offered).
  bool plan(const FpInsn& insn, FpPlan& out);
  /// Memory held for the thunks built so far.
  size_t bytes() const;
  /// Drops every thunk: no plan made before may be executed any more.
  void clear();
  /// Runs it. mem: plan.mem_size bytes, 16-byte aligned if plan.aligned16: a bounce buffer, or
  /// guest RAM itself (a store into it is final). gprs: rax..r15, written here. flags: RFLAGS; only
  /// the status bits change. Returns 0, kNothingStored, or the vector of the exception that the
  /// instruction raised (16 #MF, 19 #XM): then nothing but MXCSR's flags has changed. #XM: the CPU
  /// turns it into #UD if CR4.OSXMMEXCPT is clear.
  int execute(const FpPlan& plan, FxState& fx, void* mem, u64* gprs, u64& flags);

 private:
  struct Impl;
  Impl* impl_;
};

}  // namespace colo::soft
