// The block cache: see block_cache.h. One owner thread; others only queue.
#include "soft/blocks/block_cache.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "soft/blocks/builder.h"
#include "soft/memory/mmu.h"

namespace colo::soft {
namespace {

constexpr int kHashBits = 16;
constexpr size_t kHashSize = 1u << kHashBits;
constexpr size_t kLongestBlock = sizeof(Block) + (kMaxOps + 1) * sizeof(Op) + 64;

u64 random_odd() {
  std::random_device source;
  return (static_cast<u64>(source()) << 32 | source()) | 1;
}

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

/// The part of b that lies on this page (on both halves of it, when an instruction crosses from a
/// page to itself).
u32 granules_on(const Block* b, u64 gpa_page) {
  const u64 offset = b->pa & ~kPageMask, part = first_part(b);
  u32 mask = 0;
  if ((b->pa & kPageMask) == gpa_page) mask |= granules_between(offset, offset + part);
  if (b->pa2 == gpa_page) mask |= granules_between(0, b->bytes - part);
  return mask;
}

/// In the list of this page.
Block*& next_on(Block* b, u64 gpa_page) {
  return b->page_next[(b->pa & kPageMask) == gpa_page ? 0 : 1];
}

}  // namespace

BlockCache::BlockCache(Cpu& cpu)
    : c_(cpu),
      hash_(kHashSize),
      hash_keys_{random_odd(), random_odd()},
      pages_(cpu.ram->page_count()),
      jumps_(new JumpEntry[2 * kJumpCount]) {
  void* p = mmap(nullptr, kArenaSize, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  COLO_ASSERT(p != MAP_FAILED);
  madvise(p, kArenaSize, MADV_HUGEPAGE);
  arena_ = static_cast<u8*>(p);
  c_.arena = arena_;
  for (int user = 0; user < 2; user++) c_.jump_sets[user] = jumps_.get() + user * kJumpCount;
}

BlockCache::~BlockCache() { munmap(arena_, kArenaSize); }

bool BlockCache::exec_page(u64 va, Exec& out) {
  bool device;
  out.host = c_.mmu->at(va, Access::Exec, c_.cpl == 3, out.gpa, device);
  if (out.host) return true;
  if (device) c_.raise(UD);  // an empty bus floats to FF FF, which is no instruction
  return false;
}

/// Multiply and shift: for random keys no choice of blocks collides more than chance has it.
size_t BlockCache::hash_of(u64 va, u64 pa, u8 mode) const {
  return (va * hash_keys_[0] + (pa << 2 | mode) * hash_keys_[1]) >> (64 - kHashBits);
}

Block* BlockCache::lookup(u64 va, u64 pa, u8 mode) {
  for (Block* b = hash_[hash_of(va, pa, mode)]; b; b = b->hash_next)
    if (b->va == va && b->pa == pa && b->mode == mode) return b;
  return nullptr;
}

bool BlockCache::room() const {
  return used_ + plans_.size() * sizeof(FpPlan) + kLongestBlock <= kArenaSize &&
         c_.thunks.bytes() <= kMaxThunkBytes;
}

Block* BlockCache::find(u64 va, u8 extra_mode) {
  COLO_ASSERT(!c_.mmu->window.open);
  const u8 mode = (c_.cpl == 3 ? kModeUser : 0) | extra_mode;
  if (!extra_mode) {
    const JumpEntry& j = c_.jumps[jump_index(va)];
    if (j.va == va && j.epoch == c_.epoch[va >> 63])
      return reinterpret_cast<Block*>(arena_ + j.block);
  }
  Exec at;
  if (!exec_page(va, at)) return nullptr;
  Block* b = lookup(va, at.gpa, mode);
  if (b && b->pa2 != kNoPage) {  // its second page may be mapped elsewhere by now
    Exec second;
    if (!exec_page((va & kPageMask) + kPageSize, second)) return nullptr;
    if (second.gpa != b->pa2) {
      kill(b);
      sweep_stale();
      b = nullptr;
    }
  }
  if (!b) {
    if (!room()) {
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
  c_.jumps[jump_index(va)] = {va, c_.epoch[va >> 63],
                              static_cast<u32>(reinterpret_cast<u8*>(b) - arena_)};
  auto add = [&](u64 page) { bloom_[va >> 63][(page >> 6) & 63] |= 1ull << (page & 63); };
  add(va >> kPageShift);
  if (b->pa2 != kNoPage) add((va >> kPageShift) + 1);
}

/// Makes room in the list of a page that has reached its bound.
void BlockCache::evict_page(u64 gpa_page) {
  const PageCode& p = pages_[c_.ram->page_of(gpa_page)];
  if (COLO_LIKELY(p.blocks < kMaxPageBlocks)) return;
  for (Block* b = p.first; b; b = next_on(b, gpa_page)) kill(b);
  sweep_stale();
}

/// Announces to devices that bytes of this page are about to be decoded.
void BlockCache::claim_page(u64 gpa) {
  evict_page(gpa & kPageMask);
  const u64 page = c_.ram->page_of(gpa);
  if (c_.ram->code_flag(page).load(std::memory_order_relaxed)) return;
  c_.ram->code_flag(page).store(1);
  code_pages_.push_back(page);
}

Block* BlockCache::decode(u64 va, const Exec& at, u8 mode) {
  claim_page(at.gpa);
  decoding_ = at.gpa & kPageMask;
  Block* b = decode_announced(va, at, mode);
  decoding_ = kNoPage;
  return b;
}

Block* BlockCache::decode_announced(u64 va, const Exec& at, u8 mode) {
  static thread_local Op ops[kMaxOps + 1];
  BlockBuilder build(c_, *this, va, ops, mode & kModeSingle);
  const size_t in_page = kPageSize - (va & ~kPageMask);
  u64 pa2 = kNoPage;
  while (!build.ended()) {
    const size_t pos = build.bytes();
    if (pos >= in_page) break;
    Insn insn;
    if (parse(at.host + pos, std::min<size_t>(in_page - pos, kMaxInsnLength), insn) ==
            Parse::Truncated &&
        in_page - pos < kMaxInsnLength) {
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

void BlockCache::list_on(Block* b, u64 gpa_page, int which) {
  PageCode& p = pages_[c_.ram->page_of(gpa_page)];
  const bool was_data = !p.first;
  b->page_next[which] = p.first;
  p.first = b;
  p.blocks++;
  p.granules |= granules_on(b, gpa_page);
  if (was_data) c_.mmu->drop_write_tags(gpa_page);
}

void BlockCache::list(Block* b) {
  const u64 page = b->pa & kPageMask, second = b->pa2 == page ? kNoPage : b->pa2;
  Block*& head = hash_[hash_of(b->va, b->pa, b->mode)];
  b->hash_next = head;
  head = b;
  list_on(b, page, 0);
  if (second != kNoPage) list_on(b, second, 1);
}

void BlockCache::resolve(Block* from, int exit, Block* to) {
  if (from->dead || from->mode & kModeSingle) return;
  Incoming& n = from->link[exit];
  unlink(n);
  n.slot = &from->exits().to[exit];
  *n.slot = to;
  n.next = to->incoming;
  n.prev = &to->incoming;
  if (n.next) n.next->prev = &n.next;
  to->incoming = &n;
  if (!((from->va ^ to->va) & kPageMask) && to->pa2 == kNoPage) return;
  n.half = static_cast<u32>(to->va >> 63);
  n.at = static_cast<u32>(crossing_[n.half].size());
  crossing_[n.half].push_back(&n);
}

void BlockCache::unlink(Incoming& n) {
  if (!n.slot) return;
  *n.slot = nullptr;
  *n.prev = n.next;
  if (n.next) n.next->prev = n.prev;
  n.slot = nullptr;
  if (n.half == Incoming::kNoHalf) return;
  std::vector<Incoming*>& all = crossing_[n.half];
  all[n.at] = all.back();
  all[n.at]->at = n.at;
  all.pop_back();
  n.half = Incoming::kNoHalf;
}

/// The block stays in the lists of its pages until sweep_stale(), which the caller owes: once for
/// as many as it kills.
void BlockCache::kill(Block* b) {
  if (b->dead) return;
  b->dead = true;
  killed_blocks++;
  for (Block** at = &hash_[hash_of(b->va, b->pa, b->mode)]; *at; at = &(*at)->hash_next)
    if (*at == b) {
      *at = b->hash_next;
      break;
    }
  while (b->incoming) unlink(*b->incoming);
  for (Incoming& n : b->link) unlink(n);
  JumpEntry& j = c_.jump_sets[(b->mode & kModeUser) != 0][jump_index(b->va)];
  if (arena_ + j.block == reinterpret_cast<u8*>(b)) j = {};
  mark_stale(b->pa & kPageMask);
  if (b->pa2 != kNoPage) mark_stale(b->pa2);
}

void BlockCache::mark_stale(u64 gpa_page) {
  PageCode& p = pages_[c_.ram->page_of(gpa_page)];
  if (p.stale) return;
  p.stale = 1;
  stale_.push_back(gpa_page);
}

void BlockCache::sweep_stale() {
  for (u64 page : stale_) sweep(page);
  stale_.clear();
}

/// Takes the dead out of a page's list and counts the rest anew.
void BlockCache::sweep(u64 gpa_page) {
  const u64 page = c_.ram->page_of(gpa_page);
  PageCode& p = pages_[page];
  p.granules = 0, p.blocks = 0, p.stale = 0;
  for (Block** at = &p.first; *at;) {
    Block* b = *at;
    if (b->dead) {
      *at = next_on(b, gpa_page);
      continue;
    }
    p.granules |= granules_on(b, gpa_page);
    p.blocks++;
    at = &next_on(b, gpa_page);
  }
  if (!p.first && gpa_page != decoding_) c_.ram->code_flag(page).store(0);
}

void BlockCache::written(u64 gpa, u64 len) {
  const u64 gpa_page = gpa & kPageMask, offset = gpa & ~kPageMask;
  const PageCode& p = pages_[c_.ram->page_of(gpa)];
  if (!(p.granules & granules_between(offset, offset + len))) return;
  for (Block* b = p.first; b; b = next_on(b, gpa_page))
    if (touches(b, gpa, len)) kill(b);
  sweep_stale();
}

void BlockCache::drop_half(int half) {
  if (++c_.epoch[half] == 0) {
    std::fill_n(jumps_.get(), 2 * kJumpCount, JumpEntry{});
    c_.epoch[half] = 1;
  }
  while (!crossing_[half].empty()) unlink(*crossing_[half].back());
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
  if (c_.thunks.bytes() > kMaxThunkBytes) c_.thunks.clear();  // only the plans pointed into it
  used_ = 0;
  full_ = false;
  c_.block = nullptr;
  flushes++;
}

size_t BlockCache::held() const {
  return used_ + plans_.size() * sizeof(FpPlan) + c_.thunks.bytes() +
         (crossing_[0].capacity() + crossing_[1].capacity()) * sizeof(Incoming*) +
         (code_pages_.capacity() + stale_.capacity()) * sizeof(u64) +
         queue_.capacity() * sizeof queue_[0];
}

void BlockCache::queue_written(u64 gpa, u64 len) {
  std::lock_guard lock(queue_lock_);
  if (queue_.size() < kMaxQueuedWrites) queue_.emplace_back(gpa, len);
}

void BlockCache::take_queue() {
  std::vector<std::pair<u64, u64>> taken;
  {
    std::lock_guard lock(queue_lock_);
    taken.swap(queue_);
  }
  if (taken.size() == kMaxQueuedWrites) return flush();
  for (auto [gpa, len] : taken)
    for (u64 at = gpa, end = gpa + len; at < end; at = (at & kPageMask) + kPageSize)
      written(at, std::min(end, (at & kPageMask) + kPageSize) - at);
}

}  // namespace colo::soft
