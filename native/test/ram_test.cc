// Guest RAM against plain models: the dirty log against a set, scatter and gather against a byte
// array, sparseness against the kernel.
#include "memory/ram.h"

#include <cstring>
#include <numeric>
#include <random>
#include <set>
#include <vector>

#include "test/check.h"

using namespace colo;
using namespace colo::memory;

namespace {

struct Recorder : RamObserver {
  std::vector<std::pair<u64, u64>> code;
  int resets = 0;
  void code_written(u64 offset, u64 len) override { code.push_back({offset, len}); }
  void dirty_log_reset() override { resets++; }
  void map_changed() override {}
};

u64 populated_pages(const GuestRam& ram) {
  u64 n = 0;
  for (const Extent& e : ram.populated()) n += e.pages;
  return n;
}

void slots_leave_the_pci_hole_free() {
  GuestRam small(1 << 20);
  CHECK(small.slots().size() == 1 && small.slot_of(1 << 20) == nullptr);
  GuestRam big(5ull << 30);
  CHECK(big.slots().size() == 2);
  CHECK(big.slot_of(3ull << 30) == nullptr && big.slot_of((4ull << 30) - 1) == nullptr);
  CHECK(big.hva((4ull << 30), 4096) == big.base() + (3ull << 30));
  CHECK(big.hva((3ull << 30) - 1, 2) == nullptr);
  CHECK(big.hva(0, ~0ull) == nullptr);
  CHECK(big.slot_of((6ull << 30)) == nullptr && big.slot_of((6ull << 30) - 1) != nullptr);
  CHECK(big.gpa_of_page(big.page_of(4ull << 30)) == 4ull << 30);
  CHECK(big.page_of(4ull << 30) == (3ull << 30) >> kPageShift);
  CHECK(populated_pages(big) == 0);
}

void untouched_pages_cost_nothing() {
  GuestRam ram(64ull << 30);
  ram.base()[123 << kPageShift] = 1;
  ram.start_dirty_log();
  ram.mark_written(40ull << 30, 8);
  CHECK(ram.take_dirty().size() == 1);
  (void)ram.hash();
  CHECK(populated_pages(ram) == 1);
}

void dirty_log_is_a_set() {
  std::mt19937_64 rng(1);
  GuestRam ram(4099 << kPageShift);  // no multiple of 64 pages: the last word is partial
  CHECK(ram.is_dirty(0) && ram.dirty_count() == 4099 && ram.take_dirty().size() == 4099 &&
        ram.is_dirty(7));
  ram.start_dirty_log();
  for (int round = 0; round < 50; round++) {
    std::set<u32> model;
    for (int i = 0; i < 200; i++) {
      u64 gpa = rng() % ram.size(), len = std::min<u64>(rng() % 20000, ram.size() - gpa);
      ram.mark_written(gpa, len);
      for (u64 p = gpa >> kPageShift; len && p <= (gpa + len - 1) >> kPageShift; p++)
        model.insert(static_cast<u32>(p));
    }
    CHECK(ram.dirty_count() == model.size());
    std::vector<u32> taken = ram.take_dirty();
    CHECK(taken == std::vector<u32>(model.begin(), model.end()));
    CHECK(ram.dirty_count() == 0);
    ram.restore_dirty(taken.data(), taken.size());
    CHECK(ram.take_dirty() == taken);
  }
  ram.stop_dirty_log();
  CHECK(ram.is_dirty(4098) && ram.dirty_count() == 4099);
}

void writes_reach_the_observer_of_code_only() {
  GuestRam ram(16 << kPageShift);
  Recorder seen;
  ram.add_observer(&seen);
  ram.mark_written(0x1ff0, 0x20);
  CHECK(seen.code.empty());
  ram.code_flag(2).store(1);
  ram.mark_written(0x1ff0, 0x20);
  CHECK(seen.code.size() == 1 && seen.code[0] == std::make_pair(u64{0x2000}, u64{0x10}));
  u32 page = 2;
  std::vector<u8> bytes(kPageSize, 7);
  ram.scatter(&page, 1, bytes.data());
  CHECK(seen.code.size() == 2 && seen.code[1] == std::make_pair(u64{0x2000}, kPageSize));
  ram.start_dirty_log();
  ram.take_dirty();
  ram.stop_dirty_log();
  CHECK(seen.resets == 3);
  ram.remove_observer(&seen);
  ram.mark_written(0x2000, 1);
  CHECK(seen.code.size() == 2);
}

void pages_move_and_the_hash_follows_content() {
  GuestRam a(3080ull << 20), b(3080ull << 20);  // two slots
  CHECK(a.hash() == b.hash());
  std::mt19937_64 rng(2);
  std::vector<u32> pages = {0, 5, 786431, 786432, 788479};
  std::vector<u8> in(pages.size() * kPageSize), out(in.size());
  for (u8& v : in) v = static_cast<u8>(rng());
  a.start_dirty_log();
  a.scatter(pages.data(), pages.size(), in.data());
  CHECK(a.take_dirty() == pages);
  a.gather(pages.data(), pages.size(), out.data());
  CHECK(in == out);
  CHECK(*a.hva(4ull << 30, 1) == in[3 * kPageSize]);
  CHECK(a.hash() != b.hash());
  b.scatter(pages.data(), pages.size(), in.data());
  CHECK(a.hash() == b.hash());
  *b.hva(9 << kPageShift, 1) = 0;  // a page of zeroes is a hole
  CHECK(a.hash() == b.hash() && populated_pages(b) == pages.size() + 1);
  std::swap_ranges(in.begin(), in.begin() + kPageSize, in.begin() + kPageSize);
  b.scatter(pages.data(), pages.size(), in.data());  // the same pages elsewhere
  CHECK(a.hash() != b.hash());
}

void zeroes_leave_holes_and_are_written_elsewhere() {
  GuestRam ram(64 << kPageShift);
  std::vector<u32> held = {3, 40}, all(64);
  std::iota(all.begin(), all.end(), 0);
  std::vector<u8> in(held.size() * kPageSize, 7);
  ram.scatter(held.data(), held.size(), in.data());
  ram.start_dirty_log();
  ram.zero(all.data(), all.size());
  CHECK(ram.take_dirty() == held);
  CHECK(populated_pages(ram) == held.size());
  CHECK(*ram.hva(3 << kPageShift, 1) == 0 && *ram.hva((41 << kPageShift) - 1, 1) == 0);
  std::vector<u32> falling = {40, 3, 39, 2};
  ram.scatter(held.data(), held.size(), in.data());
  ram.zero(falling.data(), falling.size());
  CHECK(ram.hash() == GuestRam(64 << kPageShift).hash() && populated_pages(ram) == held.size());
}

}  // namespace

int main() {
  slots_leave_the_pci_hole_free();
  untouched_pages_cost_nothing();
  dirty_log_is_a_set();
  writes_reach_the_observer_of_code_only();
  pages_move_and_the_hash_follows_content();
  zeroes_leave_holes_and_are_written_elsewhere();
  return test::finish();
}
