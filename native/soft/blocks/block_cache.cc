// The block cache: see block_cache.h. One owner thread; others only queue.
#include "soft/blocks/block_cache.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "soft/blocks/builder.h"
#include "soft/memory/mmu.h"
#include "soft/memory/world.h"

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

bool touches(const Block* b, u64 offset, u64 len) {
  if (offset < b->pa + first_part(b) && b->pa < offset + len) return true;
  return b->pa2 != kNoPage && offset < b->pa2 + (b->bytes - first_part(b)) && b->pa2 < offset + len;
}

u32 granules_between(u64 from, u64 to) {  // offsets in a page, to exclusive
  u32 mask = 0;
  for (u64 g = from / 128; g * 128 < to; g++) mask |= 1u << g;
  return mask;
}

/// The part of b that lies on this page (on both halves of it, when an instruction crosses from a
/// page to itself).
u32 granules_on(const Block* b, u64 page_offset) {
  const u64 in_page = b->pa & ~kPageMask, part = first_part(b);
  u32 mask = 0;
  if ((b->pa & kPageMask) == page_offset) mask |= granules_between(in_page, in_page + part);
  if (b->pa2 == page_offset) mask |= granules_between(0, b->bytes - part);
  return mask;
}

/// In the list of this page.
Block*& next_on(Block* b, u64 page_offset) {
  return b->page_next[(b->pa & kPageMask) == page_offset ? 0 : 1];
}

}  // namespace

BlockCache::BlockCache(Cpu& cpu)
    : c_(cpu),
      hash_(kHashSize),
      hash_keys_{random_odd(), random_odd()},
      pages_(cpu.ram->page_count()),
      jumps_(new JumpEntry[kJumpSets * kJumpCount]) {
  void* p = mmap(nullptr, kArenaSize, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  COLO_ASSERT(p != MAP_FAILED);
  madvise(p, kArenaSize, MADV_HUGEPAGE);
  arena_ = static_cast<u8*>(p);
  c_.arena = arena_;
  for (size_t i = 0; i < kJumpSets; i++) c_.jump_sets[i] = jumps_.get() + i * kJumpCount;
}

/// The RAM may outlive the machine, and its devices then write into no one's code.
BlockCache::~BlockCache() {
  for (u64 page : code_pages_) c_.world->release_code(c_, page);
  munmap(arena_, kArenaSize);
}

bool BlockCache::exec_page(u64 va, Exec& out) {
  Place place;
  out.host = c_.mmu->at(va, Access::Exec, c_.rights(), place);
  out.offset = place.at;
  if (out.host) return true;
  if (place.device) c_.raise(UD);  // an empty bus floats to FF FF, which is no instruction
  return false;
}

/// Where the code at va lies: legacy code counts from CS, up to its limit.
bool BlockCache::code_address(u64 va, u64& linear) {
  linear = va;
  if (!(c_.mode & kModeLegacy)) return true;
  linear = (c_.seg[CS].base + va) & 0xffffffff;
  return c_.code_offset(va);
}

/// The page behind the one that an instruction begins in.
u64 BlockCache::next_page(u64 linear) const {
  const u64 next = (linear & kPageMask) + kPageSize;
  return c_.mode & kModeLegacy ? next & 0xffffffff : next;
}

/// Multiply and shift: for random keys no choice of blocks collides more than chance has it.
size_t BlockCache::hash_of(u64 va, u64 pa, u8 mode) const {
  return (va * hash_keys_[0] + (pa << 2 | mode) * hash_keys_[1]) >> (64 - kHashBits);
}

Block* BlockCache::lookup(u64 va, u64 pa, u8 mode) {
  const u32 limit = c_.seg[CS].limit;
  for (Block* b = hash_[hash_of(va, pa, mode)]; b; b = b->hash_next)
    if (b->va == va && b->pa == pa && b->mode == mode &&
        (b->code_limit == limit || !(mode & kModeLegacy)))
      return b;
  return nullptr;
}

bool BlockCache::room() const {
  return used_ + plans_.size() * sizeof(FpPlan) + kLongestBlock <= kArenaSize &&
         c_.thunks.bytes() <= kMaxThunkBytes;
}

Block* BlockCache::find(u64 va, u8 extra_mode) {
  COLO_ASSERT(!c_.mmu->window.open);
  const u8 mode = c_.mode | extra_mode;
  const u32 epoch = mode & kModeLegacy ? c_.legacy_epoch : c_.epoch[va >> 63];
  if (!extra_mode) {
    const JumpEntry& j = c_.jumps[jump_index(va)];
    if (j.va == va && j.epoch == epoch) return reinterpret_cast<Block*>(arena_ + j.block);
  }
  Exec at;
  u64 linear;
  if (!code_address(va, linear) || !exec_page(linear, at)) return nullptr;
  Block* b = lookup(va, at.offset, mode);
  if (b && b->pa2 != kNoPage) {  // its second page may be mapped elsewhere by now
    Exec second;
    if (!exec_page(next_page(linear), second)) return nullptr;
    if (second.offset != b->pa2) {
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
    b = decode(va, linear, at, mode);
    if (!b) return nullptr;
  }
  if (!extra_mode) remember(linear, epoch, b);
  return b;
}

void BlockCache::remember(u64 linear, u32 epoch, Block* b) {
  c_.jumps[jump_index(b->va)] = {b->va, epoch, static_cast<u32>(reinterpret_cast<u8*>(b) - arena_)};
  auto add = [&](u64 page) { bloom_[linear >> 63][(page >> 6) & 63] |= 1ull << (page & 63); };
  add(linear >> kPageShift);
  if (b->pa2 != kNoPage) add(next_page(linear) >> kPageShift);
}

/// Makes room in the list of a page that has reached its bound.
void BlockCache::evict_page(u64 page_offset) {
  const PageCode& p = pages_[page_offset >> kPageShift];
  if (COLO_LIKELY(p.blocks < kMaxPageBlocks)) return;
  for (Block* b = p.first; b; b = next_on(b, page_offset)) kill(b);
  sweep_stale();
}

/// Announces to devices and other vCPUs that bytes of this page are about to be decoded.
void BlockCache::claim_page(u64 offset) {
  evict_page(offset & kPageMask);
  const u64 page = offset >> kPageShift;
  if (c_.ram->code_flag(page).load(std::memory_order_relaxed) & c_.bit()) return;
  c_.world->claim_code(c_, page);
  code_pages_.push_back(page);
}

Block* BlockCache::decode(u64 va, u64 linear, const Exec& at, u8 mode) {
  claim_page(at.offset);
  decoding_ = at.offset & kPageMask;
  Block* b = decode_announced(va, linear, at, mode);
  decoding_ = kNoPage;
  return b;
}

namespace {
CodeSize code_size(u8 mode) {
  if (!(mode & kModeLegacy)) return CodeSize::Bits64;
  return mode & kModeCode32 ? CodeSize::Bits32 : CodeSize::Bits16;
}
}  // namespace

Block* BlockCache::decode_announced(u64 va, u64 linear, const Exec& at, u8 mode) {
  static thread_local Op ops[kMaxOps + 1];
  BlockBuilder build(c_, *this, va, ops, mode);
  const CodeSize code = code_size(mode);
  const u64 in_page = kPageSize - (at.offset & ~kPageMask);
  const u64 in_segment = mode & kModeLegacy ? c_.seg[CS].limit - va + 1 : ~0ull;
  const u64 available = std::min(in_page, in_segment);
  u64 pa2 = kNoPage;
  while (!build.ended()) {
    const size_t pos = build.bytes();
    if (pos >= available) break;
    Insn insn;
    // Others may be writing these bytes: all that is decided about them is decided about one copy.
    u8 bytes[kMaxInsnLength];
    const size_t here = std::min<size_t>(available - pos, kMaxInsnLength);
    memcpy(bytes, at.host + pos, here);
    if (parse(bytes, here, insn, code) == Parse::Truncated && here < kMaxInsnLength) {
      if (pos) break;  // the crossing instruction gets a block of its own
      if (in_segment <= in_page) return c_.raise(GP, 0), nullptr;
      Exec second;
      if (!exec_page(next_page(linear), second)) return nullptr;
      claim_page(second.offset);
      memcpy(bytes + in_page, second.host, kMaxInsnLength - in_page);
      if (parse(bytes, std::min<size_t>(in_segment, kMaxInsnLength), insn, code) ==
              Parse::Truncated &&
          in_segment < kMaxInsnLength)
        return c_.raise(GP, 0), nullptr;
      pa2 = second.offset;
      build.add(insn);
      break;
    }
    build.add(insn);
  }
  build.finish();
  Block* b = keep(build, ops);
  b->va = va, b->pa = at.offset, b->pa2 = pa2, b->mode = mode, b->code_limit = c_.seg[CS].limit;
  list(b);
  decoded_blocks++;
  return b;
}

/// A block in the arena, its place in the cache still to be said.
Block* BlockCache::keep(BlockBuilder& build, const Op* ops) {
  const size_t size = sizeof(Block) + (build.op_count() + 1) * sizeof(Op);
  Block* b = new (arena_ + used_) Block{};
  used_ += (size + 63) & ~63ull;
  b->bytes = static_cast<u32>(build.bytes());
  b->instructions = static_cast<u16>(build.instructions());
  b->op_count = static_cast<u16>(build.op_count());
  memcpy(static_cast<void*>(b->ops), ops, (build.op_count() + 1) * sizeof(Op));
  return b;
}

void BlockCache::list_on(Block* b, u64 page_offset, int which) {
  PageCode& p = pages_[page_offset >> kPageShift];
  const bool was_data = !p.first;
  b->page_next[which] = p.first;
  p.first = b;
  p.blocks++;
  p.granules |= granules_on(b, page_offset);
  if (was_data) c_.mmu->drop_write_tags(page_offset);
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
  const bool legacy = to->mode & kModeLegacy;
  const bool same_page =
      legacy ? !((from->pa ^ to->pa) & kPageMask) && to->va - from->va == to->pa - from->pa
             : !((from->va ^ to->va) & kPageMask);
  if (same_page && to->pa2 == kNoPage) return;
  n.half = legacy ? kLegacyHalf : static_cast<u32>(to->va >> 63);
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
  JumpEntry& j = c_.jump_sets[jump_set(b->mode)][jump_index(b->va)];
  if (arena_ + j.block == reinterpret_cast<u8*>(b)) j = {};
  mark_stale(b->pa & kPageMask);
  if (b->pa2 != kNoPage) mark_stale(b->pa2);
}

void BlockCache::mark_stale(u64 page_offset) {
  PageCode& p = pages_[page_offset >> kPageShift];
  if (p.stale) return;
  p.stale = 1;
  stale_.push_back(page_offset);
}

void BlockCache::sweep_stale() {
  for (u64 page : stale_) sweep(page);
  stale_.clear();
}

/// Takes the dead out of a page's list and counts the rest anew.
void BlockCache::sweep(u64 page_offset) {
  const u64 page = page_offset >> kPageShift;
  PageCode& p = pages_[page];
  p.granules = 0, p.blocks = 0, p.stale = 0;
  for (Block** at = &p.first; *at;) {
    Block* b = *at;
    if (b->dead) {
      *at = next_on(b, page_offset);
      continue;
    }
    p.granules |= granules_on(b, page_offset);
    p.blocks++;
    at = &next_on(b, page_offset);
  }
  if (!p.first && page_offset != decoding_) c_.world->release_code(c_, page);
}

void BlockCache::written(u64 offset, u64 len) {
  const u64 page_offset = offset & kPageMask, in_page = offset & ~kPageMask;
  const PageCode& p = pages_[offset >> kPageShift];
  if (!(p.granules & granules_between(in_page, in_page + len))) return;
  for (Block* b = p.first; b; b = next_on(b, page_offset))
    if (touches(b, offset, len)) kill(b);
  sweep_stale();
}

void BlockCache::drop_legacy() {
  if (++c_.legacy_epoch == 0) {
    std::fill_n(jumps_.get(), kJumpSets * kJumpCount, JumpEntry{});
    c_.legacy_epoch = 1;
  }
  while (!crossing_[kLegacyHalf].empty()) unlink(*crossing_[kLegacyHalf].back());
}

void BlockCache::drop_half(int half) {
  if (++c_.epoch[half] == 0) {
    std::fill_n(jumps_.get(), kJumpSets * kJumpCount, JumpEntry{});
    c_.epoch[half] = 1;
  }
  if (half == 0) drop_legacy();
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
    c_.world->release_code(c_, page);
  }
  code_pages_.clear();
  std::fill(hash_.begin(), hash_.end(), nullptr);
  for (auto& nodes : crossing_) nodes.clear();  // they are gone with the arena
  for (int half : {0, 1}) drop_half(half);
  std::fill_n(jumps_.get(), kJumpSets * kJumpCount, JumpEntry{});
  plans_.clear();
  if (c_.thunks.bytes() > kMaxThunkBytes) c_.thunks.clear();  // only the plans pointed into it
  used_ = 0;
  full_ = false;
  c_.block = nullptr;
  flushes++;
}

size_t BlockCache::held() const {
  return used_ + plans_.size() * sizeof(FpPlan) + c_.thunks.bytes() +
         (crossing_[0].capacity() + crossing_[1].capacity() + crossing_[2].capacity()) *
             sizeof(Incoming*) +
         (code_pages_.capacity() + stale_.capacity()) * sizeof(u64) +
         queue_.capacity() * sizeof queue_[0];
}

void BlockCache::queue_written(u64 offset, u64 len) {
  std::lock_guard lock(queue_lock_);
  if (!queue_.empty() && queue_.back() == std::pair{offset, len}) return;
  if (queue_.size() < kMaxQueuedWrites) queue_.emplace_back(offset, len);
}

void BlockCache::take_queue() {
  std::vector<std::pair<u64, u64>> taken;
  {
    std::lock_guard lock(queue_lock_);
    taken.swap(queue_);
  }
  if (taken.size() == kMaxQueuedWrites) return flush();
  for (auto [offset, len] : taken)
    for (u64 at = offset, end = offset + len; at < end; at = (at & kPageMask) + kPageSize)
      written(at, std::min(end, (at & kPageMask) + kPageSize) - at);
}

}  // namespace colo::soft
