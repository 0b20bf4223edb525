// What code that is not 64-bit has besides, or does otherwise: its stack and its branches depend on
// segments and on two operand sizes (Intel SDM vol. 2, table A-2, the entries marked i64).
#include "soft/blocks/builder.h"

namespace colo::soft {

void BlockBuilder::legacy_slow(Slow fn, bool ends) {
  proto_.extra = in_->size();
  slow(fn, ends);
}

/// PUSH, POP, PUSHA, POPA, ENTER, LEAVE.
bool BlockBuilder::legacy_stack(u8 opcode) {
  const bool flat = flat32();
  switch (opcode) {
    case 0x50 ... 0x57:
      proto_.s = (opcode & 7) * 8;
      flat ? emit(pick_flat(Flat::Push)) : legacy_slow(legacy_push);
      return true;
    case 0x58 ... 0x5f:
      proto_.d = (opcode & 7) * 8;
      flat ? emit(pick_flat(Flat::Pop)) : legacy_slow(legacy_pop);
      return true;
    case 0x60:
      legacy_slow(legacy_pusha);
      return true;
    case 0x61:
      legacy_slow(legacy_popa);
      return true;
    case 0x68:
    case 0x6a:
      flat ? emit(pick_flat(Flat::PushImm)) : legacy_slow(legacy_push_imm);
      return true;
    case 0x8f:
      if (in_->ext()) return false;
      proto_.d = in_->rm * 8;
      if (!in_->memory) {
        flat ? emit(pick_flat(Flat::Pop)) : legacy_slow(legacy_pop);
        return true;
      }
      proto_.d = in_->data_segment(), proto_.s = in_->address;
      legacy_slow(legacy_pop_mem);
      return true;
    case 0xc8:
      legacy_slow(legacy_enter);
      return true;
    case 0xc9:
      flat ? emit(pick_flat(Flat::LeaveFrame)) : legacy_slow(legacy_leave);
      return true;
    default:
      return false;
  }
}

/// FF /2 CALL, /4 JMP, /6 PUSH.
bool BlockBuilder::legacy_group5() {
  const u8 ext = in_->ext();
  if (ext != 2 && ext != 4 && ext != 6) return false;
  proto_.s = source(in_->size());
  proto_.imm = static_cast<i64>(next_va());
  if (ext == 6) {
    flat32() ? emit(pick_flat(Flat::Push)) : legacy_slow(legacy_push);
  } else if (flat32()) {
    emit_ends(pick_flat(ext == 2 ? Flat::CallReg : Flat::JumpReg));
  } else {
    legacy_slow(ext == 2 ? legacy_call_indirect : legacy_jump_indirect, true);
  }
  return true;
}

/// CALL, RET.
bool BlockBuilder::legacy_branch(u8 opcode) {
  switch (opcode) {
    case 0xc2:
    case 0xc3:
      proto_.imm = opcode == 0xc2 ? in_->imm : 0;
      flat32() ? emit_ends(pick_flat(Flat::Ret)) : legacy_slow(legacy_ret, true);
      return true;
    case 0xe8:
      if (!flat32()) {
        proto_.imm = static_cast<i64>(target());
        legacy_slow(legacy_call, true);
        return true;
      }
      proto_.imm = static_cast<i64>(next_va());
      emit_ends(pick_flat(Flat::Call));
      exits_.va[0] = target();
      return true;
    default:
      return false;
  }
}

/// A0..A3: MOV between the accumulator and an offset.
void BlockBuilder::legacy_move_offset(u8 opcode) {
  const u8 size = opcode & 1 ? in_->size() : 1;
  part(pick_move(Move::FoldImm, 8));
  use_tmp();
  fold_linear(in_->data_segment(), size, opcode < 0xa2 ? Access::Read : Access::Write);
  proto_.d = proto_.s = RAX * 8;
  emit(pick_move(opcode < 0xa2 ? Move::Load : Move::Store, size, false));
}

/// True: emitted. False: as in 64-bit code, or a system instruction.
bool BlockBuilder::map_legacy() {
  const u8 op = in_->opcode;
  if (in_->map == 1) return false;
  if (legacy_stack(op) || legacy_branch(op)) return true;
  switch (op) {
    case 0x27:
    case 0x2f:
    case 0x37:
    case 0x3f:
    case 0xd4:
    case 0xd5:
    case 0xd6:
      proto_.imm = op | (in_->imm & 0xff) << 8;
      slow(legacy_bcd);
      return true;
    case 0x40 ... 0x4f:
      proto_.d = (op & 7) * 8;
      emit(pick_unary(op < 0x48 ? UN_INC : UN_DEC, false, false, in_->size()));
      return true;
    case 0x62:
      if (!in_->memory) return false;
      proto_.s = in_->reg * 8;
      fold_address(2u * in_->size());
      legacy_slow(legacy_bound);
      return true;
    case 0x63:
      return outside();
    case 0x82:
      alu_rm_imm(in_->ext(), 1);
      return true;
    case 0xa0 ... 0xa3:
      legacy_move_offset(op);
      return true;
    case 0xd7:
      proto_.imm = in_->data_segment();
      proto_.extra = in_->address;
      slow(legacy_xlat);
      return true;
    case 0xff:
      return legacy_group5();
    default:
      return false;
  }
}

}  // namespace colo::soft
