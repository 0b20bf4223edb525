// Guest RAM: one memfd, where devices find it in guest-physical space (slots), what CPUs see of it
// (the map), and the dirty log over it. A page has one number, whatever addresses lead to it; the
// byte at page * 4096 + n of the memfd is byte n of that page, and that is its offset.
//
// Every write to guest RAM is marked: vCPUs mark through their write tags, devices through
// mark_written(). The log has KVM's layout (u64 words, bit n = page n of the slot, little endian),
// so both CPU backends feed the same code.
#pragma once
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/types.h"
#include "memory/map.h"

namespace colo::memory {

/// A run of pages, numbered over all slots.
struct Extent {
  u64 first_page = 0;
  u64 pages = 0;
};

/// Told when RAM changes behind a vCPU's back, so that decoded code and write tags can be dropped.
/// Called on any thread.
struct RamObserver {
  virtual ~RamObserver() = default;
  /// Bytes [offset, offset+len) of a page that holds decoded code were written by someone other
  /// than a vCPU.
  virtual void code_written(u64 offset, u64 len) = 0;
  /// The dirty log was cleared (a new epoch) or switched: cached "already dirty" facts are void.
  virtual void dirty_log_reset() = 0;
  /// CPUs are to see another map. They may run.
  virtual void map_changed() = 0;
};

/// A backend whose vCPUs do not mark what they write, because their kernel keeps a log of its own.
/// Called on the log's one thread.
struct DirtySource {
  virtual ~DirtySource() = default;
  /// The log was switched. On: what was written before no longer counts.
  virtual void log_switched(bool on) = 0;
  /// mark_dirty() for every page that vCPUs wrote since the last call.
  virtual void collect_dirty() = 0;
};

class GuestRam {
 public:
  /// ram: bytes of RAM. Below 3 GiB it is one slot at 0; the rest goes to 4 GiB and up (the PCI
  /// hole lies between). extra: bytes behind it that are nowhere until a map shows them (ROM).
  explicit GuestRam(u64 ram, u64 extra = 0);
  ~GuestRam();
  GuestRam(const GuestRam&) = delete;
  GuestRam& operator=(const GuestRam&) = delete;

  /// Of all memory.
  u64 size() const { return size_; }
  u64 page_count() const { return size_ >> kPageShift; }
  const std::vector<Slot>& slots() const { return plain_.slots; }

  /// As devices see it: all of RAM and nothing else, whatever the map says.
  const Slot* slot_of(u64 gpa) const { return plain_.slot_of(gpa); }
  u8* hva(u64 gpa, u64 len) const { return plain_.hva(gpa, len); }
  /// Page number (dense over all slots) of a RAM gpa. Precondition: slot_of(gpa).
  u64 page_of(u64 gpa) const {
    const Slot* s = slot_of(gpa);
    return s->first_page + ((gpa - s->gpa) >> kPageShift);
  }
  u64 gpa_of_page(u64 page) const;

  // --- what CPUs see
  // -----------------------------------------------------------------------------------------------
  /// A copy. At first it is RAM's slots. Any thread.
  MemoryMap map() const;
  /// gpa, size, offset and read_only of each slot; the rest follows. A sentence, and nothing has
  /// changed: it does not lie in memory, overlaps or is not made of pages. What an observer throws
  /// passes through: the map is the old one, and the next is told to all, whatever it is.
  std::string set_map(const std::vector<Slot>& wanted);

  // --- dirty log
  // -----------------------------------------------------------------------------------------------
  /// Off: every page counts as dirty, nobody pays for tracking. On: log cleared.
  void start_dirty_log();
  void stop_dirty_log();
  bool logging() const { return logging_.load(std::memory_order_relaxed); }
  bool is_dirty(u64 page) const {
    return (dirty_[page >> 6].load(std::memory_order_relaxed) >> (page & 63)) & 1;
  }
  void mark_dirty(u64 page) {
    dirty_[page >> 6].fetch_or(1ull << (page & 63), std::memory_order_relaxed);
  }
  /// The device side's door: marks dirty, and tells observers if the page holds decoded code.
  void mark_written(u64 gpa, u64 len);
  void mark_offset_written(u64 offset, u64 len);
  /// Moves the set of dirty pages out (ascending page numbers) and clears the log. vCPUs must be
  /// stopped. Log off: all pages, none cleared.
  std::vector<u32> take_dirty();
  /// Puts pages of an aborted epoch back.
  void restore_dirty(const u32* pages, size_t n);
  u64 dirty_count() const;
  /// Comes and goes with a backend, while nobody writes RAM. At most one.
  void set_dirty_source(DirtySource* source);

  // --- decoded code
  // --------------------------------------------------------------------------------------------
  /// Set by a vCPU *before* it reads the bytes that it decodes; read by writers *after* they wrote
  /// (seq_cst both).
  std::atomic<u8>& code_flag(u64 page) { return code_pages_[page]; }

  // --- bulk moves, memory speed
  // ----------------------------------------------------------------------------------
  /// Copies pages[i] to out + i*4096.
  void gather(const u32* pages, size_t n, u8* out) const;
  /// Copies in + i*4096 over pages[i], marks them, drops decoded code on them.
  void scatter(const u32* pages, size_t n, const u8* in);

  /// Makes these pages zeroes. A page that holds no memory is not touched: it stays a hole.
  void zero(const u32* pages, size_t n);

  /// The pages that hold memory, ascending; every other page was never touched and reads as zeroes.
  std::vector<Extent> populated() const;
  /// 64-bit hash of all content; untouched pages and pages of zeroes are alike. Only meaningful
  /// while nobody writes.
  u64 hash() const;

  /// Host address of the whole RAM, by memfd offset (see Slot::offset).
  u8* base() const { return base_; }

  /// Observers come and go while nobody writes RAM (before the first run, after the last).
  void add_observer(RamObserver* o) { observers_.push_back(o); }
  void remove_observer(RamObserver* o);

 private:
  void fill_dirty(u64 word);
  void reset_epoch();
  void collect() const {
    if (dirty_source_ && logging()) dirty_source_->collect_dirty();
  }

  u64 size_;
  u64 dirty_words_;
  int fd_ = -1;
  u8* base_ = nullptr;
  MemoryMap plain_;  // RAM
  MemoryMap map_;
  bool map_settled_ = true;  // no observer may have stopped half-way between two maps
  mutable std::mutex map_lock_;
  std::atomic<bool> logging_{false};
  std::unique_ptr<std::atomic<u64>[]> dirty_;
  std::unique_ptr<std::atomic<u8>[]> code_pages_;
  std::vector<RamObserver*> observers_;
  DirtySource* dirty_source_ = nullptr;
};

}  // namespace colo::memory
