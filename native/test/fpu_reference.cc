#include "test/fpu_reference.h"

#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <cstring>

namespace colo::test {
namespace {

sigjmp_buf escape;
volatile u32 reported_mxcsr;

void on_signal(int number, siginfo_t*, void* context) {
  reported_mxcsr = static_cast<ucontext_t*>(context)->uc_mcontext.fpregs->mxcsr;
  siglongjmp(escape, number);
}

}  // namespace

Reference::Reference() {
  void* at = mmap(nullptr, sizeof(Lab), PROT_READ | PROT_WRITE | PROT_EXEC,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
  COLO_ASSERT(at != MAP_FAILED);
  lab_ = static_cast<Lab*>(at);
  struct sigaction action{};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  for (const int number : {SIGFPE, SIGILL, SIGSEGV}) sigaction(number, &action, nullptr);
}

u32 Reference::fault_mxcsr() const { return reported_mxcsr; }

void Reference::put(std::initializer_list<int> bytes) {
  for (const int b : bytes) lab_->code[size_++] = static_cast<u8>(b);
}

void Reference::absolute(std::initializer_list<int> opcode, int reg, const void* at) {
  put(opcode);
  put({(reg & 7) << 3 | 4, 0x25});
  const u32 address = static_cast<u32>(reinterpret_cast<uintptr_t>(at));
  std::memcpy(lab_->code + size_, &address, 4);
  size_ += 4;
}

void Reference::prologue() {
  put({0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57});
  absolute({0xd9}, 7, &lab_->saved_cw);
  absolute({0x0f, 0xae}, 3, &lab_->saved_mxcsr);
  absolute({0x48, 0x0f, 0xae}, 1, &lab_->before);
  absolute({0xff}, 6, &lab_->flags), put({0x9d});
  for (int n = 0; n < 16; n++)
    if (n != 4) absolute({n & 8 ? 0x4c : 0x48, 0x8b}, n, &lab_->gprs[n]);
}

void Reference::epilogue() {
  for (int n = 0; n < 16; n++)
    if (n != 4) absolute({n & 8 ? 0x4c : 0x48, 0x89}, n, &lab_->gprs[n]);
  put({0x9c}), absolute({0x8f}, 0, &lab_->flags);
  absolute({0x48, 0x0f, 0xae}, 0, &lab_->after);
  put({0xdb, 0xe3});
  absolute({0xd9}, 5, &lab_->saved_cw);
  absolute({0x0f, 0xae}, 2, &lab_->saved_mxcsr);
  put({0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xc3});
}

void Reference::emit(const soft::FpInsn& insn) {
  if (insn.prefix) put({insn.prefix});
  if (insn.rex) put({insn.rex});
  if (insn.map) put({0x0f});
  if (insn.map > 1) put({insn.map == 2 ? 0x38 : 0x3a});
  if (!insn.has_modrm) put({insn.opcode});
  else if (insn.modrm >= 0xc0) put({insn.opcode, insn.modrm});
  else absolute({insn.opcode}, insn.modrm >> 3 & 7, lab_->mem);
  if (insn.has_imm8) put({insn.imm8});
}

int Reference::run(const soft::FpInsn& insn) {
  size_ = 0;
  prologue();
  emit(insn);
  epilogue();
  if (const int number = sigsetjmp(escape, 0)) {
    const u32 mxcsr = 0x1f80;
    asm volatile("fninit; ldmxcsr %0" ::"m"(mxcsr));
    return number;
  }
  reinterpret_cast<void (*)()>(lab_->code)();
  return 0;
}

}  // namespace colo::test
