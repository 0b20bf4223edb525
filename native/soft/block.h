// Decoded code: blocks of operations by physical page, how they are found, chained, and dropped
// when their bytes change.
#pragma once
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "soft/cpu.h"

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
  static constexpr u32 kNoHalf = 2;
  Incoming* next = nullptr;
  Incoming** prev = nullptr;
  Block** slot = nullptr;
  u32 half = kNoHalf;  // the exit depends on a virtual mapping of this half of the address space:
  u32 at = 0;          // its place in BlockCache::crossing_[half]
};

constexpr u64 kNoPage = ~0ull;
/// Mode key bits: what besides the bytes decides how they decode and where links may lead.
constexpr u8 kModeUser = 1, kModeSingle = 2;

struct Block {
  u64 pa2;  // physical page of the second part if the (only) instruction crosses, else kNoPage
  Block* hash_next;
  Block* page_next[2];  // list of the first page, of the second
  Incoming link[2];     // this block's exits, as nodes in their targets' lists
  Incoming* incoming;
  // What running it touches lies beside the operations.
  u64 va, pa;  // of the first byte
  u32 bytes;
  u16 instructions, op_count;
  u8 mode;
  bool dead;
  Op ops[];

  Exits& exits() { return *reinterpret_cast<Exits*>(ops + op_count); }
};

// Every one of these is a bound on what a guest can make the host hold, or walk within one
// instruction. At the bound code is dropped and decoded again.
constexpr size_t kArenaSize = 64u << 20;       // blocks, and the plans of floating-point operations
constexpr u32 kMaxPageBlocks = 1u << 14;       // of one physical page: a library in many processes
constexpr size_t kMaxQueuedWrites = 1u << 14;  // of devices into code, not yet looked at
constexpr size_t kMaxThunkBytes = 16u << 20;
constexpr size_t kJumpCount = 4096;   // per privilege
constexpr int kMaxInstructions = 48;  // per block
constexpr int kMaxOps = kMaxInstructions * 5 + 4;

COLO_INLINE size_t jump_index(u64 va) { return (va ^ (va >> 12)) & (kJumpCount - 1); }

/// Decoded code of one physical page.
struct PageCode {
  u32 granules = 0;  // bit n = some block covers a byte of [128 n, 128 n + 128)
  u32 blocks : 31 = 0;
  u32 stale : 1 = 0;  // some of them are dead
  Block* first = nullptr;
};

struct BlockCache {
  explicit BlockCache(Cpu& cpu);
  ~BlockCache();
  BlockCache(const BlockCache&) = delete;

  /// The block at va in the CPU's mode (| extra), decoded if need be. nullptr: c.pending is set, or
  /// c.exit_pending, or the arena is full (then flush_if_full() must run outside any block before
  /// the next try).
  Block* find(u64 va, u8 extra_mode = 0);
  void resolve(Block* from, int exit, Block* to);

  /// [gpa, gpa+len) within one page was written: kills the blocks whose bytes it touched.
  void written(u64 gpa, u64 len);
  /// Virtual-to-block facts of a half of the address space are void (0 = lower, 1 = upper).
  void drop_half(int half);
  /// As drop_half if a block was ever found through the page of va.
  void drop_page(u64 va);
  void flush();
  void flush_if_full() {
    if (full_) flush();
  }
  bool has_code(u64 page) const { return pages_[page].first != nullptr; }
  /// What the guest made it hold, for tests of the bounds.
  size_t held() const;

  /// From any thread; taken over by the owner at the next block end.
  void queue_written(u64 gpa, u64 len);
  void take_queue();

  FpPlan* keep_plan(const FpPlan& plan) { return &plans_.emplace_back(plan); }

  u64 decoded_blocks = 0, killed_blocks = 0, flushes = 0;

 private:
  struct Exec {
    u64 gpa;
    const u8* host;
  };
  bool exec_page(u64 va, Exec& out);
  size_t hash_of(u64 va, u64 pa, u8 mode) const;
  Block* lookup(u64 va, u64 pa, u8 mode);
  bool room() const;
  Block* decode(u64 va, const Exec& at, u8 mode);
  Block* decode_announced(u64 va, const Exec& at, u8 mode);
  void claim_page(u64 gpa);
  void list(Block* b);
  void list_on(Block* b, u64 gpa_page, int which);
  void remember(u64 va, Block* b);
  void kill(Block* b);
  void unlink(Incoming& n);
  void mark_stale(u64 gpa_page);
  void sweep_stale();
  void sweep(u64 gpa_page);
  void evict_page(u64 gpa_page);

  Cpu& c_;
  u8* arena_;
  size_t used_ = 0;
  bool full_ = false;
  std::vector<Block*> hash_;
  u64 hash_keys_[2];  // random: a guest that knew them could make every block collide
  std::vector<PageCode> pages_;
  std::vector<u64> code_pages_;  // pages that got code since the last flush (may repeat)
  std::vector<u64> stale_;       // gpa of the pages whose lists hold dead blocks
  u64 decoding_ = kNoPage;       // gpa of the page that a new block begins in: it stays announced
  std::vector<Incoming*> crossing_[2];  // resolved exits that depend on a virtual mapping, by half
  u64 bloom_[2][64] = {};               // virtual pages that blocks were found through
  std::unique_ptr<JumpEntry[]> jumps_;
  std::deque<FpPlan> plans_;
  std::mutex queue_lock_;
  /// kMaxQueuedWrites of them: more came, and anything may have been written.
  std::vector<std::pair<u64, u64>> queue_;

 public:
  JumpEntry* jumps(bool user) { return jumps_.get() + (user ? kJumpCount : 0); }
};

}  // namespace colo::soft
