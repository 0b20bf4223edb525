// BMI1 and BMI2 instructions under a VEX prefix (Intel SDM vol. 2, ANDN to SHRX): 32-bit operands,
// 64-bit ones with VEX.W in 64-bit code.
#include "soft/blocks/builder.h"

namespace colo::soft {
namespace {

/// Under one opcode the prefix, of 0F 38 F3 the opcode extension, tells the instructions apart.
struct Row {
  u8 map, opcode, prefix;
  i8 ext;
  bool second;  // of BMI2
  Bmi kind;
};
constexpr Row kRows[] = {
    {2, 0xf2, 0x00, -1, false, Bmi::Andn},  {2, 0xf3, 0x00, 1, false, Bmi::Blsr},
    {2, 0xf3, 0x00, 2, false, Bmi::Blsmsk}, {2, 0xf3, 0x00, 3, false, Bmi::Blsi},
    {2, 0xf5, 0x00, -1, true, Bmi::Bzhi},   {2, 0xf5, 0xf3, -1, true, Bmi::Pext},
    {2, 0xf5, 0xf2, -1, true, Bmi::Pdep},   {2, 0xf6, 0xf2, -1, true, Bmi::Mulx},
    {2, 0xf7, 0x00, -1, false, Bmi::Bextr}, {2, 0xf7, 0x66, -1, true, Bmi::Shlx},
    {2, 0xf7, 0xf3, -1, true, Bmi::Sarx},   {2, 0xf7, 0xf2, -1, true, Bmi::Shrx},
    {3, 0xf0, 0xf2, -1, true, Bmi::Rorx},
};

const Row* row_of(const Insn& i) {
  for (const Row& row : kRows)
    if (row.map == i.map && row.opcode == i.opcode && row.prefix == i.prefix &&
        (row.ext < 0 || row.ext == i.ext()))
      return &row;
  return nullptr;
}

}  // namespace

bool BlockBuilder::map_vex() {
  using F = vcpu::Features;
  const Row* row = row_of(*in_);
  if (!row || in_->long_vector || !(model().ebx7 & (row->second ? F::BMI2 : F::BMI1))) return false;
  if (row->kind == Bmi::Rorx && in_->vvvv) return false;
  if (legacy()) part(pick_vex_mode());
  const u8 size = in_->rex_w() ? 8 : 4;
  const bool group = row->ext >= 0;
  proto_.s = source(size);
  proto_.d = (group ? in_->vvvv : in_->reg) * 8;
  proto_.b = in_->vvvv * 8;
  emit(pick_bmi(row->kind, size));
  return true;
}

}  // namespace colo::soft
