// The guest of demo and tests, as a static /init: loads the virtio modules, brings up the network, keeps its memory moving and checked,
// keeps several O_DIRECT|O_DSYNC writes in flight, and serves a TCP protocol whose every answer is the next counter value.
//
// With colo.part=N the records go into that partition of the disk. With colo.usb=1 it says where a USB tablet's pointer is.
//
// Kernel command line:  colo.ip=A.B.C.D  colo.port=N  colo.writers=N  colo.pages=N  colo.pace=MICROSECONDS  colo.dirty=MILLISECONDS
// Protocol: one line in ("next"), one line out: "<counter> <last durable record> <memory errors>".
// Disk: record n (from 1) of 512 bytes at offset (n - 1) * 512: u32 magic, u32 crc32 of the rest, u64 n, payload derived from n.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/input.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { RECORD = 512, MAX_CLIENTS = 16, PAGE = 4096, WINDOW = 4096 };
#define MAGIC 0x434f4c4fu

static char cmdline[4096];
static atomic_ulong memory_errors, next_record = 1, durable_record;
static unsigned long counter, disk_records;

static void say(const char *what) {
  printf("colo-guest: %s\n", what);
  fflush(stdout);
}

static void fail(const char *what) {
  printf("colo-guest: FAILED %s: %s\n", what, strerror(errno));
  fflush(stdout);
}

static long option(const char *name, long otherwise) {
  char *at = strstr(cmdline, name);
  return at ? strtol(at + strlen(name), 0, 10) : otherwise;
}

// --- set-up ----------------------------------------------------------------------------------------------------------

static void mounts(void) {
  mkdir("/proc", 0755), mkdir("/sys", 0755), mkdir("/dev", 0755);
  mount("proc", "/proc", "proc", 0, 0);
  mount("sysfs", "/sys", "sysfs", 0, 0);
  mount("devtmpfs", "/dev", "devtmpfs", 0, 0);
  int fd = open("/proc/cmdline", O_RDONLY);
  if (fd >= 0) {
    ssize_t n = read(fd, cmdline, sizeof cmdline - 1);
    if (n > 0) cmdline[n] = 0;
    close(fd);
  }
}

// Modules are numbered in load order: /mods/00 .. /mods/99.
static void modules(void) {
  for (int i = 0; i < 100; i++) {
    char path[32];
    snprintf(path, sizeof path, "/mods/%02d", i);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    if (syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST) fail(path);
    close(fd);
  }
}

static int wait_for(const char *path, int tries) {
  while (tries-- > 0) {
    if (!access(path, F_OK)) return 0;
    usleep(20000);
  }
  return -1;
}

static void network(void) {
  char ip[32] = "";
  char *at = strstr(cmdline, "colo.ip=");
  if (!at || sscanf(at + 8, "%31[0-9.]", ip) != 1) return;
  if (wait_for("/sys/class/net/eth0", 250)) return fail("no eth0");
  int s = socket(AF_INET, SOCK_DGRAM, 0);
  struct ifreq ifr = {0};
  struct sockaddr_in *sin = (struct sockaddr_in *)&ifr.ifr_addr;
  strcpy(ifr.ifr_name, "eth0");
  sin->sin_family = AF_INET;
  inet_pton(AF_INET, ip, &sin->sin_addr);
  if (ioctl(s, SIOCSIFADDR, &ifr)) fail("address");
  inet_pton(AF_INET, "255.255.255.0", &sin->sin_addr);
  if (ioctl(s, SIOCSIFNETMASK, &ifr)) fail("netmask");
  for (const char **name = (const char *[]){"lo", "eth0", 0}; *name; name++) {
    strcpy(ifr.ifr_name, *name);
    ioctl(s, SIOCGIFFLAGS, &ifr);
    ifr.ifr_flags |= IFF_UP | IFF_RUNNING;
    if (ioctl(s, SIOCSIFFLAGS, &ifr)) fail("link up");
  }
  close(s);
}

// --- memory: every page of a region carries a checksum of its words; each round verifies and rewrites it ----------------

static uint64_t mix(uint64_t x) {
  x ^= x >> 33, x *= 0xff51afd7ed558ccdull, x ^= x >> 33;
  return x;
}

static void fill_page(uint64_t *page, uint64_t seed) {
  uint64_t sum = 0;
  for (int i = 1; i < PAGE / 8; i++) sum += page[i] = seed + (uint64_t)i * 0x9e3779b97f4a7c15ull;
  page[0] = mix(sum ^ seed);
}

static int good_page(const uint64_t *page) {
  uint64_t sum = 0, seed = page[1] - 0x9e3779b97f4a7c15ull;
  for (int i = 1; i < PAGE / 8; i++) sum += page[i];
  return page[0] == mix(sum ^ seed);
}

// Each round rewrites all pages; one page in eight is verified whole before, so that a lost page does not stay unseen for long.
static void *memory_worker(void *arg) {
  (void)arg;
  long pages = option("colo.pages=", 1200), pause_ms = option("colo.dirty=", 40);
  uint64_t *region = mmap(0, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (region == MAP_FAILED) return fail("memory"), NULL;
  for (long i = 0; i < pages; i++) fill_page(region + i * (PAGE / 8), i);
  for (uint64_t round = 1;; round++) {
    for (long i = 0; i < pages; i++) {
      uint64_t *page = region + i * (PAGE / 8);
      if ((i & 7) == (long)(round & 7)) {
        if (!good_page(page)) atomic_fetch_add(&memory_errors, 1), printf("colo-guest: CORRUPT page %ld round %lu\n", i, (unsigned long)round), fflush(stdout);
        fill_page(page, round * 1000003 + i);
      } else {
        // Two words change and the sum with them: cheap, and still caught when one page of the two is stale.
        uint64_t seed = page[1] - 0x9e3779b97f4a7c15ull, sum = 0;
        page[100] ^= round, page[101 + i % 300] += round;
        for (int k = 1; k < PAGE / 8; k++) sum += page[k];
        page[0] = mix(sum ^ seed);
      }
    }
    usleep(pause_ms * 1000);
  }
}

// --- disk ----------------------------------------------------------------------------------------------------------------

static uint32_t crc_table[256];

static void crc_init(void) {
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t c = i;
    for (int k = 0; k < 8; k++) c = c & 1 ? 0xedb88320u ^ (c >> 1) : c >> 1;
    crc_table[i] = c;
  }
}

static uint32_t crc32(const uint8_t *p, size_t n) {
  uint32_t c = ~0u;
  while (n--) c = crc_table[(c ^ *p++) & 255] ^ (c >> 8);
  return ~c;
}

static void make_record(uint8_t *buffer, uint64_t number) {
  uint64_t *words = (uint64_t *)buffer;
  words[1] = number;
  for (int i = 2; i < RECORD / 8; i++) words[i] = mix(number * 64 + i);
  ((uint32_t *)buffer)[0] = MAGIC;
  ((uint32_t *)buffer)[1] = crc32(buffer + 8, RECORD - 8);
}

static pthread_mutex_t done_lock = PTHREAD_MUTEX_INITIALIZER;
static uint8_t done[WINDOW];

// Record n is durable; the watermark moves over every n without a gap below it.
static void record_done(uint64_t n) {
  pthread_mutex_lock(&done_lock);
  done[n % WINDOW] = 1;
  uint64_t mark = durable_record;
  while (done[(mark + 1) % WINDOW]) done[++mark % WINDOW] = 0;
  durable_record = mark;
  pthread_mutex_unlock(&done_lock);
}

static void *disk_writer(void *arg) {
  int fd = *(int *)arg;
  long pace_us = option("colo.pace=", 4000);
  uint8_t *buffer;
  if (posix_memalign((void **)&buffer, 4096, 4096)) return NULL;
  for (;;) {
    uint64_t n = atomic_fetch_add(&next_record, 1);
    if (n > disk_records) return NULL;
    make_record(buffer, n);
    if (pwrite(fd, buffer, RECORD, (off_t)(n - 1) * RECORD) != RECORD) return fail("record"), NULL;
    record_done(n);
    if (pace_us) usleep(pace_us);
  }
}

static void disk(void) {
  static int fd;
  char path[16];
  int used = snprintf(path, sizeof path, "/dev/%s", option("colo.ide=", 0) ? "sda" : "vda");
  if (option("colo.part=", 0)) snprintf(path + used, sizeof path - used, "%ld", option("colo.part=", 0));
  if (wait_for(path, 100)) return say("no disk");
  fd = open(path, O_RDWR | O_DIRECT | O_DSYNC);
  uint64_t size = 0;
  if (fd < 0 || ioctl(fd, BLKGETSIZE64, &size)) return fail(path);
  disk_records = size / RECORD;
  pthread_t thread;
  for (long i = option("colo.writers=", 6); i > 0; i--) pthread_create(&thread, 0, disk_writer, &fd);
}

// --- tablet ---------------------------------------------------------------------------------------------------------------

static int open_tablet(void) {
  for (int i = 0; i < 16; i++) {
    char path[32], name[128] = "";
    snprintf(path, sizeof path, "/dev/input/event%d", i);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) continue;
    if (ioctl(fd, EVIOCGNAME(sizeof name - 1), name) >= 0 && strstr(name, "USB Tablet")) {
      printf("colo-guest: tablet %s\n", name);
      fflush(stdout);
      return fd;
    }
    close(fd);
  }
  return -1;
}

static void *tablet(void *arg) {
  (void)arg;
  int fd = -1;
  for (int tries = 1000; tries > 0 && fd < 0; tries--) usleep(20000), fd = open_tablet();
  if (fd < 0) return say("no tablet"), NULL;
  int x = 0, y = 0, button = 0;
  struct input_event event;
  while (read(fd, &event, sizeof event) == sizeof event) {
    if (event.type == EV_ABS && event.code == ABS_X) x = event.value;
    if (event.type == EV_ABS && event.code == ABS_Y) y = event.value;
    if (event.type == EV_KEY && event.code == BTN_LEFT) button = event.value;
    if (event.type != EV_SYN) continue;
    printf("colo-guest: pointer %d %d %d\n", x, y, button);
    fflush(stdout);
  }
  return fail("tablet"), NULL;
}

// --- service -------------------------------------------------------------------------------------------------------------

struct client {
  int fd;
  size_t used;
  char line[256];
};

static void answer(struct client *c) {
  char text[96];
  int n = snprintf(text, sizeof text, "%lu %lu %lu\n", ++counter, (unsigned long)durable_record, (unsigned long)memory_errors);
  if (write(c->fd, text, n) != n) fail("answer");
}

static int serve_client(struct client *c) {
  ssize_t n = read(c->fd, c->line + c->used, sizeof c->line - c->used);
  if (n <= 0) return -1;
  c->used += n;
  char *end;
  while ((end = memchr(c->line, '\n', c->used))) {
    answer(c);
    size_t rest = c->used - (end + 1 - c->line);
    memmove(c->line, end + 1, rest);
    c->used = rest;
  }
  return c->used == sizeof c->line ? -1 : 0;
}

static void serve(void) {
  int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1, count = 0;
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(option("colo.port=", 7777))};
  struct client clients[MAX_CLIENTS];
  struct pollfd polls[MAX_CLIENTS + 1];
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(listener, (void *)&at, sizeof at) || listen(listener, 8)) fail("listen");
  say("ready");
  for (;;) {
    polls[0] = (struct pollfd){.fd = listener, .events = count < MAX_CLIENTS ? POLLIN : 0};
    for (int i = 0; i < count; i++) polls[i + 1] = (struct pollfd){.fd = clients[i].fd, .events = POLLIN};
    if (poll(polls, count + 1, -1) < 0) continue;
    for (int i = count - 1; i >= 0; i--)
      if (polls[i + 1].revents && serve_client(&clients[i])) close(clients[i].fd), clients[i] = clients[--count];
    if (!polls[0].revents) continue;
    int fd = accept(listener, 0, 0);
    if (fd < 0) continue;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    clients[count++] = (struct client){.fd = fd};
  }
}

int main(void) {
  mounts();
  say("init");
  if (option("colo.halt=", 0)) reboot(RB_POWER_OFF);
  crc_init();
  modules();
  network();
  disk();
  pthread_t thread;
  if (option("colo.usb=", 0)) pthread_create(&thread, 0, tablet, 0);
  if (option("colo.pages=", 1200)) pthread_create(&thread, 0, memory_worker, 0);
  serve();
}
