// Turns instructions into the operations of a block.
#pragma once
#include "soft/cpu/block.h"
#include "soft/decode/insn.h"
#include "soft/execute/handlers.h"

namespace colo::soft {

struct BlockCache;  // keeps the plans of floating-point operations

/// The operations of one block under construction.
class BlockBuilder {
 public:
  BlockBuilder(Cpu& c, BlockCache& cache, u64 va, Op* ops, u8 mode)
      : c_(c), cache_(cache), va_(va), ops_(ops), mode_(mode), limit_(c.seg[CS].limit) {}
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
  /// The memory operand's linear address: an access of so many bytes.
  void fold_address(u64 bytes, Access access = Access::Read);
  /// Its offset alone, in REG_TMP.
  void fold_offset();
  /// REG_TMP, an offset in segment s, becomes an address.
  void fold_linear(SegReg s, u64 bytes, Access access);
  void use_tmp() {
    proto_.b = REG_TMP * 8, proto_.x = REG_ZERO * 8, proto_.scale = 0, proto_.disp = 0;
  }
  void load_to_tmp(u8 size);
  /// r/m as a register: a memory operand is loaded into REG_TMP first. Returns its byte offset.
  u8 source(u8 size);
  const vcpu::Features& model() const { return c_.model->features; }
  bool lockable() const;
  bool inside();
  bool outside();
  bool thunk();
  bool legacy() const { return mode_ & kModeLegacy; }
  /// Do stack and branches go without checks, with these operands?
  bool flat32() const { return mode_ & kModeFlat && in_->size() == 4; }
  u64 next_va() const {
    const u64 next = va_ + off_ + in_->length;
    return legacy() ? static_cast<u32>(next) : next;
  }
  /// Of a relative branch.
  u64 target() const {
    const u64 to = next_va() + static_cast<u64>(in_->imm);
    if (!legacy()) return to;
    return in_->size() == 2 ? static_cast<u16>(to) : static_cast<u32>(to);
  }
  /// Outside of CS, or no address at all.
  bool beyond(u64 to) const { return legacy() ? to > limit_ : !canonical(to); }
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
  bool branch_beyond();
  bool mid_opcode(u8 opcode);
  bool high_opcode(u8 opcode);
  void jcc(int cc);
  // emit_legacy.cc: what legacy code has besides, or does otherwise
  bool map_legacy();
  bool legacy_stack(u8 opcode);
  bool legacy_group5();
  void legacy_slow(Slow fn, bool ends = false);
  bool legacy_branch(u8 opcode);
  void legacy_move_offset(u8 opcode);
  // emit_two.cc
  void bit_test(int op, bool immediate);
  void swap(Swap kind, u8 size);
  void extend(bool sign, u8 from);
  void double_shift(bool left, bool by_cl);
  bool group_ae();
  bool group_c7();
  bool scan();
  bool random();
  bool crc32();
  bool adx();
  // emit_vex.cc: VEX on general registers
  bool map_vex();

  Cpu& c_;
  BlockCache& cache_;
  u64 va_;
  Op* ops_;
  const u8 mode_;
  const u32 limit_;  // of CS
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
