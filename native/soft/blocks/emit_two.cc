// The 0F and 0F 38 opcode maps as operations (Intel SDM vol. 2, tables ).
#include "soft/blocks/builder.h"

namespace colo::soft {

/// BT BTS BTR BTC. A register bit offset reaches outside the addressed word, so it is folded into
/// the address.
void BlockBuilder::bit_test(int op, bool immediate) {
  const u8 size = in_->size();
  proto_.s = in_->reg * 8;
  proto_.d = in_->rm * 8;
  const Access access = op == BIT_BT ? Access::Read : Access::Write;
  if (!in_->memory || immediate) {
    fold_address(size, access);
  } else if (legacy()) {
    fold_offset();
    part(pick_move(Move::FoldBit, size));
    fold_offset();
    fold_linear(in_->data_segment(), size, access);
  } else {
    fold_address(size, access);
    part(pick_move(Move::FoldBit, size));
    use_tmp();
  }
  emit(pick_bit(op, immediate, in_->memory, in_->lock, size));
}

void BlockBuilder::swap(Swap kind, u8 size) {
  proto_.s = slot(in_->reg, size);
  proto_.d = slot(in_->rm, size);
  fold_address(size, Access::Write);
  emit(pick_swap(kind, in_->memory, in_->lock, size));
}

void BlockBuilder::extend(bool sign, u8 from) {
  proto_.s = slot(in_->rm, from);
  proto_.d = in_->reg * 8;
  fold_address(from);
  emit(pick_extend(sign, in_->memory, from, in_->size(), proto_.x != REG_ZERO * 8));
}

void BlockBuilder::double_shift(bool left, bool by_cl) {
  proto_.s = in_->reg * 8;
  proto_.d = in_->rm * 8;
  fold_address(in_->size(), Access::Write);
  emit(pick_double_shift(left, in_->memory, by_cl, in_->size()));
}

/// Fences, and CLFLUSHOPT on a model without it; the rest of the group is the system half's.
bool BlockBuilder::group_ae() {
  const u8 ext = in_->ext();
  if (in_->memory) {
    const bool lacking =
        ext == 7 && in_->prefix == 0x66 && !(model().ebx7 & vcpu::Features::CLFLUSHOPT);
    if (lacking) undefined();
    return lacking;
  }
  if (ext < 5 || in_->prefix) return false;
  emit(pick_move(ext != 5 ? Move::Fence : Move::Nop, 8));  // loads are never reordered
  return true;
}

/// RDRAND.
bool BlockBuilder::random() {
  if (in_->ext() != 6 || in_->repeat || !(model().ecx1 & vcpu::Features::RDRAND)) return false;
  proto_.d = in_->rm * 8;
  proto_.extra = in_->size();
  slow(slow_rdrand);
  return true;
}

bool BlockBuilder::group_c7() {
  if (!in_->memory) return random();
  if (in_->ext() != 1 || (in_->rex_w() && !(model().ecx1 & vcpu::Features::CX16))) return false;
  fold_address(in_->rex_w() ? 16 : 8, Access::Write);
  slow(in_->rex_w() ? slow_cmpxchg16b : slow_cmpxchg8b);
  return true;
}

/// B8 BC BD. On a model without BMI1 and ABM F3 BC and F3 BD are BSF and BSR.
bool BlockBuilder::scan() {
  using F = vcpu::Features;
  const u8 op = in_->opcode;
  const bool repeated = in_->repeat == 0xf3;
  if (op == 0xb8 && (!repeated || !(model().ecx1 & F::POPCNT))) return false;
  const Scan kind = op == 0xb8   ? Scan::Popcnt
                    : op == 0xbc ? (repeated && model().ebx7 & F::BMI1 ? Scan::Tzcnt : Scan::Bsf)
                                 : (repeated && model().ecx81 & F::ABM ? Scan::Lzcnt : Scan::Bsr);
  const u8 size = in_->size();
  proto_.s = source(size);
  proto_.d = in_->reg * 8;
  emit(pick_scan(kind, size));
  return true;
}

bool BlockBuilder::map_two_byte() {
  const u8 op = in_->opcode;
  const u8 size = op & 1 ? in_->size() : 1;
  switch (op) {
    case 0x0d:  // PREFETCH, PREFETCHW
      if (!in_->memory) return false;
      [[fallthrough]];
    case 0x18 ... 0x1f:
      emit(pick_move(Move::Nop, 8));
      return true;
    case 0x40 ... 0x4f:
      proto_.d = in_->reg * 8, proto_.s = in_->rm * 8;
      fold_address(in_->size());
      emit(pick_cmov(op & 15, in_->memory, in_->size()));
      return true;
    case 0x80 ... 0x8f:
      jcc(op & 15);
      return true;
    case 0x90 ... 0x9f:
      proto_.d = slot(in_->rm, 1);
      fold_address(1, Access::Write);
      emit(pick_setcc(op & 15, in_->memory));
      return true;
    case 0xa3:
      bit_test(BIT_BT, false);
      return true;
    case 0xab:
      bit_test(BIT_BTS, false);
      return true;
    case 0xb3:
      bit_test(BIT_BTR, false);
      return true;
    case 0xbb:
      bit_test(BIT_BTC, false);
      return true;
    case 0xba:
      if (in_->ext() < 4) return false;
      bit_test(in_->ext() - 4, true);
      return true;
    case 0xa4:
    case 0xa5:
      double_shift(true, op & 1);
      return true;
    case 0xac:
    case 0xad:
      double_shift(false, op & 1);
      return true;
    case 0xae:
      return group_ae();
    case 0xaf:
      proto_.s = source(in_->size());
      proto_.d = in_->reg * 8;
      emit(pick_mul(Mul::Imul2, in_->size()));
      return true;
    case 0xb0:
    case 0xb1:
      swap(Swap::Cmpxchg, size);
      return true;
    case 0xc0:
    case 0xc1:
      swap(Swap::Xadd, size);
      return true;
    case 0xb6:
      extend(false, 1);
      return true;
    case 0xb7:
      extend(false, 2);
      return true;
    case 0xbe:
      extend(true, 1);
      return true;
    case 0xbf:
      extend(true, 2);
      return true;
    case 0xb8:
    case 0xbc:
    case 0xbd:
      return scan();
    case 0xc3:
      if (!in_->memory || in_->prefix) return false;
      proto_.s = in_->reg * 8;
      fold_address(in_->rex_w() ? 8 : 4, Access::Write);
      emit(pick_move(Move::Store, in_->rex_w() ? 8 : 4));
      return true;
    case 0xc7:
      return group_c7();
    case 0xc8 ... 0xcf:
      proto_.d = ((op & 7) | ((in_->rex & 1) << 3)) * 8;
      emit(pick_move(Move::Bswap, in_->size()));
      return true;
    default:
      return false;
  }
}

bool BlockBuilder::crc32() {
  if (in_->repeat != 0xf2 || !(model().ecx1 & vcpu::Features::SSE42)) return false;
  const u8 size = in_->opcode & 1 ? in_->size() : 1;
  proto_.s = source(size);
  proto_.d = in_->reg * 8;
  emit(pick_crc32(size));
  return true;
}

/// ADCX, ADOX: with 66 and F3; 66 does not make their operands 16-bit ones.
bool BlockBuilder::adx() {
  const u8 prefix = in_->prefix, size = in_->rex_w() ? 8 : 4;
  if ((prefix != 0x66 && prefix != 0xf3) || !(model().ebx7 & vcpu::Features::ADX)) return false;
  proto_.s = source(size);
  proto_.d = in_->reg * 8;
  emit(pick_adx(prefix == 0xf3, size));
  return true;
}

/// MOVBE, with F2 CRC32; ADCX, ADOX.
bool BlockBuilder::map_0f38() {
  const u8 op = in_->opcode;
  if (op == 0xf6) return adx();
  if (op != 0xf0 && op != 0xf1) return false;
  if (in_->repeat) return crc32();
  if (!in_->memory || !(model().ecx1 & vcpu::Features::MOVBE)) return false;
  proto_.d = proto_.s = in_->reg * 8;
  fold_address(in_->size(), op == 0xf0 ? Access::Read : Access::Write);
  emit(pick_move(op == 0xf0 ? Move::MovbeLoad : Move::MovbeStore, in_->size()));
  return true;
}

}  // namespace colo::soft
