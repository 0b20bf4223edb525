// The block cache: see block.h. One owner thread; others only queue.
#include "soft/block.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "soft/decode.h"
#include "soft/mmu.h"

namespace colo::soft {
namespace {

constexpr size_t kHashSize = 1u << 16;
constexpr size_t kLongestBlock = sizeof(Block) + (kMaxOps + 1) * sizeof(Op) + 64;

size_t hash_of(u64 va, u64 pa, u8 mode) { return ((pa * 0x9e3779b97f4a7c15ull) >> 48 ^ (va >> 12) ^ mode * 0x5555) & (kHashSize - 1); }

/// Bytes of b on its first page.
u64 first_part(const Block* b) { return std::min<u64>(b->bytes, kPageSize - (b->pa & ~kPageMask)); }

bool touches(const Block* b, u64 gpa, u64 len) {
  if (gpa < b->pa + first_part(b) && b->pa < gpa + len) return true;
  return b->pa2 != kNoPage && gpa < b->pa2 + (b->bytes - first_part(b)) && b->pa2 < gpa + len;
}

u32 granules_between(u64 from, u64 to) {  // offsets in a page, to exclusive
  u32 mask = 0;
  for (u64 g = from / 128; g * 128 < to; g++) mask |= 1u << g;
  return mask;
}

void unlink_incoming(Incoming& n) {
  if (!n.slot) return;
  *n.slot = nullptr;
  *n.prev = n.next;
  if (n.next) n.next->prev = n.prev;
  n.slot = nullptr;
}

}  // namespace

BlockCache::BlockCache(Cpu& cpu) : c_(cpu), hash_(kHashSize), pages_(cpu.ram->page_count()), jumps_(new JumpEntry[2 * kJumpCount]) {
  void* p = mmap(nullptr, kArenaSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  COLO_ASSERT(p != MAP_FAILED);
  madvise(p, kArenaSize, MADV_HUGEPAGE);
  arena_ = static_cast<u8*>(p);
  c_.arena = arena_;
}

BlockCache::~BlockCache() { munmap(arena_, kArenaSize); }

bool BlockCache::exec_page(u64 va, Exec& out) {
  const u64 page_va = va & kPageMask;
  const TlbEntry& e = c_.tlb[(va >> kPageShift) & (kTlbSize - 1)];
  bool device = false;
  if (e.exec != page_va && !c_.mmu->fill(va, Access::Exec, c_.cpl == 3, out.gpa)) return false;
  out.host = c_.mmu->at(va, Access::Read, c_.cpl == 3, out.gpa, device);
  if (out.host) return true;
  if (device) c_.raise(UD);  // an empty bus floats to FF FF, which is no instruction
  return false;
}

Block* BlockCache::lookup(u64 va, u64 pa, u8 mode) {
  for (Block* b = hash_[hash_of(va, pa, mode)]; b; b = b->hash_next)
    if (b->va == va && b->pa == pa && b->mode == mode) return b;
  return nullptr;
}

Block* BlockCache::find(u64 va, u8 extra_mode) {
  const u8 mode = (c_.cpl == 3 ? kModeUser : 0) | extra_mode;
  if (!extra_mode) {
    const JumpEntry& j = c_.jumps[jump_index(va)];
    if (j.va == va && j.epoch == c_.epoch[va >> 63]) return reinterpret_cast<Block*>(arena_ + j.block);
  }
  Exec at;
  if (!exec_page(va, at)) return nullptr;
  Block* b = lookup(va, at.gpa, mode);
  if (b && b->pa2 != kNoPage) {  // its second page may be mapped elsewhere by now
    Exec second;
    if (!exec_page((va & kPageMask) + kPageSize, second)) return nullptr;
    if (second.gpa != b->pa2) {
      kill(b, kNoPage);
      b = nullptr;
    }
  }
  if (!b) {
    if (used_ + kLongestBlock > kArenaSize) {
      full_ = true;
      return nullptr;
    }
    b = decode(va, at, mode);
    if (!b) return nullptr;
  }
  if (!extra_mode) remember(va, b);
  return b;
}

void BlockCache::remember(u64 va, Block* b) {
  c_.jumps[jump_index(va)] = {va, c_.epoch[va >> 63], static_cast<u32>(reinterpret_cast<u8*>(b) - arena_)};
  auto add = [&](u64 page) { bloom_[va >> 63][(page >> 6) & 63] |= 1ull << (page & 63); };
  add(va >> kPageShift);
  if (b->pa2 != kNoPage) add((va >> kPageShift) + 1);
}

/// Announces to devices that bytes of this page are about to be decoded.
void BlockCache::claim_page(u64 gpa) {
  const u64 page = c_.ram->page_of(gpa);
  if (c_.ram->code_flag(page).load(std::memory_order_relaxed)) return;
  c_.ram->code_flag(page).store(1);
  code_pages_.push_back(page);
}

Block* BlockCache::decode(u64 va, const Exec& at, u8 mode) {
  static thread_local Op ops[kMaxOps + 1];
  claim_page(at.gpa);
  BlockBuilder build(c_, *this, va, ops, mode & kModeSingle);
  const size_t in_page = kPageSize - (va & ~kPageMask);
  u64 pa2 = kNoPage;
  while (!build.ended()) {
    const size_t pos = build.bytes();
    if (pos >= in_page) break;
    Insn insn;
    if (parse(at.host + pos, std::min<size_t>(in_page - pos, kMaxInsnLength), insn) == Parse::Truncated && in_page - pos < kMaxInsnLength) {
      if (pos) break;  // the crossing instruction gets a block of its own
      Exec second;
      if (!exec_page(va + in_page, second)) return nullptr;
      claim_page(second.gpa);
      u8 bytes[kMaxInsnLength];
      memcpy(bytes, at.host, in_page);
      memcpy(bytes + in_page, second.host, kMaxInsnLength - in_page);
      parse(bytes, kMaxInsnLength, insn);
      pa2 = second.gpa;
      build.add(insn);
      break;
    }
    build.add(insn);
  }
  build.finish();

  const size_t size = sizeof(Block) + (build.op_count() + 1) * sizeof(Op);
  Block* b = new (arena_ + used_) Block{};
  used_ += (size + 63) & ~63ull;
  b->va = va, b->pa = at.gpa, b->pa2 = pa2, b->mode = mode;
  b->bytes = static_cast<u32>(build.bytes());
  b->instructions = static_cast<u16>(build.instructions());
  b->op_count = static_cast<u16>(build.op_count());
  memcpy(static_cast<void*>(b->ops), ops, (build.op_count() + 1) * sizeof(Op));
  list(b);
  decoded_blocks++;
  return b;
}

void BlockCache::list(Block* b) {
  Block*& head = hash_[hash_of(b->va, b->pa, b->mode)];
  b->hash_next = head;
  head = b;
  auto add = [&](u64 gpa, int which, u64 from, u64 to) {
    PageCode& p = pages_[c_.ram->page_of(gpa)];
    const bool was_data = !p.first;
    b->page_next[which] = p.first;
    p.first = b;
    p.granules |= granules_between(from, to);
    if (was_data) c_.mmu->drop_write_tags(gpa & kPageMask);
  };
  const u64 offset = b->pa & ~kPageMask;
  add(b->pa, 0, offset, offset + first_part(b));
  if (b->pa2 != kNoPage) add(b->pa2, 1, 0, b->bytes - first_part(b));
}

void BlockCache::resolve(Block* from, int exit, Block* to) {
  if (from->dead || from->mode & kModeSingle) return;
  Incoming& n = from->link[exit];
  unlink_incoming(n);
  n.slot = &from->exits().to[exit];
  *n.slot = to;
  n.next = to->incoming;
  n.prev = &to->incoming;
  if (n.next) n.next->prev = &n.next;
  to->incoming = &n;
  if ((from->va ^ to->va) & kPageMask || to->pa2 != kNoPage) crossing_[to->va >> 63].push_back(&n);
}

void BlockCache::unlist(Block* b, u64 page) {
  const int which = c_.ram->page_of(b->pa) == page ? 0 : 1;
  for (Block** at = &pages_[page].first; *at;) {
    Block* o = *at;
    Block** next = &o->page_next[c_.ram->page_of(o->pa) == page ? 0 : 1];
    if (o == b) {
      *at = b->page_next[which];
      return;
    }
    at = next;
  }
}

/// keep_list: the page whose list the caller is walking and repairs itself, or kNoPage.
void BlockCache::kill(Block* b, u64 keep_list) {
  for (Block** at = &hash_[hash_of(b->va, b->pa, b->mode)]; *at; at = &(*at)->hash_next)
    if (*at == b) {
      *at = b->hash_next;
      break;
    }
  while (b->incoming) unlink_incoming(*b->incoming);
  for (Incoming& n : b->link) unlink_incoming(n);
  JumpEntry& j = jumps(b->mode & kModeUser)[jump_index(b->va)];
  if (arena_ + j.block == reinterpret_cast<u8*>(b)) j = {};
  for (u64 gpa : {b->pa, b->pa2}) {
    if (gpa == kNoPage) continue;
    const u64 page = c_.ram->page_of(gpa);
    if (page == keep_list) continue;
    unlist(b, page);
    recount(page);
  }
  b->dead = true;
  killed_blocks++;
}

void BlockCache::recount(u64 page) {
  PageCode& p = pages_[page];
  p.granules = 0;
  for (const Block* b = p.first; b;) {
    const bool first = c_.ram->page_of(b->pa) == page;
    const u64 from = first ? b->pa & ~kPageMask : 0;
    p.granules |= granules_between(from, from + (first ? first_part(b) : b->bytes - first_part(b)));
    b = b->page_next[first ? 0 : 1];
  }
  if (!p.first) c_.ram->code_flag(page).store(0);
}

void BlockCache::written(u64 gpa, u64 len) {
  const u64 page = c_.ram->page_of(gpa);
  PageCode& p = pages_[page];
  const u64 offset = gpa & ~kPageMask;
  if (!(p.granules & granules_between(offset, offset + len))) return;
  bool any = false;
  for (Block** at = &p.first; *at;) {
    Block* b = *at;
    Block*& next = b->page_next[c_.ram->page_of(b->pa) == page ? 0 : 1];
    if (touches(b, gpa, len)) {
      *at = next;
      kill(b, page);
      any = true;
    } else {
      at = &next;
    }
  }
  if (any) recount(page);
}

void BlockCache::drop_half(int half) {
  if (++c_.epoch[half] == 0) {
    std::fill_n(jumps_.get(), 2 * kJumpCount, JumpEntry{});
    c_.epoch[half] = 1;
  }
  for (Incoming* n : crossing_[half]) unlink_incoming(*n);
  crossing_[half].clear();
  memset(bloom_[half], 0, sizeof bloom_[half]);
}

void BlockCache::drop_page(u64 va) {
  const u64 page = va >> kPageShift;
  if (bloom_[va >> 63][(page >> 6) & 63] >> (page & 63) & 1) drop_half(va >> 63);
}

void BlockCache::flush() {
  for (u64 page : code_pages_) {
    pages_[page] = {};
    c_.ram->code_flag(page).store(0);
  }
  code_pages_.clear();
  std::fill(hash_.begin(), hash_.end(), nullptr);
  for (int half : {0, 1}) {
    crossing_[half].clear();  // the nodes are gone with the arena
    drop_half(half);
  }
  std::fill_n(jumps_.get(), 2 * kJumpCount, JumpEntry{});
  plans_.clear();
  used_ = 0;
  full_ = false;
  c_.block = nullptr;
  flushes++;
}

void BlockCache::queue_written(u64 gpa, u64 len) {
  std::lock_guard lock(queue_lock_);
  queue_.emplace_back(gpa, len);
}

void BlockCache::take_queue() {
  std::vector<std::pair<u64, u64>> taken;
  {
    std::lock_guard lock(queue_lock_);
    taken.swap(queue_);
  }
  for (auto [gpa, len] : taken)
    for (u64 at = gpa, end = gpa + len; at < end; at = (at & kPageMask) + kPageSize) written(at, std::min(end, (at & kPageMask) + kPageSize) - at);
}

}  // namespace colo::soft
