// Decoded code by page of memory, whatever addresses lead there: how blocks are found, chained, and
// dropped when their bytes change.
#pragma once
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "soft/cpu/block.h"

namespace colo::soft {

// Every one of these is a bound on what a guest can make the host hold, or walk within one
// instruction. At the bound code is dropped and decoded again.
constexpr size_t kArenaSize = 64u << 20;       // blocks, and the plans of floating-point operations
constexpr u32 kMaxPageBlocks = 1u << 14;       // of one physical page: a library in many processes
constexpr size_t kMaxQueuedWrites = 1u << 14;  // of devices into code, not yet looked at
constexpr size_t kMaxThunkBytes = 16u << 20;
constexpr int kMaxInstructions = 48;  // per block
constexpr int kMaxOps = kMaxInstructions * 5 + 4;

/// Decoded code of one physical page.
struct PageCode {
  u32 granules = 0;  // bit n = some block covers a byte of [128 n, 128 n + 128)
  u32 blocks : 31 = 0;
  u32 stale : 1 = 0;  // some of them are dead
  Block* first = nullptr;
};

class BlockBuilder;

struct BlockCache final : CodeCache {
  explicit BlockCache(Cpu& cpu);
  ~BlockCache() override;
  BlockCache(const BlockCache&) = delete;

  Block* find(u64 va, u8 extra_mode = 0) override;
  void resolve(Block* from, int exit, Block* to) override;

  void written(u64 offset, u64 len) override;
  void drop_half(int half) override;
  void drop_page(u64 va) override;
  void drop_legacy() override;
  void flush();
  void flush_if_full() {
    if (full_) flush();
  }
  bool has_code(u64 page) const override { return pages_[page].first != nullptr; }
  /// What the guest made it hold, for tests of the bounds.
  size_t held() const;

  void queue_written(u64 offset, u64 len) override;
  void take_queue();

  FpPlan* keep_plan(const FpPlan& plan) { return &plans_.emplace_back(plan); }

  u64 decoded_blocks = 0, killed_blocks = 0, flushes = 0;

 private:
  struct Exec {
    u64 offset;
    const u8* host;
  };
  bool exec_page(u64 va, Exec& out);
  size_t hash_of(u64 va, u64 pa, u8 mode) const;
  bool code_address(u64 va, u64& linear);
  u64 next_page(u64 linear) const;
  Block* lookup(u64 va, u64 pa, u8 mode);
  bool room() const;
  Block* decode(u64 va, u64 linear, const Exec& at, u8 mode);
  Block* decode_announced(u64 va, u64 linear, const Exec& at, u8 mode);
  Block* keep(BlockBuilder& build, const Op* ops);
  void claim_page(u64 offset);
  void list(Block* b);
  void list_on(Block* b, u64 page_offset, int which);
  void remember(u64 linear, u32 epoch, Block* b);
  void kill(Block* b);
  void unlink(Incoming& n);
  void mark_stale(u64 page_offset);
  void sweep_stale();
  void sweep(u64 page_offset);
  void evict_page(u64 page_offset);

  Cpu& c_;
  u8* arena_;
  size_t used_ = 0;
  bool full_ = false;
  std::vector<Block*> hash_;
  u64 hash_keys_[2];  // random: a guest that knew them could make every block collide
  std::vector<PageCode> pages_;
  std::vector<u64> code_pages_;  // pages that got code since the last flush (may repeat)
  std::vector<u64> stale_;       // offset of the pages whose lists hold dead blocks
  u64 decoding_ = kNoPage;  // offset of the page that a new block begins in: it stays announced
  /// Resolved exits that depend on a virtual mapping, by half of the address space; those of legacy
  /// code, whose mapping its CS is part of, are a third kind.
  std::vector<Incoming*> crossing_[3];
  u64 bloom_[2][64] = {};  // virtual pages that blocks were found through
  std::unique_ptr<JumpEntry[]> jumps_;
  std::deque<FpPlan> plans_;
  std::mutex queue_lock_;
  /// kMaxQueuedWrites of them: more came, and anything may have been written.
  std::vector<std::pair<u64, u64>> queue_;
};

}  // namespace colo::soft
