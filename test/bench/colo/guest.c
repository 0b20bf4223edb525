/*
 * The guest of bench:colo: a Multiboot kernel without an operating system. Its command line says
 * what it does: pages=N of memory are changed each round, kind=word (8 bytes of each, the rest is
 * noise that stays) or kind=noise (all of it); every=MS from the beginning of a round to the next (0: one
 * after the other). In the time that is left it counts turns of a loop. What it has seen lies in
 * `seen`, at an address that the host reads by the monitor's xp; its clock is the TSC.
 */
#include <stdint.h>

#define PAGE 4096u
#define FIRST_PAGE 0x1000000u
#define GAP_US 500u

struct seen {
  volatile uint64_t units, ticks, rounds, gap_ticks, longest_gap, ticks_per_ms;
};
static struct seen *const seen = (struct seen *)0x800000;

__attribute__((section(".multiboot"), used)) static const uint32_t header[] = {
    0x1badb002, 0, -0x1badb002u};

struct pvclock {
  volatile uint32_t version, pad;
  volatile uint64_t tsc, system_ns;
  volatile uint32_t mul;
  volatile int8_t shift;
  volatile uint8_t flags, rest[2];
};
static struct pvclock clock __attribute__((aligned(32)));

static uint64_t rdtsc(void) {
  uint32_t low, high;
  __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
  return (uint64_t)high << 32 | low;
}

/* Ticks in a millisecond, by the host's word: ns = (ticks << shift) * mul >> 32. */
static uint32_t ticks_per_ms(void) {
  __asm__ volatile("wrmsr" ::"c"(0x4b564d01), "a"((uint32_t)(uintptr_t)&clock | 1), "d"(0));
  while (clock.mul == 0 || (clock.version & 1)) __asm__ volatile("pause");
  uint32_t ticks = 0, high = 1000000, low = 0, rest;
  __asm__("divl %4" : "=a"(ticks), "=d"(rest) : "0"(low), "1"(high % clock.mul), "r"(clock.mul));
  /* A shift of one and more makes fewer ticks, one below zero more. */
  return clock.shift >= 0 ? ticks >> clock.shift : ticks << -clock.shift;
}

static uint32_t option(const char *line, const char *name, uint32_t otherwise) {
  for (; *line; line++) {
    const char *a = line, *b = name;
    while (*b && *a == *b) a++, b++;
    if (*b) continue;
    uint32_t value = 0;
    for (; *a >= '0' && *a <= '9'; a++) value = value * 10 + (uint32_t)(*a - '0');
    return *a == 'n' ? 1 : value;
  }
  return otherwise;
}

static uint32_t noise = 2463534242u;
static uint32_t next_noise(void) {
  noise ^= noise << 13;
  noise ^= noise >> 17;
  noise ^= noise << 5;
  return noise;
}

static uint64_t last_look;
/* Between two looks lie some microseconds of work: more is time that the guest did not have. */
static uint64_t look(void) {
  uint64_t now = rdtsc(), gap = now - last_look;
  last_look = seen->ticks = now;
  if (gap * 1000 > seen->ticks_per_ms * GAP_US) {
    seen->gap_ticks += gap;
    if (gap > seen->longest_gap) seen->longest_gap = gap;
  }
  return now;
}

static void fill(uint32_t page) {
  uint32_t *at = (uint32_t *)(FIRST_PAGE + page * PAGE);
  for (uint32_t i = 0; i < PAGE / 4; i++) at[i] = next_noise();
}

static void touch(uint32_t page) {
  uint32_t *at = (uint32_t *)(FIRST_PAGE + page * PAGE + (next_noise() & 0xff8));
  at[0] = next_noise();
  at[1] = next_noise();
}

static void work(void) {
  uint32_t x = noise | 1;
  for (uint32_t i = 0; i < 2000; i++) {
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
  }
  noise = x;
  seen->units++;
}

static void run(const char *line) {
  const uint32_t pages = option(line, "pages=", 0), every = option(line, "every=", 0);
  const uint32_t all = option(line, "kind=", 0) == 1;
  seen->ticks_per_ms = ticks_per_ms();
  for (uint32_t i = 0; i < pages; i++) fill(i);
  last_look = rdtsc();
  for (uint64_t due = look();; due += (uint64_t)every * seen->ticks_per_ms) {
    for (uint32_t i = 0; i < pages; i++) {
      if (all) fill(i);
      else touch(i);
      if (all || (i & 15) == 0) look();
    }
    seen->rounds++;
    do work();
    while ((int64_t)(due + (uint64_t)every * seen->ticks_per_ms - look()) > 0);
  }
}

static uint8_t stack[65536];
__attribute__((naked, used)) void entry(void) {
  __asm__ volatile("lea %0, %%esp\n\tpush %%ebx\n\tcall begin" ::"m"(stack[sizeof stack - 64]));
}

__attribute__((used)) static void begin(const uint32_t *information) {
  run((const char *)(uintptr_t)information[4]);
}
