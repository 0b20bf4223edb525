// The one-byte opcode map as operations (Intel SDM vol. 2, table A-2).
#include "soft/blocks/builder.h"

namespace colo::soft {

void BlockBuilder::alu(int op, Form form, u8 size) {
  const bool writes = (form == Form::MR || form == Form::MI) && op < ALU_CMP;
  if (form == Form::RM || form == Form::MR || form == Form::MI)
    fold_address(size, writes ? Access::Write : Access::Read);
  if (in_->lock) {
    emit(pick_alu_locked(op, form == Form::MI, size));
    return;
  }
  emit(pick_alu(op, form, size));
  if (op < ALU_CMP) return;
  fuse_op_ = op, fuse_form_ = form, fuse_size_ = size, fuse_at_ = count_ - 1;
}

void BlockBuilder::alu_rm_imm(int op, u8 size) {
  proto_.d = slot(in_->rm, size);
  alu(op, in_->memory ? Form::MI : Form::RI, size);
}

bool BlockBuilder::group2(u8 size) {
  const u8 op = in_->opcode;
  const bool by_cl = op == 0xd2 || op == 0xd3;
  if (op == 0xd0 || op == 0xd1) proto_.imm = 1;
  proto_.d = slot(in_->rm, size);
  fold_address(size, Access::Write);
  emit(pick_shift(in_->ext(), in_->memory, by_cl, size));
  return true;
}

bool BlockBuilder::group3(u8 size) {
  const u8 ext = in_->ext();
  if (ext < 2) {
    alu_rm_imm(ALU_TEST, size);
  } else if (ext < 4) {
    proto_.d = slot(in_->rm, size);
    fold_address(size, Access::Write);
    emit(pick_unary(ext == 2 ? UN_NOT : UN_NEG, in_->memory, in_->lock, size));
  } else {
    constexpr Mul kinds[] = {Mul::Mul, Mul::Imul, Mul::Div, Mul::Idiv};
    proto_.s = source(size);
    emit(pick_mul(kinds[ext - 4], size));
  }
  return true;
}

bool BlockBuilder::group45(u8 size) {
  const u8 ext = in_->ext();
  if (ext < 2) {
    proto_.d = slot(in_->rm, size);
    fold_address(size, Access::Write);
    emit(pick_unary(ext == 0 ? UN_INC : UN_DEC, in_->memory, in_->lock, size));
    return true;
  }
  if (size == 1 || ext == 3 || ext == 5 || ext == 7) return false;
  if (ext == 6) {
    if (in_->size() == 2) {
      proto_.s = source(2);
      slow(slow_push16);
    } else {
      proto_.s = source(8);
      emit(pick_move(Move::Push, 8));
    }
    return true;
  }
  proto_.s = source(8);
  proto_.imm = static_cast<i64>(next_va());
  emit_ends(pick_branch(ext == 2 ? Branch::CallReg : Branch::JumpReg));
  return true;
}

void BlockBuilder::xchg(u8 size) {
  proto_.d = slot(in_->rm, size);
  proto_.s = slot(in_->reg, size);
  fold_address(size, Access::Write);
  emit(pick_move(in_->memory ? Move::XchgMem : Move::Xchg, size));
}

bool BlockBuilder::push_pop(u8 opcode) {
  const u8 reg = ((opcode & 7) | ((in_->rex & 1) << 3)) * 8;
  if (opcode < 0x58) {
    proto_.s = reg;
    in_->size() == 2 ? slow(slow_push16) : emit(pick_move(Move::Push, 8));
  } else {
    proto_.d = reg;
    in_->size() == 2 ? slow(slow_pop16) : emit(pick_move(Move::Pop, 8));
  }
  return true;
}

/// POP r/m, PUSH imm, ENTER, LEAVE.
bool BlockBuilder::stack_frame(u8 opcode) {
  switch (opcode) {
    case 0x68:
    case 0x6a:
      proto_.s = REG_TMP * 8;
      if (in_->size() == 2) {
        part(pick_move(Move::RegImm, 8));
        proto_.d = REG_TMP * 8;
        ops_[count_ - 1].d = REG_TMP * 8;
        slow(slow_push16);
      } else {
        emit(pick_move(Move::PushImm, 8));
      }
      return true;
    case 0x8f:
      if (in_->ext() || (in_->size() == 2 && in_->memory)) return false;
      if (!in_->memory) {
        proto_.d = in_->rm * 8;
        in_->size() == 2 ? slow(slow_pop16) : emit(pick_move(Move::Pop, 8));
        return true;
      }
      if (in_->base == RSP) proto_.disp += 8;  // the address is that after the pop
      fold_address(8, Access::Write);
      {
        const Op address = proto_;
        proto_.d = REG_TMP2 * 8, proto_.b = RSP * 8, proto_.x = REG_ZERO * 8, proto_.disp = 0;
        part(pick_move(Move::Load, 8, false));
        proto_ = address;
      }
      proto_.s = REG_TMP2 * 8;
      emit(pick_move(Move::PopMem, 8));
      return true;
    case 0xc8:
      slow(slow_enter);
      return true;
    default:
      in_->size() == 2 ? slow(slow_leave16) : emit(pick_move(Move::LeaveFrame, 8));
      return true;
  }
}

/// 88..8B, A0..A3, B0..BF, C6, C7.
void BlockBuilder::move(u8 opcode) {
  const u8 size = opcode >= 0xb0 && opcode <= 0xbf ? (opcode < 0xb8 ? 1 : in_->size())
                  : (opcode & 1)                   ? in_->size()
                                                   : 1;
  if (opcode >= 0xb0 && opcode <= 0xbf) {
    proto_.d = slot((opcode & 7) | ((in_->rex & 1) << 3), size);
    emit(pick_move(Move::RegImm, size));
  } else if (opcode >= 0xc6) {
    proto_.d = slot(in_->rm, size);
    fold_address(size, Access::Write);
    emit(pick_move(in_->memory ? Move::StoreImm : Move::RegImm, size));
  } else if (opcode >= 0xa0) {
    part(pick_move(Move::FoldImm, 8));
    proto_.b = REG_TMP * 8;
    if (in_->segment != SEG_COUNT) {
      proto_.imm = in_->segment;
      part(pick_move(Move::FoldSegment, 8));
    }
    proto_.d = proto_.s = RAX * 8;
    emit(pick_move(opcode < 0xa2 ? Move::Load : Move::Store, size, false));
  } else {
    const bool load = opcode & 2;
    const u8 reg = slot(in_->reg, size), rm = slot(in_->rm, size);
    fold_address(size, load ? Access::Read : Access::Write);
    proto_.d = load ? reg : rm;
    proto_.s = load ? rm : reg;
    emit(pick_move(!in_->memory ? Move::RegReg
                   : load       ? Move::Load
                                : Move::Store,
                   size, proto_.x != REG_ZERO * 8));
  }
}

void BlockBuilder::string_op(u8 opcode) {
  proto_.imm = legacy() ? u8{in_->data_segment()} : in_->segment;
  proto_.extra = in_->address;
  slow(pick_string(opcode & 0xfe, opcode & 1 ? in_->size() : 1, in_->repeat));
}

void BlockBuilder::branch_relative(Branch kind) {
  proto_.imm = static_cast<i64>(next_va());
  const bool conditional = kind == Branch::Loop || kind == Branch::LoopZ ||
                           kind == Branch::LoopNz || kind == Branch::Jrcxz;
  emit_ends(pick_branch(kind, in_->address), target());
  if (!conditional) exits_.va[0] = target();
}

/// Jcc, LOOPcc, JCXZ, JMP, CALL whose target code cannot be at: taken, they fault themselves.
bool BlockBuilder::branch_beyond() {
  const u8 op = in_->opcode;
  const bool wide_jcc = in_->map == 1 && (op & 0xf0) == 0x80;
  const bool branch = in_->map == 0 && ((op & 0xf0) == 0x70 || (op >= 0xe0 && op <= 0xe3) ||
                                        op == 0xe8 || op == 0xe9 || op == 0xeb);
  if ((!wide_jcc && !branch) || !beyond(target())) return false;
  proto_.imm = (wide_jcc ? op - 0x10 : op) | in_->address << 8;
  slow(slow_branch_beyond);
  return true;
}

void BlockBuilder::jcc(int cc) {
  if (fuse_at_ == count_ - 1 && count_) {
    const bool indexed = ops_[fuse_at_].x != REG_ZERO * 8;
    if (Handler h = pick_fused(fuse_op_, cc, fuse_form_, fuse_size_, indexed)) {
      ops_[fuse_at_].h = h;
      exits_.va[0] = next_va();
      exits_.va[1] = target();
      ended_ = true;
      return;
    }
  }
  emit_ends(pick_jcc(cc), target());
}

bool BlockBuilder::map_one_byte() {
  const u8 op = in_->opcode;
  if (op < 0x40 && (op & 7) < 6) {
    const u8 size = op & 1 ? in_->size() : 1;
    const u8 reg = slot(in_->reg, size), rm = slot(in_->rm, size);
    const int which = (op & 7) >> 1;  // Ev,Gv  Gv,Ev  eAX,Iz
    proto_.d = which == 0 ? rm : which == 1 ? reg : RAX * 8;
    proto_.s = which == 0 ? reg : rm;
    alu(op >> 3,
        which == 2     ? Form::RI
        : !in_->memory ? Form::RR
        : which == 0   ? Form::MR
                       : Form::RM,
        size);
    return true;
  }
  return op < 0xa0 ? mid_opcode(op) : high_opcode(op);
}

/// The address itself: RIP-relative ones are constants, and segment bases do not take part.
bool BlockBuilder::lea() {
  if (!in_->memory) return false;
  proto_.d = in_->reg * 8;
  if (in_->rip_relative && in_->address == 8) {
    proto_.imm = static_cast<i64>(next_va() + static_cast<i64>(in_->disp));
    emit(pick_move(Move::RegImm, in_->size()));
    return true;
  }
  if (in_->rip_relative) proto_.disp += static_cast<i32>(next_va());
  if (in_->address != 8) fold_offset();
  emit(pick_move(Move::Lea, in_->size(), proto_.x != REG_ZERO * 8));
  return true;
}

bool BlockBuilder::mid_opcode(u8 op) {
  const u8 size = op & 1 ? in_->size() : 1;
  switch (op) {
    case 0x50 ... 0x5f:
      return push_pop(op);
    case 0x63:
      if (in_->rex_w()) {
        extend(true, 4);
      } else {
        const u8 s = in_->size();
        proto_.d = in_->reg * 8, proto_.s = in_->rm * 8;
        fold_address(s);
        emit(pick_move(in_->memory ? Move::Load : Move::RegReg, s));
      }
      return true;
    case 0x68:
    case 0x6a:
    case 0x8f:
      return stack_frame(op);
    case 0x69:
    case 0x6b:
      proto_.s = source(in_->size());
      proto_.d = in_->reg * 8;
      emit(pick_mul(Mul::Imul3, in_->size()));
      return true;
    case 0x70 ... 0x7f:
      jcc(op & 15);
      return true;
    case 0x80:
    case 0x81:
      alu_rm_imm(in_->ext(), size);
      return true;
    case 0x83:
      alu_rm_imm(in_->ext(), in_->size());
      return true;
    case 0x84:
    case 0x85:
      proto_.d = slot(in_->rm, size), proto_.s = slot(in_->reg, size);
      alu(ALU_TEST, in_->memory ? Form::MR : Form::RR, size);
      return true;
    case 0x86:
    case 0x87:
      xchg(size);
      return true;
    case 0x88 ... 0x8b:
      move(op);
      return true;
    case 0x8d:
      return lea();
    case 0x90 ... 0x97:
      if (op == 0x90 && !(in_->rex & 1)) {
        if (in_->prefix == 0xf3 && c_.model->topology.cpus() > 1) slow(slow_pause);
        else emit(pick_move(Move::Nop, 8));  // PAUSE too: there is nobody to wait for
        return true;
      }
      proto_.d = RAX * 8, proto_.s = ((op & 7) | ((in_->rex & 1) << 3)) * 8;
      emit(pick_move(Move::Xchg, in_->size()));
      return true;
    case 0x98:
      emit(pick_widen(in_->size()));
      return true;
    case 0x99:
      emit(pick_sign(in_->size()));
      return true;
    case 0x9e:
    case 0x9f:
      if (!(model().ecx81 & vcpu::Features::LAHF)) return false;
      emit(pick_flag(in_->opcode & 1 ? FlagOp::Lahf : FlagOp::Sahf));
      return true;
    default:
      return false;
  }
}

bool BlockBuilder::high_opcode(u8 op) {
  const u8 size = op & 1 ? in_->size() : 1;
  switch (op) {
    case 0xa0 ... 0xa3:
    case 0xb0 ... 0xbf:
      move(op);
      return true;
    case 0xa4 ... 0xa7:
    case 0xaa ... 0xaf:
      string_op(op);
      return true;
    case 0xa8:
    case 0xa9:
      proto_.d = RAX * 8;
      alu(ALU_TEST, Form::RI, size);
      return true;
    case 0xc0:
    case 0xc1:
    case 0xd0 ... 0xd3:
      return group2(size);
    case 0xc2:
    case 0xc3:
      proto_.imm = op == 0xc2 ? in_->imm : 0;
      emit_ends(pick_branch(Branch::Ret));
      return true;
    case 0xc6:
    case 0xc7:
      if (in_->ext()) return false;
      move(op);
      return true;
    case 0xc8:
    case 0xc9:
      return stack_frame(op);
    case 0xd7:
      proto_.imm = in_->segment;
      part(pick_move(Move::FoldXlat, 8));
      proto_.b = REG_TMP * 8, proto_.d = RAX * 8;
      emit(pick_move(Move::Load, 1, false));
      return true;
    case 0xe0:
      branch_relative(Branch::LoopNz);
      return true;
    case 0xe1:
      branch_relative(Branch::LoopZ);
      return true;
    case 0xe2:
      branch_relative(Branch::Loop);
      return true;
    case 0xe3:
      branch_relative(Branch::Jrcxz);
      return true;
    case 0xe8:
      branch_relative(Branch::Call);
      return true;
    case 0xe9:
    case 0xeb:
      branch_relative(Branch::Jump);
      return true;
    case 0xf5:
      emit(pick_flag(FlagOp::Cmc));
      return true;
    case 0xf6:
    case 0xf7:
      return group3(size);
    case 0xf8:
      emit(pick_flag(FlagOp::Clc));
      return true;
    case 0xf9:
      emit(pick_flag(FlagOp::Stc));
      return true;
    case 0xfc:
      emit(pick_flag(FlagOp::Cld));
      return true;
    case 0xfd:
      emit(pick_flag(FlagOp::Std));
      return true;
    case 0xfe:
    case 0xff:
      return group45(size);
    default:
      return false;
  }
}

}  // namespace colo::soft
