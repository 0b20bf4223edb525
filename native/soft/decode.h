// From bytes to operations: parse() splits one instruction, BlockBuilder turns instructions into a
// block's operations.
#pragma once
#include "soft/block.h"

namespace colo::soft {

constexpr size_t kMaxInsnLength = 15;

/// One instruction of 64-bit mode, split.
struct Insn {
  u8 length = 0;
  u8 prefix = 0;  // mandatory-prefix view: 0, 0x66, 0xf2, 0xf3 (the last F2/F3 wins over 66)
  u8 repeat = 0;  // 0, 0xf2, 0xf3
  bool opsize = false, addr32 = false, lock = false;
  u8 segment = SEG_COUNT;  // FS or GS, else SEG_COUNT: the others have base 0
  u8 rex = 0;
  u8 map = 0;  // 0: one-byte, 1: 0F, 2: 0F38, 3: 0F3A
  u8 opcode = 0;
  bool has_modrm = false;
  u8 modrm = 0;
  bool memory = false;  // modrm.mod != 3
  u8 reg = 0, rm = 0;   // register numbers, REX applied (rm: mod == 3 only)
  u8 base = REG_ZERO, index = REG_ZERO, scale = 0;
  i32 disp = 0;
  bool rip_relative = false;
  bool has_imm = false;
  i64 imm = 0;             // sign-extended; moffs: the address
  bool undefined = false;  // no such instruction in 64-bit mode
  bool too_long = false;

  bool rex_w() const { return rex & 8; }
  u8 ext() const { return (modrm >> 3) & 7; }  // opcode extension
  u8 size() const { return rex_w() ? 8 : opsize ? 2 : 4; }
};

enum class Parse : u8 { Done, Truncated };
/// Splits the instruction at bytes; at most `available` of them may be looked at.
Parse parse(const u8* bytes, size_t available, Insn& out);

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
Handler pick_branch(Branch kind, bool addr32);

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
  FoldSegment,
  Fold32,
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
enum class Scan { Bsf, Bsr, Popcnt };
Handler pick_scan(Scan kind, u8 size);
enum class Swap { Xadd, Cmpxchg };
Handler pick_swap(Swap kind, bool memory, bool locked, u8 size);
enum class FlagOp { Clc, Stc, Cmc, Cld, Std, Lahf, Sahf };
Handler pick_flag(FlagOp op);
Handler pick_raise_ud();

/// The handler that runs a Slow function stored in the following slot.
Handler pick_slow(bool ends);

// --- Slow functions of the integer decoder
Step slow_push16(Cpu& c, const Op& o);
Step slow_pop16(Cpu& c, const Op& o);
Step slow_enter(Cpu& c, const Op& o);
Step slow_leave16(Cpu& c, const Op& o);
Step slow_cmpxchg16b(Cpu& c, const Op& o);
Step slow_cmpxchg8b(Cpu& c, const Op& o);
Step slow_gp0(Cpu& c, const Op& o);
/// o.imm = source segment, o.extra = 32-bit addresses; opcode: A4 A6 AA AC AE.
Slow pick_string(u8 opcode, u8 size, u8 repeat);
/// o.imm = FpPlan*; with an implicit RDI operand: o.extra = segment, o.scale = 32-bit address.
constexpr u32 kThunkFwait = 0x100;  // in o.extra
Step slow_thunk(Cpu& c, const Op& o);
/// Handlers for thunks whose memory operand (if any) the TLB can serve in place; nullptr:
/// slow_thunk.
Handler pick_thunk(const FpPlan& plan);
/// Direct SSE2 handlers (sse.cc), or nullptr. d, s: byte offsets of the registers in the XMM file,
/// or in the general one where they are general registers; the other view is in extra.
Handler pick_sse(const Insn& insn);

/// The operations of one block under construction.
class BlockBuilder {
 public:
  BlockBuilder(Cpu& c, BlockCache& cache, u64 va, Op* ops, bool single)
      : c_(c), cache_(cache), va_(va), ops_(ops), single_(single) {}
  void add(const Insn& insn);
  /// Adds the fall-through exit if the last instruction did not end the block.
  void finish();
  bool ended() const { return ended_ || full_; }
  size_t bytes() const { return off_; }
  size_t op_count() const { return count_; }
  size_t instructions() const { return instructions_; }

 private:
  // emit.cc: the frame
  void open(const Insn& insn);
  Op& append(Handler h, u8 length);
  void part(Handler h) { append(h, 0); }
  void emit(Handler h) { append(h, in_->length); }
  void emit_ends(Handler h, u64 taken = 0);
  void slow(Slow fn, bool ends = false);
  void undefined() {
    emit(pick_raise_ud());
    ended_ = true;
  }
  void fold_address();
  void load_to_tmp(u8 size);
  /// r/m as a register: a memory operand is loaded into REG_TMP first. Returns its byte offset.
  u8 source(u8 size);
  bool lockable() const;
  bool outside();
  bool thunk();
  u64 next_va() const { return va_ + off_ + in_->length; }
  /// Byte offset of a general register; without REX, byte registers 4..7 are AH CH DH BH.
  u8 slot(u8 reg, u8 size) const {
    return size == 1 && !in_->rex && reg >= 4 && reg < 8 ? (reg - 4) * 8 + 1 : reg * 8;
  }
  // emit_one.cc, emit_two.cc: the opcode maps. False: not an instruction of the integer decoder.
  bool map_one_byte();
  bool map_two_byte();
  bool map_0f38();
  // emit_one.cc
  void alu(int op, Form form, u8 size);
  void alu_rm_imm(int op, u8 size);
  bool group2(u8 size);
  bool group3(u8 size);
  bool group45(u8 size);
  void xchg(u8 size);
  bool push_pop(u8 opcode);
  bool stack_frame(u8 opcode);
  bool lea();
  void move(u8 opcode);
  void string_op(u8 opcode);
  void branch_relative(Branch kind);
  bool mid_opcode(u8 opcode);
  bool high_opcode(u8 opcode);
  void jcc(int cc);
  // emit_two.cc
  void bit_test(int op, bool immediate);
  void swap(Swap kind, u8 size);
  void extend(bool sign, u8 from);
  void double_shift(bool left, bool by_cl);
  bool group_ae();
  bool group_c7();
  bool scan();

  Cpu& c_;
  BlockCache& cache_;
  u64 va_;
  Op* ops_;
  bool single_;
  const Insn* in_ = nullptr;
  Op proto_{};      // operand fields of the current instruction
  size_t off_ = 0;  // bytes decoded so far
  size_t count_ = 0, instructions_ = 0;
  bool ended_ = false, full_ = false;
  Exits exits_;
  // the last emitted compare, for fusion with a conditional branch
  int fuse_op_ = -1;
  Form fuse_form_ = Form::RR;
  u8 fuse_size_ = 0;
  size_t fuse_at_ = ~0ull;
};

}  // namespace colo::soft
