// Machine code for several vCPUs: routines that run alike on guest vCPUs and on the host's own
// threads, and what runs them.
#pragma once
#include <cstdlib>
#include <thread>
#include <vector>

#include "base/time.h"
#include "test/check.h"
#include "test/machine.h"

// Every routine: RDI, RSI, R8 as it says; RDX = a counter that the parties meet at before each
// round, R9 = how many they are, RCX = rounds. None touches the stack.
#define MEET               \
  "1: lock incq (%rdx)\n"  \
  "add %r9, %r10\n"        \
  "2: cmpq %r10, (%rdx)\n" \
  "jae 3f\n"               \
  "pause\n"                \
  "jmp 2b\n"               \
  "3:\n"
#define ROUTINE(name, body)                                                           \
  extern "C" const char name##_begin[], name##_end[];                                 \
  asm(".pushsection .text\n" #name "_begin:\nxor %r10d, %r10d\n" body "\nret\n" #name \
      "_end:\n.popsection");
#define NEXT_ROUND   \
  "add $128, %rdi\n" \
  "add $128, %rsi\n" \
  "add $8, %r8\n"    \
  "dec %rcx\n"       \
  "jnz 1b\n"
#define COUNTING(name, insn) ROUTINE(name, "1: " insn "\ndec %rcx\njnz 1b")

// [mine] = 1; r = [theirs]
ROUTINE(store_buffer, MEET "movl $1, (%rdi)\nmovl (%rsi), %eax\nmovl %eax, (%r8)\n" NEXT_ROUND)
ROUTINE(store_fence_load,
        MEET "movl $1, (%rdi)\nmfence\nmovl (%rsi), %eax\nmovl %eax, (%r8)\n" NEXT_ROUND)
ROUTINE(exchange_load,
        MEET "movl $1, %eax\nxchgl %eax, (%rdi)\nmovl (%rsi), %eax\nmovl %eax, (%r8)\n" NEXT_ROUND)
// r = [mine]; [theirs] = 1
ROUTINE(load_buffer, MEET "movl (%rdi), %eax\nmovl $1, (%rsi)\nmovl %eax, (%r8)\n" NEXT_ROUND)
// [mine] = 1; [theirs] = 1
ROUTINE(write_two, MEET "movl $1, (%rdi)\nmovl $1, (%rsi)\nmovl $0, (%r8)\n" NEXT_ROUND)
// r = [mine]; r' = [theirs]
ROUTINE(read_two, MEET
        "movl (%rdi), %eax\nmovl (%rsi), %ebx\nmovl %eax, (%r8)\nmovl %ebx, 4(%r8)\n" NEXT_ROUND)
ROUTINE(write_one, MEET "movl $1, (%rdi)\nmovl $0, (%r8)\n" NEXT_ROUND)

COUNTING(lock_inc, "lock incl (%rdi)")
COUNTING(lock_add8, "lock addq $1, (%rdi)")
COUNTING(lock_xadd, "movl $1, %eax\nlock xaddl %eax, (%rdi)")
COUNTING(lock_cmpxchg,
         "4: movl (%rdi), %eax\nlea 1(%rax), %ebx\nlock cmpxchgl %ebx, (%rdi)\njnz 4b")
// Every interleaving of two of these leaves another number. R8: the party's own.
COUNTING(race, "movl (%rdi), %eax\nimull $25173, %eax, %eax\nadd %r8d, %eax\nmovl %eax, (%rdi)")
COUNTING(plain_inc, "incl (%rdi)")
// The two halves of a counter of 8 or 16 bytes are the count and its complement.
COUNTING(lock_cmpxchg8b,
         "movl (%rdi), %eax\nmovl 4(%rdi), %edx\n5: lea 1(%rax), %ebx\nmov %rcx, %r11\n"
         "mov %ebx, %ecx\nnot %ecx\nlock cmpxchg8b (%rdi)\nmov %r11, %rcx\njnz 5b")
COUNTING(lock_cmpxchg16b,
         "mov (%rdi), %rax\nmov 8(%rdi), %rdx\n6: lea 1(%rax), %rbx\nmov %rcx, %r11\n"
         "mov %rbx, %rcx\nnot %rcx\nlock cmpxchg16b (%rdi)\nmov %r11, %rcx\njnz 6b")

// The writer: patches the immediate of MOV EAX at RDI, tells by [RSI], waits for the answer in
// [RSI+64]. RCX counts down from the number of rounds; the immediate is RCX.
ROUTINE(patch_code,
        "1: movl %ecx, 1(%rdi)\nmovl %ecx, (%rsi)\n"
        "2: cmpl %ecx, 64(%rsi)\nje 3f\npause\njmp 2b\n3: dec %rcx\njnz 1b")
// The runner: waits, serializes, calls; counts in [R8] what was not the new code.
ROUTINE(run_patched,
        "1: cmpl %ecx, (%rsi)\nje 2f\npause\njmp 1b\n"
        "2: mov %rcx, %r11\nxor %eax, %eax\ncpuid\nmov %r11, %rcx\ncall *%rdi\n"
        "cmp %ecx, %eax\nje 3f\nincl (%r8)\n3: movl %ecx, 64(%rsi)\ndec %rcx\njnz 1b")
// As patch_code, but each round writes a whole function, MOV EAX, imm32; RET, 16 bytes further on.
ROUTINE(write_code,
        "1: movb $0xb8, (%rdi)\nmovl %ecx, 1(%rdi)\nmovb $0xc3, 5(%rdi)\nmovl %ecx, (%rsi)\n"
        "2: cmpl %ecx, 64(%rsi)\nje 3f\npause\njmp 2b\n3: add $16, %rdi\ndec %rcx\njnz 1b")
ROUTINE(run_written,
        "1: cmpl %ecx, (%rsi)\nje 2f\npause\njmp 1b\n"
        "2: mov %rcx, %r11\nxor %eax, %eax\ncpuid\nmov %r11, %rcx\ncall *%rdi\n"
        "cmp %ecx, %eax\nje 3f\nincl (%r8)\n3: movl %ecx, 64(%rsi)\nadd $16, %rdi\n"
        "dec %rcx\njnz 1b")
// Stores and LOCKs all over RCX pages from RDI, for ever.
ROUTINE(scribble,
        "mov %rcx, %r12\n1: mov %r12, %rcx\nmov %rdi, %rax\n2: imul $25173, %r8, %r8\n"
        "add $13849, %r8\nmov %r8, %rbx\nand $0xff8, %ebx\ntest $0x3000, %r8d\njnz 3f\n"
        "incq (%rax,%rbx)\nlock incq 1(%rax,%rbx)\n3: add $4096, %rax\ndec %rcx\njnz 2b\njmp 1b")

/// Runs a routine here; in: RDI RSI RCX RDX R8 R9.
extern "C" void call_routine(const void* code, const colo::u64* in);
asm(".pushsection .text\ncall_routine:\npush %rbx\npush %r12\nmov %rdi, %rax\nmov %rsi, %r11\n"
    "mov (%r11), %rdi\nmov 8(%r11), %rsi\nmov 16(%r11), %rcx\nmov 24(%r11), %rdx\n"
    "mov 32(%r11), %r8\nmov 40(%r11), %r9\ncall *%rax\npop %r12\npop %rbx\nret\n.popsection");

namespace colo::test {
using namespace soft;

struct Routine {
  const char *begin, *end;
  std::size_t size() const { return static_cast<std::size_t>(end - begin); }
};
#define THE(name) \
  Routine { name##_begin, name##_end }

struct Party {
  Routine code;
  u64 rdi = 0, rsi = 0, r8 = 0;  // offsets in the data, or gpa in a guest where that is said
};

inline vcpu::CpuModel model_of(u32 cpus) {
  vcpu::CpuModel m = vcpu::soft_v1();
  m.topology = {1, cpus, 1};
  return m;
}

/// Data at kData, one routine for each vCPU; the counter where parties meet lies before the data.
struct Guest : Machine {
  static constexpr u64 kCode = 0x400000, kMeet = 0x800000, kData = 0x801000, kStacks = 0x700000;
  explicit Guest(u32 cpus, bool in_turns = false)
      : Machine(32u << 20, model_of(cpus), in_turns), cpus(cpus) {
    for (u64 at = kCode; at < 0x1800000; at += kPageSize) map(at, at, W);
    for (u32 i = 0; i < cpus; i++) long_mode_of(cpu(i));
  }
  Cpu& cpu(u32 i) { return vm.soft_vcpu(i).cpu(); }
  void place(u32 i, const Party& p, u64 rounds, u32 parties) {
    Cpu& c = cpu(i);
    const u64 code = kCode + i * 0x10000, stack = kStacks + (i + 1) * 0x1000 - 8;
    memcpy(at(code, p.code.size()), p.code.begin, p.code.size());
    put<u8>(code + p.code.size(), 0xf4);
    ram.mark_written(code, p.code.size() + 1);
    put<u64>(stack, code + p.code.size());
    c.rip = code, c.r[RSP] = stack;
    c.r[RDI] = p.rdi, c.r[RSI] = p.rsi, c.r[R8] = p.r8;
    c.r[RCX] = rounds, c.r[RDX] = kMeet, c.r[R9] = parties;
    c.halted = false, c.start = Start::Started;
  }
  /// The parties' addresses are offsets in the data.
  void place_all(const std::vector<Party>& parties, u64 rounds) {
    put<u64>(kMeet, 0);
    for (u32 i = 0; i < parties.size(); i++) {
      Party p = parties[i];
      p.rdi += kData, p.rsi += kData, p.r8 += kData;
      place(i, p, rounds, static_cast<u32>(parties.size()));
    }
  }
  /// All until each has halted. False: one did not in time, or came to another end.
  bool run_all() {
    std::vector<std::thread> threads;
    std::vector<vcpu::RunResult> ends(cpus);
    std::atomic<u32> done{0};
    for (u32 i = 0; i < cpus; i++)
      threads.emplace_back([&, i] { ends[i] = vm.vcpu(i).run(~0ull), done++; });
    for (u64 end = host_now_ns() + 300'000'000'000ull; done < cpus && host_now_ns() < end;)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    for (u32 i = 0; done < cpus && i < cpus; i++) vm.vcpu(i).kick();
    for (std::thread& t : threads) t.join();
    for (u32 i = 0; i < cpus; i++)
      if (ends[i] != vcpu::RunResult::Halted || fault(i) >= 0) return false;
    return true;
  }
  int fault(u32 i) {
    const u64 rip = cpu(i).rip;
    return rip > kHandlers && rip < kHandlers + 512 ? static_cast<int>((rip - 1 - kHandlers) / 16)
                                                    : -1;
  }
  const u32 cpus;
};

inline bool run_guest(Guest& g, const std::vector<Party>& parties, u64 rounds) {
  g.place_all(parties, rounds);
  return g.run_all();
}

inline void run_host(u8* data, const std::vector<Party>& parties, u64 rounds) {
  alignas(64) u64 meet = 0;
  std::vector<std::thread> threads;
  for (const Party& p : parties)
    threads.emplace_back([&, p] {
      const u64 in[] = {
          reinterpret_cast<u64>(data + p.rdi), reinterpret_cast<u64>(data + p.rsi), rounds,
          reinterpret_cast<u64>(&meet),        reinterpret_cast<u64>(data + p.r8),  parties.size()};
      call_routine(p.code.begin, in);
    });
  for (std::thread& t : threads) t.join();
}

}  // namespace colo::test
