// One instruction on the host itself, between FXRSTOR64 and FXSAVE64, with every general register
// but RSP loaded: what a thunk must equal.
#pragma once
#include <initializer_list>
#include <vector>

#include "soft/fpu/fpu.h"
#include "test/expect.h"

namespace colo::test {

/// Everything that an instruction can read or write. Lies below 2 GiB, so that absolute addressing
/// reaches it.
struct alignas(64) Lab {
  soft::FxState before, after;
  u8 mem[512];
  u64 gprs[16];
  u64 flags;
  u64 saved_mxcsr, saved_cw;
  u8 code[1024];
};

class Reference {
 public:
  Reference();
  Lab& lab() { return *lab_; }
  /// Runs insn from lab.before, gprs, flags and mem; results there and in lab.after. Returns 0, or
  /// the signal that it raised; then fault_mxcsr is what the processor reported.
  int run(const soft::FpInsn& insn);
  u32 fault_mxcsr() const;

 private:
  void put(std::initializer_list<int> bytes);
  void absolute(std::initializer_list<int> opcode, int reg, const void* at);
  void emit(const soft::FpInsn& insn);
  void prologue();
  void epilogue();

  Lab* lab_;
  size_t size_ = 0;
};

}  // namespace colo::test
