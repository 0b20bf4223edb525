// Guest RAM: one memfd mapped once. Pages nobody touched stay holes of the file and cost nothing.
#include "memory/ram.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

namespace colo::memory {

namespace {

constexpr u64 kLowEnd = 3ull << 30;    // RAM below the PCI hole ends here
constexpr u64 kHighBase = 4ull << 30;  // and goes on here

[[noreturn]] void throw_errno(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

int create_memfd(u64 size) {
  int fd = memfd_create("guest-ram", MFD_CLOEXEC);
  if (fd < 0) throw_errno("memfd_create");
  if (ftruncate(fd, static_cast<off_t>(size)) == 0) return fd;
  int saved = errno;
  close(fd);
  errno = saved;
  throw_errno("ftruncate of guest RAM");
}

/// NORESERVE: a guest may be larger than what it ever touches. DONTDUMP: a core dump of the monitor
/// must not hold the guest.
u8* map_shared(int fd, u64 size) {
  void* p = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
  if (p == MAP_FAILED) return nullptr;
  madvise(p, size, MADV_DONTDUMP);
  return static_cast<u8*>(p);
}

}  // namespace

GuestRam::GuestRam(u64 ram, u64 extra)
    : size_(ram + extra), dirty_words_((page_count() + 63) >> 6) {
  COLO_ASSERT(ram > 0 && (ram & ~kPageMask) == 0 && (extra & ~kPageMask) == 0);
  fd_ = create_memfd(size_);
  base_ = map_shared(fd_, size_);
  if (!base_) {
    int saved = errno;
    close(fd_);
    errno = saved;
    throw_errno("mmap of guest RAM");
  }
  const u64 low = std::min(ram, kLowEnd);
  plain_.slots.push_back({0, low, 0, base_, 0});
  if (ram > low)
    plain_.slots.push_back({kHighBase, ram - low, low, base_ + low, low >> kPageShift});
  map_ = plain_;
  dirty_.reset(new std::atomic<u64>[dirty_words_]);
  fill_dirty(~0ull);
  code_pages_.reset(new std::atomic<u8>[page_count()]());
}

GuestRam::~GuestRam() {
  munmap(base_, size_);
  close(fd_);
}

u64 GuestRam::gpa_of_page(u64 page) const {
  for (const Slot& s : plain_.slots) {
    u64 index = page - s.first_page;
    if (index < s.size >> kPageShift) return s.gpa + (index << kPageShift);
  }
  COLO_ASSERT(!"page number outside of RAM");
}

// --- what CPUs see
// ------------------------------------------------------------------------------------------

MemoryMap GuestRam::map() const {
  std::lock_guard lock(map_lock_);
  return map_;
}

namespace {
bool in_pages(const Slot& s) { return s.size && !((s.gpa | s.size | s.offset) & ~kPageMask); }
bool overlap(const Slot& a, const Slot& b) {
  return a.gpa < b.gpa + b.size && b.gpa < a.gpa + a.size;
}
}  // namespace

std::string GuestRam::set_map(const std::vector<Slot>& wanted) {
  if (wanted.size() > kMaxSlots) return "too many slots";
  MemoryMap next;
  for (Slot s : wanted) {
    if (!in_pages(s)) return "a slot is not made of pages";
    if (s.offset > size_ || s.size > size_ - s.offset) return "a slot lies outside of memory";
    if (s.gpa + s.size < s.gpa) return "a slot lies outside of the address space";
    for (const Slot& other : next.slots)
      if (overlap(s, other)) return "slots overlap";
    s.hva = base_ + s.offset, s.first_page = s.offset >> kPageShift;
    next.slots.push_back(s);
  }
  MemoryMap before;
  {
    std::lock_guard lock(map_lock_);
    if (next.slots == map_.slots && map_settled_) return "";
    before = std::exchange(map_, std::move(next));
  }
  map_settled_ = false;
  try {
    for (RamObserver* o : observers_) o->map_changed();
  } catch (...) {
    std::lock_guard lock(map_lock_);
    map_ = std::move(before);
    throw;
  }
  map_settled_ = true;
  return "";
}

// --- dirty log
// ------------------------------------------------------------------------------------------
// Bits are set and read relaxed: a bit says "look at this page", it publishes nothing by itself.
// The one reader that relies on the page's content is the harvester, and it runs after every writer
// has been stopped; the stop handshake (a mutex) orders both the writes and their bits before the
// harvest. While the log is off all bits are ones, so that a write tag is valid without a case of
// its own for "off".

void GuestRam::fill_dirty(u64 word) {
  for (u64 i = 0; i < dirty_words_; i++) dirty_[i].store(word, std::memory_order_relaxed);
  u64 tail = page_count() & 63;
  if (tail) dirty_[dirty_words_ - 1].store(word & ((1ull << tail) - 1), std::memory_order_relaxed);
}

void GuestRam::reset_epoch() {
  // After the bits, so that a vCPU which saw the notice cannot build a write tag on a bit of the
  // old epoch.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  for (RamObserver* o : observers_) o->dirty_log_reset();
}

void GuestRam::start_dirty_log() {
  fill_dirty(0);
  logging_.store(true, std::memory_order_relaxed);
  if (dirty_source_) dirty_source_->log_switched(true);
  reset_epoch();
}

void GuestRam::stop_dirty_log() {
  logging_.store(false, std::memory_order_relaxed);
  if (dirty_source_) dirty_source_->log_switched(false);
  fill_dirty(~0ull);
  reset_epoch();
}

void GuestRam::mark_written(u64 gpa, u64 len) {
  if (len == 0) return;
  const Slot* s = slot_of(gpa);
  COLO_ASSERT(s && len <= s->size - (gpa - s->gpa));
  mark_offset_written(s->offset + (gpa - s->gpa), len);
}

void GuestRam::mark_offset_written(u64 offset, u64 len) {
  if (len == 0) return;
  COLO_ASSERT(offset < size_ && len <= size_ - offset);
  // Store-load: the caller's bytes must be visible before the code flags are read. A vCPU does the
  // mirror image (flag, then bytes), so either it decodes the new bytes or we see its flag; both
  // may happen, neither never.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  for (u64 page = offset >> kPageShift, last = (offset + len - 1) >> kPageShift; page <= last;
       page++) {
    if (!is_dirty(page)) mark_dirty(page);
    if (COLO_LIKELY(code_pages_[page].load(std::memory_order_seq_cst) == 0)) continue;
    const u64 from = std::max(offset, page << kPageShift);
    const u64 to = std::min(offset + len, (page + 1) << kPageShift);
    for (RamObserver* o : observers_) o->code_written(from, to - from);
  }
}

void GuestRam::set_dirty_source(DirtySource* source) {
  COLO_ASSERT(!source || !dirty_source_);
  dirty_source_ = source;
  if (source && logging()) source->log_switched(true);
}

std::vector<u32> GuestRam::take_dirty() {
  collect();
  std::vector<u32> pages;
  for (u64 i = 0; i < dirty_words_; i++) {
    u64 word = logging() ? dirty_[i].exchange(0, std::memory_order_relaxed)
                         : dirty_[i].load(std::memory_order_relaxed);
    for (; word; word &= word - 1)
      pages.push_back(static_cast<u32>(i * 64 + static_cast<u64>(std::countr_zero(word))));
  }
  if (logging()) reset_epoch();
  return pages;
}

void GuestRam::restore_dirty(const u32* pages, size_t n) {
  for (size_t i = 0; i < n; i++) mark_dirty(pages[i]);
}

u64 GuestRam::dirty_count() const {
  collect();
  u64 count = 0;
  for (u64 i = 0; i < dirty_words_; i++)
    count += static_cast<u64>(std::popcount(dirty_[i].load(std::memory_order_relaxed)));
  return count;
}

// --- bulk moves
// ------------------------------------------------------------------------------------------

void GuestRam::gather(const u32* pages, size_t n, u8* out) const {
  for (size_t i = 0; i < n; i++)
    memcpy(out + (i << kPageShift), base_ + (u64{pages[i]} << kPageShift), kPageSize);
}

void GuestRam::scatter(const u32* pages, size_t n, const u8* in) {
  for (size_t i = 0; i < n; i++) {
    u64 page = pages[i];
    memcpy(base_ + (page << kPageShift), in + (i << kPageShift), kPageSize);
    mark_offset_written(page << kPageShift, kPageSize);
  }
}

// Ascending pages are asked about once for each hole that they lie in.
void GuestRam::zero(const u32* pages, size_t n) {
  u64 hole_from = 0, hole_end = 0;
  for (size_t i = 0; i < n; i++) {
    const u64 page = pages[i];
    if (page >= hole_from && page < hole_end) continue;
    const off_t at = static_cast<off_t>(page << kPageShift), data = lseek(fd_, at, SEEK_DATA);
    if (data != at) {  // ENXIO: only holes from here on
      hole_from = page;
      hole_end = data < 0 ? page_count() : static_cast<u64>(data) >> kPageShift;
      continue;
    }
    memset(base_ + at, 0, kPageSize);
    mark_offset_written(page << kPageShift, kPageSize);
  }
}

// Asked of the file: touching a hole through the mapping would fill it.
std::vector<Extent> GuestRam::populated() const {
  std::vector<Extent> extents;
  off_t end = 0;
  for (;;) {
    off_t data = lseek(fd_, end, SEEK_DATA);
    if (data < 0) return extents;  // ENXIO: only holes from here on
    end = lseek(fd_, data, SEEK_HOLE);
    COLO_ASSERT(end > data);
    extents.push_back(
        {static_cast<u64>(data) >> kPageShift, static_cast<u64>(end - data) >> kPageShift});
  }
}

void GuestRam::remove_observer(RamObserver* o) { std::erase(observers_, o); }

}  // namespace colo::memory
