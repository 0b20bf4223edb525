// The guest of bench:cpu, as a static /init; as an ordinary program it measures the host. Each kernel
// prints "BENCH begin name" and "BENCH end name millions-of-units unit", and whoever reads the lines
// looks at the time. Argument or bench.scale=N on Linux's command line: how much work, in per cent.
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Six instructions a turn: a load, a store, arithmetic, a branch. */
static void loop(uint64_t turns) {
  static uint64_t cells[2];
  uint64_t sum = 1, *at = cells;
  __asm__ volatile(
      "1: mov (%1), %%rcx\n\tadd %%rcx, %0\n\txor %%eax, %%eax\n\tmov %0, 8(%1)\n\tdec %2\n\tjnz 1b"
      : "+r"(sum), "+r"(at), "+r"(turns)
      :
      : "rax", "rcx", "memory", "cc");
}

/* Six instructions a turn, all in registers. */
static void alu(uint64_t turns) {
  uint64_t a = 1, b = 2;
  __asm__ volatile(
      "1: add %1, %0\n\trol $5, %0\n\txor %0, %1\n\tlea 3(%1,%0,2), %1\n\tdec %2\n\tjnz 1b"
      : "+r"(a), "+r"(b), "+r"(turns)
      :
      : "cc");
}

static uint32_t round_constants[64];
static uint32_t turn(uint32_t x, int n) { return x >> n | x << (32 - n); }

/* Fractions of the cube roots of the first 64 primes (FIPS 180-4). */
static void make_constants(void) {
  for (uint64_t n = 2, k = 0; k < 64; n++) {
    uint64_t d = 2;
    while (d * d <= n && n % d) d++;
    if (d * d <= n) continue;
    unsigned __int128 root = 0; /* the largest whose cube is at most n * 2^96 */
    for (int bit = 35; bit >= 0; bit--) {
      const unsigned __int128 r = root | (unsigned __int128)1 << bit;
      if (r * r * r <= (unsigned __int128)n << 96) root = r;
    }
    round_constants[k++] = (uint32_t)root;
  }
}

static void sha_block(uint32_t *state, const uint8_t *bytes) {
  uint32_t w[64], s[8];
  for (int i = 0; i < 16; i++) {
    uint32_t v;
    memcpy(&v, bytes + 4 * i, 4);
    w[i] = __builtin_bswap32(v);
  }
  for (int i = 16; i < 64; i++) {
    const uint32_t a = w[i - 15], b = w[i - 2];
    w[i] = w[i - 16] + (turn(a, 7) ^ turn(a, 18) ^ a >> 3) + w[i - 7] +
           (turn(b, 17) ^ turn(b, 19) ^ b >> 10);
  }
  memcpy(s, state, sizeof s);
  for (int i = 0; i < 64; i++) {
    const uint32_t e = s[4], a = s[0];
    const uint32_t t1 = s[7] + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) +
                        ((e & s[5]) ^ (~e & s[6])) + round_constants[i] + w[i];
    const uint32_t t2 =
        (turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));
    memmove(s + 1, s, 7 * sizeof *s);
    s[4] += t1, s[0] = t1 + t2;
  }
  for (int i = 0; i < 8; i++) state[i] += s[i];
}

static uint8_t *from, *to;
enum { BYTES = 32 << 20 };

static void sha(uint64_t blocks) {
  static uint32_t state[8];
  for (uint64_t i = 0; i < blocks; i++) sha_block(state, from + i % 1024 * 64);
}

static int ascending(const void *a, const void *b) {
  const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
  return (x > y) - (x < y);
}
static void quicksort(uint64_t count) {
  int32_t *all = (int32_t *)to;
  uint64_t x = 88172645463325252u;
  for (uint64_t i = 0; i < count; i++) {
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    all[i] = (int32_t)x;
  }
  qsort(all, count, sizeof *all, ascending);
}

static void doubles(uint64_t turns) {
  volatile double seed = 1.1;
  double a = seed, x = 1, y = 2;
  for (uint64_t i = 0; i < turns; i++) x = x * 0.99 + a, y = y - x / 3.0;
  seed = x + y;
}

/* long double is x87's. */
static void x87(uint64_t turns) {
  volatile long double seed = 1.1L;
  long double a = seed, x = 1;
  for (uint64_t i = 0; i < turns; i++) x = x * 0.99L + a;
  seed = x;
}

static void copy(uint64_t times) {
  for (uint64_t i = 0; i < times; i++) {
    memcpy(to, from, BYTES);
    __asm__ volatile("" : : "r"(to) : "memory");
  }
}

static void system_calls(uint64_t times) {
  while (times--) syscall(SYS_getppid);
}

static void pipes(uint64_t times) {
  int end[2];
  char bytes[512] = {0};
  if (pipe(end)) return;
  while (times--)
    if (write(end[1], bytes, sizeof bytes) < 0 || read(end[0], bytes, sizeof bytes) < 0) return;
}

static void page_faults(uint64_t pages) {
  for (uint64_t done = 0; done < pages; done += 256) {
    char *at = mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < 256; i++) at[i * 4096] = 1;
    munmap(at, 1 << 20);
  }
}

static void forks(uint64_t times) {
  while (times--) {
    const pid_t child = fork();
    if (child == 0) _exit(0);
    waitpid(child, 0, 0);
  }
}

static const struct {
  const char *name;
  void (*run)(uint64_t);
  uint64_t work;
  double per_work;
  const char *unit;
} kernels[] = {
    {"loop", loop, 60000000, 6, "M instructions/s"},
    {"alu", alu, 60000000, 6, "M instructions/s"},
    {"sha", sha, 60000, 64, "MB/s"},
    {"quicksort", quicksort, 200000, 1, "M elements/s"},
    {"double", doubles, 10000000, 4, "MFLOP/s"},
    {"x87", x87, 2000000, 2, "MFLOP/s"},
    {"memcpy", copy, 8, BYTES, "MB/s"},
    {"syscall", system_calls, 400000, 1, "M calls/s"},
    {"pipe", pipes, 60000, 2, "M calls/s"},
    {"pagefault", page_faults, 30000, 1, "M faults/s"},
    {"fork", forks, 200, 1000, "k forks/s"},
};

static double scale_of(int argc, char **argv) {
  char line[1024] = "";
  FILE *f = getpid() == 1 ? fopen("/proc/cmdline", "r") : 0;
  if (f && !fgets(line, sizeof line, f)) line[0] = 0;
  const char *at = strstr(line, "bench.scale=");
  return (at ? atof(at + 12) : argc > 1 ? atof(argv[1]) : 100) / 100;
}

int main(int argc, char **argv) {
  if (getpid() == 1) mkdir("/proc", 0755), mount("proc", "/proc", "proc", 0, 0);
  const double scale = scale_of(argc, argv);
  make_constants();
  from = malloc(BYTES), to = malloc(BYTES);
  memset(from, 1, BYTES), memset(to, 2, BYTES);
  printf("\n");
  for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++) {
    const uint64_t work = (uint64_t)((double)kernels[i].work * scale) + 1;
    printf("BENCH begin %s\n", kernels[i].name);
    fflush(stdout);
    kernels[i].run(work);
    const double units = (double)work * kernels[i].per_work / 1e6;
    printf("BENCH end %s %.6g %s\n", kernels[i].name, units, kernels[i].unit);
    fflush(stdout);
  }
  if (getpid() == 1) reboot(RB_POWER_OFF);
  return 0;
}
