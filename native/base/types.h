// Fixed-width names and the few helpers that every native file uses.
#pragma once
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace colo {

using u8 = uint8_t;
using u16 = uint16_t;
using u32 = uint32_t;
using u64 = uint64_t;
using i8 = int8_t;
using i16 = int16_t;
using i32 = int32_t;
using i64 = int64_t;
using u128 = unsigned __int128;
using i128 = __int128;

constexpr u64 kPageShift = 12;
constexpr u64 kPageSize = 1ull << kPageShift;
constexpr u64 kPageMask = ~(kPageSize - 1);

#define COLO_LIKELY(x) __builtin_expect(!!(x), 1)
#define COLO_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define COLO_NOINLINE __attribute__((noinline))
#define COLO_COLD __attribute__((noinline, cold))
#define COLO_INLINE inline __attribute__((always_inline))

/// We are wrong, not the guest: stop at once, for fail-stop is what the peer is for.
[[noreturn]] void fail_assert(const char* what, const char* file, int line);
#define COLO_ASSERT(x) (COLO_LIKELY(x) ? (void)0 : ::colo::fail_assert(#x, __FILE__, __LINE__))

}  // namespace colo
