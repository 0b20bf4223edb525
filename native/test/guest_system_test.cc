// System instructions as a guest meets them, on the whole engine: one assembly program goes to ring
// 3 and back by every door (IRETQ, SYSCALL, INT3, faults, single steps), takes interrupts, and
// leaves what it saw in RAM.
#include "test/expect.h"
#include "test/machine.h"

// Position-independent; copied to kCode. r15 = results. Handlers keep every register but those they
// report.
asm(R"(
    .pushsection .rodata
    .global guest_begin, guest_end, guest_user, guest_syscall, guest_bp, guest_gp, guest_pf, guest_db, guest_irq, guest_halted
guest_begin:
    mov $0xc0000081, %ecx              # STAR: kernel 08, user 38
    xor %eax, %eax
    mov $0x003b0008, %edx
    wrmsr
    lea guest_syscall(%rip), %rax      # LSTAR
    mov %rax, %rdx
    shr $32, %rdx
    inc %ecx
    wrmsr
    mov $0xc0000084, %ecx              # FMASK
    mov $0x200, %eax
    xor %edx, %edx
    wrmsr
    mov $0xc0000102, %ecx              # KERNEL_GS_BASE
    mov $0x1234, %eax
    wrmsr
    mov $0x1b, %ecx                    # x2APIC, software enable, a self-IPI while IF = 0
    rdmsr
    or $0xc00, %eax
    wrmsr
    mov $0x80f, %ecx
    mov $0x1ff, %eax
    xor %edx, %edx
    wrmsr
    mov $0x83f, %ecx
    mov $0x50, %eax
    wrmsr
    sti
    incq 0x00(%r15)                    # the shadow: this one still runs
1:  nop
    lea 1b(%rip), %rax
    mov %rax, 0x08(%r15)
    cli
    mov $0x83f, %ecx
    mov $0x50, %eax
    wrmsr
    pushfq
    orl $0x200, (%rsp)
    popfq                              # no shadow here
2:  lea 2b(%rip), %rax
    mov %rax, 0x10(%r15)
    pushq $0x43                        # to ring 3
    pushq $0x61000
    pushq $0x202
    pushq $0x4b
    lea guest_user(%rip), %rax
    push %rax
    iretq

guest_syscall:
    swapgs
    mov %rcx, 0x18(%r15)
    mov %r11, 0x20(%r15)
    incq 0x28(%r15)
    swapgs
    cmp $60, %eax
    je 3f
    sysretq
3:  mov $0x6000, %rsp
    sti
    hlt
guest_halted:
    mov %ss, 0x30(%r15)
    mov %cs, 0x38(%r15)
    cli
    hlt

guest_user:
    mov $1, %eax
    syscall
    int3
    cli                                # faults: skipped by the handler
    int $0x80
    mov 0x70000, %rax                  # page fault: mapped by the handler
    mov %rax, 0x40(%r15)
    pushfq
    orl $0x100, (%rsp)
    popfq
    nop                                # three single steps, the third ends it
    nop
    mov $60, %eax
    nop
    mov %cs, 0x48(%r15)
    syscall

guest_bp:
    incq 0x50(%r15)
    push %rax
    mov 8(%rsp), %rax
    mov %rax, 0x58(%r15)
    pop %rax
    iretq
guest_gp:
    push %rax
    push %rbx
    incq 0x60(%r15)
    mov 16(%rsp), %rax
    mov %rax, 0x68(%r15)
    mov 24(%rsp), %rax
    mov (%rax), %bl
    inc %rax
    cmp $0xcd, %bl
    jne 4f
    inc %rax
4:  mov %rax, 24(%rsp)
    pop %rbx
    pop %rax
    add $8, %rsp
    iretq
guest_pf:
    push %rax
    incq 0x70(%r15)
    mov 8(%rsp), %rax
    mov %rax, 0x78(%r15)
    mov %cr2, %rax
    mov %rax, 0x80(%r15)
    mov $0x50007, %eax
    mov %rax, (%r14)
    invlpg 0x70000
    pop %rax
    add $8, %rsp
    iretq
guest_db:
    incq 0x88(%r15)
    cmpq $3, 0x88(%r15)
    jne 5f
    andl $~0x100, 16(%rsp)
5:  iretq
guest_irq:
    push %rax
    push %rcx
    push %rdx
    mov 0x90(%r15), %rax
    mov 24(%rsp), %rcx
    mov %rcx, 0x98(%r15, %rax, 8)
    incq 0x90(%r15)
    mov $0x80b, %ecx
    xor %eax, %eax
    xor %edx, %edx
    wrmsr
    pop %rdx
    pop %rcx
    pop %rax
    iretq
guest_end:
    .popsection
)");

extern "C" const unsigned char guest_begin[], guest_end[], guest_user[], guest_syscall[],
    guest_bp[], guest_gp[], guest_pf[], guest_db[], guest_irq[], guest_halted[];

namespace colo::test {
namespace {

constexpr u64 kCode = 0x20000, kResults = 0x50000, kUserCode = kCode;

u64 placed(const unsigned char* label) { return kCode + static_cast<u64>(label - guest_begin); }

void gate(Machine& m, int vector, const unsigned char* handler, u64 dpl) {
  const u64 target = placed(handler);
  m.put<u64>(Machine::kIdt + 16 * vector, (target & 0xffff) | 0x08ull << 16 |
                                              (0x8e00 | dpl << 13) << 32 |
                                              (target >> 16 & 0xffff) << 48);
  m.put<u64>(Machine::kIdt + 16 * vector + 8, 0);
}

void prepare(Machine& m) {
  for (u64 page = 0x20000; page < 0x70000; page += kPageSize)
    m.map(page, page, Machine::W | Machine::U);
  m.map(0x70000, 0, 0);
  m.unmap(0x70000);
  memcpy(m.at(kCode, 0x1000), guest_begin, static_cast<size_t>(guest_end - guest_begin));
  const u64 user[] = {0x00cffb000000ffff, 0x00cff3000000ffff, 0x00affb000000ffff};  // 38 40 48
  memcpy(m.at(Machine::kGdt + 0x38, sizeof user), user, sizeof user);
  m.c.tr.g = 0;
  m.c.gdt.limit = 0x4f;
  m.c.idt.limit = 0xfff;
  gate(m, soft::BP, guest_bp, 3);
  gate(m, soft::GP, guest_gp, 0);
  gate(m, soft::PF, guest_pf, 0);
  gate(m, soft::DB, guest_db, 0);
  gate(m, 0x50, guest_irq, 0);
  m.c.rip = kCode;
  m.c.r[soft::RSP] = 0x30000;
  m.c.r[soft::R15] = kResults;
  m.map(0x80000, m.pte(0x70000) & kPageMask, Machine::W);
  m.c.r[soft::R14] = 0x80000 | (m.pte(0x70000) & ~kPageMask);
}

void check_results(Machine& m) {
  auto word = [&](u64 offset) { return m.get<u64>(kResults + offset); };
  EQUAL(word(0x90), 3);           // interrupts
  EQUAL(word(0x98), word(0x08));  // the first came one instruction behind STI
  EQUAL(word(0xa0), word(0x10));  // the second right behind POPF
  EQUAL(word(0xa8), placed(guest_halted));
  EQUAL(word(0x28), 2);  // system calls
  EQUAL(word(0x30), 0x10);
  EQUAL(word(0x38), 0x08);
  EXPECT(word(0x20) & soft::flag::IF);
  EQUAL(word(0x48), 0x4b);
  EQUAL(word(0x50), 1);
  EQUAL(word(0x60), 2);  // #GP: CLI, INT 80
  EQUAL(word(0x68), 0x80 * 8 + 2);
  EQUAL(word(0x70), 1);
  EQUAL(word(0x78), 4);
  EQUAL(word(0x80), 0x70000);
  EQUAL(word(0x40), 1);  // the page then showed the results themselves
  EQUAL(word(0x88), 3);
}

/// Ring 3 and back, in one run, in slices of `budget`, and with a save, reset and load between any
/// two slices.
void tour(u64 budget, bool reload) {
  Machine m;
  prepare(m);
  vcpu::RunResult why = m.run(budget);
  for (int slices = 0; why == vcpu::RunResult::Budget && slices < 100000; slices++) {
    if (reload) {
      vcpu::VcpuState s;
      m.vm.vcpu(0).save(s);
      const std::string complaint = m.vm.vcpu(0).check(s);
      if (!EXPECT(complaint.empty())) printf("  %s\n", complaint.c_str());
      m.vm.vcpu(0).reset();
      m.vm.vcpu(0).load(s);
    }
    why = m.run(budget);
  }
  EXPECT(why == vcpu::RunResult::Halted);
  if (!EQUAL(m.c.rip, placed(guest_halted))) return;
  m.vm.signal_msi(0xfee00000, 0x50);
  while ((why = m.run(budget)) == vcpu::RunResult::Budget) {
  }
  EXPECT(why == vcpu::RunResult::Halted);
  EXPECT(!(m.c.rflags & soft::flag::IF));
  check_results(m);
}

}  // namespace
}  // namespace colo::test

int main() {
  using namespace colo::test;
  tour(~0ull, false);
  for (colo::u64 budget = 1; budget < 12; budget++) tour(budget, false), tour(budget, true);
  return summary();
}
