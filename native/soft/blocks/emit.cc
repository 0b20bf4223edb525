// The frame of the block builder: operand fields, address folding, exits, and what the integer
// decoder hands on.
#include "soft/blocks/block_cache.h"
#include "soft/blocks/builder.h"
#include "soft/execute/ops.h"
#include "soft/system/contract.h"

namespace colo::soft {

void BlockBuilder::open(const Insn& insn) {
  in_ = &insn;
  proto_ = {};
  proto_.d = proto_.s = REG_ZERO * 8;
  proto_.b = insn.base * 8;
  proto_.x = insn.index * 8;
  proto_.scale = insn.scale;
  proto_.disp = insn.disp;
  proto_.imm = insn.imm;
  proto_.off = static_cast<u16>(off_);
}

void BlockBuilder::add(const Insn& insn) {
  open(insn);
  const size_t first = count_;
  if (insn.too_long) {
    slow(slow_gp0, true);
  } else if (insn.undefined || (insn.lock && !lockable())) {
    undefined();
  } else {
    if (!inside()) {
      count_ = first;
      open(insn);
      if (insn.vex || !outside()) undefined();
    }
  }
  off_ += insn.length;
  instructions_++;
  if (mode_ & kModeSingle || instructions_ >= kMaxInstructions) full_ = true;
}

/// Instructions of the integer decoder.
bool BlockBuilder::inside() {
  if (in_->vex) return map_vex();
  if (branch_beyond()) return true;
  if (legacy() && in_->map < 2 && map_legacy()) return true;
  if (in_->map == 0) return map_one_byte();
  return in_->map == 1 ? map_two_byte() : in_->map == 2 && map_0f38();
}

void BlockBuilder::finish() {
  if (!ended_) {
    proto_ = {};
    proto_.off = static_cast<u16>(off_);
    exits_.va[0] = legacy() ? static_cast<u32>(va_ + off_) : va_ + off_;
    append(pick_branch(Branch::Jump), 0);
    ended_ = true;
  }
  static_assert(sizeof(Exits) == sizeof(Op));
  *reinterpret_cast<Exits*>(ops_ + count_) = exits_;
}

Op& BlockBuilder::append(Handler h, u8 length) {
  Op& op = ops_[count_++];
  op = proto_;
  op.h = h;
  op.len = length;
  return op;
}

/// The block's last operation: falls through (or jumps) to exit 0, branches to exit 1.
void BlockBuilder::emit_ends(Handler h, u64 taken) {
  exits_.va[0] = next_va();
  exits_.va[1] = taken;
  emit(h);
  ended_ = true;
}

void BlockBuilder::slow(Slow fn, bool ends) {
  emit(pick_slow(ends));
  Op& second = ops_[count_++];
  second = {};
  second.h = reinterpret_cast<Handler>(reinterpret_cast<void*>(fn));
  if (ends) ended_ = true;
}

void BlockBuilder::fold_offset() {
  part(pick_move(in_->address == 2 ? Move::Fold16 : Move::Fold32, 8));
  use_tmp();
}

void BlockBuilder::fold_linear(SegReg s, u64 bytes, Access access) {
  if (mode_ & kModeFlat && s != FS && s != GS && s != CS) return;
  const Op before = proto_;
  proto_.imm = s;
  proto_.extra = static_cast<u32>(bytes | (access == Access::Write ? 1 << 16 : 0));
  part(pick_move(Move::FoldLinear, 8));
  proto_ = before;
}

/// Leaves b, x, scale, disp so that they give the linear address: RIP-relative, 32-bit and FS/GS
/// addresses, and all of legacy code, go through REG_TMP.
void BlockBuilder::fold_address(u64 bytes, Access access) {
  if (!in_->memory) return;
  if (legacy()) {
    fold_offset();
    return fold_linear(in_->data_segment(), bytes, access);
  }
  const i64 imm = proto_.imm;
  if (in_->rip_relative) {
    u64 target = next_va() + static_cast<u64>(static_cast<i64>(in_->disp));
    if (in_->address == 4) target = static_cast<u32>(target);
    proto_.disp = static_cast<i32>(target);
    if (static_cast<u64>(static_cast<i64>(proto_.disp)) != target) {
      proto_.imm = static_cast<i64>(target);
      part(pick_move(Move::FoldImm, 8));
      use_tmp();
    }
  } else if (in_->address == 4) {
    fold_offset();
  }
  if (in_->segment != SEG_COUNT) {
    proto_.imm = in_->segment;
    part(pick_move(Move::FoldSegment, 8));
    use_tmp();
  }
  proto_.imm = imm;
}

void BlockBuilder::load_to_tmp(u8 size) {
  fold_address(size);
  const u8 d = proto_.d;
  proto_.d = REG_TMP * 8;
  part(pick_move(Move::Load, size, proto_.x != REG_ZERO * 8));
  proto_.d = d;
}

u8 BlockBuilder::source(u8 size) {
  if (!in_->memory) return slot(in_->rm, size);
  load_to_tmp(size);
  return REG_TMP * 8;
}

bool BlockBuilder::lockable() const {
  if (!in_->memory) return false;
  const u8 op = in_->opcode, ext = in_->ext();
  if (in_->map == 0) {
    if (op < 0x38 && (op & 7) < 2) return true;
    if (op >= 0x80 && op <= 0x83) return ext != 7;
    if (op == 0xf6 || op == 0xf7) return ext == 2 || ext == 3;
    if (op == 0xfe || op == 0xff) return ext < 2;
    return op == 0x86 || op == 0x87;
  }
  if (in_->map != 1) return false;
  if (op == 0xba) return ext > 4;
  if (op == 0xc7) return ext == 1;
  return op == 0xab || op == 0xb3 || op == 0xbb || op == 0xb0 || op == 0xb1 || op == 0xc0 ||
         op == 0xc1;
}

namespace {

/// Bytes of a system instruction's memory operand, for the check of the segment's limit; 0: it has
/// an address only.
u64 system_operand_bytes(const Insn& i) {
  const bool pointer = i.opcode == 0xff || i.opcode == 0xc4 || i.opcode == 0xc5;
  if (i.map == 0) return pointer ? 2u + i.size() : 2;
  if (i.map == 2) return 16;
  switch (i.opcode) {
    case 0x01:
      return i.ext() < 4 ? 6 : i.ext() == 7 ? 0 : 2;
    case 0xb2:
    case 0xb4:
    case 0xb5:
      return 2u + i.size();
    case 0xae:
      return i.ext() < 2 ? 512 : i.ext() < 4 ? 4 : i.ext() < 7 ? 576 : 1;
    case 0xc7:
      return 576;
    default:
      return 2;
  }
}

bool system_writes(const Insn& i) {
  if (i.map != 1) return i.map == 0 && i.opcode == 0x8c;
  if (i.opcode == 0x00) return i.ext() < 2;
  if (i.opcode == 0x01) return i.ext() < 2 || i.ext() == 4;
  if (i.opcode == 0xc7) return true;
  return i.opcode == 0xae && (i.ext() == 0 || i.ext() == 3 || i.ext() == 4 || i.ext() == 6);
}

}  // namespace

/// Instructions of others: the vector and x87 units, then the system instructions. In legacy code
/// those end the block: most of them may change a segment.
bool BlockBuilder::outside() {
  const Insn& i = *in_;
  if (ThunkCache::claims(i.map, i.opcode, i.prefix)) return thunk();
  const SlowInsn system = system_insn(i.map, i.opcode, i.modrm, i.prefix, i.rex);
  if (!system.fn) return false;
  const bool io = i.map == 0 && ((i.opcode & 0xf4) == 0xe4 || (i.opcode & 0xfc) == 0x6c);
  const u64 bytes = system_operand_bytes(i);
  if (bytes || !legacy()) {
    fold_address(bytes, system_writes(i) ? Access::Write : Access::Read);
  } else if (i.memory) {
    fold_offset();
    proto_.imm = i.data_segment();
    part(pick_move(Move::FoldSegment, 8));
  }
  const u32 size = io && !(i.opcode & 1) ? 1 : i.size();
  proto_.d = i.rm * 8;
  proto_.s = i.reg * 8;
  proto_.extra = size | i.modrm << 8 | i.prefix << 16 | static_cast<u32>(i.rex) << 24;
  if (io) proto_.scale = i.address, proto_.disp = i.data_segment();
  slow(system.fn, system.ends || legacy());
  return true;
}

bool BlockBuilder::thunk() {
  const Insn& i = *in_;
  FpInsn fp;
  fp.prefix = i.prefix, fp.rex = i.rex, fp.map = i.map, fp.opcode = i.opcode;
  fp.has_modrm = i.has_modrm, fp.modrm = i.modrm;
  fp.has_imm8 = i.has_imm, fp.imm8 = static_cast<u8>(i.imm);
  FpPlan plan;
  if (legacy() && i.map == 0 && i.opcode >= 0xd8) fp.prefix = i.size() == 2 ? 0x66 : 0;
  if (!c_.thunks.plan(fp, plan)) return false;
  fold_address(plan.mem_size, plan.mem_write ? Access::Write : Access::Read);
  if (i.map == 1) {
    const Handler plain = pick_sse(i), floating = pick_sse_float(i);
    if (plain || floating) {
      proto_.d = i.reg * 16, proto_.s = i.rm * 16;
      proto_.extra = i.reg * 8 | i.rm * 8 << 8;
      if (!plain) proto_.imm = reinterpret_cast<i64>(cache_.keep_plan(plan));
      emit(plain ? plain : floating);
      return true;
    }
  }
  if (plan.implicit_rdi) proto_.extra = i.data_segment(), proto_.scale = i.address;
  if (i.map == 0 && i.opcode == 0x9b) proto_.extra = kThunkFwait;
  proto_.imm = reinterpret_cast<i64>(cache_.keep_plan(plan));
  if (Handler fast = pick_thunk(plan)) emit(fast);
  else slow(slow_thunk);
  return true;
}

}  // namespace colo::soft
