// Builds the machine code of one thunk: void thunk(FxState* rdi, void* mem rsi, u64* gprs rdx, u64*
// flags rcx).
//
// The instruction keeps its XMM and MMX registers (the ABI lets a callee use them), its memory
// operand becomes [rsi] and its general register becomes rax. Around it: only the registers that it
// names are loaded and stored.
#pragma once
#include <span>

#include "soft/fpu/fpu.h"
#include "soft/fpu/fpu_table.h"

namespace colo::soft {

/// Code under construction. The limit times the number of distinct thunks is what the arena must
/// hold.
class ThunkCode {
 public:
  std::span<const u8> bytes() const { return {code_, size_}; }
  void put(std::initializer_list<u8> bytes) {
    for (const u8 b : bytes) byte(b);
  }
  void byte(u8 b) {
    COLO_ASSERT(size_ < sizeof code_);
    code_[size_++] = b;
  }
  void word32(u32 v) {
    for (int i = 0; i < 4; i++) byte(static_cast<u8>(v >> i * 8));
  }

 private:
  u8 code_[96];
  size_t size_ = 0;
};

/// An SSE or MMX instruction of the table.
ThunkCode emit_vector(const FpInsn& insn, const FpRow& row);
/// PCMPESTRM, PCMPESTRI, PCMPISTRM, PCMPISTRI.
ThunkCode emit_string(const FpInsn& insn, const FpRow& row);
/// An x87 instruction, or EMMS: runs on the whole image.
ThunkCode emit_x87(const FpInsn& insn, const X87Insn& what);
/// The instruction alone, for a unit that holds the guest's state.
ThunkCode emit_x87_bare(const FpInsn& insn, const X87Insn& what);

}  // namespace colo::soft
