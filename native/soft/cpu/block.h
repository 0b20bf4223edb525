// Blocks of decoded operations, and the code cache as guest memory and the handlers see it.
#pragma once
#include "soft/cpu/cpu.h"

namespace colo::soft {

/// Where a block goes: occupies the operation slot after the last operation, so that a branch finds
/// it at o + 1.
struct Exits {
  Block* to[2] = {};  // null = not resolved yet
  u64 va[2] = {};
};
static_assert(sizeof(Exits) == sizeof(Op));

/// One resolved exit of some block, listed at its target so that the target's death can take it
/// back.
struct Incoming {
  static constexpr u32 kNoHalf = 3;
  Incoming* next = nullptr;
  Incoming** prev = nullptr;
  Block** slot = nullptr;
  u32 half = kNoHalf;  // the exit depends on a virtual mapping of this half of the address space:
  u32 at = 0;          // its place in BlockCache::crossing_[half]
};

constexpr u64 kNoPage = ~0ull;
/// Mode key bits: what besides the bytes decides how they decode and where links may lead.
/// Legacy: everything but 64-bit code; then Code32 is CS.D, and Flat says that CS, DS, ES and SS
/// span the whole address space with 32-bit stack addresses, so that offsets need no check.
constexpr u8 kModeUser = 1, kModeSingle = 2, kModeLegacy = 4, kModeCode32 = 8, kModeFlat = 16;

struct Block {
  u64 pa2;  // physical page of the second part if the (only) instruction crosses, else kNoPage
  Block* hash_next;
  Block* page_next[2];  // list of the first page, of the second
  Incoming link[2];     // this block's exits, as nodes in their targets' lists
  Incoming* incoming;
  // What running it touches lies beside the operations.
  u64 va, pa;  // of the first byte; pa: its offset in memory. Legacy code: va is the offset in CS
  u32 bytes;
  u16 instructions, op_count;
  u8 mode;
  bool dead;
  u32 code_limit;  // of CS: what lies beyond is known when the block is decoded
  Op ops[];

  Exits& exits() { return *reinterpret_cast<Exits*>(ops + op_count); }
};

constexpr u32 kLegacyHalf = 2;  // of what depends on a virtual mapping, and on CS

constexpr size_t kJumpCount = 4096;  // of the jump cache, per set
constexpr size_t kJumpSets = 4;
/// The set of a mode.
COLO_INLINE size_t jump_set(u8 mode) {
  return (mode & kModeUser ? 1u : 0u) + (mode & kModeLegacy ? 2u : 0u);
}
COLO_INLINE size_t jump_index(u64 va) { return (va ^ (va >> 12)) & (kJumpCount - 1); }

/// Keeps the blocks (blocks/block_cache.h). Memory tells it what became void, handlers ask it where
/// to go on. The owner's thread only, and off the fast paths.
struct CodeCache {
  virtual ~CodeCache() = default;
  /// The block at va in the CPU's mode (| extra), decoded if need be. nullptr: c.pending is set, or
  /// c.exit_pending, or the arena is full (then it must be flushed outside any block before the
  /// next try).
  virtual Block* find(u64 va, u8 extra_mode = 0) = 0;
  /// From now on exit number `exit` of `from` leads to `to`.
  virtual void resolve(Block* from, int exit, Block* to) = 0;

  virtual bool has_code(u64 page) const = 0;
  /// As written(), from any thread; the owner takes it over at its next block end.
  virtual void queue_written(u64 offset, u64 len) = 0;
  /// [offset, offset+len) within one page was written: kills the blocks whose bytes it touched.
  virtual void written(u64 offset, u64 len) = 0;
  /// Virtual-to-block facts of a half of the address space are void (0 = lower, 1 = upper).
  virtual void drop_half(int half) = 0;
  /// As drop_half if a block was ever found through the page of va.
  virtual void drop_page(u64 va) = 0;
  /// What was found through the code segment of legacy code is void: it is another one now.
  virtual void drop_legacy() = 0;
};

}  // namespace colo::soft
