// The handlers as the block builder picks them: one function per family of operations, one family
// per file.
#pragma once
#include "soft/cpu/cpu.h"
#include "soft/decode/insn.h"

namespace colo::soft {

enum class Form : u8 { RR, RI, RM, MR, MI };  // destination, source: register, immediate, memory

// --- handler tables, one family per file
enum AluOp { ALU_ADD, ALU_OR, ALU_ADC, ALU_SBB, ALU_AND, ALU_SUB, ALU_XOR, ALU_CMP, ALU_TEST };
Handler pick_alu(int op, Form form, u8 size);
Handler pick_alu_locked(int op, bool immediate, u8 size);  // memory destination
enum UnaryOp { UN_INC, UN_DEC, UN_NOT, UN_NEG };
Handler pick_unary(int op, bool memory, bool locked, u8 size);
Handler pick_fused(int op, int cc, Form form, u8 size, bool indexed);  // nullptr: none
Handler pick_jcc(int cc);
Handler pick_setcc(int cc, bool memory);
Handler pick_cmov(int cc, bool memory, u8 size);
Handler pick_shift(int op, bool memory, bool by_cl,
                   u8 size);  // op: ModRM extension; imm holds the count otherwise
Handler pick_double_shift(bool left, bool memory, bool by_cl, u8 size);

enum class Branch { Jump, Call, JumpReg, CallReg, Ret, LoopNz, LoopZ, Loop, Jrcxz };
Handler pick_branch(Branch kind, u8 address = 8);  // address size: of the count

enum class Move {
  RegReg,
  RegImm,
  Load,
  Store,
  StoreImm,
  Lea,
  Xchg,
  XchgMem,
  Push,
  PushImm,
  Pop,
  PopMem,
  LeaveFrame,
  Nop,
  Fence,
  FoldSegment,
  Fold32,
  Fold16,
  FoldLinear,  // REG_TMP, an offset in segment imm, becomes an address; extra = bytes | write << 16
  FoldImm,
  FoldBit,
  FoldXlat,
  Bswap,
  MovbeLoad,
  MovbeStore
};
Handler pick_move(Move kind, u8 size, bool indexed = true);
Handler pick_extend(bool sign, bool memory, u8 from, u8 to, bool indexed);
Handler pick_widen(u8 size);  // CBW CWDE CDQE
Handler pick_sign(u8 size);   // CWD CDQ CQO

enum class Mul { Mul, Imul, Div, Idiv, Imul2, Imul3 };
Handler pick_mul(Mul kind, u8 size);
enum BitOp { BIT_BT, BIT_BTS, BIT_BTR, BIT_BTC };
Handler pick_bit(int op, bool immediate, bool memory, bool locked, u8 size);
enum class Scan { Bsf, Bsr, Popcnt, Tzcnt, Lzcnt };
Handler pick_scan(Scan kind, u8 size);
enum class Bmi {
  Andn,
  Bextr,
  Blsi,
  Blsmsk,
  Blsr,
  Bzhi,
  Pdep,
  Pext,
  Sarx,
  Shlx,
  Shrx,
  Rorx,  // by imm
  Mulx,  // b: the register for the low half
};
/// s: the r/m register. b: that of VEX.vvvv. Size 4 or 8.
Handler pick_bmi(Bmi kind, u8 size);
/// ADCX, ADOX.
Handler pick_adx(bool overflow, u8 size);
/// Where a VEX prefix is undefined: in real mode.
Handler pick_vex_mode();
Handler pick_crc32(u8 size);
enum class Swap { Xadd, Cmpxchg };
Handler pick_swap(Swap kind, bool memory, bool locked, u8 size);
enum class FlagOp { Clc, Stc, Cmc, Cld, Std, Lahf, Sahf };
Handler pick_flag(FlagOp op);
Handler pick_raise_ud();

/// Code that is not 64-bit, with 32-bit operands on a flat stack.
enum class Flat { Push, PushImm, Pop, LeaveFrame, Call, CallReg, JumpReg, Ret };
Handler pick_flat(Flat kind);

/// The handler that runs a Slow function stored in the following slot.
Handler pick_slow(bool ends);

// --- Slow functions of the integer decoder
Step slow_push16(Cpu& c, const Op& o);
Step slow_pop16(Cpu& c, const Op& o);
Step slow_enter(Cpu& c, const Op& o);
Step slow_leave16(Cpu& c, const Op& o);
Step slow_cmpxchg16b(Cpu& c, const Op& o);
Step slow_cmpxchg8b(Cpu& c, const Op& o);
Step slow_rdrand(Cpu& c, const Op& o);  // o.extra = size
Step slow_gp0(Cpu& c, const Op& o);
Step slow_branch_beyond(Cpu& c, const Op& o);  // imm: opcode, of a short Jcc | address size << 8
Step slow_pause(Cpu& c, const Op& o);
/// o.imm = source segment, o.extra = address size; opcode: A4 A6 AA AC AE.
Slow pick_string(u8 opcode, u8 size, u8 repeat);
/// What only legacy code has, and stacks and branches that no handler does (legacy.cc). o.extra =
/// operand size; registers in d or s.
Step legacy_push(Cpu& c, const Op& o);      // s
Step legacy_push_imm(Cpu& c, const Op& o);  // imm
Step legacy_pop(Cpu& c, const Op& o);       // d
Step legacy_pop_mem(Cpu& c, const Op& o);  // scale: address size, d: segment; the address: b x disp
Step legacy_pusha(Cpu& c, const Op& o);
Step legacy_popa(Cpu& c, const Op& o);
Step legacy_enter(Cpu& c, const Op& o);
Step legacy_leave(Cpu& c, const Op& o);
Step legacy_call(Cpu& c, const Op& o);           // imm: target
Step legacy_call_indirect(Cpu& c, const Op& o);  // s
Step legacy_jump_indirect(Cpu& c, const Op& o);  // s
Step legacy_ret(Cpu& c, const Op& o);            // imm: bytes of arguments
Step legacy_xlat(Cpu& c, const Op& o);           // imm: segment, extra: address size
Step legacy_bound(Cpu& c, const Op& o);          // s; the address in memory
Step legacy_bcd(Cpu& c, const Op& o);            // imm: opcode | immediate << 8
/// o.imm = FpPlan*; with an implicit RDI operand: o.extra = segment, o.scale = address size.
constexpr u32 kThunkFwait = 0x100;  // in o.extra
Step slow_thunk(Cpu& c, const Op& o);
/// Handlers for thunks whose memory operand (if any) the TLB can serve in place; nullptr:
/// slow_thunk.
Handler pick_thunk(const FpPlan& plan);
/// Direct SSE2 handlers (sse.cc), or nullptr. d, s: byte offsets of the registers in the XMM file,
/// or in the general one where they are general registers; the other view is in extra.
Handler pick_sse(const Insn& insn);
/// The same for arithmetic that reads MXCSR (sse_float.cc). o->imm = FpPlan*.
Handler pick_sse_float(const Insn& insn);

}  // namespace colo::soft
