// Goal: a LOCK of the guest over two cache lines gives the right result, and is no split lock of
// the host, which would stall every processor of it or be killed for it. Method: run such
// instructions in a child, one host instruction at a time, and look at each with our own decoder
// for a locked access that crosses a line.
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "soft/execute/handlers.h"
#include "test/check.h"
#include "test/machine.h"

namespace {
using namespace colo;
using namespace colo::soft;
using test::Machine;

constexpr u64 kCode = 0x10000000, kData = 0x20000000,
              kAt = 61;  // bytes 61.. of a page: 4 and 8 bytes cross, so do 2 at 63

struct Case {
  const char* name;
  std::initializer_list<int> code;  // operand [rbx]
  u64 memory, register_after;       // RAX = 5, RCX = 3, memory = 0x...0102 before
};
constexpr u64 kBefore = 0x1122334455660102;
const Case kCases[] = {
    {"lock add [rbx], rcx", {0xf0, 0x48, 0x01, 0x0b}, kBefore + 3, 5},
    {"lock sub dword [rbx], ecx", {0xf0, 0x29, 0x0b}, kBefore - 3, 5},
    {"lock inc qword [rbx]", {0xf0, 0x48, 0xff, 0x03}, kBefore + 1, 5},
    {"lock not dword [rbx]",
     {0xf0, 0xf7, 0x13},
     0x1122334400000000 | static_cast<u32>(~kBefore),
     5},
    {"lock bts qword [rbx], 4", {0xf0, 0x48, 0x0f, 0xba, 0x2b, 4}, kBefore | 16, 5},
    {"lock xadd [rbx], rax", {0xf0, 0x48, 0x0f, 0xc1, 0x03}, kBefore + 5, kBefore},
    {"lock cmpxchg [rbx], rcx: differs", {0xf0, 0x48, 0x0f, 0xb1, 0x0b}, kBefore, kBefore},
    {"xchg [rbx], rax", {0x48, 0x87, 0x03}, 5, kBefore},
};

struct Box : Machine {
  Box() {
    map(kCode, 0x400000, W), map(kData, 0x500000, W);
    c.r[RSP] = kData + 0x800;
  }
  void prepare(const Case& k) {
    code(0x400000, k.code);
    code(0x400000 + k.code.size(), {0xf4});
    rewind();
  }
  void rewind() {
    put<u64>(0x500000 + kAt, kBefore);
    c.r[RAX] = 5, c.r[RCX] = 3, c.r[RBX] = kData + kAt;
    c.halted = false, c.rip = kCode;
  }
};

void results() {
  Box m;
  for (const Case& k : kCases)
    for (int again = 0; again < 2; again++) {  // with a write tag, and without
      m.prepare(k);
      CHECK(m.run(100) == vcpu::RunResult::Halted && m.vector() == -1);
      CHECK(m.get<u64>(0x500000 + kAt) == k.memory && m.c.r[RAX] == k.register_after);
    }
}

u64 host_register(const user_regs_struct& r, u8 number) {
  const u64 all[] = {r.rax, r.rcx, r.rdx, r.rbx, r.rsp, r.rbp, r.rsi, r.rdi,
                     r.r8,  r.r9,  r.r10, r.r11, r.r12, r.r13, r.r14, r.r15};
  return number < 16 ? all[number] : 0;
}

/// Is the child about to execute a locked access over two cache lines?
bool at_split_lock(pid_t child) {
  user_regs_struct r;
  u8 bytes[kMaxInsnLength];
  iovec to{bytes, sizeof bytes};
  if (ptrace(PTRACE_GETREGS, child, 0, &r) != 0) return false;
  iovec from{reinterpret_cast<void*>(r.rip), sizeof bytes};
  if (process_vm_readv(child, &to, 1, &from, 1, 0) != static_cast<ssize_t>(sizeof bytes))
    return false;
  Insn i;
  if (parse(bytes, sizeof bytes, i) != Parse::Done || !i.memory) return false;
  const bool exchange = i.map == 0 && (i.opcode == 0x86 || i.opcode == 0x87);
  if (!i.lock && !exchange) return false;
  const u64 at = host_register(r, i.base) + (host_register(r, i.index) << i.scale) +
                 static_cast<u64>(static_cast<i64>(i.disp));
  const u64 size = i.opcode & 1 ? i.size() : 1;
  return (at & 63) + size > 64;
}

/// Stops when the guest is about to run and when it has; in between the parent steps.
[[noreturn]] void child() {
  Box m;
  for (const Case& k : kCases) {
    m.prepare(k);
    m.run(100);
    m.rewind();
    raise(SIGTRAP);
    m.run(100);
    raise(SIGTRAP);
  }
  _exit(0);
}

/// Steps to the next SIGTRAP that the child raises. -1: split lock.
long steps(pid_t pid, int& status) {
  for (long n = 0; n < 2000000; n++) {
    if (at_split_lock(pid)) return -1;
    ptrace(PTRACE_SINGLESTEP, pid, 0, 0);
    waitpid(pid, &status, 0);
    siginfo_t why{};
    ptrace(PTRACE_GETSIGINFO, pid, 0, &why);
    if (!WIFSTOPPED(status) || why.si_code == SI_TKILL) return n;
  }
  return 0;
}

void no_split_locks() {
  const pid_t pid = fork();
  if (pid == 0) {
    if (ptrace(PTRACE_TRACEME, 0, 0, 0) != 0) _exit(77);
    child();
  }
  int status = 0;
  for (const Case& k : kCases) {
    waitpid(pid, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
      return void(printf("no ptrace here: not looked at\n"));
    CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP);
    const long n = steps(pid, status);
    if (n < 0) fprintf(stderr, "%s: a split lock\n", k.name);
    CHECK(n > 50);
    if (n <= 0) break;
    ptrace(PTRACE_CONT, pid, 0, 0);
  }
  kill(pid, SIGKILL);
  waitpid(pid, &status, 0);
}

}  // namespace

int main() {
  results();
  no_split_locks();
  return test::finish();
}
